from __future__ import annotations

import numpy as np
import pytest

from .mistakes import Mistake


def cut(series, size, start=0, stop=None, gap=0):
    """Return rows from start on, and what follows them after a gap; (0, None, 0) is right."""
    places = range(start, len(series) - size + (stop or 0))
    rows = np.stack([series[k : k + size] for k in places])
    return rows, series[size + gap :]


def slopes(cost, w, directions, sigma):
    return np.array([(cost(w + sigma * d) - cost(w - sigma * d)) / (2 * sigma) for d in directions])


def times(factor):
    """Return an estimate that is wrong by a factor."""
    return lambda cost, w, ds, sigma: factor(ds, sigma) * slopes(cost, w, ds, sigma) @ ds / len(ds)


def from_costs(slope):
    """Return an estimate with another slope for each direction."""
    return lambda cost, w, ds, sigma: (
        np.array([slope(cost, w, d, sigma) for d in ds]) @ ds / len(ds)
    )


def zeros_at_the_end(series, size):
    rows, following = cut(series, size)
    rows[size:], following[size:] = 0, 0
    return rows, following


MISTAKES = [
    Mistake("windows", "in the other order: the rows", lambda s, n: cut(s, n)[::-1]),
    Mistake(
        "windows", "shorter than the", lambda s, n: ([s[k : k + n] for k in range(len(s))], s[n:])
    ),
    Mistake("windows", "followed by nothing", lambda s, n: cut(s, n, stop=1)),
    Mistake("windows", "the oldest comes first", lambda s, n: (cut(s, n)[0][:, ::-1], s[n:])),
    Mistake("windows", "last value of the row itself", lambda s, n: (cut(s, n)[0], s[n - 1 : -1])),
    Mistake("windows", "Your rows end with", lambda s, n: cut(s, n, start=1, stop=1)),
    Mistake("windows", "You leave a value out", lambda s, n: cut(s, n, stop=-1, gap=1)),
    Mistake("windows", "one window is one row", lambda s, n: (cut(s, n)[0].T, s[n:])),
    Mistake("windows", "now fill the rows", lambda s, n: (np.zeros((len(s) - n, n)), s[n:])),
    Mistake("windows", "Is there a return", lambda s, n: None),
    Mistake("windows", "Return the rows, and", lambda s, n: cut(s, n)[0]),
    Mistake(
        "windows", "values that follow.", lambda s, n: (cut(s, n)[0], np.zeros(len(s) - n))
    ),
    Mistake("windows", "and no column", lambda s, n: (cut(s, n)[0], s[n:, None])),
    Mistake("windows", "one value too long", lambda s, n: (np.c_[cut(s, n)], s[n:])),
    Mistake("windows", "values apart", lambda s, n: (s[: len(s) // n * n].reshape(-1, n), s[::n])),
    Mistake("windows", "The last row is missing", lambda s, n: (cut(s, n)[0][:-1], s[n:-1])),
    Mistake("windows", "are still zeros", zeros_at_the_end),
    Mistake("windows", "Row k is series", lambda s, n: (cut(s, n)[0] + 1, s[n:])),
    Mistake("estimate", "The sign is the other one", times(lambda ds, sigma: -1)),
    Mistake("estimate", "and not of sigma", times(lambda ds, sigma: 2)),
    Mistake("estimate", "divided by the way", times(lambda ds, sigma: 2 * sigma)),
    Mistake("estimate", "take the mean", times(lambda ds, sigma: len(ds))),
    Mistake(
        "estimate",
        "both ways. With one way",
        from_costs(lambda cost, w, d, sigma: (cost(w + sigma * d) - cost(w)) / sigma),
    ),
    Mistake(
        "estimate", "is no slope", from_costs(lambda cost, w, d, sigma: cost(w + sigma * d) / sigma)
    ),
    Mistake(
        "estimate",
        "and not by d",
        from_costs(lambda cost, w, d, sigma: (cost(w + d) - cost(w - d)) / (2 * sigma)),
    ),
    Mistake(
        "estimate",
        "and not by d",
        from_costs(lambda cost, w, d, sigma: (cost(w + d) - cost(w - d)) / 2),
    ),
    Mistake("estimate", "into brackets", times(lambda ds, sigma: sigma**2)),
    Mistake("estimate", "the return inside", lambda cost, w, ds, sigma: slopes(cost, w, ds, sigma)[0] * ds[0]),
    Mistake("estimate", "the last direction alone", lambda cost, w, ds, sigma: slopes(cost, w, ds, sigma)[-1] * ds[-1]),
    Mistake("estimate", "next place of the weights", lambda *given: given[1] - times(lambda ds, sigma: 1)(*given)),
    Mistake("estimate", "add slope * d", lambda *given: slopes(*given).mean()),
    Mistake("estimate", "For each direction", lambda cost, w, ds, sigma: np.zeros_like(w)),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)
