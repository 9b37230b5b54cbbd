"""The loss of connectionist temporal classification: a scan over all alignments, in log space.

Graves, Fernandez, Gomez and Schmidhuber, ICML 2006. The scan is an operation of its own (`_alignments`).
Its derivative is a linear scan back through time (`_carried`) along the shares with which a place is
reached from each of the three before it; the derivatives of that scan are itself in the other direction
and products. So there are gradients of any order, by the backward algorithm of the paper.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..core.record import apply
from ..ops.along import log_softmax, softmax
from ..ops.checks import flag, shown
from ..ops.define import primitive, same_shape
from ..ops.elementwise import logical_and, logical_or, maximum, stop_gradient, where
from ..ops.facts import COSTLY
from ..ops.reductions import logsumexp, max
from ..ops.shaping import broadcast_to, concatenate, stack
from ..ops.shifting import pad
from ..ops.taking import integers, take_along_axis, within
from .weighting import floats, of_known, reduced, weights_of

INF = np.inf


def ctc_loss(
    logits: Any,
    targets: Any,
    input_lengths: Any = None,
    target_lengths: Any = None,
    mask: Any = None,
    *,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """Return the mean negative log-likelihood of sequences of classes, over all alignments, in nats.

    An alignment has a class or a blank at each step; repeated classes are one, and blanks are left
    out. The values of the rows are divided by the lengths of their targets before the mean is taken,
    as in PyTorch.

    Parameters
    ----------
    logits : Tensor, shape (time, batch, classes)
        What the softmax makes probabilities of. Log-probabilities, which PyTorch takes here, are
        such logits: they give the same loss and the same gradient as there.
    targets : integer Tensor or array, shape (batch, longest), or (sum of target_lengths,)
        The classes of each row, without blanks; or those of all rows one after the other.
    input_lengths : integers, shape (batch,), optional
        How many steps each row has; by default all. Later logits may be anything.
    target_lengths : integers, shape (batch,), optional
        How many classes each row has; by default as many as there are columns. Later targets may
        be anything.
    mask : array, shape (batch,), optional
        The weight of each row, as in `cross_entropy`.
    blank : int
        The class that is the blank.
    reduction : {"mean", "sum", "none"}
        With "sum" and "none" values are not divided by lengths.
    zero_infinity : bool
        Whether a row whose target has no alignment, as one that is longer than the input, adds 0.
        Otherwise its loss is inf. Its gradient is 0 in either case.
    """
    name = "ctc_loss"
    logits = floats(f"{name}: logits", logits)
    if logits.ndim != 3 or not logits.shape[0]:
        raise ShapeError(
            f"{name}: expected logits of shape (time, batch, classes) with one step or more; found {tuple(logits.shape)}"
        )
    time, batch, classes = logits.shape
    if (
        not isinstance(blank, (int, np.integer))
        or isinstance(blank, bool)
        or not 0 <= blank < classes
    ):
        raise TinygradError(
            f"{name}: blank must be a class from 0 to {classes - 1}; found {shown(blank)}"
        )
    if target_lengths is not None:
        target_lengths = _lengths(name, "target_lengths", target_lengths, batch, 0)
    targets = _rows(name, targets, target_lengths, batch)
    columns = targets.shape[1]
    lengths = _lengths(name, "input_lengths", input_lengths, batch, 1, time)
    counts = _lengths(name, "target_lengths", target_lengths, batch, 0, columns)
    weights = weights_of(name, mask, (batch,))

    here = np.arange(time)[:, None] < lengths
    if weights is not None:
        here = logical_and(here, weights != 0)
    if weights is not None or input_lengths is not None:
        logits = where(here.reshape((time, batch, 1)), logits, 0)
    inside = np.arange(columns) < counts.reshape((batch, 1))
    labels = _checked(name, where(inside, targets, blank), inside, classes, blank)
    values = -_likelihood(log_softmax(logits, -1), labels, lengths, counts, int(blank))
    if flag(zero_infinity, f"{name}: zero_infinity"):
        values = where(values == INF, 0, values)
    if isinstance(reduction, str) and reduction == "mean":
        values = values / maximum(counts, 1).astype(values.dtype)
    return reduced(name, values, weights, reduction)


def _lengths(name: str, what: str, given: Any, batch: int, least: int, most: Any = None) -> Any:
    """Return a whole number for each row, from `least` to `most`; by default `most` for all."""
    if given is None:
        return np.full(batch, most)
    found = integers(given, f"{name}: {what}")
    if tuple(found.shape) != (batch,):
        raise ShapeError(
            f"{name}: expected {what} of shape ({batch},), a number for each row; found {tuple(found.shape)}"
        )
    known = of_known(found)
    if known is None:
        return found if most is None else within(found - least, most - least + 1, what, "") + least
    if known.size and (known.min() < least or (most is not None and known.max() > most)):
        raise ShapeError(
            f"{name}: {what} from {known.min()} to {known.max()}; expected {least} to {most}"
        )
    return known.astype(np.int64)


def _rows(name: str, targets: Any, counts: Any, batch: int) -> Any:
    """Return the targets as (batch, longest)."""
    targets = integers(targets, f"{name}: targets")
    if targets.ndim == 2 and targets.shape[0] == batch:
        return targets.astype(np.int64)
    known, ends = of_known(targets), None if counts is None else of_known(counts)
    if targets.ndim == 1 and known is not None and ends is not None and ends.sum() == known.size:
        made = np.zeros((batch, int(ends.max(initial=0))), np.int64)
        made[np.arange(made.shape[1]) < ends[:, None]] = known
        return made
    raise ShapeError(
        f"{name}: expected targets of shape ({batch}, longest), or those of all rows one after the other with known target_lengths that "
        f"add up to their number; found {tuple(targets.shape)}"
    )


def _checked(name: str, labels: Any, inside: Any, classes: int, blank: int) -> Any:
    """Return the targets, which are blank outside; there and only there."""
    labels = within(labels, classes, f"{name}: targets", "classes")
    known, there = of_known(labels), of_known(inside)
    if known is not None and there is not None and (there & (known == blank)).any():
        row, place = np.argwhere(there & (known == blank))[0]
        raise ShapeError(
            f"{name}: the target of row {row} has the blank {blank} at place {place}; targets have no blanks, which target_lengths may leave out"
        )
    return labels


def _likelihood(found: Any, labels: Any, lengths: Any, counts: Any, blank: int) -> Any:
    """Return the logarithm of the probability of each row's labels, (batch,).

    Parameters
    ----------
    found : Tensor, shape (time, batch, classes)
        Log-probabilities.
    labels : Tensor or array, shape (batch, longest)
    lengths, counts : Tensor or array, shape (batch,)
        How many steps and labels there are.
    blank : int
    """
    time, batch, _ = found.shape
    places = 2 * labels.shape[1] + 1  # a blank before and after each label
    blanks = where(labels >= 0, blank, blank)
    spread = stack([blanks, labels], axis=-1).reshape((batch, places - 1))
    spread = concatenate([spread, np.full((batch, 1), blank)], axis=1)
    before = pad(spread, ((0, 0), (2, 0)), blank)[:, :places]
    skips = logical_and(spread != before, spread != blank)
    emitted = take_along_axis(
        found, broadcast_to(spread.reshape((1, batch, places)), (time, batch, places)), -1
    )
    reached = apply(_alignments.primitive, (emitted, skips), {})
    last = broadcast_to((lengths - 1).reshape((1, batch, 1)), (1, batch, places))
    ends = take_along_axis(reached, last, 0).reshape((batch, places))
    end = 2 * counts.reshape((batch, 1))
    place = np.arange(places)
    ends = where(logical_or(place == end, place == end - 1), ends, -INF)
    none = max(stop_gradient(ends), -1, True) == -INF
    return where(none.reshape(batch), -INF, logsumexp(where(none, 0, ends), -1))


# --- the scans ------------------------------------------------------------------------------------


def _neighbours(x: Any, fill: float) -> Any:
    """Return from what each place is reached: at the step before, the place and the two before it.

    Of x (time, batch, places) it is (3, time, batch, places), with `fill` where there is nothing.
    """
    time, _, places = x.shape
    older = pad(x, ((1, 0), (0, 0), (2, 0)), fill)[:time]
    return stack([older[:, :, 2 - k : 2 - k + places] for k in range(3)], axis=0)


def _shares_of_ways(reached: Any, skips: Any) -> Any:
    """Return with what share each place is reached from each of its neighbours."""
    ways = _neighbours(reached, -INF)
    ways = where(np.arange(3).reshape((3, 1, 1, 1)) < 2, ways, where(skips, ways, -INF))
    none = max(stop_gradient(ways), 0, True) == -INF
    return where(none, 0, softmax(where(none, 0, ways), 0))


def _alignments_tangent(t: Any, out: Any, emitted: Any, skips: Any) -> Any:
    return apply(_carried.primitive, (t[0], _shares_of_ways(out, skips)), {"back": False})


_SKIPS = np.array([[False, False, False, True, False], [False, False, False, False, False]])


@primitive(
    lambda g, out, skips: apply(
        _carried.primitive, (g, _shares_of_ways(out, skips)), {"back": True}
    ),
    None,
    shape=same_shape,
    tangent=_alignments_tangent,
    floating=True,
    promotes=slice(0, 1),
    examples=[
        ([(4, 2, 5), _SKIPS], {}),
        ([(5, 1, 7), np.array([[False, False, False, True, False, True, False]])], {}),
        ([(3, 2, 1), _SKIPS[:, :1]], {}),
        ([(1, 2, 3), _SKIPS[:, :3]], {}),
        ([(0, 2, 3), _SKIPS[:, :3]], {}),
        ([(2, 0, 3), _SKIPS[:0, :3]], {}),
    ],
    cost=COSTLY,
    library="NumPy",
    name="ctc_alignments",
    rule_in_words="The gradient goes back along the alignments, to each place by its share.",
)
def _alignments(emitted: Any, skips: Any) -> Any:
    """Return the log-probability of all ways to be at a place at a step.

    Parameters
    ----------
    emitted : array, shape (time, batch, places)
        The log-probability of what the place emits.
    skips : bool array, shape (batch, places)
        Whether a place may be reached from the one before the last.
    """
    time, batch, places = emitted.shape
    # two places that are never reached stand before the first
    held = np.full((batch, places + 2), -INF, emitted.dtype)
    held[:, 2:4] = 0
    closed = np.where(skips, 0, -INF).astype(emitted.dtype)
    out = np.empty_like(emitted, order="C")
    if time:
        out[0] = held[:, 2:] + emitted[0]
    with np.errstate(divide="ignore"):
        for t in range(1, time):
            held[:, 2:] = out[t - 1]
            ways = held[:, 2:], held[:, 1:-1], held[:, :-2] + closed
            top = np.maximum(np.maximum(ways[0], ways[1]), ways[2])
            top[top == -INF] = 0
            total = np.exp(ways[0] - top)
            for way in ways[1:]:
                total += np.exp(way - top)
            out[t] = top + np.log(total) + emitted[t]
    return out


def _carried_rule(g: Any, out: Any, shares: Any, back: bool) -> Any:
    turned = apply(_carried.primitive, (g, shares), {"back": not back})
    later, older = (turned, out) if not back else (out, turned)
    return turned, later * _neighbours(older, 0.0)


def _carried_tangent(t: Any, out: Any, x: Any, shares: Any, back: bool) -> Any:
    moved, changed = t
    if changed is not None:
        changed = (
            _step_back(changed, out) if back else (changed * _neighbours(out, 0.0)).sum(axis=0)
        )
        moved = changed if moved is None else moved + changed
    return apply(_carried.primitive, (moved, shares), {"back": back})


def _step_back(shares: Any, x: Any) -> Any:
    """Return what one step back brings to each place, from those of the next step."""
    places = x.shape[2]
    moved = pad(shares * x, ((0, 0), (0, 1), (0, 0), (0, 2)), 0.0)[:, 1:]
    return moved[0, :, :, :places] + moved[1, :, :, 1 : 1 + places] + moved[2, :, :, 2:]


@primitive(
    _carried_rule,
    joint=True,
    shape=same_shape,
    tangent=_carried_tangent,
    floating=True,
    examples=[
        ([(time, batch, places), (3, time, batch, places)], {"back": back})
        for time, batch, places in [(4, 2, 5), (3, 1, 2), (2, 2, 1), (1, 2, 3), (0, 1, 3)]
        for back in (False, True)
    ],
    cost=COSTLY,
    library="NumPy",
    name="ctc_carried",
    rule_in_words="The scan in the other direction, and products with what it carries.",
)
def _carried(x: Any, shares: Any, *, back: bool = False) -> Any:
    """Return x with what is carried to each place from its neighbours, step by step.

    ``y[t, s] = x[t, s] + sum of shares[k, t, s] * y[t - 1, s - k] over k``, from the first step on;
    with `back` its transpose, from the last step on.

    Parameters
    ----------
    x : array, shape (time, batch, places)
    shares : array, shape (3, time, batch, places)
    back : bool
    """
    time, _, places = x.shape
    ahead = places - 2 if places > 2 else 0
    out = np.array(x, order="C")
    for t in range(time - 2, -1, -1) if back else range(1, time):
        if back:
            moved = shares[:, t + 1] * out[t + 1]
            out[t] += moved[0]
            out[t, :, : places - 1] += moved[1, :, 1:]
            out[t, :, :ahead] += moved[2, :, 2:]
        else:
            out[t] += shares[0, t] * out[t - 1]
            out[t, :, 1:] += shares[1, t, :, 1:] * out[t - 1, :, :-1]
            out[t, :, 2:] += shares[2, t, :, 2:] * out[t - 1, :, :ahead]
    return out
