"""Layers without time: Linear, Embedding, Dropout, PReLU."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..module import Module, Parameter
from ..ops.activations import prelu
from ..ops.checks import flag, number, size, sizes
from ..ops.define import operand
from ..ops.taking import integers, take, within
from .functional import dropout


class Linear(Module):
    """An affine map of the last axis, x @ weight.T + bias.

    Parameters
    ----------
    in_features, out_features : int
        Features of the input and of the output.
    bias : bool
        Whether there is a bias.
    rng : numpy Generator or int, optional
        For first values, which are drawn uniformly from ±1/sqrt(in_features), as in PyTorch.
    dtype : dtype
        The dtype of the parameters.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        in_features, out_features = sizes(
            "Linear", in_features=in_features, out_features=out_features
        )
        rng = init.generator(rng)
        bound = in_features**-0.5
        self.weight = Parameter(
            init.uniform((out_features, in_features), bound, rng=rng, dtype=dtype)
        )
        self.bias = (
            Parameter(init.uniform((out_features,), bound, rng=rng, dtype=dtype))
            if flag(bias, "Linear: bias")
            else None
        )

    def forward(self, x: Any) -> Any:
        """Map x of shape (..., in_features) to (..., out_features)."""
        y = operand(x, "Linear") @ self.weight.T
        return y if self.bias is None else y + self.bias


class Embedding(Module):
    """A table of vectors, looked up by integer ids.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        How many vectors there are, and their features.
    rng : numpy Generator or int, optional
        For first values, which are standard normal, as in PyTorch.
    dtype : dtype
        The dtype of the vectors.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        shape = sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.weight = Parameter(init.normal(shape, rng=rng, dtype=dtype))

    def forward(self, ids: Any) -> Any:
        """Look up integer ids of any shape, or a number: ``ids.shape + (embedding_dim,)``.

        A negative id is an error, not a row from the end.
        """
        return take(
            self.weight,
            within(integers(ids, "Embedding: ids"), self.weight.shape[0], "Embedding: ids", "rows"),
        )


class Dropout(Module):
    """A layer that in training zeroes each element with probability p.

    The others are scaled by 1 / (1 - p); in evaluation nothing is done (Srivastava et al. 2014).
    The mask is drawn anew for each call and each element: called at every step of a sequence, every
    step has its own.

    Parameters
    ----------
    p : float
        The probability, in [0, 1).
    rng : numpy Generator or int, optional
        Where the masks come from.
    """

    def __init__(self, p: float = 0.5, *, rng: Any = None) -> None:
        self.p, self.rng = number(p, "Dropout: p", "[0, 1)"), init.generator(rng)

    def forward(self, x: Any) -> Any:
        """Drop elements of x, of any shape."""
        return dropout(x, self.p, training=self.training, rng=self.rng)


class PReLU(Module):
    """x where x > 0, else weight * x, with a weight that is learnt (He et al. 2015).

    Parameters
    ----------
    num_parameters : int
        1, or a weight for each channel on axis 1.
    init : float
        The first value of the weights.
    dtype : dtype
        The dtype of the weights.
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = np.float32
    ) -> None:
        count = size(num_parameters, "PReLU: num_parameters")
        self.weight = Parameter(np.full(count, number(init, "PReLU: init"), dtype))

    def forward(self, x: Any) -> Any:
        """Map x of any shape; with several weights (batch, channels, ...)."""
        return prelu(x, self.weight)
