"""The commands for series: ``train csv``, ``forecast``, and ``eval``, which scores a text too."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

# --- arguments ------------------------------------------------------------------------------------


def add_arguments(
    add: Callable[..., argparse.ArgumentParser],
    kind: Callable[..., argparse.ArgumentParser],
    types: Any,
) -> None:
    """Add the commands, and a kind of `train`; `types` has the types of arguments (`arguments.py`)."""
    _train_arguments(kind, types)
    forecast = add(
        "forecast",
        help="say what comes next in a CSV file, by a trained forecaster",
        description="Say what comes after the end of a CSV file, by a model that `train csv` wrote: as a table, and as a picture.",
    )
    forecast.add_argument("model", type=types.path, metavar="MODEL", help="a model.safetensors")
    _file_arguments(forecast, types)
    forecast.add_argument(
        "--steps", type=types.COUNT, default=24, metavar="N", help="how many moments (default 24)"
    )
    forecast.add_argument(
        "--out", type=types.path, metavar="FILE.csv", help="the table (default: printed)"
    )
    forecast.add_argument(
        "--picture",
        type=types.path,
        metavar="FILE.svg",
        help="draw it; quantities besides the first have numbered files",
    )
    forecast.set_defaults(run=say_ahead)
    score = add(
        "eval",
        help="score a trained model on a file",
        description="Score a model on a file: a forecaster by the error one moment ahead, beside the last value; a character model by the "
        "bits for each character of a text, which is converted into the folder for temporary files.",
    )
    score.add_argument("model", type=types.path, metavar="MODEL", help="a model.safetensors")
    _file_arguments(score, types)
    score.add_argument(
        "--held-out",
        type=types.PROBABILITY,
        metavar="X",
        help="score this share of the file at its end (default: all of it)",
    )
    score.set_defaults(run=evaluate)


def _train_arguments(kind: Callable[..., argparse.ArgumentParser], types: Any) -> None:
    """Add the arguments of ``train csv``."""
    train = kind(
        "csv",
        help="train a forecaster on the columns of a CSV file",
        description="Train an LSTM that says what comes next in the columns of a CSV file; hold out the end of it, score it there beside "
        "the last value, and draw a forecast. Ctrl-C keeps a checkpoint.",
    )
    _file_arguments(train, types)
    train.add_argument(
        "--out", type=types.path, required=True, metavar="FOLDER", help="where the results go"
    )
    types.run_arguments(train)
    sizes = train.add_argument_group("sizes and rates")
    for name, kind, about in (
        ("hidden", types.COUNT, "units of the LSTM (default 32)"),
        ("batch", types.COUNT, "streams side by side (default 8)"),
        ("window", types.COUNT, "steps through which gradients flow (default 24)"),
        ("held-out", types.PROBABILITY, "share of the file at its end (default 0.2)"),
        ("steps", types.COUNT, "training steps (default 1500)"),
        ("lr", types.POSITIVE, "learning rate of Adam at first (default 0.01)"),
        ("clip", types.POSITIVE, "largest norm of the gradient (default 1)"),
        ("seed", types.SEED, "of weights and windows (default 0)"),
    ):
        sizes.add_argument(f"--{name}", type=kind, metavar="N", help=about)
    train.add_argument(
        "--ahead", type=types.COUNT, default=24, metavar="N", help="moments to draw (default 24)"
    )
    train.set_defaults(run=train_csv)


def _file_arguments(parser: argparse.ArgumentParser, types: Any) -> None:
    """Add the file, and what is declared of it."""
    parser.add_argument("file", type=types.path, metavar="FILE", help="a table has a line of names")
    group = parser.add_argument_group("what is in the file")
    add = group.add_argument
    add("--columns", nargs="+", metavar="NAME", help="the quantities (default: all but the time)")
    add("--time", metavar="NAME", help="the column of moments")
    add("--date-format", metavar="FORM", help="such as %%d.%%m.%%Y (default: 2024-03-01)")
    add("--separator", default=",", metavar="SIGN", help="between cells, or tab (default ,)")
    add("--decimal", default=".", metavar="SIGN", help="before decimals (default .)")
    add("--thousands", metavar="SIGN", help="between thousands (default: nothing)")
    add(
        "--missing",
        choices=["refuse", "interpolate", "previous"],
        default="refuse",
        help="what an empty cell becomes (default: an error)",
    )
    add("--encoding", default="utf-8", metavar="NAME", help="of the file (default utf-8)")


# --- commands -------------------------------------------------------------------------------------


def _series(given: argparse.Namespace, names: Any = None) -> Any:
    """Read the file of a command, with these quantities."""
    from ..data.tables import read_csv

    return read_csv(
        given.file,
        columns=given.columns or names,
        time=given.time,
        separator="\t" if given.separator == "tab" else given.separator,
        decimal=given.decimal,
        thousands=given.thousands,
        date_format=given.date_format,
        missing=given.missing,
        encoding=given.encoding,
    )


def train_csv(given: argparse.Namespace) -> int:
    """Train a forecaster, score it on the end of the file, and draw a forecast."""
    from ..train import forecaster
    from ..train.checkpoint import Checkpoint
    from ..train.console import console, say
    from ..train.errors import UserError
    from ..train.folder import CHECKPOINTS, claimed, present, run_held
    from ..train.interrupt import Interrupted

    screen = console()
    series = _series(given)
    names = [f.name for f in dataclasses.fields(forecaster.ForecastSettings)]
    told = {n: getattr(given, n) for n in names if getattr(given, n) is not None}
    settings = forecaster.ForecastSettings(**told)
    kept = bool(Checkpoint(given.out / CHECKPOINTS).steps)
    if not (given.resume or given.overwrite) and (there := present(given.out)):
        raise run_held(given.out, ", ".join(there), go_on=kept)
    if given.resume and not kept:
        raise UserError(
            f"--resume: no checkpoint found in {given.out / CHECKPOINTS}; start without --resume, or name the folder of the run with --out"
        )
    given.out.mkdir(parents=True, exist_ok=True)
    with claimed(given.out):
        say(
            screen,
            f"Series: {series.source}; {len(series.values):,} moments of {', '.join(series.names)}; the last {settings.held_out:.0%} are held out.",
        )
        if uneven := _uneven(series):
            say(screen, uneven)
        checkpoint = Checkpoint(given.out / CHECKPOINTS, replace=given.overwrite)
        try:
            model, run = forecaster.train(series, settings, checkpoint=checkpoint)
        except Interrupted as stop:
            if stop.between:
                say(screen, "The same command with --resume goes on.")
            return 128 + stop.number
        found = _write(given, settings, series, model)
    _show(screen, found)
    say(
        screen,
        f"Trained {run.step:,} steps in {run.seconds:.0f} s. {given.out} has the model, the scores, and a forecast of {given.ahead} moments with pictures.",
    )
    return 0


def _write(given: argparse.Namespace, settings: Any, series: Any, model: Any) -> Any:
    """Write a forecaster, its scores on the end of the file, and a forecast; return the scores."""
    from ..files import replace_file
    from ..train import forecaster

    forecaster.save_forecaster(given.out / "model.safetensors", model, series, settings)
    found = forecaster.scores(model, series, settings.held_out)
    replace_file(given.out / "scores.json", json.dumps(found, indent=1) + "\n")
    ahead = model.ahead(series.values, given.ahead)
    replace_file(given.out / "forecast.csv", _table(series, ahead))
    _draw(series, ahead, given.out / "forecast.svg")
    return found


def say_ahead(given: argparse.Namespace) -> int:
    """Say what comes after the end of a file."""
    from ..files import replace_file
    from ..train import forecaster

    model, names, _ = forecaster.load_forecaster(given.model)
    series = _series(given, names)
    _check_names(series, names, given)
    ahead = model.ahead(series.values, given.steps)
    if given.out is None:
        print(_table(series, ahead), end="")
    else:
        replace_file(given.out, _table(series, ahead))
    if given.picture is not None:
        _draw(series, ahead, given.picture)
    return 0


def evaluate(given: argparse.Namespace) -> int:
    """Score a model on a file."""
    from ..formats import safetensors
    from ..train import forecaster
    from ..train.console import console

    kind = safetensors.read(given.model)[1].get("kind", "")
    if "forecaster" not in kind:
        return _evaluate_text(given)
    model, names, _ = forecaster.load_forecaster(given.model)
    series = _series(given, names)
    _check_names(series, names, given)
    held_out = given.held_out or 1 - 1 / max(2, len(series.values))
    _show(console(), forecaster.scores(model, series, held_out))
    return 0


def _evaluate_text(given: argparse.Namespace) -> int:
    """Score a character model on a text, or on the end of it."""
    from tempfile import TemporaryDirectory

    from ..data import Corpus, split
    from ..data.corpus import is_corpus
    from ..train import characters, model_files
    from ..train.errors import UserError

    model, vocabulary, _ = model_files.load_model(given.model)
    with TemporaryDirectory(prefix="tinygrad-rnn-", ignore_cleanup_errors=True) as folder:
        if is_corpus(given.file):
            corpus = Corpus(given.file)
            if corpus.vocabulary != vocabulary:
                raise UserError(
                    f"{given.file} has other symbols than {given.model}; give the text itself"
                )
        else:
            corpus = Corpus.convert(
                given.file,
                Path(folder, "ids"),
                units=vocabulary.units,
                encoding=given.encoding,
                vocabulary=vocabulary,
            )
        if given.held_out:
            _, corpus = split(corpus, given.held_out)
        bits = characters.mean_bits(model, corpus.ids, streams=32)
        print(f"{bits:.4f} bits for each of {len(corpus) - 1:,} {vocabulary.units}")
    return 0


def _check_names(series: Any, names: tuple[str, ...], given: argparse.Namespace) -> None:
    from ..train.errors import UserError

    if series.names != names:
        raise UserError(
            f"{given.model} is a model of {', '.join(names)}; the columns given are {', '.join(series.names)}"
        )


def _show(screen: Any, found: dict[str, dict[str, float]]) -> None:
    """Print the scores of the quantities."""
    width = max(map(len, ("quantity", *found)))
    lines = [
        f"{name:{width}}  {of['model']:12.5g}  {of['last value']:12.5g}"
        for name, of in found.items()
    ]
    head = f"{'quantity':{width}}  {'model':>12}  {'last value':>12}"
    screen.print(
        "\n".join(["Root mean square error, one moment ahead:", "", head, *lines, ""]),
        markup=False,
        soft_wrap=True,
    )


def _moments(series: Any, count: int) -> list[str]:
    """Return the moments after the last one: numbers from it, or times at the usual distance."""
    import numpy as np

    if series.times is None or len(series.times) < 2:
        return [f"+{k}" for k in range(1, count + 1)]
    step = np.median(np.diff(series.times).astype(np.int64)).astype("timedelta64[s]")
    return [str(series.times[-1] + (k + 1) * step).replace("T", " ") for k in range(count)]


def _uneven(series: Any) -> str:
    """Return a sentence for a series with gaps in time, which a model does not see."""
    import numpy as np

    if series.times is None or len(series.times) < 2:
        return ""
    seconds = np.diff(series.times).astype(np.int64)
    usual, place = np.median(seconds), int(seconds.argmax())
    if seconds[place] < 1.5 * usual:
        return ""
    ends = " and ".join(str(t).replace("T", " ") for t in series.times[place : place + 2])
    return (
        f"The moments are not equally far apart: {int((seconds >= 1.5 * usual).sum()):,} gaps, the longest between {ends}. "
        "The model takes each line for one step; for a step of time add the lines, with --missing for the empty cells."
    )


def _table(series: Any, ahead: Any) -> str:
    """Return a forecast as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["moment", *series.names])
    for moment, row in zip(_moments(series, len(ahead)), ahead, strict=True):
        writer.writerow([moment, *(f"{x:.6g}" for x in row)])
    return file.getvalue()


def _draw(series: Any, ahead: Any, path: Path) -> None:
    """Draw each quantity: the first one's file is `path`, others are numbered."""
    import numpy as np

    from ..files import replace_file
    from ..train.chart import Series, line_chart

    shown = series.values[-max(4 * len(ahead), 40) :]
    begin = np.arange(len(series.values) - len(shown), len(series.values))
    after = np.arange(begin[-1], begin[-1] + len(ahead) + 1)
    for k, name in enumerate(series.names):
        said = np.concatenate([shown[-1:, k], ahead[:, k]])
        text = line_chart(
            [Series("forecast", after, said), Series(name, begin, shown[:, k])],
            x_label="line of the file",
            y_label=name,
            title=f"{name}, {len(ahead)} moments ahead",
        )
        place = path if k == 0 else path.with_name(f"{path.stem}-{k + 1}{path.suffix}")
        replace_file(place, text)
