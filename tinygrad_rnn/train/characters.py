"""A character model: the network, its score on text, and text drawn from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import cells, nn
from ..compiler import jit
from ..core.tape import eager, no_grad
from ..core.tensor import Tensor
from ..core.tree import tree_map
from ..data import Vocabulary
from ..recurrent import unroll
from .errors import ArgumentError

__all__ = ["CharacterLSTM", "evaluate", "evaluating", "mean_bits", "sample"]

FloatArray = npt.NDArray[np.float64]

_CHUNK = 64  # steps that evaluation unrolls at a time


class CharacterLSTM(nn.Module):
    """A network that gives the distribution of the next character: embedding, LSTM, linear.

    The LSTM is compiled for whole sequences. In training, numbers are dropped from the characters'
    vectors and from the outputs of the LSTM, not from its state.

    Parameters
    ----------
    symbols
        Size of the vocabulary.
    embedding, hidden
        Length of a character's vector, and of the LSTM's state.
    embedding_dropout, dropout
        Probabilities that in training a number of a character's vector, or of an output of the
        LSTM, is 0.
    rng
        Generator or seed of the first weights.
    masks
        Generator or seed of what is dropped.
    """

    def __init__(
        self,
        symbols: int,
        embedding: int,
        hidden: int,
        *,
        embedding_dropout: float = 0.0,
        dropout: float = 0.0,
        rng: Any = None,
        masks: Any = None,
    ) -> None:
        rng, masks = np.random.default_rng(rng), np.random.default_rng(masks)
        self.embedding = nn.Embedding(symbols, embedding, rng=rng)
        self.embedding_dropout = nn.Dropout(embedding_dropout, rng=masks)
        self.cell = jit(cells.LSTM(embedding, hidden, rng=rng))
        self.dropout = nn.Dropout(dropout, rng=masks)
        self.output = nn.Linear(hidden, symbols, rng=rng)
        for name, p in self.named_parameters():
            p.name = name  # for pictures and messages

    def forward(self, ids: Any, state: Any = None) -> tuple[Any, Any]:
        """Run the network over ids of shape (T, B) from a first state, which is zeros by default.

        Returns
        -------
        logits : Tensor, shape (T, B, symbols)
        state : tuple
            The last state.
        """
        vectors = self.embedding_dropout(self.embedding(ids))
        outputs, state = unroll(self.cell, vectors, state)
        return self.output(self.dropout(outputs)), state

    def loss(self, ids: Any, targets: Any, state: Any = None) -> tuple[Any, Any]:
        """Return the mean loss of a window in nats, and the state after it."""
        logits, state = self(ids, state)
        return nn.cross_entropy(logits, targets), state

    @property
    def symbols(self) -> int:
        """Size of the vocabulary."""
        return int(self.embedding.weight.shape[0])

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(p.size for p in self.parameters())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context: a model is in evaluation, so that nothing is dropped; then it is as it was."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


def evaluate(
    model: CharacterLSTM,
    ids: npt.ArrayLike,
    *,
    streams: int = 1,
    warm_up: int = 256,
    each: int | None = None,
    between: Callable[[], None] = lambda: None,
) -> FloatArray:
    """Return the score of a text: ``-log2 p`` of each of ``ids[1:]`` from the ids before it.

    Nothing is dropped meanwhile.

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
        If given, only so many characters of each part are scored: an even sample of the text.
    between
        It is called now and then, and what it raises ends the evaluation.

    Returns
    -------
    ndarray of float64
        Bits in the order of the text; shape (n - 1,) unless `each` is given.

    Raises
    ------
    ArgumentError
        If there are fewer than two ids, or a number is out of range.
    """
    parts = list(_scored(model, ids, streams, warm_up, each, between))
    bits = np.concatenate([found for found, _ in parts])
    inside = np.concatenate([there for _, there in parts])
    scored: FloatArray = bits.T[inside.T]
    return scored


def mean_bits(
    model: CharacterLSTM,
    ids: npt.ArrayLike,
    *,
    streams: int = 1,
    warm_up: int = 256,
    between: Callable[[], None] = lambda: None,
) -> float:
    """Return the mean of what `evaluate` gives, without keeping it: of a text of any size."""
    total, count = 0.0, 0
    for bits, inside in _scored(model, ids, streams, warm_up, None, between):
        total += float(bits[inside].sum())
        count += int(inside.sum())
    return total / count


def _scored(
    model: CharacterLSTM,
    ids: npt.ArrayLike,
    streams: int,
    warm_up: int,
    each: int | None,
    between: Callable[[], None],
) -> Iterator[tuple[FloatArray, npt.NDArray[np.bool_]]]:
    """Yield scores (steps, streams) of `evaluate` chunk by chunk, and which of them are of the text."""
    array = np.asanyarray(ids)
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

    def at(places: Any) -> npt.NDArray[np.int64]:
        found: npt.NDArray[np.int64] = array[places].astype(np.int64)
        return found

    with evaluating(model), no_grad():
        state = model.cell.initial_state(1)
        if streams > 1 and warm_up:
            early = None
            for t in range(0, warm_up, _CHUNK):
                offsets = np.arange(t, min(t + _CHUNK, warm_up)) - warm_up
                _, early = model(at(starts[1:] + offsets[:, None]), early)
                between()
            state = tree_map(
                lambda zero, part: Tensor(np.concatenate([zero.numpy(), part.numpy()])),
                state,
                early,
            )
        elif streams > 1:
            state = model.cell.initial_state(streams)
        for t in range(0, count, _CHUNK):
            places = starts + np.arange(t, min(t + _CHUNK, count))[:, None]
            inside = np.minimum(places, n - 1)  # the last part may be shorter
            logits, state = model(at(inside), state)
            yield _bits(logits.numpy(), at(inside + 1)), places < n
            between()


def _bits(logits: npt.NDArray[Any], targets: npt.NDArray[Any]) -> FloatArray:
    """Return ``-log2 p`` of each target; logits have one axis more, that of the symbols."""
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
    """Draw text from a model, of which nothing is dropped meanwhile.

    Parameters
    ----------
    model, vocabulary
        The network and its symbols. The unknown symbol is never drawn.
    length
        Number of characters, words or bytes.
    prompt
        What the model reads first, at least one of them. It is not part of the result.
    temperature
        Logits are divided by it. Below 1 likelier characters are drawn more often still, and at 0
        the likeliest is drawn each time.
    rng
        Generator or seed.
    between
        It is called after each of them, and what it raises ends the drawing.

    Returns
    -------
    str
        Text of so many characters, words or bytes.

    Raises
    ------
    ArgumentError
        If `length` or `temperature` is negative, or the prompt is empty.
    """
    if length < 0 or not prompt or not (temperature >= 0 and math.isfinite(temperature)):
        raise ArgumentError(
            f"expected length >= 0, a prompt and a temperature >= 0; found {length}, {prompt!r} and {temperature}"
        )
    rng = np.random.default_rng(rng)
    drawn: list[int] = []
    with evaluating(model), no_grad(), eager():  # there is nothing to gain for single steps
        logits, state = model(vocabulary.encode(prompt)[:, None])
        for _ in range(length):
            z = logits.numpy()[-1, 0, vocabulary.drawn_from :].astype(np.float64)
            if temperature > 0:
                weights = np.cumsum(np.exp((z - z.max()) / temperature))
                place = int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))
            else:
                place = int(z.argmax())
            drawn.append(min(place, len(z) - 1) + vocabulary.drawn_from)
            between()
            logits, state = model(np.array([[drawn[-1]]]), state)
    return vocabulary.decode(np.array(drawn, dtype=np.int64))
