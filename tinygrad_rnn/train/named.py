"""What a name on the command line stands for, and a small computation with it.

The computation can be drawn or explored. A name is ``package.module:Name``, ``file.py:Name``, a
``file.py`` with one thing in it that can be meant, the ``Name`` of a cell of `tinygrad_rnn.cells`,
or a saved ``model.safetensors``.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.tensor import Tensor
from ..core.tree import leaves
from ..module import Module
from ..nn import cross_entropy
from ..recurrent import Cell, unroll
from .characters import CharacterLSTM
from .model_files import load_model

_WORDS = 500  # characters of another's error that are shown
# files that are not the user's
OTHERS = (Path(__file__).parents[1], Path(np.__file__).parents[1], Path(traceback.__file__).parent)
FORMS = "name it as package.module:Name, file.py:Name, file.py, a cell of tinygrad_rnn.cells, or a model.safetensors that `demo` wrote"


class NamedError(TinygradError, ValueError):
    """A name stands for nothing, for several things, or for something that cannot be run."""


def load_named(text: str) -> Any:
    """Return the object that a name stands for.

    Parameters
    ----------
    text : str
        The name; see the head of this file. What a module or a file computes when it is imported,
        is computed.

    Returns
    -------
    object
        A class, a function, a module of the network, a tensor, or a model.

    Raises
    ------
    NamedError
        If there is no such thing, or it cannot be imported.
    CheckpointError, FormatError, OSError
        If a saved model cannot be read.
    """
    if text.endswith(".safetensors"):
        return load_model(text)[0]
    place, colon, name = text.rpartition(":")
    if not colon or name.endswith(".py"):
        place, name = text, ""
    if place.endswith(".py"):
        module = _file(Path(place))
    elif name:
        module = _module(place, text)
    elif text.isidentifier():
        place, name = "tinygrad_rnn.cells", text
        module = importlib.import_module(place)  # nothing of the folder in which one stands
    else:
        raise NamedError(f"{text}: {FORMS}")
    if not name:
        return _only(module, text)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            near = _candidates(module) or get_close_matches(part, dir(found), cutoff=0.5)
            raise NamedError(
                f"{text}: there is no {part} in {place}{'; it has ' if near else ''}{', '.join(near)}"
            )
        found = getattr(found, part)
    return found


def _module(name: str, text: str) -> ModuleType:
    """Import a module by its name."""
    with _imports(Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                raise NamedError(f"{text}: there is no module {error.name}; {FORMS}") from None
            raise _failed(text, error) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise _failed(text, error) from error


def _file(path: Path) -> ModuleType:
    """Import a file."""
    if not path.is_file():
        raise NamedError(f"{path}: there is no such file; {FORMS}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise NamedError(f"{path}: Python cannot import this file")
    module = importlib.util.module_from_spec(spec)
    # else this program would meet it in place of its own
    if path.stem not in sys.modules and path.stem not in sys.stdlib_module_names:
        sys.modules[path.stem] = module
    with _imports(path.parent):
        try:
            spec.loader.exec_module(module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise _failed(str(path), error) from error
    return module


@contextmanager
def _imports(folder: Path) -> Iterator[None]:
    """Context: look for modules in a folder too, as Python does for a program that stands there."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


def _failed(text: str, error: BaseException) -> NamedError:
    """Return the error for a module or a file that cannot be imported."""
    return NamedError(f"{text}: importing it {_raised(error)}{_where(error)}")


