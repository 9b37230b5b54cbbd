"""The training of a character model, and what its checkpoints keep."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..compiler import jit
from ..core.errors import TinygradError
from ..core.tape import context
from ..core.tensor import Tensor
from ..core.tree import detach, leaves, unflatten
from ..data import Corpus, Vocabulary, Windows
from ..optim import Adam, clip_grad_norm
from .characters import CharacterLSTM
from .checkpoint import Checkpoint
from .errors import CheckpointError, DivergedError

__all__ = ["SavedRun", "Settings", "Trainer"]

KEPT = 2  # checkpoints of a run


@dataclass(frozen=True)
class Settings:
    """What a training run depends on, besides its text.

    Attributes
    ----------
    hidden, embedding
        Sizes of the network.
    batch, window
        Streams side by side, and steps through which gradients flow.
    embedding_dropout, dropout
        Probabilities that a number of a character's vector, or of an output of the LSTM, is
        dropped.
    lr
        Learning rate of Adam at its height; see `Trainer.rate`.
    clip
        Largest norm of the gradient.
    seed
        Seed of weights, windows, samples and of what is dropped.
    """

    hidden: int = 192
    embedding: int = 32
    batch: int = 32
    window: int = 24
    embedding_dropout: float = 0.05
    dropout: float = 0.3
    lr: float = 1.5e-2
    clip: float = 1.0
    seed: int = 0


class Trainer:
    """A model, its optimiser and its place in the text: all that a checkpoint keeps.

    Training is truncated backpropagation through time: each step takes the next window of every
    stream, with the state that the window before left, cut from its graph.

    Parameters
    ----------
    ids
        The training text as ids.
    vocabulary
        Its symbols.
    settings
        Sizes and rates.
    """

    def __init__(
        self, ids: Corpus | npt.NDArray[np.int64], vocabulary: Vocabulary, settings: Settings
    ) -> None:
        self.ids, self.vocabulary, self.settings = ids, vocabulary, settings
        self.masks = np.random.default_rng([settings.seed, 3])  # [seed, 2] draws the sample
        self.model = CharacterLSTM(
            len(vocabulary),
            settings.embedding,
            settings.hidden,
            embedding_dropout=settings.embedding_dropout,
            dropout=settings.dropout,
            rng=[settings.seed, 0],
            masks=self.masks,
        )
        self.optimizer = Adam(self.model.parameters(), lr=settings.lr)
        self.state = self.model.cell.initial_state(settings.batch)
        self.losses: list[float] = []  # bits per character, step by step
        self.scores: list[tuple[int, float]] = []  # steps, and bits per held-out character there
        self.seconds = 0.0  # spent in training, over all sessions
        self.data = Windows(
            ids, settings.batch, settings.window, rng=np.random.default_rng([settings.seed, 1])
        )
        self.windows = itertools.chain.from_iterable(itertools.repeat(self.data))
        self.checkpoint: Checkpoint | None = None
        self._learn = _learner(self.model, settings.clip)

    @property
    def steps(self) -> int:
        """Number of steps done."""
        return len(self.losses)

    @property
    def characters(self) -> int:
        """Number of training characters in all the windows so far."""
        return self.steps * self.characters_per_step

    @property
    def speed(self) -> float:
        """Characters per second, over all of training."""
        return self.characters / self.seconds if self.seconds else 0.0

    @property
    def characters_per_step(self) -> int:
        """Number of characters in a window."""
        return self.settings.batch * self.settings.window

    def rate(self, fraction: float) -> float:
        """Return the learning rate when a fraction of the budget is used.

        It rises over the first 2 %, and then falls by half a cosine to a hundredth.
        """
        rising = min(1.0, (fraction + 1e-3) / 0.02)
        return (
            self.settings.lr
            * rising
            * (0.505 + 0.495 * math.cos(math.pi * min(max(fraction, 0.0), 1.0)))
        )

    def step(self, fraction: float) -> float:
        """Train on the next window.

        Parameters
        ----------
        fraction
            How much of the budget is used.

        Returns
        -------
        float
            The loss in bits per character.

        Raises
        ------
        DivergedError
            If the loss or the gradient is not finite; the parameters are then as they were.
        """
        window = next(self.windows)
        if window.fresh:
            self.state = self.model.cell.initial_state(self.settings.batch)
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is found below
            loss, state, norm = self._learn(window.inputs, window.targets, self.state)
            if not (math.isfinite(loss.item()) and math.isfinite(norm)):
                raise self._diverged(loss.item(), norm)
            self.optimizer.lr = self.rate(fraction)
            self.optimizer.step()
        self.state = detach(state)
        self.losses.append(loss.item() / math.log(2))
        return self.losses[-1]

    def _diverged(self, loss: float, norm: float) -> DivergedError:
        """Return the error for a loss or a norm of the gradient that is not finite."""
        found = (
            f"the loss is {loss}"
            if not math.isfinite(loss)
            else f"the norm of the gradient is {norm} (the loss is {loss:.3g})"
        )
        return DivergedError(
            f"training diverged at step {self.steps + 1}: {found}. "
            f"Try a lower learning rate (--lr {self.settings.lr / 4:.2g}) or stronger clipping (--clip {self.settings.clip / 4:.2g})."
        )

    def prepare(self) -> float:
        """Compile a step before the first one; nothing that training depends on changes.

        Returns
        -------
        float
            The seconds that it took.
        """
        started = time.perf_counter()
        ids = Tensor(np.zeros((self.settings.window, self.settings.batch), np.int64))
        if not context().eager:
            self._learn.compile(ids, ids, self.state)
        return time.perf_counter() - started

    def keep_in(self, folder: Path, *, replace: bool = False) -> Checkpoint:
        """Return the checkpoints of this run in a folder, which `save` writes from now on."""
        self.checkpoint = Checkpoint(
            folder,
            keep=KEPT,
            replace=replace,
            model=self.model,
            optimizer=self.optimizer,
            data=self.data,
        )
        return self.checkpoint

    def save(self, about: dict[str, Any] | None = None) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        about
            What else is to be known of the run.
        """
        assert self.checkpoint is not None
        self.checkpoint.save(
            self.steps,
            settings=dataclasses.asdict(self.settings),
            vocabulary={"symbols": [*self.vocabulary.symbols], "units": self.vocabulary.units},
            about=about or {},
            seconds=self.seconds,
            scores=self.scores,
            losses=self.losses,
            state=leaves(self.state),
        )

    @classmethod
    def resume(cls, run: SavedRun, ids: Corpus | npt.NDArray[np.int64]) -> Trainer:
        """Go on from a checkpoint with the same text, as if there had been no break.

        Raises
        ------
        CheckpointError
            If it does not fit.
        """
        try:
            trainer = cls(ids, run.vocabulary, run.settings)
            saved = trainer.keep_in(run.folder).latest()
            assert saved is not None
            trainer.state = unflatten(trainer.state, saved.values["state"])
        except CheckpointError:
            raise
        except (ValueError, TypeError, StopIteration, TinygradError) as error:
            raise CheckpointError(
                f"{run.folder}: the checkpoint is damaged ({type(error).__name__}: {error})"
            ) from error
        trainer.losses, trainer.seconds, trainer.scores = run.losses, run.seconds, run.scores
        return trainer


