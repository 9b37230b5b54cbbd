"""The command line: ``tinygrad-rnn demo | train | sample | draw | explore | tasks | info``."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and give its exit code.

    Returns
    -------
    int
        0; 1 if training diverged; 2 for an error of the user; 70 for a fault of this program; 130
        after Ctrl-C. An error is one line on standard error. With TINYGRAD_RNN_TRACEBACK=1 in the
        environment its traceback is shown too.
    """
    from .core.errors import TinygradError
    from .train.console import mute

    _open_streams()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            try:
                return _run(arguments)
            finally:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except BrokenPipeError:  # who read the output has seen enough
        mute(sys.stdout)
        return 0
    except OSError as error:
        mute(sys.stdout)  # if it is full or closed, what is left in it has nowhere to go
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        return _fail(f"{name}: {error.strerror}" if name and error.strerror else str(error))
    except TinygradError as error:
        return _fail(str(error))
    except MemoryError as error:
        return _fail(
            f"there is not enough memory for this ({error or 'no more could be had'}); give smaller sizes"
        )
    except RecursionError as error:
        return _fail(f"{error}: something is nested too deeply")
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return _fail(
            f"a fault of this program, {type(error).__name__}: {error} (line {frame.lineno} of {frame.filename}); please report it with "
            "what the same command shows with TINYGRAD_RNN_TRACEBACK=1 in the environment",
            70,
        )


def _run(arguments: Sequence[str] | None) -> int:
    from .core.tape import eager

    parser = _parser()
    given = parser.parse_args(arguments)
    if not hasattr(given, "run"):
        parser.print_help()
        return 0
    with eager() if getattr(given, "eager", False) else nullcontext():
        code: int = given.run(given)
    return code


def _open_streams() -> None:
    """Let standard input, output and error be there, and take every character.

    Where one was closed (``>&-``), the next file that is opened would get its number, and what a
    library writes to that number would go into the file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (until the program ends)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning in one line."""
    with contextlib.suppress(OSError, ValueError):
        print(
            f"tinygrad-rnn: warning: {' '.join(str(message).removeprefix('tinygrad_rnn: ').split())}",
            file=sys.stderr,
        )


