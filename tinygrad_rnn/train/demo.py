"""A training run from the text to the report.

What ``tinygrad-rnn demo`` and ``tinygrad-rnn train`` do.
"""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import shlex
import time
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import TinygradError
from ..core.tape import eager
from ..files import replace_file
from ..kernels import blas
from . import text
from .baselines import Score, score_baselines
from .characters import Checkpoint, DivergedError, Settings, Trainer, evaluate, sample, save_model
from .chart import Series, line_chart, moving_average
from .console import Meter, phase
from .errors import UserError
from .folder import CHECKPOINT, claimed, present, remove
from .interrupt import Interrupted, Interrupts
from .report import Row, headline, write_report

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Options", "UserError", "run"]

BUDGET = 70.0  # seconds of training; with the rest of a run about 80
# characters of a text that the demo uses: counting n-grams in more takes too long
LONGEST = 2_000_000
HELD_OUT = 100_000  # most characters held out; else a tenth
# the last on all of the held-out text, those in the course of training on a sample of it
EVALUATIONS = 10
CONTEXT = 200  # characters that a sample goes on from
SAVE_EVERY = 15.0  # seconds between two checkpoints
STREAMS, WARM_UP = 32, 256  # of `evaluate`
GRAPH_STEPS = 4  # of the picture

