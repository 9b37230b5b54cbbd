"""What is timed.

Cells, sizes, the numbers they start from, and the multiplications that a training step cannot do
without.
"""

import math
from typing import NamedTuple

import numpy as np

import tinygrad_rnn as tg


class Size(NamedTuple):
    steps: int
    batch: int
    inputs: int
    units: int


SIZES = {
    "tiny": Size(64, 1, 16, 32),
    "small": Size(100, 32, 64, 64),
    "long": Size(1000, 16, 32, 64),
    "medium": Size(100, 32, 128, 256),
    "large": Size(64, 64, 512, 512),
}
EAGER = ("tiny", "small", "long")  # where loops step by step are timed too
# where the products decide, and are compared with the machine's limit
LIMITED = ("medium", "large")
BUILT_IN = {"LSTM": 4, "GRU": 3, "Elman": 1}  # blocks of units in each of the two weights
CUSTOM = ("LayerNormLSTM", "PeepholeLSTM", "MGU", "SLSTM", "NAS", "CoRNN")


class Problem(NamedTuple):
    """A cell by its name in `tg.cells`, its parameters by name, and a sequence (T, B, I)."""

    cell: str
    size: Size
    weights: dict[str, np.ndarray]
    xs: np.ndarray


def problem(cell, size):
    """The same numbers in every call.

    The parameters start at half of what the cell makes: with all of it, rounding errors grow from
    step to step in some (a layer-norm LSTM in float32 is then far from itself in float64 after 1000
    steps), and nothing could be compared. Vectors, many of which are zeros or ones, are moved, so
    that none can be left out unseen.
    """
    rng = np.random.default_rng(0)
    module = getattr(tg.cells, cell)(size.inputs, size.units, rng=0)
    weights = {}
    for name, p in module.named_parameters():
        moved = (
            0.1 * rng.standard_normal(p.shape, dtype=np.float32)
            if len(p.shape) < 2
            else np.float32(0)
        )
        weights[name] = np.float32(0.5) * p.numpy() + moved
    return Problem(
        cell,
        size,
        weights,
        rng.standard_normal((size.steps, size.batch, size.inputs), dtype=np.float32),
    )


def flops(cell, size):
    """Additions and multiplications of all matrix products of a training step whose inputs need no gradient.

    For each of two weights: forward one product, and one for its gradient; and for the recurrent
    one a third, for the state's gradient.
    """
    return (
        2
        * size.steps
        * size.batch
        * BUILT_IN[cell]
        * size.units
        * (2 * size.inputs + 3 * size.units)
    )


def difference(found, expected):
    """Where two dicts of arrays differ most, and by how much.

    The norm of the difference of two arrays over that of the second.

    Norms, so that one relu of millions that falls on the other side of its kink does not decide.
    """
    if found.keys() != expected.keys():
        return "the set of parameters", math.inf
    errors = {}
    for name, right in expected.items():
        if found[name].shape != right.shape:
            return f"the shape of {name}", math.inf
        error = np.linalg.norm((found[name] - right.astype(np.float64)).ravel()) / max(
            float(np.linalg.norm(right.ravel())), 1e-30
        )
        errors[name] = math.inf if math.isnan(error) else float(error)
    worst = max(errors, key=errors.__getitem__)
    return worst, errors[worst]
