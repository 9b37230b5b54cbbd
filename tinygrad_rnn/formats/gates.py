"""The weights of one recurrent layer under PyTorch's names: what all converters share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.primitive import Array
from ..core.tensor import Tensor

RNN, LSTM, GRU = "h", "ifgo", "rzn"
"""The gates of a layer's blocks, a letter each, in the order of this package and of PyTorch."""


class Weights(NamedTuple):
    """The weights of one layer and direction.

    Attributes
    ----------
    weight_ih : ndarray, shape (gates * H, I)
    weight_hh : ndarray, shape (gates * H, H)
    bias_ih, bias_hh : ndarray of shape (gates * H,), or None for both
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None
    bias_hh: Array | None


def as_array(value: Any, what: str) -> Array:
    """Return a tensor or an array as a floating array, or raise a DtypeError."""
    array: Array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind != "f":
        raise DtypeError(f"{what} must be floating numbers; found {array.dtype}")
    return array


def expect_shape(array: Array, expected: tuple[int, ...], what: str, reason: str = "") -> None:
    """Raise a ShapeError if an array has another shape."""
    if array.shape != expected:
        raise ShapeError(f"{what} has shape {array.shape}; expected {expected}{reason}")


def reorder(array: Array, gates: str, order: str) -> Array:
    """Return stacked blocks of rows, which stand in the order `gates`, in another order.

    Both orders are texts of the same letters. The result is a copy.
    """
    blocks = np.split(array, len(gates))
    return np.concatenate([blocks[gates.index(gate)] for gate in order])


def suffix_of(layer: int, reverse: bool) -> str:
    """Return the end of PyTorch's names, such as "_l0" and "_l0_reverse"."""
    if layer < 0:
        raise ShapeError(f"layer must be at least 0; found {layer}")
    return f"_l{layer}{'_reverse' if reverse else ''}"


def to_state(weights: Weights, gates: str, order: str, suffix: str) -> dict[str, Array]:
    """Return a state dict from weights whose blocks stand in the order `gates`.

    Without biases there are no names for them.
    """
    return {
        name + suffix: reorder(value, gates, order)
        for name, value in weights._asdict().items()
        if value is not None
    }


def from_state(
    state: Mapping[str, Any], gates: str, order: str, suffix: str, function: str
) -> Weights:
    """Return the weights of one layer and direction of a state dict.

    Their blocks stand in the order `gates`; in the state dict they stand in `order`.

    Raises
    ------
    TinygradError
        If names are missing, or the layer has a projection, which neither Keras nor ONNX has.
    ShapeError
        If shapes do not fit each other and the number of gates.
    """
    if f"weight_hr{suffix}" in state:
        raise TinygradError(
            f"{function}: weight_hr{suffix} is the projection of an LSTM with proj_size, and the LSTM of Keras and ONNX has none. "
            "Only a layer with proj_size=0 can be converted."
        )
    names = [name + suffix for name in Weights._fields]
    biases = [name in state for name in names[2:]]
    missing = [name for name in names if name not in state and (name in names[:2] or any(biases))]
    if missing:
        raise TinygradError(f"{function}: the state dict has no {missing}; it has {list(state)}")
    values = {name: as_array(state[name], f"{function}: {name}") for name in names if name in state}
    weight_ih, weight_hh = values[names[0]], values[names[1]]
    hidden = weight_hh.shape[-1] if weight_hh.ndim else 0
    rows = len(order) * hidden
    expect_shape(
        weight_hh,
        (rows, hidden),
        f"{function}: {names[1]}",
        f": {len(order)} blocks of a square matrix",
    )
    expect_shape(
        weight_ih,
        (rows, *weight_ih.shape[1:2]),
        f"{function}: {names[0]}",
        f" to go with {names[1]} {weight_hh.shape}",
    )
    for name in names[2:]:
        if name in values:
            expect_shape(
                values[name],
                (rows,),
                f"{function}: {name}",
                f" to go with {names[1]} {weight_hh.shape}",
            )
    weight_ih, weight_hh, *found = [
        reorder(values[name], order, gates) for name in names if name in values
    ]
    return Weights(weight_ih, weight_hh, *(found or (None, None)))