_KNOWS = {
    "uniform": "the alphabet",
    "unigram": "how often each character comes",
    "bigram": "the character before",
    "trigram": "the two characters before",
    "5-gram": "the four characters before",
}


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes
    ----------
    out
        Folder of the results.
    command
        "demo": with baselines, pictures and a report; "train": only the model and its loss.
    text
        UTF-8 file to learn from; None for the reference text of Python.
    budget
        Seconds of training; None for the default, or that of the run which is resumed.
    steps
        Number of training steps, in place of a budget.
    resume
        Go on from the checkpoint in `out`.
    overwrite
        Replace the run in `out`. Without either, a folder with a run in it is refused: no run
        replaces what another made.
    settings
        Fields of `Settings` that differ from the defaults.
    temperature, length
        Of the sample.
    threads
        For matrix products; None for one, or what the environment says.
    """

    out: Path = Path("demo-run")
    command: str = "demo"
    text: Path | None = None
    budget: float | None = None
    steps: int | None = None
    resume: bool = False
    overwrite: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    temperature: float = 0.7
    length: int = 600
    threads: int | None = None


def run(options: Options, screen: Console) -> int:
    """Do a whole run, and give the exit code.

    0, or 1 if training diverged, or 128 and the signal if it was stopped.

    Raises
    ------
    UserError, TextError, CheckpointError, FormatError, OSError
        For what the user can put right; the message is one line.
    """
    with Interrupts() as interrupts, blas.threads(options.threads):
        return _Run(options, screen, interrupts).go()


class _Run:
    def __init__(self, options: Options, screen: Console, interrupts: Interrupts) -> None:
        self.options, self.screen, self.interrupts = options, screen, interrupts
        self.checkpoint = options.out / CHECKPOINT
        self.started = time.perf_counter()
        self.seconds: dict[str, float] = {}
        self.trainer: Trainer | None = None
        self.files: dict[str, str] = {}
        self.saved = True  # what the last attempt to write the checkpoint came to
        self.work = ExitStack()  # holds the folder

    @contextmanager
    def timed(self, name: str, words: str = "") -> Iterator[None]:
        """Note how long a part takes, and say what is done."""
        start = time.perf_counter()
        try:
            if words:
                with phase(self.screen, words):
                    yield
            else:
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def go(self) -> int:
        """Run all parts; what stops them is reported here."""
        with self.work:
            try:
                self.prepare()
                self.train()
                self.finish()
            except Interrupted as stop:
                if stop.between:
                    return self.stopped(stop.number)
                return self.broken_off(128 + stop.number)
            except KeyboardInterrupt:
                return self.broken_off(130)
            except DivergedError as error:
                self.say(str(error))
                self.tell_checkpoint("")
                return 1
            except (OSError, MemoryError):
                if self.trainer is not None and self.trainer.steps:
                    self.tell_checkpoint("The run could not be finished.")
                raise
        return 0

    # --- before ---------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Read the text, and make the trainer or take it from the checkpoint."""
        options = self.options
        if options.resume and not self.checkpoint.exists():
            raise UserError(
                f"--resume: {self.checkpoint} not found; start without --resume, or name the folder of the run with --out"
            )
        early = options.out.is_dir()
        if early:
            self.work.enter_context(claimed(options.out))
        if not options.resume:
            self.refuse_to_replace()
        found = self.read_checkpoint() if options.resume else None
        about = {} if found is None else found.about
        path = options.text or (Path(about["text"]) if about.get("text") else None)
        if found is not None and options.text is None and path is not None and not path.exists():
            raise UserError(
                f"--resume: {path}, the text of this run, is no longer there; say where it is now with --text FILE"
            )
        self.budget, self.steps = options.budget, options.steps
        if self.budget is None and self.steps is None:
            self.budget, self.steps = about.get("budget", BUDGET), about.get("steps")
        with self.timed("text", "Reading the text"):
            corpus = text.load(path)
            if options.command == "demo" and len(corpus.text) > LONGEST:
                self.say(
                    f"{corpus.source} has {len(corpus.text):,} characters; the first {LONGEST:,} are used."
                )
                corpus = text.Corpus(corpus.text[:LONGEST], corpus.source)
            if found is not None and about.get("sha256") != corpus.sha256:
                raise UserError(
                    f"--resume: {corpus.source} is not the text that {self.checkpoint} was trained on; give that with --text"
                )
            train, held = text.split(corpus.text, min(0.1, HELD_OUT / len(corpus.text)))
            vocabulary = (
                found.vocabulary
                if found
                else text.Vocabulary.from_text(train, 10 if len(train) >= 50_000 else 2)
            )
            ids, self.held, self.context = (
                vocabulary.encode(train),
                vocabulary.encode(held),
                train[-CONTEXT:],
            )
        self.interrupts.check()
        self.corpus = corpus
        self.about = {
            "text": None if path is None else str(path.absolute()),
            "sha256": corpus.sha256,
            "budget": self.budget,
            "steps": self.steps,
        }
        settings = found.settings if found else _fitting(Settings(**options.settings), len(ids))
        _check_memory(settings, len(vocabulary))
        if found is None:
            trainer = Trainer(ids, vocabulary, settings)
            if not early:  # not made before it is known that the run can begin
                options.out.mkdir(parents=True, exist_ok=True)
                self.work.enter_context(claimed(options.out))
                self.refuse_to_replace()  # another run may have begun and ended in the meantime
            if options.overwrite:
                remove(options.out)
            self.trainer = trainer
        else:
            self.trainer = Trainer.resume(found, ids)
        s, model = self.trainer.settings, self.trainer.model
        self.say(
            f"Text: {corpus.source}; {len(ids):,} characters to train on, {len(held):,} held out, {len(vocabulary)} symbols."
        )
        self.say(
            f"Model: LSTM with {s.hidden} units, {model.size:,} parameters; windows of {s.batch} x {s.window} characters."
        )
        if found is not None:
            self.say(
                f"Resumed after step {self.trainer.steps:,}, {self.trainer.seconds:.0f} s of training."
            )
        self.baselines: list[Score] = []
        if options.command == "demo":
            with self.timed("baselines", "Counting n-grams"):
                orders = [n for n in (2, 3, 5) if len(vocabulary) ** n < 2**63]
                self.baselines = score_baselines(ids, self.held, len(vocabulary), orders)
            self.interrupts.check()
        with self.timed("kernels", "Compiling kernels (the first time only)"):
            self.trainer.prepare()
        self.interrupts.check()

    def read_checkpoint(self) -> Checkpoint:
        """Read the checkpoint, with the settings that may change changed."""
        found = Checkpoint.read(self.checkpoint)
        for name, value in self.options.settings.items():
            before = getattr(found.settings, name)
            if name not in ("lr", "clip") and value != before:
                raise UserError(
                    f"--resume: --{name} is {before} in {self.checkpoint} and cannot become {value}; leave it out"
                )
        return dataclasses.replace(
            found, settings=dataclasses.replace(found.settings, **self.options.settings)
        )

    def refuse_to_replace(self) -> None:
        """Raise a UserError if there is a run in the folder, unless its replacement was asked for."""
        there = present(self.options.out)
        if not there or self.options.overwrite:
            return
        about = ", ".join(there)
        if CHECKPOINT in there:
            try:
                found = Checkpoint.read(self.checkpoint)
                about += (
                    f"; {len(found.arrays['losses']):,} steps, {found.seconds:.0f} s of training"
                )
            except (OSError, TinygradError, KeyError, TypeError):
                about += "; the checkpoint cannot be read"
            about += time.strftime(
                ", %Y-%m-%d %H:%M", time.localtime(self.checkpoint.lstat().st_mtime)
            )
        go_on = "go on with it by --resume, " if CHECKPOINT in there else ""
        raise UserError(
            f"{self.options.out} holds a run already ({about}); {go_on}name another folder with --out, or replace it by --overwrite"
        )

    # --- training -------------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train until the budget is used."""
        assert self.trainer is not None
        trainer, steps = self.trainer, self.steps
        budget = self.budget or math.inf
        start = time.perf_counter() - trainer.seconds
        saved = trainer.seconds
        bits = speed = 0.0

        def used() -> float:
            return trainer.seconds / budget if steps is None else trainer.steps / steps

        self.save()
        with Meter(self.screen, f"{budget:g} s" if steps is None else f"{steps:,} steps") as meter:
            while (fraction := used()) < 1:
                self.interrupts.check()
                before = time.perf_counter()
                loss = trainer.step(fraction)
                trainer.seconds = time.perf_counter() - start
                rate = trainer.characters_per_step / (time.perf_counter() - before)
                bits = _smooth(bits, loss, trainer.steps)
                speed = rate if not speed else 0.95 * speed + 0.05 * rate
                meter.update(used(), trainer.seconds, bits, speed)
                if (len(trainer.scores) + 1) / EVALUATIONS <= used() < 1:
                    self.score_sample()
                if trainer.seconds - saved >= SAVE_EVERY:
                    saved = trainer.seconds
                    self.save()
                trainer.seconds = time.perf_counter() - start
            if trainer.steps:
                meter.update(
                    1.0,
                    trainer.seconds,
                    float(np.mean(trainer.losses[-50:])),
                    trainer.speed,
                    last=True,
                )
        self.seconds["training"] = trainer.seconds
        self.save()
        if not self.saved:
            self.say("The last checkpoint could not be written; the model follows.")

    def score_sample(self) -> None:
        """Score an even sample of the held-out text, for the chart."""
        assert self.trainer is not None
        scored = evaluate(
            self.trainer.model,
            self.held,
            streams=STREAMS,
            warm_up=64,
            each=256,
            between=self.interrupts.check,
        )
        self.trainer.scores.append((self.trainer.steps, float(scored.mean())))

    def save(self) -> None:
        """Write the checkpoint; no signal interrupts that.

        Where it cannot be written, the one before is still there, and training goes on: the next
        attempt may succeed.
        """
        assert self.trainer is not None
        with self.interrupts.deferred():
            try:
                self.options.out.mkdir(parents=True, exist_ok=True)
                self.trainer.save(self.checkpoint, self.about)
                self.saved = True
            except OSError as error:
                if self.saved:
                    self.say(
                        f"The checkpoint cannot be written now: {self.checkpoint}: {error.strerror or error}. Training goes on."
                    )
                self.saved = False

    # --- after ----------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Score, draw, write and show."""
        assert self.trainer is not None
        options, trainer, out = self.options, self.trainer, self.options.out
        if not trainer.steps:
            raise UserError("no step was trained; give a larger --budget")
        with self.timed("scoring", "Scoring the held-out text"):
            bits = float(
                evaluate(
                    trainer.model,
                    self.held,
                    streams=STREAMS,
                    warm_up=WARM_UP,
                    between=self.interrupts.check,
                ).mean()
            )
        if not math.isfinite(bits):
            raise DivergedError(
                f"training diverged: the held-out text has a score of {bits}. Try a lower learning rate (--lr)."
            )
        rows = [Row(s.name, s.bits, note=_KNOWS.get(s.name, "")) for s in self.baselines]
        rows.append(Row("LSTM", bits, ours=True, note="all the characters before"))
        path = self.file("model.safetensors", "the model, for `tinygrad-rnn sample`")
        save_model(path, trainer.model, trainer.vocabulary, self.context)
        with self.timed("sample"):
            drawn = sample(
                trainer.model,
                trainer.vocabulary,
                options.length,
                prompt=self.context,
                temperature=options.temperature,
                rng=[trainer.settings.seed, 2],
                between=self.interrupts.check,
            )
        self.interrupts.check()
        loss_svg = self.draw_loss(bits)
        replace_file(self.file("loss.svg", "the loss"), loss_svg)
        graph = None
        if options.command == "demo":
            with self.timed("drawing", "Drawing the unrolled graph"):
                graph = self.draw_graph(out / "unrolled.svg")
            self.interrupts.check()
        facts = self.facts(bits)
        if options.command == "demo":
            write_report(
                self.file("report.html", "all of it on one page"),
                title="A character LSTM in tinygrad_rnn",
                table=rows,
                sample=drawn,
                loss_svg=loss_svg,
                graph_svg=graph,
                facts=facts,
            )
        self.show(rows, drawn, facts)

    def file(self, name: str, about: str) -> Path:
        """A file of the results."""
        self.files[name] = about
        return self.options.out / name

    def draw_loss(self, bits: float) -> str:
        """The chart.

        Loss by characters read, the held-out scores, the baselines as dashed lines.
        """
        assert self.trainer is not None
        trainer = self.trainer
        read = np.arange(1, trainer.steps + 1) * trainer.characters_per_step / 1e6
        losses = np.array(trainer.losses)
        smooth = moving_average(losses, max(5, trainer.steps // 40))
        scores = [(0, math.nan), *trainer.scores, (trainer.steps, bits)]
        return line_chart(
            [
                Series("training", read, smooth),
                Series("training", read, losses, faint=True),
                Series(
                    "held out",
                    [n * trainer.characters_per_step / 1e6 for n, _ in scores],
                    [b for _, b in scores],
                    markers=True,
                ),
            ],
            x_label="million characters read",
            y_label="bits per character",
            title="",
            references=[(s.name, s.bits) for s in self.baselines if s.name != "uniform"],
        )

    def draw_graph(self, path: Path) -> str | None:
        """Draw the tape of the trained model over a few characters.

        None (and a word about it) where that cannot be done.
        """
        assert self.trainer is not None
        ids = self.held[: GRAPH_STEPS + 1, None]
        with eager():  # the picture shows the steps
            loss, _ = self.trainer.loss(ids[:-1], ids[1:])
        try:
            from ..drawing import draw

            draw(loss).save(path)
            svg = path.read_text(encoding="utf-8")
        except (ImportError, OSError, RuntimeError, TinygradError) as error:
            self.say(f"The graph was not drawn: {error}")
            return None
        self.file("unrolled.svg", f"the model unrolled over {GRAPH_STEPS} steps")
        return svg

    def facts(self, bits: float) -> dict[str, object]:
        """What is worth knowing of the run, in order."""
        assert self.trainer is not None
        t, s = self.trainer, self.trainer.settings
        seconds = {**self.seconds, "all": time.perf_counter() - self.started}
        parts = {
            "kernels": "compiling",
            "scoring": "scoring",
            "drawing": "drawing",
            "all": "in all",
        }
        return {
            "Text": self.corpus.source,
            "Characters": f"{len(t.ids):,} to train on, {len(self.held):,} held out",
            "Symbols": len(t.vocabulary),
            "Network": f"embedding {s.embedding}, LSTM {s.hidden}, linear; {t.model.size:,} parameters",
            "Windows": f"{s.batch} streams x {s.window} steps",
            "Optimiser": f"Adam, learning rate {s.lr:g} with cosine decay, gradient norm at most {s.clip:g}",
            "Training": f"{t.steps:,} steps, {t.characters:,} characters ({t.characters / len(t.ids):.1f} passes), {t.seconds:.1f} s",
            "Speed": f"{t.speed:,.0f} characters per second",
            "Held out": f"{bits:.4f} bits per character over {len(self.held) - 1:,} characters",
            "How scored": self.how_scored(),
            "Seconds": ", ".join(
                f"{word} {seconds[name]:.1f}" for name, word in parts.items() if name in seconds
            ),
            "Sample": f"goes on from the end of the training text; temperature {self.options.temperature:g}, seed {s.seed}",
            "Versions": f"tinygrad_rnn {_version()}, Python {platform.python_version()}, NumPy {np.__version__}",
        }

    def how_scored(self) -> str:
        """How the held-out characters were run through the network."""
        count = len(self.held) - 1
        streams = max(1, min(STREAMS, count // WARM_UP))
        if streams == 1:
            return "in one stream, with the state carried throughout"
        return f"each character once, in {streams} parts side by side; each part first reads the {WARM_UP} characters before it"

    def show(self, rows: list[Row], drawn: str, facts: dict[str, object]) -> None:
        """Print the results."""
        from rich import box
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        screen = self.screen
        screen.print()
        if len(rows) > 1:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
            table.add_column("Model")
            table.add_column("Knows")
            table.add_column("Bits/char", justify="right", no_wrap=True)
            table.add_column("")
            longest = max(row.bits for row in rows)
            for row in sorted(rows, key=lambda row: -row.bits):
                ink = "blue" if row.ours else "bright_black"
                bar = ProgressBar(
                    total=longest,
                    completed=row.bits,
                    width=16,
                    complete_style=ink,
                    finished_style=ink,
                )
                table.add_row(
                    row.name,
                    row.note,
                    f"{row.bits:.3f}",
                    bar,
                    style="bold blue" if row.ours else "",
                )
            screen.print(table)
            screen.print()
        self.say(headline(rows))
        if drawn:
            screen.print(f"\n[bold]A sample[/] (temperature {self.options.temperature:g})\n")
            self.say(_shown(drawn).strip("\n"))
        screen.print("\n[bold]The run[/]\n")
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bright_black", no_wrap=True)
        grid.add_column()
        for name, value in facts.items():
            grid.add_row(name, Text(str(value)))
        screen.print(grid)
        screen.print("\n[bold]Files[/]\n")
        width = max(len(str(self.options.out / name)) for name in self.files)
        for name, about in self.files.items():
            self.say(f"{self.options.out / name!s:<{width}}  {about}")

    # --- when it ends early ---------------------------------------------------------------------------------------------

    def stopped(self, number: int) -> int:
        """Keep what there is, say how to go on, and give the exit code."""
        if self.trainer is not None:
            self.save()
            trainer = self.trainer
            start = f"Stopped after step {trainer.steps:,} and {trainer.seconds:.0f} s of training."
            self.tell_checkpoint(
                start if self.saved else f"{start} The last checkpoint could not be written."
            )
        else:
            self.say("Stopped before training began.")
        return 128 + number

    def broken_off(self, code: int) -> int:
        """Say what there is; the trainer may be half changed, so it is not saved."""
        self.screen.print()
        self.tell_checkpoint("Stopped in the middle of a step.")
        return code

    def tell_checkpoint(self, start: str) -> None:
        """Say where the checkpoint is and how to go on from it."""
        words = [start] if start else []
        if self.checkpoint.exists():
            command = ["tinygrad-rnn", self.options.command]
            if self.options.out != Options.out:
                command += ["--out", str(self.options.out)]
            words.append(
                f"The checkpoint is {self.checkpoint}; go on with\n\n    {shlex.join([*command, '--resume'])}\n"
            )
        self.say(" ".join(words))

    def say(self, words: str) -> None:
        """Print a sentence as it is."""
        self.screen.print(words, markup=False, soft_wrap=not self.screen.is_terminal)


def _fitting(settings: Settings, characters: int) -> Settings:
    """The settings, with fewer streams or shorter windows where the text has too few characters for them."""
    window = min(settings.window, characters - 1)
    return dataclasses.replace(
        settings, window=window, batch=max(1, min(settings.batch, (characters - 1) // window))
    )


def _smooth(before: float, value: float, count: int) -> float:
    """A running mean over about the last 50 values."""
    weight = max(1 / max(count, 1), 0.02)
    return before + weight * (value - before) if before else value


def _check_memory(settings: Settings, symbols: int) -> None:
    """Raise a UserError if training needs more memory than the machine has.

    The system would end the program without a word.
    """
    there = _memory()
    h, e = settings.hidden, settings.embedding
    parameters = symbols * e + 4 * h * (e + h + 2) + symbols * (h + 1)
    needed = 4 * (
        5 * parameters + settings.window * settings.batch * (2 * e + 12 * h + 3 * symbols)
    )
    if there is not None and needed > there:
        sizes = ", ".join(
            f"--{name} {getattr(settings, name)}"
            for name in ("hidden", "embedding", "batch", "window")
        )
        raise UserError(
            f"training with {sizes} needs about {needed / 1e9:,.1f} GB of memory; there are {there / 1e9:,.1f} GB. Give smaller sizes"
        )


def _memory() -> int | None:
    """Bytes of memory of this machine, or of the control group where that has fewer.

    None if it cannot be found out.
    """
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    try:
        return min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return found


def _shown(text: str) -> str:
    """Text for a terminal.

    Joiners and spaces of all kinds stay, what would control the terminal becomes U+FFFD.
    """
    hidden = ("Cc", "Cs")
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in hidden and c not in "\n\t" else c
        for c in text
    )


def _version() -> str:
    from .. import __version__

    return __version__
