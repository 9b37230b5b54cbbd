"""A training run from the text to the report: what `tinygrad-rnn demo` and `train text` do."""

from __future__ import annotations

import dataclasses
import math
import shlex
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import TinygradError
from ..core.tape import eager
from ..files import replace_file
from ..kernels import blas
from . import text
from .baselines import Score, score_baselines
from .characters import evaluate, evaluating, sample
from .chart import WIDTHS
from .checkpoint import Checkpoint
from .console import Meter, phase, say, thousands, times
from .errors import DivergedError, UserError
from .folder import CHECKPOINTS, CORPUS, claimed, present, remove, run_held
from .interrupt import Interrupted, Interrupts
from .memory import check_memory
from .model_files import save_model
from .options import Options
from .reach import reach_of
from .report import write_report
from .results import STREAMS, WARM_UP, Results
from .trainer import SavedRun, Settings, Trainer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]

BUDGET = 70.0  # seconds of training; with the rest of a run about 80
LONGEST = 2_000_000  # characters that the demo uses: counting n-grams in more takes too long
EVALUATIONS = 10  # the last on all of the held-out text, those before on a sample of it
SAVE_EVERY = 15.0  # seconds between two checkpoints
SAY_EVERY = 5.0  # seconds between two lines of progress where there is no terminal
GRAPH_STEPS = 4  # of the picture


def run(options: Options, screen: Console) -> int:
    """Do a whole run, and return the exit code.

    Returns
    -------
    int
        0; 1 if training diverged; 128 and the signal if a signal stopped it.

    Raises
    ------
    UserError, DataError, CheckpointError, FormatError, OSError
        For what the user can put right. The message is one line.
    """
    with Interrupts() as interrupts, blas.threads(options.threads):
        return _Run(options, screen, interrupts).go()


