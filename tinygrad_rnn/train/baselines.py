"""Character models by counting, to read a network's score against.

Every model gives each held-out symbol a probability from the symbols before it, and is scored in
bits per character, the mean of ``-log2 p``.  The first held-out symbol has nothing before it and is
not scored; all models, and the network, are scored on the same ``ids[1:]``.  Counts are of the
training text only; held-out text is never counted, not even the part already read.

Uniform
    ``p(w) = 1 / V`` with V the size of the vocabulary.

Unigram, add-one (Laplace)
    ``p(w) = (c(w) + 1) / (N + V)`` with c counts and N their sum.

Interpolated Kneser-Ney of order n
    With h the n - 1 symbols before w, and h' those without the first, for k = n down to 1::

        p_k(w | h) = max(a(hw) - D_k(a(hw)), 0) / a(h.)  +  b(h) * p_{k-1}(w | h')
        b(h)       = sum over seen w of D_k(a(hw)) / a(h.)
        p_0(w)     = 1 / V

    ``a(hw)`` is the count c(hw) at the highest order n.  At each lower order it is the number of
    distinct symbols v seen before hw, ``N1+(.hw) = |{v : c(vhw) > 0}|``: a symbol that occurs in
    many contexts is likelier in a new one than one that is frequent in a single context (Kneser and
    Ney).  ``a(h.)`` is the sum of a(hw) over w.  If h was never seen, ``p_k(w | h) = p_{k-1}(w |
    h')``.  b(h) is what the discounts take away, so each p_k sums to 1 over w.

    The discount is one of three by count, D(1), D(2) and D(3 or more) (Chen and Goodman,
    "modified").  With n_i the number of k-grams with a = i and ``Y = n1 / (n1 + 2 n2)``::

        D(1) = 1 - 2 Y n2 / n1     D(2) = 2 - 3 Y n3 / n2     D(3+) = 3 - 4 Y n4 / n3

    Where an n_i is 0 or a D(i) is outside (0, i), as in small texts, that order takes the single
    discount Y, or 1/2 if Y is not strictly between 0 and 1.

    Where fewer than n - 1 symbols precede (the start of the text), the recursion starts at the
    order that fits.

References
----------
R. Kneser and H. Ney, "Improved backing-off for m-gram language modeling", ICASSP 1995, vol. 1, pp.
181-184.

S. F. Chen and J. Goodman, "An empirical study of smoothing techniques for language modeling",
Computer Speech and Language 13 (1999), pp. 359-394.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .errors import ArgumentError

__all__ = ["CharacterModel", "KneserNey", "Score", "Uniform", "Unigram", "score_baselines"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_ORDER_NAMES = {2: "bigram", 3: "trigram"}


class CharacterModel(Protocol):
    """What every baseline can do."""

    def distribution(self, context: Sequence[int]) -> FloatArray:
        """Return the probability of each symbol after `context`, shape (size,), with sum 1."""
        ...

    def bits(self, ids: npt.ArrayLike) -> FloatArray:
        """Return ``-log2 p`` of each of ``ids[1:]`` from the ids before it.

        The result is float64 of shape (len(ids) - 1,).
        """
        ...


class Uniform:
    """The model in which every symbol is equally likely.

    Parameters
    ----------
    size
        Number of symbols in the vocabulary.
    """

    def __init__(self, size: int) -> None:
        self.size = _checked_size(size)

    def distribution(self, context: Sequence[int]) -> FloatArray:
        """Return 1 / size for each symbol, float64 of shape (size,)."""
        return np.full(self.size, 1.0 / self.size)

    def bits(self, ids: npt.ArrayLike) -> FloatArray:
        """Return log2(size) for each of ``ids[1:]``, float64 of shape (len(ids) - 1,)."""
        return np.full(len(_checked_ids(ids, self.size)) - 1, math.log2(self.size))


class Unigram:
    """The model of symbols by their frequency, one added to each count.

    The context is not looked at.

    Parameters
    ----------
    ids
        Training ids, integers of shape (n,), each from 0 to ``size - 1``.
    size
        Number of symbols in the vocabulary.
    """

    def __init__(self, ids: npt.ArrayLike, size: int) -> None:
        self.size = _checked_size(size)
        counts = np.bincount(_checked_ids(ids, size), minlength=size)
        self._probability: FloatArray = (counts + 1.0) / (counts.sum() + size)

    def distribution(self, context: Sequence[int]) -> FloatArray:
        """Return the probability of each symbol, float64 of shape (size,)."""
        return self._probability.copy()

    def bits(self, ids: npt.ArrayLike) -> FloatArray:
        """Return ``-log2 p`` of each of ``ids[1:]``, float64 of shape (len(ids) - 1,)."""
        result: FloatArray = -np.log2(self._probability[_checked_ids(ids, self.size)[1:]])
        return result


@dataclass(frozen=True)
class _Level:
    """The k-grams of one order: sorted keys and what the recursion needs of them."""

    grams: IntArray  # keys of the seen k-grams, ascending
    kept: FloatArray  # (a(hw) - D) / a(h.) of each
    contexts: IntArray  # keys of the seen contexts, ascending
    weight: FloatArray  # b(h) of each


class KneserNey:
    """Interpolated Kneser-Ney smoothing of order n; the equations are in the module's text.

    Parameters
    ----------
    ids
        Training ids, integers of shape (n,), at least `order` of them, each from 0 to ``size - 1``.
    size
        Number of symbols in the vocabulary.
    order
        Length of the n-grams: 2 for bigrams, 3 for trigrams; at least 1.

    Raises
    ------
    ArgumentError
        If an argument is out of range, or ``size ** order`` does not fit 63 bits.
    """

    def __init__(self, ids: npt.ArrayLike, size: int, order: int) -> None:
        self.size = _checked_size(size)
        array = _checked_ids(ids, size)
        if order < 1:
            raise ArgumentError(f"order must be at least 1, found {order}")
        if size**order >= 2**63:
            raise ArgumentError(
                f"size ** order must be below 2 ** 63, found {size} ** {order}; lower the order"
            )
        if len(array) < order:
            raise ArgumentError(
                f"expected at least {order} ids to count {order}-grams, found {len(array)}"
            )
        self.order = order
        self._levels: list[_Level] = []  # of 1-grams, 2-grams, ..., order-grams
        for k in range(1, order + 1):
            if k == order:
                keys, counts = np.unique(_keys(array, k, size), return_counts=True)
            else:  # Each distinct (k+1)-gram v g is one distinct v before g.
                types = np.unique(_keys(array, k + 1, size))
                keys, counts = np.unique(types % size**k, return_counts=True)
            self._levels.append(_level(keys, counts, size))

    def distribution(self, context: Sequence[int]) -> FloatArray:
        """Return the probability of each symbol after `context`, shape (size,), with sum 1.

        Only the last ``order - 1`` ids of the context count. It may be shorter.
        """
        history = [int(i) for i in context]
        if any(not 0 <= i < self.size for i in history):
            raise ArgumentError(f"expected ids from 0 to {self.size - 1}, found {history}")
        p = np.full(self.size, 1.0 / self.size)
        key = 0
        for k, level in enumerate(self._levels, start=1):
            if k - 1 > len(history):
                break
            if k > 1:
                key += history[1 - k] * self.size ** (k - 2)
            p = _interpolate(level, key * self.size + np.arange(self.size), self.size, p)
        return p

    def bits(self, ids: npt.ArrayLike) -> FloatArray:
        """Return ``-log2 p`` of each of ``ids[1:]`` from the ids before it.

        The result is float64 of shape (len(ids) - 1,).
        """
        array = _checked_ids(ids, self.size)
        p = np.full(len(array), 1.0 / self.size)
        for k, level in enumerate(self._levels, start=1):
            if k > len(array):
                break
            p[k - 1 :] = _interpolate(level, _keys(array, k, self.size), self.size, p[k - 1 :])
        result: FloatArray = -np.log2(p[1:])
        return result


@dataclass(frozen=True)
class Score:
    """A baseline's score.

    Attributes
    ----------
    name
        What the model is called.
    bits
        Mean bits per character.
    characters
        Number of characters that the mean is over.
    """

    name: str
    bits: float
    characters: int


def score_baselines(
    train: npt.ArrayLike, held_out: npt.ArrayLike, size: int, orders: Sequence[int] = (2, 3)
) -> list[Score]:
    """Score the baselines on held-out text.

    Parameters
    ----------
    train
        Training ids, integers of shape (n,): the only text that is counted.
    held_out
        Held-out ids, integers of shape (m,) with m at least 2. ``held_out[1:]`` are scored.
    size
        Number of symbols in the vocabulary.
    orders
        Orders of the Kneser-Ney models.

    Returns
    -------
    list of Score
        Uniform, unigram, then a Kneser-Ney model of each order, all on the same characters.

    Raises
    ------
    ArgumentError
        If there is no character to score, or an argument is out of range.
    """
    held = _checked_ids(held_out, size)
    if len(held) < 2:
        raise ArgumentError(
            f"expected at least 2 held-out ids, of which all but the first are scored, found {len(held)}"
        )
    models: list[tuple[str, CharacterModel]] = [
        ("uniform", Uniform(size)),
        ("unigram", Unigram(train, size)),
    ]
    models += [(_ORDER_NAMES.get(n, f"{n}-gram"), KneserNey(train, size, n)) for n in orders]
    return [Score(name, float(model.bits(held).mean()), len(held) - 1) for name, model in models]


def _checked_size(size: int) -> int:
    """Return a size, or raise an ArgumentError if it is none."""
    if size < 1:
        raise ArgumentError(f"the vocabulary must have at least 1 symbol, found {size}")
    return size


def _checked_ids(ids: npt.ArrayLike, size: int) -> IntArray:
    """Return ids as an int64 array, or raise an ArgumentError."""
    array = np.asarray(ids)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer) or array.size == 0:
        raise ArgumentError(
            f"expected integer ids of shape (n,), n at least 1, found {array.dtype} of {array.shape}"
        )
    if array.min() < 0 or array.max() >= size:
        raise ArgumentError(
            f"expected ids from 0 to {size - 1}, found {array.min()} to {array.max()}"
        )
    return array.astype(np.int64)


def _keys(ids: IntArray, k: int, size: int) -> IntArray:
    """Return each k-gram of `ids` as a number in base `size`.

    The shape is (len(ids) - k + 1,), empty if there is none.
    """
    count = max(len(ids) - k + 1, 0)
    keys = np.zeros(count, dtype=np.int64)
    for j in range(k):
        keys = keys * size + ids[j : j + count]
    return keys


def _level(keys: IntArray, counts: npt.NDArray[np.intp], size: int) -> _Level:
    """Return what the recursion needs of the k-grams of one order, from their counts."""
    discount = _discounts(counts)[np.minimum(counts, 3)]
    contexts, first, group = np.unique(keys // size, return_index=True, return_inverse=True)
    total = np.add.reduceat(counts, first)
    weight = np.add.reduceat(discount, first) / total
    return _Level(keys, (counts - discount) / total[group], contexts, weight)


def _discounts(counts: npt.NDArray[np.intp]) -> FloatArray:
    """Estimate D(0) = 0, D(1), D(2) and D(3 or more) from the counts of the seen grams.

    The result has shape (4,).
    """
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == i)) for i in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2) if n1 and n2 else 0.5
    if n1 and n2 and n3 and n4:
        modified = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if all(0 < modified[i] < i for i in (1, 2, 3)):
            return modified
    return np.array([0.0, y, y, y])


def _interpolate(level: _Level, keys: IntArray, size: int, lower: FloatArray) -> FloatArray:
    """Return p_k of the grams `keys` from p_{k-1} of the same symbols; all of shape (n,)."""
    kept = _look_up(level.grams, level.kept, keys, 0.0)
    weight = _look_up(level.contexts, level.weight, keys // size, 1.0)
    return kept + weight * lower


def _look_up(table: IntArray, values: FloatArray, keys: IntArray, default: float) -> FloatArray:
    """Return the values of keys in a sorted table, or a default where there is none."""
    place = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return np.where(table[place] == keys, values[place], default)
