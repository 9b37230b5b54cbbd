"""The command line: ``tinygrad-rnn demo | train | sample | explore | tasks | info``."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and give its exit code: 0, 1 if training diverged, 2 for an error of the user, 130 after Ctrl-C."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if not hasattr(given, "run"):
        parser.print_help()
        return 0
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code: int = given.run(given)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except _user_errors() as error:
        return _fail(str(error))


def _fail(message: str, code: int = 2) -> int:
    print(f"tinygrad-rnn: {message}", file=sys.stderr)
    return code


def _user_errors() -> tuple[type[Exception], ...]:
    from .core.errors import GraphError
    from .formats.safetensors import FormatError
    from .train.characters import CheckpointError
    from .train.demo import UserError
    from .train.named import NamedError
    from .train.tasks.task import TaskError
    from .train.text import TextError

    return (UserError, NamedError, GraphError, TaskError, TextError, CheckpointError, FormatError)


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
        settings={name: getattr(given, name) for name in names if getattr(given, name) is not None},
        temperature=given.temperature,
        length=given.length,
        threads=given.threads,
    )
    return demo.run(options, console.console())


def _sample(given: argparse.Namespace) -> int:
    from .kernels import blas
    from .train.characters import load_model, sample

    model, vocabulary, context = load_model(given.model)
    with blas.threads(None):
        drawn = sample(model, vocabulary, given.length, prompt=given.prompt or context, temperature=given.temperature, rng=given.seed)
    print(given.prompt + drawn)
    return 0


def _explore(given: argparse.Namespace) -> int:
    from .drawing import explore
    from .train.named import example, load_named

    loss = example(load_named(given.name), arguments=given.args, steps=given.steps, batch=given.batch, seed=given.seed)
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
    return runner.main(chosen, console.console(), cell=given.cell, seeds=given.seeds, budget=given.budget, save=given.json, eager=given.eager)


def _tasks_page(given: argparse.Namespace) -> int:
    from .train import tasks
    from .train.tasks import page

    text = page.page(page.collect(given.results, tasks.tasks()))
    if given.out is None:
        print(text, end="")
    else:
        given.out.write_text(text, encoding="utf-8")
    return 0


def _info(given: argparse.Namespace) -> int:
    import platform
    import shutil
    import warnings
    from importlib import metadata

    from . import __version__
    from .kernels import blas, runtime

    def version(package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return "not installed"

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        usable = runtime.available()
    reason = next((str(w.message) for w in caught if "tinygrad_rnn" in str(w.message)), "not usable")
    folder = runtime.cache_folder()
    files = [f for f in folder.rglob("*") if f.is_file()]
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
        ("cache", f"{folder} ({len(files)} files, {sum(f.stat().st_size for f in files) / 1e6:.1f} MB)"),
        ("graphviz", version("graphviz")),
        ("pygraphviz", version("pygraphviz")),
        ("dot", dot or "not found"),
        ("rich", version("rich")),
    ):
        print(f"{name:<13} {value}")
    return 0


# --- arguments ------------------------------------------------------------------------------------------------------------


def _number(kind: Callable[[str], Any], low: float, words: str, *, above: bool = False) -> Callable[[str], Any]:
    """The type of an argument: a number with a lower bound."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and (value > low if above else value >= low)):
            raise argparse.ArgumentTypeError(f"expected {words}, found {text!r}")
        return value

    return parse


_POSITIVE = _number(float, 0.0, "a number above 0", above=True)
_COUNT = _number(int, 1, "a whole number, at least 1")
_NATURAL = _number(int, 0, "a whole number, at least 0")
_TEMPERATURE = _number(float, 0.0, "a number, at least 0")


class _Parser(argparse.ArgumentParser):
    """Errors take one line."""

    def error(self, message: str) -> Any:
        self.exit(2, f"{self.prog}: {message} (--help lists the options)\n")


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = _Parser(prog="tinygrad-rnn", description="An autograd engine for recurrent networks: the tape is the program.")
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
        "sample", help="draw text from a trained model", description="Draw text from a model that `demo` or `train` wrote."
    )
    sample.add_argument("model", type=Path, metavar="MODEL", help="a model.safetensors")
    sample.add_argument(
        "--prompt", default="", metavar="TEXT", help="what the text begins with (default: it goes on from the end of the training text)"
    )
    sample.add_argument("--length", type=_NATURAL, default=500, metavar="N", help="number of characters (default 500)")
    sample.add_argument("--temperature", type=_TEMPERATURE, default=0.7, metavar="T", help="0: the likeliest each time (default 0.7)")
    sample.add_argument("--seed", type=_NATURAL, metavar="N", help="draw the same text each time")
    sample.set_defaults(run=_sample)

    explore = commands.add_parser(
        "explore",
        help="a page in which one steps through a computation and its gradients",
        description="Write a page in which one steps through the computation of a cell, a layer, a saved model or a tensor, and through the "
        "walk back with all gradients. A cell or layer is run over a short random sequence.",
    )
    explore.add_argument("name", metavar="NAME", help="package.module:Name, file.py:Name, file.py, a cell's name, or a model.safetensors")
    explore.add_argument("--out", type=Path, default=Path("explore.html"), metavar="FILE", help="where the page goes (default explore.html)")
    explore.add_argument("--title", metavar="TEXT", help="stands over the page (default: the name)")
    _example_arguments(explore)
    explore.set_defaults(run=_explore)

    tasks = commands.add_parser(
        "tasks",
        help="run tasks with published figures",
        description="Run tasks with published figures, each with several arms over several seeds, and compare.",
    )
    _tasks_arguments(tasks)
    info = commands.add_parser("info", help="versions, and what of this machine is used", description="Say what is installed and used.")
    info.set_defaults(run=_info)
    return parser