def _learner(model: CharacterLSTM, clip: float) -> Any:
    """Return the compiled function that fills the gradients of a model by a window.

    It takes ids, targets and the state before the window, and returns the loss, the state after it,
    and the norm of the gradient, which is then clipped. Its closure is all that it reads, so that
    the recording knows what it depends on.
    """

    def learn(ids: Any, targets: Any, state: Any) -> tuple[Any, Any, float]:
        loss, state = model.loss(ids, targets, state)
        model.zero_grad()
        loss.backward()
        return loss, state, clip_grad_norm(model.parameters(), clip)

    return jit(learn)


@dataclass(frozen=True)
class SavedRun:
    """What a run was when its newest checkpoint was written.

    Attributes
    ----------
    folder
        Of the checkpoints.
    settings, vocabulary
        Sizes, rates and symbols of the run.
    losses
        Bits per character, step by step.
    seconds
        Time spent in training, over all sessions.
    scores
        Steps, and bits per held-out character there.
    about
        What the run noted besides.
    """

    folder: Path
    settings: Settings
    vocabulary: Vocabulary
    losses: list[float]
    seconds: float
    scores: list[tuple[int, float]]
    about: dict[str, Any]

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> SavedRun:
        """Read the newest checkpoint in a folder.

        Raises
        ------
        CheckpointError
            If there is none of such a run, or none is whole.
        OSError
            If it cannot be read.
        """
        saved = Checkpoint(folder).peek()
        if saved is None:
            raise CheckpointError(f"{folder}: there is no checkpoint")
        try:
            values = saved.values
            settings = values["settings"]
            # a default in place of one that is missing would be another run
            if other := {f.name for f in fields(Settings)} ^ set(settings):
                raise CheckpointError(
                    f"{saved.path}: another version wrote this checkpoint (settings that only one of them has: {', '.join(sorted(other))}). "
                    "Begin anew with --overwrite, or with another --out"
                )
            return cls(
                Path(folder),
                Settings(**settings),
                Vocabulary(**values["vocabulary"]),
                *(values[name] for name in ("losses", "seconds", "scores", "about")),
            )
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{saved.path}: expected a checkpoint of demo or train text; it is damaged, or another one ({type(error).__name__}: {error})"
            ) from error
