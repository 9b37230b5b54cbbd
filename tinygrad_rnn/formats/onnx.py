"""Weights of the ONNX operators RNN, LSTM and GRU to and from those of the layers of `tg.nn`.

The functions take arrays and return arrays. ONNX stacks directions on the first axis, writes both
biases in one array B (input's, then recurrent), and orders the gates i, o, f, c (LSTM) and z, r, h
(GRU). One operator is one level; a stack of levels is the union of their state dicts::

    layer = tg.nn.LSTM(8, 16, 2, bidirectional=True)
    layer.load_state_dict(from_onnx_lstm(W0, R0, B0) | from_onnx_lstm(W1, R1, B1, layer=1))

The attributes of an operator that change what is computed are arguments here; one that the layers
of this package do not have raises a TinygradError which says why. The attribute `layout` and the
input `sequence_lens` make no difference to the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..core.primitive import Array
from ..ops.checks import typed
from .gates import (
    GRU,
    LSTM,
    RNN,
    Weights,
    as_array,
    expect_shape,
    from_state,
    reorder,
    suffix_of,
    to_state,
)

__all__ = [
    "from_onnx_gru",
    "from_onnx_lstm",
    "from_onnx_peephole_lstm",
    "from_onnx_rnn",
    "to_onnx_gru",
    "to_onnx_lstm",
    "to_onnx_peephole_lstm",
    "to_onnx_rnn",
]


@dataclass(frozen=True)
class _Operator:
    """An operator of ONNX.

    Attributes
    ----------
    gates, order : str
        The gates, a letter each, in the order of ONNX and in that of this package.
    activations : tuple of str
        The activations of the layer, for one direction.
    """

    gates: str
    order: str
    activations: tuple[str, ...]


_RNN = _Operator("h", RNN, ("Tanh",))
_RELU = _Operator("h", RNN, ("Relu",))
_LSTM = _Operator("iofg", LSTM, ("Sigmoid", "Tanh", "Tanh"))
_GRU = _Operator("zrn", GRU, ("Sigmoid", "Tanh"))


@typed
def from_onnx_rnn(
    W: Any,
    R: Any,
    B: Any = None,
    *,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    layer: int = 0,
    reverse: bool = False,
) -> dict[str, Array]:
    """Return a state dict for `tg.nn.RNN` from the inputs of the ONNX operator RNN.

    Parameters
    ----------
    W : array, shape (directions, hidden_size, input_size)
        The input's weights.
    R : array, shape (directions, hidden_size, hidden_size)
        The recurrent weights.
    B : array, shape (directions, 2 * hidden_size), optional
        The input's biases, and then the recurrent ones. Without it the result has no biases, for a
        layer with ``bias=False``.
    activations : sequence of str, optional
        The operator's attribute: "Tanh" for each direction (the default), or "Relu" for each, with
        ``tg.nn.RNN(nonlinearity="relu")``.
    clip : float, optional
        The operator's attribute, which must be absent.
    layer : int
        The level that the names say: ``_l0``, ``_l1``, ...
    reverse : bool
        Whether one direction gets the names of the reverse one (``direction="reverse"``). Two
        directions get the names of both.

    Raises
    ------
    TinygradError
        For an attribute that `tg.nn.RNN` does not have.
    ShapeError
        If shapes do not fit.
    """
    relu = bool(activations) and all(str(a).lower() == "relu" for a in activations or ())
    operator = _RELU if relu else _RNN
    _refuse("from_onnx_rnn", operator, activations, clip)
    return _from("from_onnx_rnn", operator, W, R, B, layer, reverse)


@typed
def to_onnx_rnn(state: Mapping[str, Any], *, layer: int = 0) -> tuple[Array, Array, Array | None]:
    """Return ``(W, R, B)`` of the ONNX operator RNN from the state dict of a `tg.nn.RNN`.

    The arrays have both directions if the level has them. B is None for a layer without biases. A
    layer with ``nonlinearity="relu"`` needs the attribute ``activations=["Relu"]`` (for each
    direction).
    """
    return _to("to_onnx_rnn", _RNN, state, layer)


@typed
def from_onnx_lstm(
    W: Any,
    R: Any,
    B: Any = None,
    P: Any = None,
    *,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    input_forget: int = 0,
    layer: int = 0,
    reverse: bool = False,
) -> dict[str, Array]:
    """Return a state dict for `tg.nn.LSTM` from the inputs of the ONNX operator LSTM.

    Parameters
    ----------
    W : array, shape (directions, 4 * hidden_size, input_size)
    R : array, shape (directions, 4 * hidden_size, hidden_size)
    B : array, shape (directions, 8 * hidden_size), optional
        As in `from_onnx_rnn`.
    P : array, shape (directions, 3 * hidden_size), optional
        The peepholes, which must be absent or zero, since `tg.nn.LSTM` has none.
    activations, clip, input_forget
        The operator's attributes, which must be: sigmoid, tanh, tanh for each direction; absent;
        0.
    layer, reverse
        As in `from_onnx_rnn`.

    Raises
    ------
    TinygradError
        For an attribute, or peepholes, that `tg.nn.LSTM` does not have.
    ShapeError
        If shapes do not fit.
    """
    _refuse("from_onnx_lstm", _LSTM, activations, clip)
    _refuse_coupled("from_onnx_lstm", input_forget)
    if P is not None and np.any(as_array(P, "from_onnx_lstm: P")):
        raise TinygradError(
            "from_onnx_lstm: P holds peephole weights, by which the gates read the cell state; tg.nn.LSTM has none, so the function would "
            "be another. from_onnx_peephole_lstm converts to the cell tg.cells.PeepholeLSTM."
        )
    return _from("from_onnx_lstm", _LSTM, W, R, B, layer, reverse)


@typed
def to_onnx_lstm(state: Mapping[str, Any], *, layer: int = 0) -> tuple[Array, Array, Array | None]:
    """Return ``(W, R, B)`` of the ONNX operator LSTM from the state dict of a `tg.nn.LSTM`.

    The arrays have both directions if the level has them. B is None for a layer without biases. A
    layer with a projection cannot be converted.
    """
    return _to("to_onnx_lstm", _LSTM, state, layer)


@typed
def from_onnx_peephole_lstm(
    W: Any,
    R: Any,
    B: Any,
    P: Any,
    *,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    input_forget: int = 0,
) -> dict[str, Array]:
    """Return a state dict for the cell `cells.PeepholeLSTM` from an ONNX LSTM with peepholes.

    The operator has one direction.

    Parameters
    ----------
    W : array, shape (1, 4 * hidden_size, input_size)
    R : array, shape (1, 4 * hidden_size, hidden_size)
    B : array, shape (1, 8 * hidden_size), or None for zeros
        The biases. The cell has one bias, which is their sum.
    P : array, shape (1, 3 * hidden_size)
        The peepholes of the gates i, o and f.
    activations, clip, input_forget
        As in `from_onnx_lstm`.

    Raises
    ------
    TinygradError
        For an attribute that the cell does not have.
    ShapeError
        If shapes do not fit.
    """
    function = "from_onnx_peephole_lstm"
    _refuse(function, _LSTM, activations, clip)
    _refuse_coupled(function, input_forget)
    state = _from(function, _LSTM, W, R, B, 0, False, merge=True)
    hidden = state["weight_hh_l0"].shape[1]
    P = as_array(P, f"{function}: P")
    expect_shape(
        P, (1, 3 * hidden), f"{function}: P", ": blocks i, o, f of one direction; the cell has one"
    )
    p = reorder(P[0], "iof", "ifo")
    b = state.get("bias_ih_l0", np.zeros(4 * hidden, p.dtype))
    return {"W": state["weight_ih_l0"], "U": state["weight_hh_l0"], "b": b, "p": p}


@typed
def to_onnx_peephole_lstm(state: Mapping[str, Any]) -> tuple[Array, Array, Array, Array]:
    """Return ``(W, R, B, P)`` of the ONNX operator LSTM from the state dict of a `PeepholeLSTM`.

    The recurrent half of B is zero.

    Raises
    ------
    TinygradError
        If names are missing.
    ShapeError
        If shapes do not fit.
    """
    function = "to_onnx_peephole_lstm"
    missing = [name for name in ("W", "U", "b", "p") if name not in state]
    if missing:
        raise TinygradError(f"{function}: the state dict has no {missing}; it has {list(state)}")
    b = as_array(state["b"], f"{function}: b")
    names = {
        "weight_ih_l0": state["W"],
        "weight_hh_l0": state["U"],
        "bias_ih_l0": b,
        "bias_hh_l0": np.zeros_like(b),
    }
    found = from_state(names, _LSTM.gates, LSTM, "_l0", function)
    p = as_array(state["p"], f"{function}: p")
    expect_shape(p, (3 * found.weight_hh.shape[1],), f"{function}: p", ": blocks i, f, o")
    B = np.concatenate([reorder(b, LSTM, _LSTM.gates), np.zeros_like(b)])
    return found.weight_ih[None], found.weight_hh[None], B[None], reorder(p, "ifo", "iof")[None]


@typed
def from_onnx_gru(
    W: Any,
    R: Any,
    B: Any = None,
    *,
    linear_before_reset: int = 0,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    layer: int = 0,
    reverse: bool = False,
) -> dict[str, Array]:
    """Return a state dict for `tg.nn.GRU` from the inputs of the ONNX operator GRU.

    Parameters
    ----------
    W : array, shape (directions, 3 * hidden_size, input_size)
    R : array, shape (directions, 3 * hidden_size, hidden_size)
    B : array, shape (directions, 6 * hidden_size), optional
        As in `from_onnx_rnn`.
    linear_before_reset : int
        The operator's attribute. With 1 the result is for ``tg.nn.GRU()``. With 0, the default of
        ONNX, the reset gate acts before the product, and the result is for
        ``tg.nn.GRU(reset_after=False)`` or `cells.GRUResetBefore`. There the two biases only ever
        occur as their sum, so it is put in bias_ih, and bias_hh is zero. Names and shapes are the
        same in both forms, the function is not.
    activations, clip
        The operator's attributes, which must be: sigmoid, tanh for each direction; absent.
    layer, reverse
        As in `from_onnx_rnn`.

    Raises
    ------
    TinygradError
        For an attribute that `tg.nn.GRU` does not have.
    ShapeError
        If shapes do not fit.
    """
    function = "from_onnx_gru"
    _refuse(function, _GRU, activations, clip)
    merge = not _flag(function, linear_before_reset)
    return _from(function, _GRU, W, R, B, layer, reverse, merge=merge)


@typed
def to_onnx_gru(
    state: Mapping[str, Any], *, linear_before_reset: int, layer: int = 0
) -> tuple[Array, Array, Array | None]:
    """Return ``(W, R, B)`` of the ONNX operator GRU from the state dict of a `tg.nn.GRU`.

    The arrays have both directions if the level has them. B is None for a layer without biases.

    Parameters
    ----------
    state : mapping of str to array
        The state dict of the layer.
    linear_before_reset : int
        The attribute that the operator will have: 1 for ``tg.nn.GRU()``, 0 for
        ``tg.nn.GRU(reset_after=False)``, where the sum of the biases is written as the input's and
        the recurrent one is zero.
    layer : int
        The level: ``_l0``, ``_l1``, ...
    """
    function = "to_onnx_gru"
    return _to(function, _GRU, state, layer, merge=not _flag(function, linear_before_reset))


def _flag(function: str, linear_before_reset: int) -> bool:
    """Return the attribute linear_before_reset as a truth value."""
    if linear_before_reset not in (0, 1):
        raise TinygradError(
            f"{function}: linear_before_reset must be 0 or 1; found {linear_before_reset!r}"
        )
    return bool(linear_before_reset)


def _refuse(
    function: str, operator: _Operator, activations: Sequence[str] | None, clip: float | None
) -> None:
    """Raise a TinygradError for attributes that no layer has."""
    own = list(operator.activations)
    if clip is not None:
        raise TinygradError(
            f"{function}: clip={clip} bounds what goes into the activations, which no layer of this package does; only an operator "
            "without the attribute can be converted"
        )
    if activations is not None and [str(a).lower() for a in activations] not in (
        [a.lower() for a in own],
        [a.lower() for a in 2 * own],
    ):
        raise TinygradError(
            f"{function}: activations={list(activations)}; the layer has {own} in each direction, and no others can be chosen"
        )


def _refuse_coupled(function: str, input_forget: int) -> None:
    """Raise a TinygradError for gates that are coupled."""
    if input_forget:
        raise TinygradError(
            f"{function}: input_forget={input_forget} couples the gates (i = 1 - f), and here each gate has weights of its own: no values "
            "of them give the same function"
        )


def _from(
    function: str,
    operator: _Operator,
    W: Any,
    R: Any,
    B: Any,
    layer: int,
    reverse: bool,
    *,
    merge: bool = False,
) -> dict[str, Array]:
    """Return a state dict from the inputs of an operator.

    With `merge` the sum of the two biases becomes the input's, and the recurrent one is zero.
    """
    gates = operator.gates
    W, R = as_array(W, f"{function}: W"), as_array(R, f"{function}: R")
    B = None if B is None else as_array(B, f"{function}: B")
    for name, array, last in (("W", W, "input_size"), ("R", R, "hidden_size")):
        if array.ndim != 3 or array.shape[0] not in (1, 2):
            blocks = "hidden_size" if len(gates) == 1 else f"{len(gates)} * hidden_size"
            raise ShapeError(
                f"{function}: {name} has shape {array.shape}; expected (directions, {blocks}, {last}), 1 or 2 directions"
            )
    directions, hidden = R.shape[0], R.shape[2]
    rows = len(gates) * hidden
    expect_shape(
        R,
        (directions, rows, hidden),
        f"{function}: R",
        f", for {len(gates)} blocks of a square matrix",
    )
    expect_shape(W, (directions, rows, W.shape[2]), f"{function}: W", f" to go with R {R.shape}")
    if B is not None:
        expect_shape(
            B,
            (directions, 2 * rows),
            f"{function}: B",
            ": the input's biases and the recurrent ones of each direction",
        )
    if reverse and directions == 2:
        raise ShapeError(
            f"{function}: reverse=True names one direction, and these weights have two, which get both names"
        )
    state: dict[str, Array] = {}
    for d in range(directions):
        weights = (
            Weights(W[d], R[d], None, None)
            if B is None
            else Weights(W[d], R[d], *_merged(B[d, :rows], B[d, rows:], merge))
        )
        state |= to_state(weights, gates, operator.order, suffix_of(layer, reverse or d == 1))
    return state


def _to(
    function: str, operator: _Operator, state: Mapping[str, Any], layer: int, *, merge: bool = False
) -> tuple[Array, Array, Array | None]:
    """Return the inputs ``(W, R, B)`` of an operator from a state dict; `merge` as in `_from`."""
    reverse = f"weight_ih{suffix_of(layer, True)}" in state
    found = [
        from_state(state, operator.gates, operator.order, suffix_of(layer, d == 1), function)
        for d in range(1 + reverse)
    ]
    W, R = np.stack([w.weight_ih for w in found]), np.stack([w.weight_hh for w in found])
    biases = []
    for w in found:
        if w.bias_ih is not None and w.bias_hh is not None:
            biases.append(np.concatenate(_merged(w.bias_ih, w.bias_hh, merge)))
    return W, R, np.stack(biases) if biases else None


def _merged(a: Array, b: Array, merge: bool) -> tuple[Array, Array]:
    """Return two biases as they are, or their sum and zeros."""
    return (a + b, np.zeros_like(b)) if merge else (a, b)
