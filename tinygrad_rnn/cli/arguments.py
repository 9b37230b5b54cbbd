"""The arguments of the commands, and what each may be."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import commands, info, series

# --- types of arguments ---------------------------------------------------------------------------


def _number(
    kind: Callable[[str], Any],
    low: float,
    words: str,
    *,
    above: bool = False,
    most: float | None = None,
    below: float = math.inf,
) -> Callable[[str], Any]:
    """Return the type of an argument that is a number with bounds.

    Parameters
    ----------
    kind : int or float
        What makes the number of a text.
    low : float
        The lower bound.
    words : str
        What is expected, for messages.
    above : bool
        Whether the number must be larger than the lower bound.
    most : float, optional
        The upper bound. Without it a whole number may be at most 2**31 - 1, and any other number is
        only to be finite.
    below : float
        What the number must be smaller than.
    """
    if most is None:
        most = 2**31 - 1 if kind is int else math.inf

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        large = value > most or value >= below
        if not (value > low if above else value >= low) or large:
            shown = text if len(text) <= 40 else f"{text[:37]}..."
            limit = f" and at most {most}" if large and most < math.inf else ""
            limit = f" and below {below:g}" if below < math.inf else limit
            raise argparse.ArgumentTypeError(f"expected {words}{limit}, found {shown!r}")
        return value

    return parse


POSITIVE = _number(float, 0.0, "a number above 0", above=True)
COUNT = _number(int, 1, "a whole number, at least 1")
SEED = _number(int, 0, "a whole number, at least 0", most=2**64 - 1)
_LENGTH = _number(int, 0, "a whole number, at least 0", most=10_000_000)
_SECONDS = _number(float, 0.0, "a number above 0", above=True, most=1_000_000_000)
PROBABILITY = _number(float, 0.0, "a number, at least 0", below=1.0)
CONFIG = "a TOML file with options, such as hidden = 64; the command line counts more"
_TEMPERATURE = _number(float, 0.0, "a number, at least 0")


def path(text: str) -> Path:
    """Return the name of a file or a folder, which is the type of an argument."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected the name of a file or a folder, found {text!r}")
    return Path(text)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors take one line, and in which a part of an option's name is not the option.

    The file that --config names is read before the parser sees the words, so each option has to
    have its whole name there.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given, allow_abbrev=False)

    def error(self, message: str) -> Any:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (--help lists the options)\n")


# --- commands -------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line.

    What it returns has an attribute `run`, the function of the command, unless no command is named.
    """
    from ..version import __version__

    main = _Parser(
        prog="tinygrad-rnn",
        description="An autograd engine for recurrent networks: the tape is the program.",
    )
    main.add_argument("--version", action="version", version=f"tinygrad-rnn {__version__}")
    add = main.add_subparsers(title="commands", metavar="COMMAND", dest="command").add_parser
    demo = add(
        "demo",
        help="train a character LSTM for about a minute and show what it learnt",
        description="Train a character LSTM on the reference text that ships with Python, or on --text FILE; compare it with n-gram "
        "models on text that none of them has seen; write a report. Ctrl-C keeps a checkpoint.",
    )
    _demo_arguments(demo)
    train = add(
        "train",
        help="train a model on a file of yours",
        description="Train a model on a file of yours: a text, or the columns of a CSV file.",
    )
    kind = _kinds(train)
    sample = add(
        "sample",
        help="draw text from a trained model",
        description="Draw text from a model that `demo` or `train text` wrote.",
    )
    _sample_arguments(sample)
    series.add_arguments(add, kind, sys.modules[__name__])
    draw = add(
        "draw",
        help="draw a cell, a module or a saved model",
        description="Draw a cell (folded, or unrolled with --steps), a layer, a saved model, or a recorded tensor of a file. A cell or "
        "layer is run over a short random sequence.",
    )
    _draw_arguments(draw)
    explore = add(
        "explore",
        help="a page in which one steps through a computation and its gradients",
        description="Write a page in which one steps through the computation of a cell, a layer, a saved model or a tensor, and through the "
        "walk back with all gradients. A cell or layer is run over a short random sequence.",
    )
    _explore_arguments(explore)
    tasks = add(
        "tasks",
        help="run tasks from the literature",
        description="Run tasks from the literature, each with several arms over several seeds, and compare.",
    )
    _tasks_arguments(tasks)
    about = add(
        "info",
        help="versions, and what of this machine is used",
        description="Say what is installed and used.",
    )
    _info_arguments(about)
    return main


def _kinds(parser: argparse.ArgumentParser) -> Callable[..., argparse.ArgumentParser]:
    """Add the kind `text` to `train`; return what adds another kind."""
    kind: Callable[..., argparse.ArgumentParser] = parser.add_subparsers(
        title="kinds of files", metavar="KIND", dest="kind", required=True
    ).add_parser
    text = kind(
        "text",
        help="train a character LSTM on a text",
        description="Train a character LSTM on a text of any size and write the model. The text is converted once, into a file of the folder, and "
        "read from there as it is needed. Ctrl-C keeps a checkpoint.",
    )
    _text_arguments(text)
    return kind


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `demo`."""
    parser.add_argument(
        "--text",
        type=path,
        metavar="FILE",
        help="text to learn from (default: the reference text of Python)",
    )
    parser.set_defaults(units=None)
    _training_arguments(parser, out="demo-run", budget="70")


