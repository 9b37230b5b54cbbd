from __future__ import annotations

import numpy as np
import pytest

from .mistakes import Mistake


def lengths(back=lambda g, W: g @ W.T, size=np.linalg.norm, taken=slice(None)):
    """Lengths of a gradient that goes back by `back`, of which some are taken."""

    def answer(W, g, steps):
        found = [size(g)]
        for _ in range(steps):
            g = back(g, W)
            found.append(size(g))
        return found[taken]

    return answer


MISTAKES = [
    Mistake("how-large-further-back", "goes back through W.T", lengths(lambda g, W: g @ W)),
    Mistake("how-large-further-back", "is missing: the first", lengths(taken=slice(1, None))),
    Mistake("how-large-further-back", "The last number is missing", lengths(taken=slice(-1))),
    Mistake("how-large-further-back", "in the order of time", lengths(taken=slice(None, None, -1))),
    Mistake("how-large-further-back", "put the product back into g", lengths(lambda g, W: g)),
    Mistake(
        "how-large-further-back",
        "the largest that it can be",
        lambda W, g, steps: [
            np.linalg.norm(g) * np.linalg.norm(W, 2) ** k for k in range(steps + 1)
        ],
    ),
    Mistake(
        "how-large-further-back",
        "do not multiply to the length",
        lambda W, g, steps: [np.linalg.norm(g) * np.linalg.norm(W) ** k for k in range(steps + 1)],
    ),
    Mistake("how-large-further-back", "acts as a matrix", lengths(lambda g, W: g * np.diag(W))),
    Mistake("how-large-further-back", "acts as a matrix", lengths(lambda g, W: g * W)),
    Mistake(
        "how-large-further-back",
        "begins with the same g",
        lambda W, g, steps: [np.linalg.norm(g)] + [np.linalg.norm(g @ W.T)] * steps,
    ),
    Mistake("how-large-further-back", "the return inside", lengths(taken=slice(1))),
    Mistake("how-large-further-back", "These are the gradients", lengths(size=lambda g: g)),
    Mistake(
        "how-large-further-back",
        "the root of the sum of squares",
        lengths(size=lambda g: abs(g).sum()),
    ),
    Mistake("how-large-further-back", "the squares of the lengths", lengths(size=lambda g: g @ g)),
    Mistake("how-large-further-back", "Return the list of all", lengths(taken=-1)),
    Mistake("how-large-further-back", "Begin with g", lengths(lambda g, W: 2 * g @ W.T)),
    Mistake("how-large-further-back", "Is there a return", lambda W, g, steps: None),
    Mistake("share-of-saturated", "two flat ends", lambda s: np.mean((1 - s**2 < 0.01) & (s > 0))),
    Mistake("share-of-saturated", "with a square", lambda s: np.mean(1 - s < 0.01)),
    Mistake("share-of-saturated", "and not 1 - |s|", lambda s: np.mean(1 - np.abs(s) < 0.01)),
    Mistake(
        "share-of-saturated",
        "the output of the tanh already",
        lambda s: np.mean(1 - np.tanh(s) ** 2 < 0.01),
    ),
    Mistake("share-of-saturated", "and not the output", lambda s: np.mean(np.abs(s) < 0.01)),
    Mistake("share-of-saturated", "not saturated", lambda s: np.mean(1 - s**2 >= 0.01)),
    Mistake("share-of-saturated", "This is their number", lambda s: np.sum(1 - s**2 < 0.01)),
    Mistake("share-of-saturated", "from 0 to 1", lambda s: 100 * np.mean(1 - s**2 < 0.01)),
    Mistake("share-of-saturated", "and not 0.1", lambda s: np.mean(1 - s**2 < 0.1)),
    Mistake("share-of-saturated", "the mean slope", lambda s: np.mean(1 - s**2)),
    Mistake("share-of-saturated", "counts rows", lambda s: np.sum(1 - s**2 < 0.01) / len(s)),
    Mistake(
        "share-of-saturated",
        "not the largest in this array",
        lambda s: np.mean(1 - s**2 < 0.01 * (1 - s**2).max()),
    ),
    Mistake("share-of-saturated", "Take the mean", lambda s: 1 - s**2 < 0.01),
    Mistake("share-of-saturated", "Which elements", lambda s: np.mean(1 - s**2 < 0.5)),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)
