"""From a step that predicts the next token to sequences: greedy choice, beam search, drawing.

A step is any function ``(ids, state) -> (logits, state)``: ids, int64 of shape (batch,), are the
tokens before; logits have shape (batch, vocabulary); the state is any tree of tensors or arrays
whose first axis is the batch. Nothing is recorded for gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..core.primitive import Array
from ..core.tape import no_grad
from ..core.tree import flatten, leaves, tree_map
from ..init import generator
from ..ops.checks import array, shown, typed

Step = Callable[[Array, Any], tuple[Any, Any]]


class Hypothesis(NamedTuple):
    """A sequence that beam search has found.

    Attributes
    ----------
    tokens : list of int
        The tokens, without start and without stop.
    log_probability : float
        The log-probability, in nats, of the tokens and of stop, if it came.
    score : float
        What hypotheses are compared by: the log-probability over the length penalty.
    """

    tokens: list[int]
    log_probability: float
    score: float


@typed
def greedy(step: Step, state: Any, start: Any, stop: int | None, max_length: int) -> Array:
    """Choose the likeliest token, step by step.

    Parameters
    ----------
    step : callable
        ``(ids (batch,), state) -> (logits (batch, vocabulary), state)``.
    state : tree of tensors or arrays
        The first state.
    start : int or integer array (batch,)
        The token before the first.
    stop : int or None
        The token that ends a sequence; with None all have the full length.
    max_length : int
        The most tokens that a sequence may have.

    Returns
    -------
    int64 array, shape (batch, length)
        Length is at most `max_length`; from its end on, a sequence is filled with `stop`. `cut`
        makes lists of it.
    """
    return _one_by_one(
        step, state, start, stop, max_length, lambda logits: np.argmax(logits, axis=-1)
    )


@typed
def sample(
    step: Step,
    state: Any,
    start: Any,
    stop: int | None,
    max_length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    rng: Any = None,
) -> Array:
    """Draw tokens from what the step predicts.

    Parameters
    ----------
    step, state, start, stop, max_length
        See `greedy`.
    temperature : float
        Logits are divided by it: below 1 likely tokens are drawn more often still; at 0 always the
        likeliest.
    top_k : int, optional
        Only the k likeliest tokens are drawn (of equal ones those with the lower id).
    rng : numpy Generator or int, optional
        Where random numbers come from.

    Returns
    -------
    int64 array, shape (batch, length)
        See `greedy`.
    """
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise TinygradError(
            f"sample: temperature must be a number of at least 0; found {temperature}"
        )
    if top_k is not None and top_k < 1:
        raise TinygradError(f"sample: top_k must be at least 1, or None; found {top_k}")
    if temperature == 0:
        return greedy(step, state, start, stop, max_length)
    rng = generator(rng)

    def draw(logits: Array) -> Array:
        order = np.argsort(-logits, axis=-1, kind="stable")[:, :top_k]
        z = np.take_along_axis(logits, order, -1)
        # at a very low temperature: then only the likeliest is left
        with np.errstate(over="ignore"):
            heights = np.cumsum(np.exp((z - z[:, :1]) / temperature), axis=-1)
        place = (heights <= rng.random((len(z), 1)) * heights[:, -1:]).sum(axis=-1)
        drawn: Array = np.take_along_axis(order, place[:, None], -1)[:, 0]
        return drawn

    return _one_by_one(step, state, start, stop, max_length, draw)


def cut(ids: Array, stop: int | None) -> list[list[int]]:
    """Return the rows of `ids` (batch, length) as lists, each up to its first `stop` if it has one.

    The stop is left out.
    """
    rows = ids.tolist()
    return [row[: row.index(stop)] if stop in row else row for row in rows]


@typed
def beam(
    step: Step,
    state: Any,
    start: Any,
    stop: int | None,
    max_length: int,
    width: int,
    length_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """Search for likely sequences by keeping the `width` best beginnings of each.

    Of all that continues these beginnings by a token, the `width` best are kept again. A hypothesis
    is complete with `stop` or at `max_length`. Those with `stop` leave the beam, if they are among
    the `width` best when they come. A search ends when nothing in its beam can become better than
    the best complete hypothesis; with length penalty 0 and width 1 it is `greedy`.

    Parameters
    ----------
    step : callable
        It is called with batch * width rows; those of sequence b are rows b * width to b * width +
        width - 1. What it reads beside the state must have as many, such as a memory that is
        attended to: ``np.repeat(memory, width, axis=0)``.
    state : tree of tensors or arrays
        The first state, for the batch; it is repeated here.
    start, stop, max_length
        As in `greedy`.
    width : int
        The width of the beam, at least 1.
    length_penalty : float
        Exponent a of the penalty ((5 + length) / 6) ** a, by which log-probabilities are divided
        (Y. Wu et al., Google's Neural Machine Translation System, 2016, arXiv:1609.08144, equation
        14); the length counts stop. 0: none; above 0: longer ones gain.

    Returns
    -------
    list of list of Hypothesis
        For each sequence of the batch its complete hypotheses, the best first, at most `width`.
    """
    if width < 1 or length_penalty < 0:
        raise TinygradError(
            f"beam: width must be at least 1 and length_penalty at least 0; found {width} and {length_penalty}"
        )
    first = _start(step, state, start, stop, max_length)
    batch, ids = len(first), np.repeat(first, width)
    for path, s in flatten(state, "state"):
        if getattr(s, "shape", ())[:1] != (batch,):
            found = f"of shape {tuple(s.shape)}" if hasattr(s, "shape") else f"a {type(s).__name__}"
            raise ShapeError(
                f"beam: {path} is {found}; expected a tensor whose first axis is the batch of {batch}"
            )
    state = _rows(state, np.repeat(np.arange(batch), width))
    beams = _Beams(batch, width, stop, max_length, length_penalty)
    for length in range(1, max_length + 1):
        with no_grad():
            logits, state = step(ids, state)
        rows, ids = beams.extend(_log_softmax(_numbers(logits, batch * width)), length)
        if not beams.running.any():
            break
        state = _rows(state, rows)
    return beams.best()


class _Beams:
    """What a beam search keeps: beginnings, `width` for each sequence, and complete hypotheses.

    Attributes
    ----------
    totals : float64 array, shape (batch, width)
        The log-probabilities of the beginnings; -inf where there is none.
    tokens : int64 array, shape (batch, width, length)
        The beginnings.
    complete : list of list of Hypothesis
        For each sequence what is complete.
    running : bool array, shape (batch,)
        Which sequences can still become better.
    """

    def __init__(
        self, batch: int, width: int, stop: int | None, max_length: int, length_penalty: float
    ) -> None:
        self.width, self.stop = width, stop
        self.max_length, self.length_penalty = max_length, length_penalty
        self.totals = np.full((batch, width), -np.inf)
        self.totals[:, 0] = 0.0  # all rows of a sequence are still the same one
        self.tokens = np.zeros((batch, width, 0), np.int64)
        self.complete: list[list[Hypothesis]] = [[] for _ in range(batch)]
        self.running = np.ones(batch, bool)

    def extend(self, logs: Array, length: int) -> tuple[Array, Array]:
        """Extend the beginnings by one token, to `length`.

        Parameters
        ----------
        logs : float64 array, shape (batch * width, vocabulary)
            The log-probabilities of the next token after each beginning.
        length : int
            The number of tokens from now on, stop included.

        Returns
        -------
        rows : int64 array, shape (batch * width,)
            From which beginning each new one was made.
        ids : int64 array, shape (batch * width,)
            The last tokens of the new ones.
        """
        batch, width = self.totals.shape
        candidates = self.totals[:, :, None] + logs.reshape(batch, width, -1)
        rows, ids = np.zeros((2, batch, width), np.int64)
        for b in np.flatnonzero(self.running):
            going = self._go_on(int(b), candidates[b], length)
            rows[b, : len(going)], ids[b, : len(going)] = np.divmod(going, logs.shape[-1])
        before = np.take_along_axis(self.tokens, rows[:, :, None], 1)
        self.tokens = np.concatenate([before, ids[:, :, None]], -1)
        return (np.arange(batch)[:, None] * width + rows).ravel(), ids.ravel()

    def _go_on(self, b: int, candidates: Array, length: int) -> Array:
        """Complete what ends of sequence b, and return the places of the candidates that go on.

        `candidates` (width, vocabulary) are log-probabilities; places are in the flat array.
        """
        flat, vocabulary = candidates.ravel(), candidates.shape[1]
        # Each row can end in one way only, so the 2 * width best contain `width` that go on, if
        # there are as many.
        best = _largest(flat, 2 * self.width)
        ends = np.full(len(best), length == self.max_length)
        if self.stop is not None:
            ends |= best % vocabulary == self.stop
        scale = _penalty(length, self.length_penalty)
        for k in best[: self.width][ends[: self.width]]:
            words = [*self.tokens[b, k // vocabulary].tolist(), int(k % vocabulary)]
            self.complete[b].append(
                Hypothesis(
                    words[:-1] if words[-1] == self.stop else words,
                    float(flat[k]),
                    float(flat[k] / scale),
                )
            )
        going: Array = best[~ends][: self.width]
        self.totals[b] = -np.inf
        self.totals[b, : len(going)] = flat[going]
        bar = max((h.score for h in self.complete[b]), default=-np.inf)
        # log-probabilities only fall
        longest = _penalty(self.max_length, self.length_penalty)
        self.running[b] = len(going) > 0 and self.totals[b].max() / longest > bar
        return going

    def best(self) -> list[list[Hypothesis]]:
        """Return for each sequence its complete hypotheses, the best first, at most `width`."""
        return [sorted(found, key=lambda h: -h.score)[: self.width] for found in self.complete]


def _one_by_one(
    step: Step,
    state: Any,
    start: Any,
    stop: int | None,
    max_length: int,
    choose: Callable[[Array], Any],
) -> Array:
    """Decode with `choose`, a function from float64 logits (batch, vocabulary) to ids (batch,)."""
    ids = _start(step, state, start, stop, max_length)
    batch = len(ids)
    ended = np.zeros(batch, bool)
    found = []
    for _ in range(max_length):
        with no_grad():
            logits, state = step(ids, state)
        ids = choose(_numbers(logits, batch))
        if stop is not None:
            ids = np.where(ended, stop, ids)
            ended |= ids == stop
        found.append(ids)
        if ended.all():
            break
    tokens: Array = np.stack(found, axis=1)
    return tokens


def _start(step: Any, state: Any, start: Any, stop: int | None, max_length: int) -> Array:
    """Return the first tokens (batch,), and check all that is given.

    The batch is that of `start` if it is an array, else that of the state.
    """
    if isinstance(step, type) or not callable(step):
        raise TinygradError(
            f"decoding: expected a step, (ids, state) -> (logits, state); found {shown(step)}"
        )
    if max_length < 1:
        raise TinygradError(f"decoding: max_length must be at least 1; found {max_length}")
    if stop is not None and stop < 0:
        raise TinygradError(
            f"decoding: stop must be a token, a whole number of at least 0, or None; found {stop}"
        )
    ids = array(start, "decoding: start")
    if ids.dtype.kind not in "iu" or ids.ndim > 1 or not ids.size or ids.min() < 0:
        raise ShapeError(
            f"decoding: start must be a token, a whole number of at least 0, or an array (batch,) of them; found {shown(start)}"
        )
    if ids.ndim:
        several: Array = ids.astype(np.int64)
        return several
    for s in leaves(state):
        if getattr(s, "shape", ()):
            return np.full(int(s.shape[0]), ids, np.int64)
    raise ShapeError(
        "decoding: the state has no tensor that tells the batch; give start as an array (batch,)"
    )


def _rows(state: Any, rows: Array) -> Any:
    with no_grad():
        return tree_map(lambda s: s[rows], state)


def _numbers(logits: Any, batch: int) -> Array:
    """Return the logits in float64, checked."""
    found: Array = array(logits, "decoding: the logits of the step").astype(np.float64)
    if found.ndim != 2 or found.shape[0] != batch:
        raise ShapeError(
            f"decoding: expected logits of shape ({batch}, vocabulary) from the step; found {found.shape}"
        )
    if np.isnan(found).any():
        raise TinygradError(
            "decoding: the step gave logits that are not a number; the model may have diverged"
        )
    if not np.isfinite(found.max(axis=-1)).all():
        raise TinygradError(
            "decoding: the largest logit of a row must be finite; found a row with inf, or with -inf alone (no token is allowed)"
        )
    return found


def _log_softmax(z: Array) -> Array:
    z = z - z.max(axis=-1, keepdims=True)
    logs: Array = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return logs


def _penalty(length: int, exponent: float) -> float:
    return math.pow((5 + length) / 6, exponent)


def _largest(values: Array, count: int) -> Array:
    """Return where the `count` largest finite values are, the largest first.

    Equal ones stand in their order.
    """
    if count < len(values):
        bar = np.partition(values, len(values) - count)[len(values) - count]
        places = np.flatnonzero(values >= bar)
    else:
        places = np.arange(len(values))
    places = places[np.isfinite(values[places])]
    order: Array = places[np.argsort(-values[places], kind="stable")][:count]
    return order
