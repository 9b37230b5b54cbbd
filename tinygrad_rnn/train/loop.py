"""The loop of `tg.fit`: plain code around what the package offers to everybody.

A compiled function fills the gradients, `clip_grad_norm` limits them, an optimiser steps, and a
`Checkpoint` keeps it all. Copy it and change it where it does not do what you need.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..compiler import jit
from ..core.errors import TinygradError
from ..core.tape import no_grad
from ..core.tensor import Tensor
from ..core.tree import detach
from ..data import Window
from ..data.passes import Passes
from ..module import Module
from ..nn.losses import cross_entropy, mse_loss
from ..optim import ReduceOnPlateau, Schedule, clip_grad_norm
from ..parallel import DataParallel
from .characters import evaluating
from .checkpoint import Checkpoint
from .console import Meter, console, say, times
from .errors import DivergedError
from .interrupt import Interrupted, Interrupts
from .logs import Log

__all__ = ["Fit"]

SAY_EVERY = 10.0  # seconds between two lines of progress where there is no terminal


def compared(model: Module, inputs: Any, targets: Any, lengths: Any = None) -> Any:
    """Return the loss of a model's outputs: cross entropy for whole numbers, else the mean square.

    Of a model that returns a tuple, such as a recurrent layer, the first counts. With `lengths`,
    those steps that there are count.
    """
    outputs = model(inputs) if lengths is None else model(inputs, lengths=lengths)
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    if not isinstance(targets, Tensor) or targets.dtype.kind != "f":
        mask = None
        if lengths is not None and np.ndim(targets) > 1:
            mask = np.arange(len(inputs))[:, None] < np.asarray(lengths)
        return cross_entropy(outputs, targets, mask)
    if lengths is not None:
        raise TinygradError(
            "fit: for targets that are no whole numbers, of sequences of different lengths, say with loss= what counts"
        )
    return mse_loss(outputs, targets)


def _values(batch: Any) -> tuple[tuple[Any, ...], bool]:
    """Return what a batch holds, and whether a carried state begins anew with it."""
    if isinstance(batch, Window):
        return batch[:2], batch.fresh
    return tuple(batch) if isinstance(batch, (tuple, list)) else (batch,), False


class Fit:
    """A training run: what `fit` returns, and what callbacks are given.

    Attributes
    ----------
    model, optimizer, schedule
        What is trained, and by what.
    step, epoch : int
        Steps, and passes over the data, that are done.
    seconds : float
        Spent in training, over all sessions.
    losses : list of float
        The loss of each step.
    history : list of dict
        Rows: step, epoch, loss (the mean since the row before), norm (of the gradient, the same),
        lr, seconds, and where there is a validation, its loss as validation, and the metric.
    best : dict or None
        The row of the best validation.
    """

    def __init__(
        self,
        model: Module,
        data: Iterable[Any],
        loss: Callable[..., Any] | None,
        optimizer: Any,
        schedule: Any,
        clip: float,
        carry: bool,
        compiled: bool,
    ) -> None:
        self.model, self.data, self.carry = model, data, carry
        self.loss: Callable[..., Any] = compared if loss is None else loss
        self.optimizer, self.schedule, self.clip = optimizer, schedule, clip
        self.parallel: DataParallel | None = None
        self._compiled = compiled
        self._gradients = self._learner(compiled)
        self.step = self.epoch = 0
        self.seconds = 0.0
        self.state: Any = None
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.limits: dict[str, float] = {}
        self.every: int | None = None
        self.patience: int | None = None
        self.validation: Iterable[Any] | None = None
        self.metric: Callable[..., Any] | None = None
        self.checkpoint: Checkpoint | None = None
        self.logs: list[Log] = []
        self.callbacks: list[Callable[[Fit], Any]] = []
        self._best_values: dict[str, Any] | None = None
        self._since = 0  # validations since the best one
        self._place = 0  # batches of this pass, for data that does not know its own
        self._stopped, self._save_every = False, math.inf

    def _learner(self, compiled: bool) -> Callable[..., Any]:
        """Return the function that fills the gradients by a batch."""
        model, loss, clip, carry = self.model, self.loss, self.clip, self.carry
        parallel = self.parallel

        def gradients(*batch: Any) -> Any:
            found = loss(model, *batch)
            value, state = found if carry else (found, None)
            model.zero_grad()
            value.backward() if parallel is None else parallel.backward(value)
            return value, state, clip_grad_norm(model.parameters(), clip)

        return jit(gradients) if compiled else gradients

    # --- the loop ---------------------------------------------------------------------------------

    def train(self, progress: bool = True) -> None:
        """Train until a limit is reached, from where the run is."""
        progress = progress and self._is_first
        screen = console(quiet=not progress)
        if self.step and progress:
            say(screen, f"Resumed after step {self.step:,}, {self.seconds:.0f} s of training.")
        self._start = time.perf_counter() - self.seconds
        self._saved = self.seconds
        try:
            with Interrupts() as interrupts, Meter(screen, "Training", every=SAY_EVERY) as meter:
                while not self.over:
                    self._pass(interrupts, meter)
                if self.step > (self.history[-1]["step"] if self.history else 0):
                    self._row()
                self._show(meter, last=True)
        except Interrupted:
            self.save()
            where = f" {self.checkpoint.folder}: the same call goes on" if self.checkpoint else ""
            say(
                screen,
                f"Stopped after step {self.step:,}.{where and ' The checkpoint is in'}{where}",
            )
            raise
        self.save()
        if self._best_values is not None:
            self.model.load_state_dict(self._best_values)

    def _pass(self, interrupts: Interrupts, meter: Meter) -> None:
        """Make one pass over the data, or the rest of it."""
        self.model.train()
        self.state = self.state if self._place else None
        skip = 0 if hasattr(self.data, "load_state_dict") else self._place
        count = 0
        for count, batch in enumerate(self.data, 1):
            if count <= skip:
                continue
            self._step(batch)
            self._place += 1
            if self.every is not None and self.step % self.every == 0:
                self._row()
            self._check(interrupts)
            self._show(meter)
            if self.checkpoint is not None and self.seconds - self._saved >= self._save_every:
                self.save()
            if self.over and (self.data.left if isinstance(self.data, Passes) else self._left()):
                return
        if not count and not self._place:
            raise TinygradError(
                "fit: the data gave no batch in a pass. An iterator can be gone over once: hand over a list, or tg.data.Batches"
            )
        self.epoch, self._place = self.epoch + 1, 0
        if self.every is None:
            self._row()

    def _check(self, interrupts: Interrupts) -> None:
        """Raise Interrupted if a signal came, to any of the ranks."""
        if self.parallel is not None and self.parallel.any(bool(interrupts.noted)):
            raise Interrupted(interrupts.noted or signal.SIGINT)
        interrupts.check()

    def _step(self, batch: Any) -> None:
        """Make one step of training."""
        values, fresh = _values(batch)
        if self.carry:
            values = (*values, None if fresh else self.state)
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is found below
            loss, state, norm = self._gradients(*values)
            value, size = float(loss.item()), float(norm)
            if self.parallel is not None:  # the clocks of ranks differ, and what they do must not
                value, self.seconds = self.parallel.mean(value, time.perf_counter() - self._start)
            if not (math.isfinite(value) and math.isfinite(size)):
                raise DivergedError(
                    f"training diverged at step {self.step + 1}: the loss is {value:.4g}, the norm of the gradient {size:.4g}. The parameters are as they "
                    f"were. Try a lower learning rate (it is {self.optimizer.lr:.2g}) or stronger clipping (it is {self.clip:g}); "
                    "tg.detect_anomaly() shows where it begins"
                )
            self.optimizer.step()
        self.state = detach(state)
        self.losses.append(value)
        self.norms.append(size)
        self.step += 1
        if self.parallel is None:
            self.seconds = time.perf_counter() - self._start
        if isinstance(self.schedule, Schedule):
            self.schedule.step()

    @property
    def over(self) -> bool:
        """Whether the training has ended."""
        waited = self.patience is not None and self._since > self.patience
        return self._stopped or waited or self.fraction >= 1

    @property
    def fraction(self) -> float:
        """How much of what the training may use is used."""
        used = {"epochs": self.epoch, "steps": self.step, "seconds": self.seconds}
        if size := self._batches():
            used["epochs"] += self._place / size
        return max(used[name] / most if most else 1.0 for name, most in self.limits.items())

    def _batches(self) -> int:
        try:
            return len(self.data)  # type: ignore[arg-type]
        except TypeError:
            return 0

    def _left(self) -> bool:
        """Whether the pass has batches left, as far as that is known."""
        return self._place != self._batches()

    def stop(self) -> None:
        """End the training after this step."""
        self._stopped = True

    # --- what is seen of it -----------------------------------------------------------------------

    def _row(self) -> None:
        """Note how the training stands, and validate the model."""
        first = self.history[-1]["step"] if self.history else 0
        row: dict[str, Any] = {
            "step": self.step,
            "epoch": self.epoch,
            "loss": float(np.mean(self.losses[first:])),
            "norm": float(np.mean(self.norms[first:])),
            "lr": float(self.optimizer.lr),
            "seconds": round(self.seconds, 3),
        }
        if self.validation is not None:
            row |= self.evaluate(self.validation)
            self._judge(row)
        self.history.append(row)
        for one in self.logs if self._is_first else ():
            one.write(self.history)
        for callback in self.callbacks:
            callback(self)
        if self.parallel is not None:
            self._stopped = self.parallel.any(self._stopped)
        self._start = time.perf_counter() - self.seconds  # of training alone

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """Return the mean loss over batches as "validation", and the mean metric as "metric".

        In evaluation mode, without gradients. A state is carried as in training.
        """
        losses, figures, state = [], [], None
        with evaluating(self.model), no_grad():
            for batch in batches:
                values, _ = _values(batch)
                if self.carry:
                    loss, state = self.loss(self.model, *values, state)
                else:
                    loss = self.loss(self.model, *values)
                losses.append(loss.item())
                if self.metric is not None:
                    figures.append(float(self.metric(self.model, *values)))
        if not losses:
            raise TinygradError("fit: validate gave no batch")
        found = {"validation": float(np.mean(losses))}
        return found | ({"metric": float(np.mean(figures))} if figures else {})

    def _judge(self, row: dict[str, Any]) -> None:
        """Note whether a validation is the best."""
        figure = row.get("metric", row["validation"])
        best = math.inf if self.best is None else self.best.get("metric", self.best["validation"])
        if figure < best:
            self.best, self._since = row, 0
            self._best_values = None if self.patience is None else self.model.state_dict()
        else:
            self._since += 1
        if isinstance(self.schedule, ReduceOnPlateau):
            self.schedule.step(figure)

    def _show(self, meter: Meter, *, last: bool = False) -> None:
        recent = self.losses[-50:]
        figure = f"loss {np.mean(recent):.4g}" if recent else "no step"
        if self.history and "validation" in self.history[-1]:
            figure += f", validation {self.history[-1]['validation']:.4g}"
        fraction = self.fraction
        meter.update(
            1.0 if last else fraction,
            f"step {self.step:,}, {figure}",
            times(self.seconds, fraction, last=last),
            last=last,
        )

    # --- checkpoints ------------------------------------------------------------------------------

    def share(self, parallel: DataParallel) -> None:
        """Train from now on together with other ranks."""
        self.parallel = parallel
        parallel.shared(self.data)
        self._gradients = self._learner(self._compiled)

    @property
    def _is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.parallel is None or self.parallel.is_first

    def keep_in(self, checkpoint: Checkpoint, save_every: float) -> None:
        """Save the run from now on, every so many seconds, after going on from what is there.

        A checkpoint gets the parts that it does not have.
        """
        own: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer}
        own |= {
            name: part
            for name, part in (("schedule", self.schedule), ("data", self.data))
            if hasattr(part, "load_state_dict")
        }
        given = checkpoint.parts  # they come first: one may say that this is another run
        checkpoint.parts = given | {name: own[name] for name in own if name not in given}
        self.checkpoint, self._save_every = checkpoint, save_every
        saved = None if checkpoint.replace else checkpoint.latest()
        if saved is not None:
            if missing := [name for name in ("states", *_KEPT) if name not in saved.values]:
                raise TinygradError(
                    f"fit: {saved.path} is not a checkpoint of tg.fit, which keeps {', '.join(missing)} too; name another folder"
                )
            for name in _KEPT:
                setattr(self, name, saved.values[name])
            self.step = saved.step
            self.state = self._own_state(saved.values["states"])
        parallel = self.parallel
        if parallel is not None and parallel.any(self.step != parallel.mean(self.step)[0]):
            raise TinygradError(
                f"fit: the ranks found different checkpoints in {checkpoint.folder}; it has to be a folder that all of them can read"
            )

    def _own_state(self, states: list[Any]) -> Any:
        """Return the carried state of this rank."""
        rank, size = (0, 1) if self.parallel is None else (self.parallel.rank, self.parallel.size)
        if self.carry and len(states) != size:
            raise TinygradError(
                f"fit: the checkpoint has the carried states of {len(states)} ranks; go on with as many, and not with {size}"
            )
        return states[rank % len(states)]

    def save(self) -> None:
        """Write a checkpoint, if there is to be one.

        Where it cannot be written, the one before is still there, and training goes on.
        """
        self._saved = self.seconds
        if self.checkpoint is None:
            return
        states = [self.state] if self.parallel is None else self.parallel.gather(self.state)
        values = {"states": states, **{name: getattr(self, name) for name in _KEPT}}
        if not self._is_first:
            return
        try:
            self.checkpoint.save(self.step, **values)
        except OSError as error:
            say(console(), f"The checkpoint cannot be written now: {error}. Training goes on.")

    def __repr__(self) -> str:
        loss = f", loss {self.history[-1]['loss']:.4g}" if self.history else ""
        best = f", best validation {self.best['validation']:.4g}" if self.best else ""
        return f"<Fit of {self.step:,} steps in {self.seconds:.1f} s{loss}{best}>"


# what a checkpoint keeps besides model, optimiser, schedule and data
_KEPT = (
    "epoch",
    "seconds",
    "losses",
    "norms",
    "history",
    "best",
    "_best_values",
    "_since",
    "_place",
)