def _fail(message: str, code: int = 2) -> int:
    """Say what is wrong in one line, and give the exit code."""
    with contextlib.suppress(OSError, ValueError):
        if os.environ.get("TINYGRAD_RNN_TRACEBACK") and sys.exc_info()[0]:
            traceback.print_exc()
        print(f"tinygrad-rnn: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


# --- commands -------------------------------------------------------------------------------------------------------------


def _train(given: argparse.Namespace) -> int:
    from .train import console, demo

    names = ("hidden", "embedding", "batch", "window", "lr", "clip", "seed")
    options = demo.Options(
        out=given.out,
        command=given.command,
        text=given.text,
        budget=given.budget,
        steps=given.steps,
        resume=given.resume,
        overwrite=given.overwrite,
        settings={name: getattr(given, name) for name in names if getattr(given, name) is not None},
        temperature=given.temperature,
        length=given.length,
        threads=given.threads and min(given.threads, os.cpu_count() or 1),
    )
    return demo.run(options, console.console())


def _sample(given: argparse.Namespace) -> int:
    from .kernels import blas
    from .train.characters import load_model, sample

    model, vocabulary, context = load_model(given.model)
    with blas.threads(None):
        drawn = sample(
            model,
            vocabulary,
            given.length,
            prompt=given.prompt or context,
            temperature=given.temperature,
            rng=given.seed,
        )
    print(given.prompt + drawn)
    return 0


def _draw(given: argparse.Namespace) -> int:
    from .drawing import draw
    from .module import Module
    from .recurrent import Cell
    from .train.named import example, load_named, made, running

    found: Any = load_named(given.name)
    measured = {
        name: getattr(given, name)
        for name in ("backward", "ledger", "values")
        if getattr(given, name)
    }
    if given.heat:
        measured["heat"] = "grad"
    if isinstance(found, type) and issubclass(found, Module):
        found = made(found, given.args)
    show = "all" if given.show == ["all"] else given.show
    with running(given.name):
        whole = (
            isinstance(found, Cell)
            and given.steps is None
            and not measured
            and isinstance(found.input_size, int)
        )
        loss = (
            found
            if whole
            else example(found, arguments=given.args, steps=given.steps or 6, batch=given.batch)
        )
        picture = draw(
            loss,
            title=given.title,
            show=show,
            memory=given.memory,
            direction=given.direction,
            theme=given.theme,
            **measured,
        )
    picture.save(given.out)
    print(f"wrote {given.out}: {picture!r}")
    return 0


def _explore(given: argparse.Namespace) -> int:
    from .drawing import explore
    from .train.named import example, load_named

    loss = example(
        load_named(given.name),
        arguments=given.args,
        steps=given.steps,
        batch=given.batch,
        seed=given.seed,
    )
    path = explore(loss, given.out, title=given.title or given.name)
    print(f"wrote {path}: open it in a browser")
    return 0


def _tasks_list(given: argparse.Namespace) -> int:
    from .train import console, tasks
    from .train.tasks import runner

    runner.list_tasks(tasks.tasks(), console.console())
    return 0


def _tasks_run(given: argparse.Namespace) -> int:
    from .train import console, tasks
    from .train.tasks import runner

    chosen = tasks.tasks() if "all" in given.names else [tasks.find(name) for name in given.names]
    return runner.main(
        chosen,
        console.console(),
        cell=given.cell,
        seeds=given.seeds,
        budget=given.budget,
        save=given.json,
        overwrite=given.overwrite,
    )


def _tasks_page(given: argparse.Namespace) -> int:
    from .files import replace_file
    from .train import tasks
    from .train.tasks import page

    text = page.page(page.collect(given.results, tasks.tasks()))
    if given.out is None:
        print(text, end="")
    else:
        replace_file(given.out, text)
    return 0


def _info(given: argparse.Namespace) -> int:
    import platform
    import shutil
    from importlib import metadata

    from . import __version__
    from .kernels import blas, cache, runtime

    if given.cache:
        return _info_cache(clear=given.clear)
    if given.clear:
        return _fail(
            "info --clear empties the cache only together with --cache: info --cache --clear"
        )

    def version(package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return "not installed"

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        usable = runtime.available()
    reason = next(
        (str(w.message) for w in caught if "tinygrad_rnn" in str(w.message)), "not usable"
    )
    folder, fault = cache.place()
    modules = [] if fault else cache.entries(folder)
    kept = f"{len(modules)} modules, {_megabytes(modules)} MB; info --cache says more"
    dot = shutil.which("dot")
    for name, value in (
        ("tinygrad_rnn", __version__),
        ("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        ("NumPy", version("numpy")),
        ("SciPy", version("scipy")),
        ("numba", version("numba")),
        ("kernels", "compiled by numba" if usable else reason.removeprefix("tinygrad_rnn: ")),
        ("threads", f"{runtime.threads()} for kernels on large arrays"),
        ("BLAS", blas.description()),
        ("cache", fault or f"{folder} ({kept})"),
        ("graphviz", version("graphviz")),
        ("pygraphviz", version("pygraphviz")),
        ("dot", dot or "not found"),
        ("rich", version("rich")),
    ):
        print(f"{name:<13} {value}")
    return 0


def _info_cache(*, clear: bool) -> int:
    """What is in the folder of generated modules; with `clear` it is emptied first."""
    import time

    from .kernels import cache

    (folder, fault), most = cache.place(), cache.limit()
    if fault:
        if clear:
            return _fail(fault)
        print(f"folder        {fault}")
        return 0
    if clear:
        removed = cache.shrink(folder, 0)
        print(f"removed       {len(removed)} modules, {_megabytes(removed)} MB")
    modules = cache.entries(folder)
    print(f"folder        {folder}")
    print(
        f"modules       {len(modules)}"
        + (", used by another process at this moment" if clear and modules else "")
    )
    print(
        f"size          {_megabytes(modules)} MB of at most {most / 1e6:g} MB (TINYGRAD_RNN_CACHE_LIMIT)"
    )
    if modules:
        for name, entry in (("oldest use", modules[0]), ("newest use", modules[-1])):
            print(
                f"{name:<13} {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(entry.used))}  {cache.title(folder, entry.key)}"
            )
        for entry in sorted(modules, key=lambda entry: -entry.bytes)[:5]:
            print(f"large         {_megabytes([entry])} MB  {cache.title(folder, entry.key)}")
    return 0


def _megabytes(modules: Sequence[Any]) -> str:
    return f"{sum(entry.bytes for entry in modules) / 1e6:.2f}"


# --- arguments ------------------------------------------------------------------------------------------------------------


def _number(
    kind: Callable[[str], Any],
    low: float,
    words: str,
    *,
    above: bool = False,
    most: float | None = None,
) -> Callable[[str], Any]:
    """The type of an argument.

    A number with a lower bound, and an upper one, which for whole numbers is 2**31 - 1 if none is
    given.
    """
    if most is None:
        most = 2**31 - 1 if kind is int else math.inf

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        large = value > most
        if not (value > low if above else value >= low) or large or value == math.inf:
            shown = text if len(text) <= 40 else f"{text[:37]}..."
            raise argparse.ArgumentTypeError(
                f"expected {words}{f' and at most {most}' if large and most < math.inf else ''}, found {shown!r}"
            )
        return value

    return parse


_POSITIVE = _number(float, 0.0, "a number above 0", above=True)
_COUNT = _number(int, 1, "a whole number, at least 1")
_SEED = _number(int, 0, "a whole number, at least 0", most=2**64 - 1)
_LENGTH = _number(int, 0, "a whole number, at least 0", most=10_000_000)
_SECONDS = _number(float, 0.0, "a number above 0", above=True, most=1_000_000_000)
_TEMPERATURE = _number(float, 0.0, "a number, at least 0")


def _path(text: str) -> Path:
    """The type of an argument: the name of a file or a folder."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected the name of a file or a folder, found {text!r}")
    return Path(text)


class _Parser(argparse.ArgumentParser):
    """Errors take one line."""

    def error(self, message: str) -> Any:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (--help lists the options)\n")


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = _Parser(
        prog="tinygrad-rnn",
        description="An autograd engine for recurrent networks: the tape is the program.",
    )
    parser.add_argument("--version", action="version", version=f"tinygrad-rnn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")

    demo = commands.add_parser(
        "demo",
        help="train a character LSTM for about a minute and show what it learnt",
        description="Train a character LSTM on the reference text that ships with Python, or on --text FILE; compare it with n-gram "
        "models on text that none of them has seen; write a report. Ctrl-C keeps a checkpoint.",
    )
    _training_arguments(demo, out="demo-run", budget="70")
    train = commands.add_parser(
        "train",
        help="train a character LSTM on a text of yours",
        description="Train a character LSTM on a UTF-8 text and write the model. Ctrl-C keeps a checkpoint.",
    )
    _training_arguments(train, out=None, budget="70")

    sample = commands.add_parser(
        "sample",
        help="draw text from a trained model",
        description="Draw text from a model that `demo` or `train` wrote.",
    )
    sample.add_argument("model", type=_path, metavar="MODEL", help="a model.safetensors")
    sample.add_argument(
        "--prompt",
        default="",
        metavar="TEXT",
        help="what the text begins with (default: it goes on from the end of the training text)",
    )
    sample.add_argument(
        "--length",
        type=_LENGTH,
        default=500,
        metavar="N",
        help="number of characters (default 500)",
    )
    sample.add_argument(
        "--temperature",
        type=_TEMPERATURE,
        default=0.7,
        metavar="T",
        help="0: the likeliest each time (default 0.7)",
    )
    sample.add_argument("--seed", type=_SEED, metavar="N", help="draw the same text each time")
    sample.set_defaults(run=_sample)

    _draw_arguments(
        commands.add_parser(
            "draw",
            help="draw a cell, a module or a saved model",
            description="Draw a cell (folded, or unrolled with --steps), a layer, a saved model, or a recorded tensor of a file. A cell or "
            "layer is run over a short random sequence.",
        )
    )

    explore = commands.add_parser(
        "explore",
        help="a page in which one steps through a computation and its gradients",
        description="Write a page in which one steps through the computation of a cell, a layer, a saved model or a tensor, and through the "
        "walk back with all gradients. A cell or layer is run over a short random sequence.",
    )
    explore.add_argument(
        "name",
        metavar="NAME",
        help="package.module:Name, file.py:Name, file.py, a cell's name, or a model.safetensors",
    )
    explore.add_argument(
        "--out",
        type=_path,
        default=Path("explore.html"),
        metavar="FILE",
        help="where the page goes (default explore.html)",
    )
    explore.add_argument("--title", metavar="TEXT", help="stands over the page (default: the name)")
    _example_arguments(explore)
    explore.set_defaults(run=_explore)

    tasks = commands.add_parser(
        "tasks",
        help="run tasks from the literature",
        description="Run tasks from the literature, each with several arms over several seeds, and compare.",
    )
    _tasks_arguments(tasks)
    info = commands.add_parser(
        "info",
        help="versions, and what of this machine is used",
        description="Say what is installed and used.",
    )
    info.add_argument(
        "--cache",
        action="store_true",
        help="the folder of generated modules: what is in it, and what is large",
    )
    info.add_argument("--clear", action="store_true", help="with --cache: empty it")
    info.set_defaults(run=_info)
    return parser


def _training_arguments(parser: argparse.ArgumentParser, out: str | None, budget: str) -> None:
    add = parser.add_argument
    demo = out is not None
    add(
        "--text",
        type=_path,
        metavar="FILE",
        help="UTF-8 text to learn from (default: the reference text of Python)",
    )
    add(
        "--out",
        type=_path,
        required=not demo,
        default=out and Path(out),
        metavar="FOLDER",
        help="where the results go" + (f" (default {out})" if demo else ""),
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--budget", type=_SECONDS, metavar="SECONDS", help=f"time for training (default {budget})"
    )
    length.add_argument(
        "--steps", type=_COUNT, metavar="N", help="train so many steps, however long that takes"
    )
    # without either, a folder that holds a run is refused
    before = parser.add_mutually_exclusive_group()
    before.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in the folder"
    )
    before.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the run in the folder (without this it is refused)",
    )
    add("--seed", type=_SEED, metavar="N", help="of weights, windows and sample (default 0)")
    add(
        "--eager", action="store_true", help="run the LSTM step by step in place of compiled (slow)"
    )
    sizes = parser.add_argument_group("sizes and rates")
    for name, kind, about in (
        ("hidden", _COUNT, "units of the LSTM"),
        ("embedding", _COUNT, "length of a character's vector"),
        ("batch", _COUNT, "streams side by side"),
        ("window", _COUNT, "steps through which gradients flow"),
        ("lr", _POSITIVE, "learning rate of Adam at its height"),
        ("clip", _POSITIVE, "largest norm of the gradient"),
    ):
        sizes.add_argument(
            f"--{name}", type=kind, metavar="X" if kind is _POSITIVE else "N", help=about
        )
    sizes.add_argument(
        "--threads",
        type=_COUNT,
        metavar="N",
        help="for matrix products, at most one for each processor (default 1, or OMP_NUM_THREADS)",
    )
    sample = parser.add_argument_group("sample")
    sample.add_argument(
        "--temperature",
        type=_TEMPERATURE,
        default=0.7,
        metavar="T",
        help="0: the likeliest each time (default 0.7)",
    )
    sample.add_argument(
        "--length",
        type=_LENGTH,
        default=600,
        metavar="N",
        help="number of characters (default 600)",
    )
    parser.set_defaults(run=_train)


def _draw_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "name",
        metavar="NAME",
        help="package.module:Name, file.py:Name, file.py, a cell's name, or a model.safetensors",
    )
    add(
        "--args",
        nargs="+",
        type=_COUNT,
        default=[3, 4],
        metavar="N",
        help="what a class is made with (default 3 4: input and hidden size)",
    )
    add(
        "--out",
        type=_path,
        default=Path("drawing.svg"),
        metavar="FILE",
        help=".svg, .html, .png, .pdf or .dot (default drawing.svg)",
    )
    add(
        "--steps",
        type=_COUNT,
        metavar="T",
        help="unroll over so many steps (default: a cell is folded, others have 6)",
    )
    add("--batch", type=_COUNT, default=2, metavar="B", help="rows (default 2)")
    add("--show", nargs="+", metavar="SLICE", help="steps to draw, such as t=0:3 t=-2:, or all")
    add(
        "--heat",
        action="store_true",
        help="colour the states by the norm of the gradient of the mean square of the outputs",
    )
    add("--ledger", action="store_true", help="what each step adds to the gradient of each weight")
    add("--memory", action="store_true", help="bytes that each step keeps for the backward")
    add("--backward", action="store_true", help="the gradient graph too")
    add("--values", action="store_true", help="numbers in place of shapes")
    add("--direction", choices=["LR", "TB"], default="LR", help="where time runs (default LR)")
    add(
        "--theme",
        choices=["light", "dark", "auto"],
        default="light",
        help="colours (default light)",
    )
    add("--title", metavar="TEXT", help="stands over the picture")
    parser.set_defaults(run=_draw)


def _example_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--args",
        nargs="+",
        type=_COUNT,
        default=[3, 4],
        metavar="N",
        help="what a class is made with (default 3 4: input and hidden size)",
    )
    add(
        "--steps",
        type=_COUNT,
        default=3,
        metavar="T",
        help="length of the random sequence (default 3)",
    )
    add("--batch", type=_COUNT, default=2, metavar="B", help="rows of it (default 2)")
    add("--seed", type=_SEED, default=0, metavar="N", help="of weights and sequence (default 0)")


def _tasks_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    names = actions.add_parser(
        "list",
        help="the names of the tasks",
        description="List the tasks, their seeds and the budget of a run.",
    )
    names.set_defaults(run=_tasks_list)

    run = actions.add_parser(
        "run",
        help="run a task",
        description="Run every arm of a task over its seeds, and print the figures, beside a published one where the "
        "source has it for the arm. Ctrl-C stops, and prints "
        "the table of what is finished.",
    )
    run.add_argument(
        "names", nargs="+", metavar="NAME", help="of a task (`tasks list` lists them), or all"
    )
    run.add_argument(
        "--cell", metavar="NAME", help="a class of tinygrad_rnn.cells in place of the arms' own"
    )
    run.add_argument(
        "--seeds", type=_COUNT, metavar="N", help="runs of each arm (default: the task's)"
    )
    run.add_argument(
        "--budget", type=_SECONDS, metavar="SECONDS", help="for one run (default: the task's)"
    )
    run.add_argument(
        "--json",
        type=_path,
        metavar="PATH",
        help="write the results to a file .json, or to NAME.json in a folder",
    )
    run.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results that are there (without this they are refused)",
    )
    run.add_argument(
        "--eager", action="store_true", help="run cells step by step in place of compiled (slow)"
    )
    run.set_defaults(run=_tasks_run)

    page = actions.add_parser(
        "page",
        help="results as Markdown",
        description="Make a page of the results that `run --json FOLDER` wrote.",
    )
    page.add_argument(
        "--results",
        type=_path,
        required=True,
        metavar="FOLDER",
        help="with NAME.json for each task",
    )
    page.add_argument(
        "--out", type=_path, metavar="FILE", help="where the page goes (default: standard output)"
    )
    page.set_defaults(run=_tasks_page)


if __name__ == "__main__":
    sys.exit(main())
