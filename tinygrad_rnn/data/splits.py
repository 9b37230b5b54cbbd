"""Parts of a sequence: what is trained on, and what comes after it."""

from __future__ import annotations

from typing import Any

from ..core.errors import ShapeError
from ..ops import checks
from .corpus import Corpus, held_out_of
from .errors import DataError
from .tables import Series

__all__ = ["split"]


def split(values: Any, *shares: float) -> tuple[Any, ...]:
    """Cut a sequence into what is trained on and what is held out, in the order of time.

    The parts are contiguous and do not overlap. Each is later than those before it, so a model that
    is trained on the first and chosen by the second knows nothing of the third. Nothing is copied.

    Parameters
    ----------
    values : array, list, str, Series or Corpus
        The whole, with time as its first axis.
    *shares : float
        The share of each part after the first, such as 0.1 for validation and 0.1 for a test. Each
        part has at least one moment.

    Returns
    -------
    tuple
        One more than there are shares, each of the kind of `values`.

    Raises
    ------
    ShapeError
        If a part would have nothing left.
    DataError
        If the vocabulary of a corpus was counted on what would be held out.

    Examples
    --------
    >>> train, validation, test = tg.data.split(series, 0.1, 0.1)
    """
    if not shares:
        raise DataError("split: expected the share of each part that is held out; found none")
    for share in shares:
        checks.number(share, "split: a share", "(0, 1)")
    count = len(values.values) if isinstance(values, Series) else len(values)
    sizes = [held_out_of(count, share) for share in shares]
    first = count - sum(sizes)
    if first < 1:
        raise ShapeError(
            f"split: {count} positions cannot be cut into a first part and others of {', '.join(map(str, sizes))}"
        )
    if isinstance(values, Corpus) and first < values.counted and len(values.vocabulary.symbols):
        raise DataError(
            f"split: the vocabulary was counted on the first {values.counted:,} {values.vocabulary.units} of {values.source}, of which some would be held out; "
            f"convert the text with held_out={sum(sizes) / count!r}"
        )
    ends = [first]
    for size in sizes:
        ends.append(ends[-1] + size)
    return tuple(
        _part(values, begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True)
    )


def _part(values: Any, begin: int, end: int) -> Any:
    if isinstance(values, Series):
        times = None if values.times is None else values.times[begin:end]
        return values._replace(values=values.values[begin:end], times=times)
    return values[begin:end]
