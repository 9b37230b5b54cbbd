"""Layer and batch normalisation of the products of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..core.tape import at_step, context
from ..module import Parameter
from ..ops.shaping import concatenate, split
from ..recurrent.cell import Cell, name_of
from ..recurrent.products import products_of
from .named_products import NamedProducts, checked_step
from .normalization import BatchNorm, LayerNorm
from .wrappers import Wrapper


class _Normalised(Wrapper):
    """What the two normalisations share: each product of a step passes through a norm of its own.

    The products are found once, when the wrapper is made.

    Parameters
    ----------
    cell : Cell
        The inner cell.

    Attributes
    ----------
    products : list of str
        What the norms are for, in the order of the step: "input", "state", "output".
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        found = products_of(cell, name_of(self), self.example_input(2), cell.initial_state(2))
        self._found = [
            product
            for product in found
            if not hasattr(product.value, "ndim") or product.value.ndim > 1
        ]
        if not self._found:
            raise TinygradError(
                f"{self.name}: the cell's step names no product with weights that could be normalised. In a cell of your own write "
                "self.from_input(x, self.W) in place of x @ self.W.T and self.from_state(h, self.U) in place of h @ self.U.T"
            )
        for product in self._found:
            if not hasattr(product.value, "ndim"):
                raise TinygradError(
                    f"{self.name}: the product with the {product.kind} is a {type(product.value).__name__} of several tensors, as of complex numbers, for which the normalisation is not defined"
                )
        self.products = [product.kind for product in self._found]

    def normalise(self, k: int, value: Any) -> Any:
        """Return product number k, normalised."""
        raise NotImplementedError

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step."""
        norms = _Norms(self)
        y, state = checked_step(self, norms, x, state)
        norms.expect(len(self.products))
        return y, state


class _Norms(NamedProducts):
    """What gives the products of one step to the norms of a wrapper, by their order."""

    def __init__(self, wrapper: _Normalised) -> None:
        self.wrapper, self.kinds = wrapper, list[str]()
        self.step = context().mark.step  # of the wrapper, whose statistics are kept by steps

    def here(self) -> _Norms:
        other = _Norms(self.wrapper)
        other.kinds, other.step = list(self.kinds), self.step
        return other

    def product(self, kind: str, value: Any, cuts: Sequence[int]) -> Any:
        super().product(kind, value, cuts)
        if value.ndim < 2:
            return value
        self.kinds.append(kind)
        self.expect(len(self.kinds))
        cell, layer, _ = context().mark
        with at_step(self.step, cell, layer):
            return self.wrapper.normalise(len(self.kinds) - 1, value)

    def expect(self, count: int) -> None:
        if self.kinds != self.wrapper.products[:count]:
            raise TinygradError(
                f"{self.wrapper.name}: the step has other products than when it was wrapped: expected {self.wrapper.products}; found {self.kinds}"
            )


class RecurrentLayerNorm(_Normalised):
    """Layer normalisation of the products of a cell: each has a gain and a shift of its own.

    J. L. Ba, J. R. Kiros and G. E. Hinton, Layer Normalization (2016), arXiv:1607.06450. Each
    product of the step with the input (W x) or the state (U h) is normalised over its features, in
    a GRU those of the gates together and those of the candidate by themselves; biases are added
    after. The memory of LSTMs is normalised where the output is made of it. What is carried to the
    next step is not changed. Around an `LSTM` this is `cells.LayerNormLSTM`. A product that is a
    single number for each row stays as it is.

    Parameters
    ----------
    cell : Cell
        The inner cell. Its step must name its products by `Cell.from_input` and `Cell.from_state`,
        as all of `cells` do.

    Attributes
    ----------
    norms : list of list of LayerNorm
        For each product, in the order of the step, a norm for each of its parts.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self.norms: list[list[LayerNorm]] = []
        self.cuts: list[tuple[int, ...]] = []
        for kind, value, cuts in self._found:
            ends = (0, *cuts, value.shape[-1])
            if value.ndim > 3 or min(np.diff(ends)) < 2:
                raise ShapeError(
                    f"{self.name}: a product with the {kind} has shape {tuple(value.shape)} for a batch of 2{f', cut at {cuts}' if cuts else ''}; "
                    "layer normalisation needs (batch, features) with at least 2 features in each part, one alone would always become 0"
                )
            self.norms.append([LayerNorm(int(size), dtype=value.dtype) for size in np.diff(ends)])
            self.cuts.append(cuts)
        del self._found

    def normalise(self, k: int, value: Any) -> Any:
        """Return product number k; each part has mean 0 and variance 1 over its features."""
        norms, cuts = self.norms[k], self.cuts[k]
        if not cuts:
            return norms[0](value)
        return concatenate(
            [
                norm(part)
                for norm, part in zip(norms, split(value, list(cuts), axis=-1), strict=True)
            ],
            -1,
        )


class RecurrentBatchNorm(_Normalised):
    """Batch normalisation of the products of a cell, with statistics of its own for each step.

    T. Cooijmans, N. Ballas, C. Laurent, C. Gulcehre and A. Courville, Recurrent Batch
    Normalization, ICLR 2017, arXiv:1603.09025. Each product of the step, those with the input (W x)
    and those with the state (U h), has a gain, which starts at 0.1, and no shift, which would
    repeat the cell's bias. The memory of LSTMs is normalised where the output is made of it, with a
    gain and a shift; the memory that is carried is not changed. Running statistics are kept for
    each of the first `steps` steps, and later steps use those of the last; gain and shift are
    shared by all steps. The statistics are over all rows of the batch, with `lengths` also over
    those that have ended, which repeat their last input.

    Parameters
    ----------
    cell : Cell
        The inner cell. Its step must name its products by `Cell.from_input` and `Cell.from_state`,
        as all of `cells` do.
    steps : int
        For how many steps statistics are kept.
    gain : float
        The first value of the gains.

    Attributes
    ----------
    norms : list of list of BatchNorm
        For each product, in the order of the step, a norm for each of the `steps`.
    """

    def __init__(self, cell: Cell, steps: int, *, gain: float = 0.1) -> None:
        super().__init__(cell)
        if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or steps < 1:
            raise TinygradError(
                f"RecurrentBatchNorm: steps must be a whole number, at least 1; found {steps!r}"
            )
        self.norms: list[list[BatchNorm]] = []
        for kind, value, _ in self._found:
            if value.ndim == 3:
                raise ShapeError(
                    f"{self.name}: a product with the {kind} has shape {tuple(value.shape)} for a batch of 2; expected (batch, features)"
                )
            features = value.shape[1]
            norms = [BatchNorm(features, dtype=value.dtype) for _ in range(steps)]
            norms[0].weight = Parameter(np.full(features, gain, value.dtype))
            for other in norms:
                other.weight, other.bias = (
                    norms[0].weight,
                    norms[0].bias if kind == "output" else None,
                )
            self.norms.append(norms)
        del self._found

    def normalise(self, k: int, value: Any) -> Any:
        """Return product number k, normalised with the statistics of the step."""
        norms = self.norms[k]
        return norms[0].normalised(value, norms)