def _text_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `train text`."""
    parser.add_argument(
        "text",
        type=path,
        nargs="?",
        metavar="FILE",
        help="text to learn from, or a converted one (with --resume: that of the run, unless it is given)",
    )
    parser.add_argument(
        "--units",
        choices=["characters", "words", "bytes"],
        help="what the model reads one by one (default characters)",
    )
    _training_arguments(parser, out=None, budget="70")


def _training_arguments(parser: argparse.ArgumentParser, out: str | None, budget: str) -> None:
    """Add what `demo` and `train text` share; `out` is the default folder of the first."""
    add = parser.add_argument
    add(
        "--out",
        type=path,
        required=out is None,
        default=out and Path(out),
        metavar="FOLDER",
        help="where the results go" + (f" (default {out})" if out else ""),
    )
    add("--encoding", metavar="NAME", help="of the text, such as latin-1 (default utf-8)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--budget", type=_SECONDS, metavar="SECONDS", help=f"time for training (default {budget})"
    )
    length.add_argument(
        "--steps", type=COUNT, metavar="N", help="train so many steps, however long that takes"
    )
    run_arguments(parser)
    add(
        "--seed", type=SEED, metavar="N", help="of weights, windows, dropout and sample (default 0)"
    )
    add(
        "--eager", action="store_true", help="run the LSTM step by step in place of compiled (slow)"
    )
    _size_arguments(parser)
    _drawn_text_arguments(parser.add_argument_group("sample"), 600)
    parser.set_defaults(run=commands.train)


def run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is to become of a run that is in the folder, and the file of options."""
    # Without either, a folder that holds a run is refused.
    before = parser.add_mutually_exclusive_group()
    before.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in the folder"
    )
    before.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the run in the folder (without this it is refused)",
    )
    parser.add_argument("--config", type=path, metavar="FILE", help=CONFIG)


def _size_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sizes and rates of a training run."""
    sizes = parser.add_argument_group("sizes and rates")
    for name, kind, about in (
        ("hidden", COUNT, "units of the LSTM (default 192)"),
        ("embedding", COUNT, "length of a character's vector (default 32)"),
        ("batch", COUNT, "streams side by side (default 32)"),
        ("window", COUNT, "steps through which gradients flow (default 24)"),
        (
            "embedding-dropout",
            PROBABILITY,
            "share of a character's vector that training drops (default 0.05)",
        ),
        ("dropout", PROBABILITY, "share of the LSTM's outputs that training drops (default 0.3)"),
        ("lr", POSITIVE, "learning rate of Adam at its height (default 0.015)"),
        ("clip", POSITIVE, "largest norm of the gradient (default 1)"),
    ):
        sizes.add_argument(
            f"--{name}", type=kind, metavar="N" if kind is COUNT else "X", help=about
        )
    sizes.add_argument(
        "--threads",
        type=COUNT,
        metavar="N",
        help="for matrix products, at most one for each processor (default 1, or OMP_NUM_THREADS)",
    )


def _drawn_text_arguments(group: Any, length: int) -> None:
    """Add what text is drawn by; `length` is the default number of characters."""
    group.add_argument(
        "--temperature",
        type=_TEMPERATURE,
        default=0.7,
        metavar="T",
        help="0: the likeliest each time (default 0.7)",
    )
    group.add_argument(
        "--length",
        type=_LENGTH,
        default=length,
        metavar="N",
        help=f"number of characters (default {length})",
    )


def _sample_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `sample`."""
    add = parser.add_argument
    add("model", type=path, metavar="MODEL", help="a model.safetensors")
    add(
        "--prompt",
        default="",
        metavar="TEXT",
        help="what the text begins with (default: it goes on from the end of the training text)",
    )
    _drawn_text_arguments(parser, 500)
    add("--seed", type=SEED, metavar="N", help="draw the same text each time")
    parser.set_defaults(run=commands.sample)


