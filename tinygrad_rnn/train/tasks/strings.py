"""Strings of grammars, in which after each symbol only some may come, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...core.primitive import Array

__all__ = [
    "REBER",
    "Batch",
    "accepted",
    "counting",
    "most_active",
    "reber_stream",
    "reber_string",
    "strings_right",
    "together",
]

REBER = "BTPSXVE"
_INNER = [
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 7},
]


class Batch(NamedTuple):
    """Strings of symbols side by side, padded at the end; one-hot, time first.

    Attributes
    ----------
    inputs : array, shape (T, batch, symbols)
        The symbol that is read at each step.
    targets : array, shape (T, batch, symbols)
        What the outputs are trained on: the symbol that did come next, or all that could.
    legal : boolean array, shape (T, batch, symbols)
        The symbols that the grammar allows next.
    real : boolean array, shape (T, batch)
        False in the padding.
    """

    inputs: Array
    targets: Array
    legal: Array
    real: Array


# --- the embedded Reber grammar -------------------------------------------------------------------


def reber_string(rng: np.random.Generator) -> tuple[str, list[str]]:
    """Draw a random string of the embedded Reber grammar.

    The string is B, then T or P, a Reber string, the same T or P again, and E; each of two choices
    has probability 1/2. After the last E comes the B of another string.

    Returns
    -------
    symbols : str
        The string.
    legal : list of str
        After each of its symbols those that may come next.
    """
    outer = str(rng.choice(["T", "P"]))
    symbols, legal, state = ["B", outer], ["TP", "B"], 0
    while state < len(_INNER):
        choices = sorted(_INNER[state])
        symbols.append(str(rng.choice(choices)))
        state = _INNER[state][symbols[-1]]
        legal.append("".join(_INNER[state]) if state < len(_INNER) else outer)
    return "".join([*symbols, outer, "E"]), [*legal, "E", "B"]


def reber_stream(rng: np.random.Generator, length: int) -> tuple[str, list[str], list[int]]:
    """Draw strings one after the other, cut at `length` symbols.

    Returns
    -------
    symbols : str
        The stream.
    legal : list of str
        After each symbol those that may come next.
    starts : list of int
        Where strings begin.
    """
    symbols, legal, starts = "", list[str](), list[int]()
    while len(symbols) < length:
        starts.append(len(symbols))
        string, after = reber_string(rng)
        symbols, legal = symbols + string, legal + after
    return symbols[:length], legal[:length], starts


# --- counting -------------------------------------------------------------------------------------


def counting(letters: str, n: int) -> tuple[str, list[str]]:
    """Return S and then n times each letter ("S", "aaa", "bbb"), as `reber_string` does.

    The second value has after each symbol those that may come next; T ends the string.
    """
    legal = [letters[0]]
    for k, letter in enumerate(letters):
        following = letters[k + 1] if k + 1 < len(letters) else "T"
        legal += [letter + following] * n if k == 0 else [letter] * (n - 1) + [following]
    return "S" + "".join(letter * n for letter in letters), legal


# --- batches, and what is right -------------------------------------------------------------------


def together(strings: Sequence[tuple[str, list[str]]], alphabet: str, *, train_on: str) -> Batch:
    """Return a batch of strings, each with the symbols that may come after each of its symbols.

    Parameters
    ----------
    strings : sequence of (str, list of str)
        The strings.
    alphabet : str
        The symbols, in the order of the inputs and outputs.
    train_on : {"next", "legal"}
        What the targets are: the symbol that came next (the last symbol of a string is then only
        predicted), or all that may come.
    """
    drop = 1 if train_on == "next" else 0
    shape = (max(len(symbols) for symbols, _ in strings) - drop, len(strings), len(alphabet))
    inputs, targets = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    legal, real = np.zeros(shape, bool), np.zeros(shape[:2], bool)
    place = {symbol: k for k, symbol in enumerate(alphabet)}
    for b, (symbols, after) in enumerate(strings):
        steps = len(symbols) - drop
        codes = np.array([place[s] for s in symbols])
        inputs[np.arange(steps), b, codes[:steps]] = 1
        for t in range(steps):
            legal[t, b, [place[s] for s in after[t]]] = True
        if drop:
            targets[np.arange(steps), b, codes[1:]] = 1
        real[:steps, b] = True
    return Batch(inputs, targets if drop else legal.astype(np.float32), legal, real)


def most_active(logits: Array, legal: Array) -> Array:
    """Return whether every legal symbol is more active than every other.

    The last axis of both arrays, that of the symbols, is gone in the result.
    """
    worst: Array = np.where(legal, logits, np.inf).min(-1) > np.where(legal, -np.inf, logits).max(
        -1
    )
    return worst


def accepted(logits: Array, legal: Array) -> Array:
    """Return whether the outputs above 1/2 (logits above 0) are exactly the legal symbols.

    The last axis of both arrays, that of the symbols, is gone in the result.
    """
    same: Array = ((logits > 0) == legal).all(-1)
    return same


def strings_right(steps: Array, starts: Sequence[int]) -> Array:
    """Return which strings of a stream are right at every step.

    Parameters
    ----------
    steps : boolean array, shape (T,)
        Which steps are right.
    starts : sequence of int
        Where strings begin. The last, cut one is left out.
    """
    whole: Array = np.logical_and.reduceat(steps, starts)[:-1]
    return whole
