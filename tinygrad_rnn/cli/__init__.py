"""The command line: ``tinygrad-rnn demo | train | sample | forecast | eval | draw | explore | tasks | info``."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext

from .streams import fail, open_streams, warn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after the name of the program. Without them they are those of `sys.argv`.

    Returns
    -------
    int
        0; 1 if training diverged; 2 for an error of the user; 70 for a fault of this program; 130
        after Ctrl-C. An error is one line on standard error. With TINYGRAD_RNN_TRACEBACK=1 in the
        environment its traceback is shown too.
    """
    from ..core.errors import TinygradError
    from ..train.console import mute

    open_streams()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = warn
            try:
                return _run(arguments)
            finally:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return fail("stopped", 130)
    except BrokenPipeError:  # who read the output has seen enough
        mute(sys.stdout)
        return 0
    except OSError as error:
        mute(sys.stdout)  # if it is full or closed, what is left in it has nowhere to go
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        return fail(f"{name}: {error.strerror}" if name and error.strerror else str(error))
    except TinygradError as error:
        return fail(str(error))
    except MemoryError as error:
        return fail(
            f"there is not enough memory for this ({error or 'no more could be had'}); give smaller sizes"
        )
    except RecursionError as error:
        return fail(f"{error}: something is nested too deeply")
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name:
            needed = error.name.partition(".")[0]
            if needed != __name__.partition(".")[0]:
                return fail(f"this needs {needed}, which is not installed: pip install {needed}")
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return fail(
            f"a fault of this program, {type(error).__name__}: {error} (line {frame.lineno} of {frame.filename}); please report it with "
            "what the same command shows with TINYGRAD_RNN_TRACEBACK=1 in the environment",
            70,
        )


def _run(arguments: Sequence[str] | None) -> int:
    """Read the arguments and run the command that they name."""
    from ..core.tape import eager
    from .arguments import parser
    from .configuration import with_configuration

    commands = parser()
    given = commands.parse_args(
        with_configuration(sys.argv[1:] if arguments is None else arguments)
    )
    if not hasattr(given, "run"):
        commands.print_help()
        return 0
    with eager() if getattr(given, "eager", False) else nullcontext():
        code: int = given.run(given)
    return code
