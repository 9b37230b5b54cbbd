"""A character model: the network, its score on text, text drawn from it, and its training."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import cells, nn
from ..compiler import jit
from ..core.errors import TinygradError
from ..core.tape import eager, no_grad
from ..core.tensor import Tensor
from ..core.tree import detach, leaves, tree_map, unflatten
from ..formats import safetensors
from ..optim import Adam, clip_grad_norm
from ..recurrent import unroll
from .errors import ArgumentError
from .text import Vocabulary, endless_windows

__all__ = [
    "CharacterLSTM",
    "Checkpoint",
    "CheckpointError",
    "DivergedError",
    "Settings",
    "Trainer",
    "evaluate",
    "load_model",
    "sample",
    "save_model",
]

FloatArray = npt.NDArray[np.float64]

_KIND = "tinygrad_rnn character LSTM"
_KIND_OF_CHECKPOINT = "tinygrad_rnn training checkpoint"
_CHUNK = 64  # steps that evaluation unrolls at a time


class DivergedError(TinygradError, ArithmeticError):
    """The loss or the gradient is no longer finite; the message names the step and what to try."""


class CheckpointError(TinygradError, ValueError):
    """A file is not the model or the checkpoint that was expected."""


class CharacterLSTM(nn.Module):
    """The distribution of the next character: embedding, LSTM, linear.

    The LSTM is compiled for whole sequences.

    Parameters
    ----------
    symbols
        Size of the vocabulary.
    embedding, hidden
        Length of a character's vector, and of the LSTM's state.
    rng
        Generator or seed of the first weights.
    """

    def __init__(self, symbols: int, embedding: int, hidden: int, *, rng: Any = None) -> None:
        rng = np.random.default_rng(rng)
        self.embedding = nn.Embedding(symbols, embedding, rng=rng)
        self.cell = jit(cells.LSTM(embedding, hidden, rng=rng))
        self.output = nn.Linear(hidden, symbols, rng=rng)
        for name, p in self.named_parameters():
            p.name = name  # for pictures and messages

    def forward(self, ids: Any, state: Any = None) -> tuple[Any, Any]:
        """Give logits of shape (T, B, symbols) and the last state for ids of shape (T, B) and a first state (default: zeros)."""
        outputs, state = unroll(self.cell, self.embedding(ids), state)
        return self.output(outputs), state

    @property
    def symbols(self) -> int:
        """Size of the vocabulary."""
        return int(self.embedding.weight.shape[0])

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(p.size for p in self.parameters())


def evaluate(
    model: CharacterLSTM,
    ids: npt.ArrayLike,
    *,
    streams: int = 1,
    warm_up: int = 256,
    each: int | None = None,
    between: Callable[[], None] = lambda: None,
) -> FloatArray:
    """Score text: ``-log2 p`` of each of ``ids[1:]`` from the ids before it.

    One stream carries the state from the first character to the last. Several are quicker: the text
    is cut into equal parts that run side by side. Before its first score, a part reads the
    `warm_up` characters that precede it, from a state of zeros; so every character is scored once,
    from at least that much of the text before it (or all, where there is less).

    Parameters
    ----------
    model
        The network.
    ids
        Integers of shape (n,), n at least 2.
    streams
        Number of parts; fewer are used where parts would be shorter than `warm_up`.
    warm_up
        Characters that each part but the first reads without being scored on them.
    each
        Score the first so many characters of each part only: an even sample of the text.
    between
        Called now and then; what it raises ends the evaluation.

    Returns
    -------
    ndarray of float64
        Bits in the order of the text; shape (n - 1,) unless `each` is given.
    """
    array = np.asarray(ids)
    n = len(array) - 1
    if array.ndim != 1 or n < 1 or streams < 1 or warm_up < 0:
        raise ArgumentError(
            f"expected at least 2 ids of shape (n,), streams >= 1 and warm_up >= 0; found {array.shape}, {streams}, {warm_up}"
        )
    streams = max(1, min(streams, n // max(warm_up, 1)))
    length = -(-n // streams)
    streams = -(-n // length)
    count = length if each is None else min(each, length)
    starts = np.arange(streams) * length
    with no_grad():
        state = model.cell.initial_state(1)
        if streams > 1 and warm_up:
            early = None
            for t in range(0, warm_up, _CHUNK):
                offsets = np.arange(t, min(t + _CHUNK, warm_up)) - warm_up
                _, early = model(array[starts[1:] + offsets[:, None]], early)
                between()
            state = tree_map(
                lambda zero, part: Tensor(np.concatenate([zero.numpy(), part.numpy()])),
                state,
                early,
            )
        elif streams > 1:
            state = model.cell.initial_state(streams)
        bits = np.empty((count, streams))
        for t in range(0, count, _CHUNK):
            places = starts + np.arange(t, min(t + _CHUNK, count))[:, None]
            inside = np.minimum(places, n - 1)  # the last part may be shorter
            logits, state = model(array[inside], state)
            bits[t : t + _CHUNK] = _bits(logits.numpy(), array[inside + 1])
            between()
    scored: FloatArray = bits.T[(starts[:, None] + np.arange(count)) < n]
    return scored


def _bits(logits: npt.NDArray[Any], targets: npt.NDArray[Any]) -> FloatArray:
    z = logits.astype(np.float64)
    z -= z.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(z, targets[..., None], -1)[..., 0]
    bits: FloatArray = (np.log(np.exp(z).sum(axis=-1)) - chosen) / math.log(2)
    return bits


def sample(
    model: CharacterLSTM,
    vocabulary: Vocabulary,
    length: int,
    *,
    prompt: str = "\n",
    temperature: float = 1.0,
    rng: Any = None,
    between: Callable[[], None] = lambda: None,
) -> str:
    """Draw text from a model.

    Parameters
    ----------
    model, vocabulary
        The network and its symbols. The unknown symbol is never drawn.
    length
        Number of characters.
    prompt
        What the model reads first, at least one character; it is not part of the result.
    temperature
        Logits are divided by it: below 1 likelier characters are drawn more often still; at 0
        always the likeliest.
    rng
        Generator or seed.
    between
        Called after each character; what it raises ends the drawing.
    """
    if length < 0 or not prompt or not (temperature >= 0 and math.isfinite(temperature)):
        raise ArgumentError(
            f"expected length >= 0, a prompt and a temperature >= 0; found {length}, {prompt!r} and {temperature}"
        )
    rng = np.random.default_rng(rng)
    drawn: list[int] = []
    with no_grad(), eager():  # there is nothing to gain for single steps
        logits, state = model(vocabulary.encode(prompt)[:, None])
        for _ in range(length):
            z = logits.numpy()[-1, 0, 1:].astype(np.float64)
            if temperature > 0:
                weights = np.cumsum(np.exp((z - z.max()) / temperature))
                place = int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))
            else:
                place = int(z.argmax())
            drawn.append(min(place, len(z) - 1) + 1)
            between()
            logits, state = model(np.array([[drawn[-1]]]), state)
    return vocabulary.decode(np.array(drawn, dtype=np.int64))


# --- files ----------------------------------------------------------------------------------------------------------------


def save_model(
    path: str | os.PathLike[str], model: CharacterLSTM, vocabulary: Vocabulary, context: str = "\n"
) -> None:
    """Write a model as a safetensors file, atomically.

    Its vocabulary, and text from which samples may go on, are in the metadata.
    """
    metadata = {
        "kind": _KIND,
        "vocabulary": json.dumps(vocabulary.characters),
        "context": json.dumps(context),
    }
    _write(path, model.state_dict(), metadata)


def _write(
    path: str | os.PathLike[str], arrays: dict[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> None:
    """Write a file of one of the two kinds, with a checksum.

    The format has none, and weights that were damaged still look like weights.
    """
    safetensors.write(path, arrays, {**metadata, "sha256": _checksum(arrays, metadata)})


def _checksum(arrays: dict[str, npt.NDArray[Any]], metadata: dict[str, str]) -> str:
    found = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {value.dtype.str} {arrays[name].shape}".encode())
        found.update(value.tobytes())
    return found.hexdigest()


def _read(
    path: str | os.PathLike[str], kind: str, what: str
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """The arrays and metadata of a file of one of the two kinds that are written here."""
    arrays, metadata = safetensors.read(path)
    if metadata.get("kind") != kind:
        raise CheckpointError(
            f"{path}: expected {what}, found {metadata.get('kind', 'other tensors')!r}"
        )
    written = metadata.pop("sha256", None)
    # files of earlier versions have none
    if written is not None and written != _checksum(arrays, metadata):
        raise CheckpointError(
            f"{path} is damaged: its content does not have the checksum that was written with it"
        )
    return arrays, metadata


def load_model(path: str | os.PathLike[str]) -> tuple[CharacterLSTM, Vocabulary, str]:
    """Read what `save_model` wrote.

    The model, its vocabulary, and text from which samples may go on.

    Raises
    ------
    CheckpointError
        If the file holds something else.
    FormatError, OSError
        If it is no valid safetensors file, or cannot be read.
    """
    arrays, metadata = _read(path, _KIND, "a model written by demo or train")
    try:
        vocabulary, context = (
            Vocabulary(json.loads(metadata["vocabulary"])),
            str(json.loads(metadata["context"])),
        )
        symbols, embedding = arrays["embedding.weight"].shape
        model = CharacterLSTM(symbols, embedding, arrays["cell.weight_hh"].shape[1], rng=0)
        model.load_state_dict(arrays)
    except (KeyError, ValueError, TypeError, IndexError, TinygradError) as error:
        raise CheckpointError(
            f"{path}: the model in it is damaged ({type(error).__name__}: {error})"
        ) from error
    if len(vocabulary) != symbols:
        raise CheckpointError(
            f"{path}: the model has {symbols} symbols, its vocabulary {len(vocabulary)}"
        )
    return model, vocabulary, context


# --- training -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What a training run depends on, besides its text.

    Attributes
    ----------
    hidden, embedding
        Sizes of the network.
    batch, window
        Streams side by side, and steps through which gradients flow.
    lr
        Learning rate of Adam at its height; see `Trainer.rate`.
    clip
        Largest norm of the gradient.
    seed
        Of weights, windows and samples.
    """

    hidden: int = 128
    embedding: int = 32
    batch: int = 32
    window: int = 24
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
        Training text as ids.
    vocabulary
        Its symbols.
    settings
        Sizes and rates.
    """

    def __init__(
        self, ids: npt.NDArray[np.int64], vocabulary: Vocabulary, settings: Settings
    ) -> None:
        self.ids, self.vocabulary, self.settings = ids, vocabulary, settings
        self.model = CharacterLSTM(
            len(vocabulary), settings.embedding, settings.hidden, rng=[settings.seed, 0]
        )
        self.optimizer = Adam(self.model.parameters(), lr=settings.lr)
        self.state = self.model.cell.initial_state(settings.batch)
        self.losses: list[float] = []  # bits per character, step by step
        self.scores: list[tuple[int, float]] = []  # steps, and bits per held-out character there
        self.seconds = 0.0  # spent in training, over all sessions
        self.windows = self._windows()

    def _windows(self) -> Any:
        s = self.settings
        return endless_windows(self.ids, s.batch, s.window, rng=np.random.default_rng([s.seed, 1]))

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
        """Learning rate when a fraction of the budget is used.

        Up over the first 2 %, then down half a cosine to a hundredth.
        """
        rising = min(1.0, (fraction + 1e-3) / 0.02)
        return (
            self.settings.lr
            * rising
            * (0.505 + 0.495 * math.cos(math.pi * min(max(fraction, 0.0), 1.0)))
        )

    def loss(
        self, ids: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], state: Any = None
    ) -> tuple[Any, Any]:
        """Give the mean loss of a window in nats, and the state after it."""
        logits, state = self.model(ids, state)
        return nn.cross_entropy(logits, targets), state

    def step(self, fraction: float) -> float:
        """Train on the next window; `fraction` of the budget is used.

        Gives the loss in bits per character.

        Raises
        ------
        DivergedError
            If the loss or the gradient is not finite; the parameters are then as they were.
        """
        window = next(self.windows)
        if window.fresh:
            self.state = self.model.cell.initial_state(self.settings.batch)
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is found below
            loss, state = self.loss(window.inputs, window.targets, self.state)
            self.model.zero_grad()
            loss.backward()
            norm = clip_grad_norm(self.model.parameters(), self.settings.clip)
            if not (math.isfinite(loss.item()) and math.isfinite(norm)):
                raise self._diverged(loss.item(), norm)
            self.optimizer.lr = self.rate(fraction)
            self.optimizer.step()
        self.state = detach(state)
        self.losses.append(loss.item() / math.log(2))
        return self.losses[-1]

    def _diverged(self, loss: float, norm: float) -> DivergedError:
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
        """Run one window forward and backward and forget it, so that kernels are compiled.

        Gives the seconds that it took.
        """
        started = time.perf_counter()
        ids = np.resize(self.ids, (self.settings.window, self.settings.batch))
        self.loss(ids, ids)[0].backward()
        self.model.zero_grad()
        return time.perf_counter() - started

    def save(self, path: str | os.PathLike[str], about: dict[str, Any] | None = None) -> None:
        """Write a checkpoint, atomically. `about` is kept beside it, as JSON."""
        arrays = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        arrays |= {
            f"optimizer.{name}": value for name, value in self.optimizer.state_dict().items()
        }
        arrays |= {f"state.{i}": value.numpy() for i, value in enumerate(leaves(self.state))}
        arrays["losses"] = np.array(self.losses)
        metadata = {
            "kind": _KIND_OF_CHECKPOINT,
            "settings": json.dumps(dataclasses.asdict(self.settings)),
            "progress": json.dumps({"seconds": self.seconds, "scores": self.scores}),
            "vocabulary": json.dumps(self.vocabulary.characters),
            "about": json.dumps(about or {}),
        }
        _write(path, arrays, metadata)

    @classmethod
    def resume(cls, checkpoint: Checkpoint, ids: npt.NDArray[np.int64]) -> Trainer:
        """Go on from a checkpoint with the same text, as if there had been no break."""
        try:
            trainer = cls(ids, checkpoint.vocabulary, checkpoint.settings)
            parts: dict[str, dict[str, Any]] = {"model": {}, "optimizer": {}, "state": {}}
            for name, value in checkpoint.arrays.items():
                part, _, rest = name.partition(".")
                parts.get(part, {})[rest] = value
            trainer.model.load_state_dict(parts["model"])
            trainer.optimizer.load_state_dict(parts["optimizer"])
            trainer.state = unflatten(
                trainer.state,
                [Tensor(parts["state"][str(i)]) for i in range(len(leaves(trainer.state)))],
            )
            trainer.losses = checkpoint.arrays["losses"].tolist()
            trainer.seconds = checkpoint.seconds
            trainer.scores = list(checkpoint.scores)
        except (KeyError, ValueError, IndexError, TinygradError) as error:
            raise CheckpointError(
                f"{checkpoint.path}: the checkpoint is damaged ({type(error).__name__}: {error})"
            ) from error
        trainer.windows = itertools.islice(trainer.windows, trainer.steps, None)
        return trainer


@dataclass(frozen=True)
class Checkpoint:
    """What `Trainer.save` wrote, as read back."""

    path: Path
    settings: Settings
    vocabulary: Vocabulary
    seconds: float
    scores: list[tuple[int, float]]
    about: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Read a checkpoint.

        Raises
        ------
        CheckpointError
            If the file holds something else.
        FormatError, OSError
            If it is no valid safetensors file, or cannot be read.
        """
        arrays, metadata = _read(path, _KIND_OF_CHECKPOINT, "a checkpoint of a training run")
        try:
            progress = json.loads(metadata["progress"])
            return cls(
                path=Path(path),
                settings=Settings(**json.loads(metadata["settings"])),
                vocabulary=Vocabulary(json.loads(metadata["vocabulary"])),
                seconds=float(progress["seconds"]),
                scores=[(int(a), float(b)) for a, b in progress["scores"]],
                about=dict(json.loads(metadata["about"])),
                arrays=arrays,
            )
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path}: the checkpoint is damaged ({type(error).__name__}: {error})"
            ) from error