class _Run:
    """One run: its options, what it has got so far, and its parts in their order."""

    trainer: Trainer | None = None
    material: text.Material

    def __init__(self, options: Options, screen: Console, interrupts: Interrupts) -> None:
        self.options, self.screen, self.interrupts = options, screen, interrupts
        self.checkpoints = options.out / CHECKPOINTS
        self.started = time.perf_counter()
        self.seconds: dict[str, float] = {}
        self.files: dict[Path, str] = {}
        self.saved = True  # whether the last attempt to write the checkpoint succeeded
        self.work = ExitStack()  # holds the folder

    @contextmanager
    def timed(self, name: str, words: str = "") -> Iterator[None]:
        """Context: note how long a part takes, and say what is done."""
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
        """Run all parts, report what stops them, and return the exit code."""
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

    # --- before -----------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Read the text, and make the trainer or take it from the checkpoint."""
        options = self.options
        if options.resume and not self.kept:
            raise UserError(
                f"--resume: no checkpoint found in {self.checkpoints}; start without --resume, or name the folder of the run with --out"
            )
        early = options.out.is_dir()
        if early:
            self.work.enter_context(claimed(options.out))
        if not options.resume:
            self.refuse_to_replace()
        found = self.read_checkpoint() if options.resume else None
        with self.timed("text", "Reading the text"):
            source = self.read_text(found)
        self.interrupts.check()
        with self.timed("text"):
            self.make_trainer(source, found, early)
        self.say_what_is_trained(resumed=found is not None)
        self.baselines: list[Score] = []
        if options.command == "demo":
            with self.timed("baselines", "Counting n-grams"):
                m, symbols = self.material, len(self.material.vocabulary)
                orders = [n for n in (2, 3, 5) if symbols**n < 2**63]
                self.baselines = score_baselines(m.train.ids, m.held.ids, symbols, orders)
            self.interrupts.check()
        assert self.trainer is not None
        with self.timed("kernels", "Compiling kernels (the first time only)"):
            self.trainer.prepare()
        self.interrupts.check()

    @property
    def kept(self) -> bool:
        """Whether there is a checkpoint in the folder."""
        return bool(Checkpoint(self.checkpoints).steps)

    def read_checkpoint(self) -> SavedRun:
        """Read the checkpoint, with those settings changed that may change."""
        with self.said():
            found = SavedRun.read(self.checkpoints)
        given = {"units": self.options.units or found.vocabulary.units, **self.options.settings}
        for name, value in given.items():
            before = found.vocabulary.units if name == "units" else getattr(found.settings, name)
            if name not in ("lr", "clip") and value != before:
                raise UserError(
                    f"--resume: --{name.replace('_', '-')} is {before} in {self.checkpoints} and cannot become {value}; leave it out"
                )
        return dataclasses.replace(
            found, settings=dataclasses.replace(found.settings, **self.options.settings)
        )

    def read_text(self, found: SavedRun | None) -> text.Source:
        """Return the text of this run, or that of the run which is resumed; note its budget."""
        options = self.options
        about = {} if found is None else found.about
        self.budget, self.steps = options.budget, options.steps
        if self.budget is None and self.steps is None:
            self.budget, self.steps = about.get("budget", BUDGET), about.get("steps")
        more: dict[str, Any] = {
            "units": options.units or (found and found.vocabulary.units),
            "encoding": options.encoding or about.get("encoding", "utf-8"),
            "between": self.interrupts.check,
            "limit": LONGEST if options.command == "demo" else None,
        }
        if found is None:
            source = text.of_path(options.text, **more)
        else:
            source = text.of_run(options.text, options.out, about, found.vocabulary, **more)
        if source.count == more["limit"]:
            self.say(f"The first {LONGEST:,} characters of {source.path} are used.")
        self.about = {
            "text": None if source.path is None else str(source.path.absolute()),
            "encoding": more["encoding"],
            "sha256": source.sha256,
            "budget": self.budget,
            "steps": self.steps,
        }
        return source

    def make_trainer(
        self, source: text.Source, found: SavedRun | None, claimed_early: bool
    ) -> None:
        """Make the trainer, or take it from the checkpoint, and make the folder ready."""
        options = self.options
        settings = found.settings if found else Settings(**options.settings)
        settings = settings if found else _fitting(settings, source.trained_on)
        check_memory(settings, len(source.symbols))
        if not claimed_early:  # a folder is not made before it is known that the run can begin
            options.out.mkdir(parents=True, exist_ok=True)
            self.work.enter_context(claimed(options.out))
            self.refuse_to_replace()  # another run may have begun and ended in the meantime
        self.material = source.in_folder(options.out)
        if self.material.whole.path == options.out / CORPUS:
            self.file(CORPUS, "the text as ids, from which the run goes on")
        train = self.material.train
        if found is not None:
            self.trainer = Trainer.resume(found, train)
            return
        trainer = Trainer(train, self.material.vocabulary, settings)
        if options.overwrite:
            remove(options.out)
        trainer.keep_in(self.checkpoints, replace=options.overwrite)
        self.trainer = trainer

    def say_what_is_trained(self, *, resumed: bool) -> None:
        """Say in two or three sentences what text and what model the run has."""
        assert self.trainer is not None
        m, s, model = self.material, self.trainer.settings, self.trainer.model
        self.say(
            f"Text: {m.whole.source}; {len(m.train):,} {m.vocabulary.units} to train on, {len(m.held):,} held out, {len(m.vocabulary):,} symbols."
        )
        self.say(
            f"Model: LSTM with {s.hidden} units, {model.size:,} parameters; windows of {s.batch} x {s.window} {m.vocabulary.units}."
        )
        if resumed:
            self.say(
                f"Resumed after step {self.trainer.steps:,}, {self.trainer.seconds:.0f} s of training."
            )

    def refuse_to_replace(self) -> None:
        """Raise a UserError if there is a run in the folder that is not to be replaced."""
        there = present(self.options.out)
        if not there or self.options.overwrite:
            return
        about = ", ".join(there)
        if CHECKPOINTS in there:
            try:
                with self.said():
                    found = SavedRun.read(self.checkpoints)
                about += f"; {len(found.losses):,} steps, {found.seconds:.0f} s of training"
            except (OSError, TinygradError):
                about += "; the checkpoint cannot be read"
            about += time.strftime(
                ", %Y-%m-%d %H:%M", time.localtime(self.checkpoints.lstat().st_mtime)
            )
        raise run_held(self.options.out, about, go_on=self.kept)

    # --- training ---------------------------------------------------------------------------------

    def train(self) -> None:
        """Train until the budget is used."""
        assert self.trainer is not None
        trainer, steps = self.trainer, self.steps
        budget = self.budget or math.inf
        start = time.perf_counter() - trainer.seconds
        saved = trainer.seconds
        bits = speed = 0.0
        one = {"character": "char"}.get(trainer.vocabulary.unit, trainer.vocabulary.unit)

        def used() -> float:
            return trainer.seconds / budget if steps is None else trainer.steps / steps

        self.save()
        share = f"{budget:g} s" if steps is None else f"{steps:,} steps"

        def show(meter: Meter, fraction: float, speed: float, *, last: bool = False) -> None:
            figure = f"{bits:.3f} bits/{one}, {thousands(speed)} {one}s/s"
            meter.update(fraction, figure, times(trainer.seconds, fraction, last=last), last=last)

        with Meter(self.screen, "Training", share, every=SAY_EVERY) as meter:
            while (fraction := used()) < 1:
                self.interrupts.check()
                before = time.perf_counter()
                loss = trainer.step(fraction)
                trainer.seconds = time.perf_counter() - start
                rate = trainer.characters_per_step / (time.perf_counter() - before)
                bits = _smooth(bits, loss, trainer.steps)
                speed = rate if not speed else 0.95 * speed + 0.05 * rate
                show(meter, used(), speed)
                if (len(trainer.scores) + 1) / EVALUATIONS <= used() < 1:
                    self.score_sample()
                if trainer.seconds - saved >= SAVE_EVERY:
                    saved = trainer.seconds
                    self.save()
                trainer.seconds = time.perf_counter() - start
            if trainer.steps:
                bits = float(np.mean(trainer.losses[-50:]))
                show(meter, 1.0, trainer.speed, last=True)
        self.seconds["training"] = trainer.seconds
        self.save()
        if not self.saved:
            self.say("The last checkpoint could not be written; the model follows.")

    def score_sample(self) -> None:
        """Score an even sample of the held-out text, for the chart."""
        assert self.trainer is not None
        scored = evaluate(
            self.trainer.model,
            self.material.held.ids,
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
                self.trainer.save(self.about)
                self.saved = True
            except OSError as error:
                if self.saved:
                    self.say(
                        f"The checkpoint cannot be written now: {error.filename or self.checkpoints}: {error.strerror or error}. Training goes on."
                    )
                self.saved = False

    # --- after ------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Score the model, draw from it, and write and show the results."""
        assert self.trainer is not None
        options, trainer = self.options, self.trainer
        if not trainer.steps:
            raise UserError("no step was trained; give a larger --budget")
        bits = self.score()
        path = self.file("model.safetensors", "the model, for `tinygrad-rnn sample`")
        save_model(path, trainer.model, trainer.vocabulary, self.material.context)
        with self.timed("sample"):
            drawn = sample(
                trainer.model,
                trainer.vocabulary,
                options.length,
                prompt=self.material.context,
                temperature=options.temperature,
                rng=[trainer.settings.seed, 2],
                between=self.interrupts.check,
            )
        self.interrupts.check()
        results = Results(
            trainer, self.material, self.baselines, bits, drawn, options.temperature, self.seconds
        )
        charts = [results.chart(width) for width in WIDTHS]
        replace_file(self.file("loss.svg", "the loss"), charts[0])
        graph = reach = None
        if options.command == "demo":
            with self.timed("drawing", "Drawing the unrolled graph"):
                graph = self.draw_graph(options.out / "unrolled.svg")
                reach = reach_of(trainer.model, self.material.held.ids)
            self.interrupts.check()
        self.seconds["all"] = time.perf_counter() - self.started
        facts = results.facts()
        if options.command == "demo":
            write_report(
                self.file("report.html", "all of it on one page"),
                title="A character LSTM in tinygrad_rnn",
                table=results.rows(),
                sample=drawn,
                loss=charts,
                reach=reach,
                graph_svg=graph,
                facts=facts,
            )
        results.show(self.screen, facts, self.files)

    def score(self) -> float:
        """Return the bits per character of the model on the held-out text."""
        assert self.trainer is not None
        with self.timed("scoring", "Scoring the held-out text"):
            scored = evaluate(
                self.trainer.model,
                self.material.held.ids,
                streams=STREAMS,
                warm_up=WARM_UP,
                between=self.interrupts.check,
            )
        bits = float(scored.mean())
        if not math.isfinite(bits):
            raise DivergedError(
                f"training diverged: the held-out text has a score of {bits}. Try a lower learning rate (--lr)."
            )
        return bits

    def file(self, name: str, about: str) -> Path:
        """Return the path of a file of the results, and note what is in it."""
        path = self.options.out / name
        self.files[path] = about
        return path

    def draw_graph(self, path: Path) -> str | None:
        """Draw the tape of the trained model over a few characters.

        Returns
        -------
        str or None
            The picture as SVG; None, after a word about it, where it cannot be drawn.
        """
        assert self.trainer is not None
        ids = self.material.held.ids[: GRAPH_STEPS + 1, None].astype(np.int64)
        with eager(), evaluating(self.trainer.model):  # the picture shows the steps
            loss, _ = self.trainer.model.loss(ids[:-1], ids[1:])
        try:
            from ..drawing import draw

            draw(loss).save(path)
            svg = path.read_text(encoding="utf-8")
        except (ImportError, OSError, RuntimeError, TinygradError) as error:
            self.say(f"The graph was not drawn: {error}")
            return None
        self.file("unrolled.svg", f"the model unrolled over {GRAPH_STEPS} steps")
        return svg

    # --- when it ends early -----------------------------------------------------------------------

    def stopped(self, number: int) -> int:
        """Keep what there is, say how to go on, and return the exit code."""
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
        """Say what there is, and return the exit code.

        The trainer may be half changed, so it is not saved.
        """
        self.screen.print()
        self.tell_checkpoint("Stopped in the middle of a step.")
        return code

    def tell_checkpoint(self, start: str) -> None:
        """Say where the checkpoint is and how to go on from it."""
        words = [start] if start else []
        if self.kept:
            command = ["tinygrad-rnn", *self.options.command.split()]
            if self.options.out != Options.out:
                command += ["--out", str(self.options.out)]
            words.append(
                f"The checkpoint is in {self.checkpoints}; go on with\n\n    {shlex.join([*command, '--resume'])}\n"
            )
        self.say(" ".join(words))

    @contextmanager
    def said(self) -> Iterator[None]:
        """Context: warnings, such as that of a damaged checkpoint, are sentences on the screen."""
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", RuntimeWarning)
            yield
        for one in noted:
            self.say(f"{one.message}.")

    def say(self, words: str) -> None:
        """Print a sentence as it is."""
        say(self.screen, words)


def _fitting(settings: Settings, characters: int) -> Settings:
    """Return settings with fewer streams or shorter windows if the text is too short for them."""
    window = min(settings.window, characters - 1)
    return dataclasses.replace(
        settings, window=window, batch=max(1, min(settings.batch, (characters - 1) // window))
    )


def _smooth(before: float, value: float, count: int) -> float:
    """Return a running mean over about the last 50 values."""
    weight = max(1 / max(count, 1), 0.02)
    return before + weight * (value - before) if before else value
