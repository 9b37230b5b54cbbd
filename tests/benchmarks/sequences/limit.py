"""The limit that shares refer to: one large matrix product of NumPy, in float32.

How many threads it has is set before NumPy is imported.
"""

import numpy as np

SIDE = 2048
FLOPS = 2 * SIDE**3


def use_threads(count):
    """Nothing to set: the process was started with variables that say it."""


def training(kind, problem):
    """The product in the place of a training step, with nothing to compare."""
    a, b = np.random.default_rng(0).standard_normal((2, SIDE, SIDE), dtype=np.float32)
    out = np.empty_like(a)

    def step():
        np.matmul(a, b, out=out)

    def read():
        step()
        return {}

    return step, read