def _named_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is drawn or explored, and the sizes that a class is made with."""
    parser.add_argument(
        "name",
        metavar="NAME",
        help="package.module:Name, file.py:Name, file.py, a cell's name, or a model.safetensors",
    )
    parser.add_argument(
        "--args",
        nargs="+",
        type=COUNT,
        default=[3, 4],
        metavar="N",
        help="what a class is made with (default 3 4: input and hidden size)",
    )


def _draw_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `draw`."""
    add = parser.add_argument
    _named_arguments(parser)
    add(
        "--out",
        type=path,
        default=Path("drawing.svg"),
        metavar="FILE",
        help=".svg, .html, .png, .pdf, .dot, .mmd or .txt (default drawing.svg)",
    )
    add(
        "--steps",
        type=COUNT,
        metavar="T",
        help="unroll over so many steps (default: a cell is folded, others have 6)",
    )
    add("--batch", type=COUNT, default=2, metavar="B", help="rows (default 2)")
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
    add(
        "--detail",
        choices=["cell", "gate", "op"],
        help="how much of a time step is drawn (default: what fits the width)",
    )
    add("--width", type=COUNT, default=850, metavar="PIXELS", help="to fit (default 850)")
    parser.set_defaults(run=commands.draw)


def _explore_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `explore`."""
    add = parser.add_argument
    _named_arguments(parser)
    add(
        "--out",
        type=path,
        default=Path("explore.html"),
        metavar="FILE",
        help="where the page goes (default explore.html)",
    )
    add("--title", metavar="TEXT", help="stands over the page (default: the name)")
    add(
        "--steps",
        type=COUNT,
        default=3,
        metavar="T",
        help="length of the random sequence (default 3)",
    )
    add("--batch", type=COUNT, default=2, metavar="B", help="rows of it (default 2)")
    add("--seed", type=SEED, default=0, metavar="N", help="of weights and sequence (default 0)")
    parser.set_defaults(run=commands.explore)


def _tasks_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `tasks`, and their arguments."""
    add = parser.add_subparsers(
        title="actions", metavar="ACTION", dest="action", required=True
    ).add_parser
    names = add(
        "list",
        help="the names of the tasks",
        description="List the tasks, their seeds and the budget of a run.",
    )
    names.set_defaults(run=commands.tasks_list)
    run = add(
        "run",
        help="run a task",
        description="Run every arm of a task over its seeds, and print the figures, beside a published one where the "
        "source has it for the arm. Ctrl-C stops, and prints "
        "the table of what is finished.",
    )
    _tasks_run_arguments(run)
    page = add(
        "page",
        help="results as Markdown",
        description="Make a page of the results that `run --json FOLDER` wrote.",
    )
    page.add_argument(
        "--results", type=path, required=True, metavar="FOLDER", help="with NAME.json for each task"
    )
    page.add_argument(
        "--out", type=path, metavar="FILE", help="where the page goes (default: standard output)"
    )
    page.set_defaults(run=commands.tasks_page)


def _tasks_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tasks run`."""
    add = parser.add_argument
    add("names", nargs="+", metavar="NAME", help="of a task (`tasks list` lists them), or all")
    add("--cell", metavar="NAME", help="a class of tinygrad_rnn.cells in place of the arms' own")
    add("--seeds", type=COUNT, metavar="N", help="runs of each arm (default: the task's)")
    add("--budget", type=_SECONDS, metavar="SECONDS", help="for one run (default: the task's)")
    add(
        "--json",
        type=path,
        metavar="PATH",
        help="write the results to a file .json, or to NAME.json in a folder",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace results that are there (without this they are refused)",
    )
    add("--eager", action="store_true", help="run cells step by step in place of compiled (slow)")
    parser.set_defaults(run=commands.tasks_run)


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `info`."""
    parser.add_argument(
        "--cache",
        action="store_true",
        help="the folder of generated modules: what is in it, and what is large",
    )
    parser.add_argument("--clear", action="store_true", help="with --cache: empty it")
    parser.set_defaults(run=info.info)
