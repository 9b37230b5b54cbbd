"""Weights of Keras layers to and from those of `tg.nn.RNN`, `tg.nn.LSTM` and `tg.nn.GRU`.

The functions take arrays and return arrays. Keras keeps kernels as (features, gates * units), that
is transposed, and its gates in the order i, f, c, o (LSTM) and z, r, h (GRU). `layer.get_weights()`
of a Keras layer gives ``[kernel, recurrent_kernel, bias]``, or without bias the first two. Of a
``Bidirectional`` it gives those of the forward layer and then those of the backward one, which is
converted with ``reverse=True``::

    forward, backward = weights[:3], weights[3:]
    layer = tg.nn.LSTM(8, 16, bidirectional=True)
    layer.load_state_dict(from_keras_lstm(*forward) | from_keras_lstm(*backward, reverse=True))

Only weights are converted, and they mean the same only where the Keras layer has its default
activations: tanh, and sigmoid for the gates (for SimpleRNN also relu, with
``tg.nn.RNN(nonlinearity="relu")``). Layers saved by Keras before version 2.3 may have
``recurrent_activation="hard_sigmoid"``, which these layers do not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Array
from ..ops.checks import typed
from .gates import GRU, LSTM, RNN, Weights, as_array, expect_shape, from_state, suffix_of, to_state

__all__ = [
    "from_keras_gru",
    "from_keras_lstm",
    "from_keras_simple_rnn",
    "to_keras_gru",
    "to_keras_lstm",
    "to_keras_simple_rnn",
]

_GRU = "zrn"  # Keras's order of the blocks r, z, n; the LSTM's is the same as here


@typed
def from_keras_simple_rnn(
    kernel: Any, recurrent_kernel: Any, bias: Any = None, *, layer: int = 0, reverse: bool = False
) -> dict[str, Array]:
    """Return a state dict for `tg.nn.RNN` from the weights of a Keras SimpleRNN.

    Parameters
    ----------
    kernel : array, shape (input_size, units)
        The input's weights.
    recurrent_kernel : array, shape (units, units)
        The recurrent weights.
    bias : array, shape (units,), optional
        The bias. It becomes bias_ih, and bias_hh is zero. Without it the result has no biases, for
        a layer with ``bias=False``.
    layer : int
        The level that the names say: ``_l0``, ``_l1``, ...
    reverse : bool
        Whether the names are those of the reverse direction.

    Raises
    ------
    ShapeError
        If shapes do not fit.
    """
    return _from(
        "from_keras_simple_rnn", kernel, recurrent_kernel, bias, RNN, RNN, suffix_of(layer, reverse)
    )


@typed
def to_keras_simple_rnn(
    state: Mapping[str, Any], *, layer: int = 0, reverse: bool = False
) -> tuple[Array, Array, Array | None]:
    """Return the weights of a Keras SimpleRNN from the state dict of a `tg.nn.RNN`.

    The one bias of Keras is the sum bias_ih + bias_hh: the function is the same, but the two parts
    cannot be had back.

    Parameters
    ----------
    state : mapping of str to array
        The state dict of the layer.
    layer : int
        The level: ``_l0``, ``_l1``, ...
    reverse : bool
        Whether the parameters are those of the reverse direction.

    Returns
    -------
    kernel, recurrent_kernel : ndarray
    bias : ndarray or None
        None for a layer without biases (``use_bias=False``).

    Raises
    ------
    TinygradError
        If names are missing.
    ShapeError
        If shapes do not fit.
    """
    return _to("to_keras_simple_rnn", state, RNN, RNN, suffix_of(layer, reverse))


@typed
def from_keras_lstm(
    kernel: Any, recurrent_kernel: Any, bias: Any = None, *, layer: int = 0, reverse: bool = False
) -> dict[str, Array]:
    """Return a state dict for `tg.nn.LSTM` from the weights of a Keras LSTM.

    Parameters
    ----------
    kernel : array, shape (input_size, 4 * units)
    recurrent_kernel : array, shape (units, 4 * units)
        As in `from_keras_simple_rnn`.
    bias : array, shape (4 * units,), optional
        The bias, with Keras's unit_forget_bias included, as Keras stores it. It becomes bias_ih,
        and bias_hh is zero.
    layer, reverse
        As in `from_keras_simple_rnn`.
    """
    return _from(
        "from_keras_lstm", kernel, recurrent_kernel, bias, LSTM, LSTM, suffix_of(layer, reverse)
    )


@typed
def to_keras_lstm(
    state: Mapping[str, Any], *, layer: int = 0, reverse: bool = False
) -> tuple[Array, Array, Array | None]:
    """Return the weights of a Keras LSTM from the state dict of a `tg.nn.LSTM`.

    The one bias of Keras is the sum bias_ih + bias_hh. A layer with a projection cannot be
    converted.

    Parameters
    ----------
    state, layer, reverse
        As in `to_keras_simple_rnn`.

    Returns
    -------
    kernel, recurrent_kernel, bias
        As `to_keras_simple_rnn` returns them.
    """
    return _to("to_keras_lstm", state, LSTM, LSTM, suffix_of(layer, reverse))


@typed
def from_keras_gru(
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    reset_after: bool = True,
    *,
    layer: int = 0,
    reverse: bool = False,
) -> dict[str, Array]:
    """Return a state dict for `tg.nn.GRU` with the same `reset_after` from a Keras GRU.

    Parameters
    ----------
    kernel : array, shape (input_size, 3 * units)
    recurrent_kernel : array, shape (units, 3 * units)
        As in `from_keras_simple_rnn`.
    bias : array, optional
        With `reset_after` its shape is (2, 3 * units): the input's and the recurrent one, which
        become bias_ih and bias_hh. Without, it is (3 * units,): it becomes bias_ih, and bias_hh is
        zero.
    reset_after : bool
        How the Keras layer was made (True is its default). The result of False is for
        ``tg.nn.GRU(reset_after=False)`` and `cells.GRUResetBefore`: names and shapes are the same
        in both forms, the function is not.
    layer, reverse
        As in `from_keras_simple_rnn`.

    Raises
    ------
    ShapeError
        If shapes do not fit, or the bias is that of the other form.
    """
    return _from(
        "from_keras_gru",
        kernel,
        recurrent_kernel,
        bias,
        _GRU,
        GRU,
        suffix_of(layer, reverse),
        two_biases=reset_after,
    )


@typed
def to_keras_gru(
    state: Mapping[str, Any], reset_after: bool = True, *, layer: int = 0, reverse: bool = False
) -> tuple[Array, Array, Array | None]:
    """Return the weights of a Keras GRU from a `tg.nn.GRU` with the same `reset_after`.

    Parameters
    ----------
    state : mapping of str to array
        The state dict of the layer.
    reset_after : bool
        The form of the layer, as it was made.
    layer, reverse
        As in `to_keras_simple_rnn`.

    Returns
    -------
    kernel, recurrent_kernel : ndarray
    bias : ndarray or None
        With `reset_after` its shape is (2, 3 * units). Without, it is the sum bias_ih + bias_hh, of
        shape (3 * units,). It is None for a layer without biases (``use_bias=False``).
    """
    return _to("to_keras_gru", state, _GRU, GRU, suffix_of(layer, reverse), two_biases=reset_after)


def _from(
    function: str,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any,
    gates: str,
    order: str,
    suffix: str,
    *,
    two_biases: bool = False,
) -> dict[str, Array]:
    """Return a state dict from the weights of a Keras layer."""
    kernel = as_array(kernel, f"{function}: kernel")
    recurrent = as_array(recurrent_kernel, f"{function}: recurrent_kernel")
    units = recurrent.shape[0] if recurrent.ndim else 0
    columns = len(gates) * units
    width = f"{len(gates)} * units" if len(gates) > 1 else "units"
    expect_shape(
        recurrent, (units, columns), f"{function}: recurrent_kernel", f", that is (units, {width})"
    )
    expect_shape(
        kernel,
        (*kernel.shape[:1], columns),
        f"{function}: kernel",
        f", that is (input_size, {width})",
    )
    bias_ih = bias_hh = None
    if bias is not None:
        bias = as_array(bias, f"{function}: bias")
        if gates == _GRU and bias.shape == ((columns,) if two_biases else (2, columns)):
            raise ShapeError(
                f"{function}: bias has shape {bias.shape}, that of a layer with reset_after={not two_biases}; this is the conversion for "
                f"reset_after={two_biases}. The two forms of the GRU are different functions: pass the one that the layer was made with."
            )
        expect_shape(bias, (2, columns) if two_biases else (columns,), f"{function}: bias")
        bias_ih, bias_hh = bias if two_biases else (bias, np.zeros_like(bias))
    return to_state(Weights(kernel.T, recurrent.T, bias_ih, bias_hh), gates, order, suffix)


def _to(
    function: str,
    state: Mapping[str, Any],
    gates: str,
    order: str,
    suffix: str,
    *,
    two_biases: bool = False,
) -> tuple[Array, Array, Array | None]:
    """Return the weights of a Keras layer from a state dict."""
    found = from_state(state, gates, order, suffix, function)
    kernel = np.ascontiguousarray(found.weight_ih.T)
    recurrent = np.ascontiguousarray(found.weight_hh.T)
    a, b = found.bias_ih, found.bias_hh
    if a is None or b is None:
        return kernel, recurrent, None
    return kernel, recurrent, np.stack([a, b]) if two_biases else a + b