def _training_arguments(parser: argparse.ArgumentParser, out: str | None, budget: str) -> None:
    add = parser.add_argument
    demo = out is not None
    add("--text", type=Path, metavar="FILE", help="UTF-8 text to learn from (default: the reference text of Python)")
    add("--out", type=Path, required=not demo, default=out and Path(out), metavar="FOLDER",
        help="where the results go" + (f" (default {out})" if demo else ""))  # fmt: skip
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--budget", type=_POSITIVE, metavar="SECONDS", help=f"time for training (default {budget})")
    length.add_argument("--steps", type=_COUNT, metavar="N", help="train so many steps, however long that takes")
    add("--resume", action="store_true", help="go on from the checkpoint in the folder")
    add("--seed", type=_NATURAL, metavar="N", help="of weights, windows and sample (default 0)")
    sizes = parser.add_argument_group("sizes and rates")
    for name, kind, about in (
        ("hidden", _COUNT, "units of the LSTM"),
        ("embedding", _COUNT, "length of a character's vector"),
        ("batch", _COUNT, "streams side by side"),
        ("window", _COUNT, "steps through which gradients flow"),
        ("lr", _POSITIVE, "learning rate of Adam at its height"),
        ("clip", _POSITIVE, "largest norm of the gradient"),
    ):
        sizes.add_argument(f"--{name}", type=kind, metavar="X" if kind is _POSITIVE else "N", help=about)
    sizes.add_argument("--threads", type=_COUNT, metavar="N", help="for matrix products (default 1, or OMP_NUM_THREADS)")
    sample = parser.add_argument_group("sample")
    sample.add_argument("--temperature", type=_TEMPERATURE, default=0.7, metavar="T", help="0: the likeliest each time (default 0.7)")
    sample.add_argument("--length", type=_NATURAL, default=600, metavar="N", help="number of characters (default 600)")
    parser.set_defaults(run=_train)


def _example_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--args", nargs="+", type=_COUNT, default=[3, 4], metavar="N", help="what a class is made with (default 3 4: input and hidden size)")
    add("--steps", type=_COUNT, default=3, metavar="T", help="length of the random sequence (default 3)")
    add("--batch", type=_COUNT, default=2, metavar="B", help="rows of it (default 2)")
    add("--seed", type=_NATURAL, default=0, metavar="N", help="of weights and sequence (default 0)")


def _tasks_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    names = actions.add_parser("list", help="the names of the tasks", description="List the tasks, their seeds and the budget of a run.")
    names.set_defaults(run=_tasks_list)

    run = actions.add_parser(
        "run",
        help="run a task",
        description="Run every arm of a task over its seeds, and print the figures beside the published ones. Ctrl-C stops, and prints "
        "the table of what is finished.",
    )
    run.add_argument("names", nargs="+", metavar="NAME", help="of a task (`tasks list` lists them), or all")
    run.add_argument("--cell", metavar="NAME", help="a class of tinygrad_rnn.cells in place of the arms' own")
    run.add_argument("--seeds", type=_COUNT, metavar="N", help="runs of each arm (default: the task's)")
    run.add_argument("--budget", type=_POSITIVE, metavar="SECONDS", help="for one run (default: the task's)")
    run.add_argument("--json", type=Path, metavar="PATH", help="write the results to a file .json, or to NAME.json in a folder")
    run.add_argument("--eager", action="store_true", help="run cells step by step in place of compiled (slow)")
    run.set_defaults(run=_tasks_run)

    page = actions.add_parser("page", help="results as Markdown", description="Make a page of the results that `run --json FOLDER` wrote.")
    page.add_argument("--results", type=Path, required=True, metavar="FOLDER", help="with NAME.json for each task")
    page.add_argument("--out", type=Path, metavar="FILE", help="where the page goes (default: standard output)")
    page.set_defaults(run=_tasks_page)


if __name__ == "__main__":
    sys.exit(main())