@contextmanager
def running(name: str) -> Iterator[None]:
    """Context in which code of the user's runs.

    What it raises is said as theirs, and it cannot end the program.

    Raises
    ------
    NamedError
        For any error of the user's code.
    """
    try:
        yield
    except (TinygradError, KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        if isinstance(error, Exception) and not _lines(error):
            raise  # no line of theirs was at work
        raise NamedError(f"{name}: running it {_raised(error)}{_where(error)}") from error


def _lines(error: BaseException) -> list[tuple[str, int | None]]:
    """Return where the user's own files were at work when an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return [
        (f.filename, f.lineno)
        for f in frames
        if not f.filename.startswith("<") and not any(p in Path(f.filename).parents for p in OTHERS)
    ]


def _where(error: BaseException) -> str:
    """Return the last of the user's own lines, in words."""
    own = _lines(error)
    return f" (line {own[-1][1]} of {Path(own[-1][0]).name})" if own else ""


def _raised(error: BaseException) -> str:
    """Return what an error of the user's own code says, in one line that is not too long."""
    if isinstance(error, SystemExit):
        return f"ended the program: SystemExit({error.code!r})"
    try:
        words = " ".join(str(error).split())
    except Exception:  # an error of theirs that cannot be shown
        words = "(it cannot be shown)"
    return f"raised {type(error).__name__}: {words if len(words) <= _WORDS else words[:_WORDS] + '...'}"


def _candidates(module: ModuleType) -> list[str]:
    """Return the names in a module that can be meant.

    They are recorded tensors, else networks, else classes of networks that are defined there.
    """
    named = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    tensors = [
        name
        for name, v in named.items()
        if isinstance(v, Tensor) and v.requires_grad and not v.is_leaf
    ]
    networks = [name for name, v in named.items() if isinstance(v, Module)]
    classes = [
        name
        for name, v in named.items()
        if isinstance(v, type) and issubclass(v, Module) and v.__module__ == module.__name__
    ]
    return (["loss"] if "loss" in tensors else tensors) or networks or classes


def _only(module: ModuleType, text: str) -> Any:
    """Return the one thing in a module that can be meant, or raise a NamedError."""
    names = _candidates(module)
    if len(names) != 1:
        what = (
            f"it has {', '.join(names)}; say which: {text}:{names[0]}"
            if names
            else "it has no recorded tensor, no cell and no module"
        )
        raise NamedError(f"{text}: {what}")
    return getattr(module, names[0])


def example(
    found: Any, *, arguments: Sequence[int] = (3, 4), steps: int = 3, batch: int = 2, seed: int = 0
) -> Tensor:
    """Return a recorded number that was computed with a named object.

    A tensor is itself; a function without arguments is called. A class is made. A cell or a layer
    is run over a random sequence, and the number is the mean square of its outputs; of a character
    model it is the cross entropy of random text.

    Parameters
    ----------
    found : object
        What `load_named` returned.
    arguments : sequence of int
        What a class is made with; usually input and hidden size. A cell that does not say how many
        features it takes is given the first.
    steps, batch : int
        Length of the sequence, and rows in it.
    seed : int
        Seed of weights and inputs.

    Raises
    ------
    NamedError
        If it is none of these, or does not run.
    """
    name = getattr(found, "__name__", None) or type(found).__name__
    rng = np.random.default_rng(seed)
    try:
        if isinstance(found, type):
            found = made(found, arguments, seed)
        if callable(found) and not isinstance(found, Module):
            wanted = _required(found)
            if wanted:
                raise NamedError(
                    f"{name} takes {', '.join(wanted)}; name a function without arguments that returns a recorded tensor"
                )
            found = found()
        if isinstance(found, Tensor):
            return found
        if isinstance(found, CharacterLSTM):
            ids = rng.integers(found.symbols, size=(steps + 1, batch))
            loss: Tensor = cross_entropy(found(ids[:-1])[0], ids[1:])
            return loss
        if isinstance(found, Module):
            features = getattr(found, "input_size", None) or arguments[0]
            xs = rng.standard_normal((steps, batch, features)).astype(
                next((p.dtype for p in found.parameters()), np.float32)
            )
            result = unroll(found, xs)[0] if isinstance(found, Cell) else found(xs)
            outputs = leaves(result[0] if isinstance(result, tuple) else result)
            squares = [(y * y).mean() for y in outputs]
            total: Tensor = sum(squares[1:], squares[0])
            return total
    except (NamedError, KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        what = "could not be run on a random sequence: it " if isinstance(found, Module) else ""
        raise NamedError(f"{name} {what}{_raised(error)}") from error
    raise NamedError(
        f"{name} is a {type(found).__name__}; expected a cell, a layer, a recorded tensor, or a function that returns one"
    )


def _required(function: Any) -> list[str]:
    """Return the names of the parameters that a function needs."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        p.name
        for p in parameters
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]


def made(kind: type, arguments: Sequence[int], seed: int = 0) -> Any:
    """Return an object of a class.

    The class is called with as many of the arguments as it takes, and with the seed if it draws its
    weights.

    Raises
    ------
    NamedError
        If it takes more, or refuses them.
    """
    wanted = _required(kind)
    if len(wanted) > len(arguments):
        raise NamedError(
            f"{kind.__name__} takes {', '.join(wanted)}; give {len(wanted)} numbers (--args), or make one in a file of yours and name it"
        )
    draws = {"rng": seed} if "rng" in inspect.signature(kind).parameters else {}
    try:
        return kind(*arguments[: len(wanted)], **draws)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        shown = ", ".join(map(str, arguments[: len(wanted)]))
        raise NamedError(f"{kind.__name__}({shown}) {_raised(error)}") from error
