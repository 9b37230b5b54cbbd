"""Networks made of LSTM layers that read a sequence of vectors or of images.

Sequences have time first: (T, batch, ...). Each network is short enough to be read, copied and
changed. Those that read and write tokens are in `token_models`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError
from ..core.record import describe
from ..core.tensor import Tensor, as_array, tensor
from ..module import Module
from ..ops.elementwise import relu, where
from ..ops.pooling import max_pool2d
from ..ops.shaping import reshape
from .convolution import Conv2d
from .layers import Linear
from .recurrent import LSTM


class StackedLSTM(Module):
    """Several LSTM levels, and a linear layer on the last state: a sequence to one output.

    Each level reads the outputs of the one below (A. Graves, A. Mohamed and G. Hinton, Speech
    Recognition with Deep Recurrent Neural Networks, ICASSP 2013, arXiv:1303.5778), and the linear
    layer reads the state of the highest. Dropout stands between levels and not in the recurrence
    (W. Zaremba, I. Sutskever and O. Vinyals, Recurrent Neural Network Regularization, 2014,
    arXiv:1409.2329).

    Parameters
    ----------
    input_size, hidden_size, output_size : int
        Features of a step, units of each level, numbers in the output (classes, for logits).
    num_layers : int
        Levels.
    dropout : float
        Probability of dropout between levels, in [0, 1).
    rng : numpy Generator or int, optional
        For first values and dropout.
    dtype : dtype
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_layers: int = 2,
        dropout: float = 0.0,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        rng = init.generator(rng)
        self.lstm = LSTM(input_size, hidden_size, num_layers, dropout=dropout, rng=rng, dtype=dtype)
        self.output = Linear(hidden_size, output_size, rng=rng, dtype=dtype)

    def forward(self, xs: Any, lengths: Any = None) -> Any:
        """Read sequences.

        Parameters
        ----------
        xs : Tensor or array, shape (T, batch, input_size)
        lengths : integers, shape (batch,), optional
            Steps of each sequence; the rest is padding. The state that is read is that of the last
            step that counts.

        Returns
        -------
        Tensor, shape (batch, output_size)
        """
        _, state = self.lstm(xs, lengths=lengths)
        return self.output(state.h[-1])


class VanillaLSTM(StackedLSTM):
    """One LSTM layer, and a linear layer on its last state: a sequence to one output.

    The cell is that of S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation
    9 (1997), with the forget gate of F. Gers, J. Schmidhuber and F. Cummins, Learning to Forget,
    Neural Computation 12 (2000), and without peepholes.

    Parameters
    ----------
    input_size, hidden_size, output_size : int
        Features of a step, units, numbers in the output (classes, for logits).
    rng : numpy Generator or int, optional
    dtype : dtype

    Notes
    -----
    ``model(xs, lengths=None)``, see `StackedLSTM.forward`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size, 1, rng=rng, dtype=dtype)


class CNNLSTM(Module):
    """A convolution that looks at each frame of an image sequence, and an LSTM that reads on.

    Each frame goes through a convolution that keeps height and width, max(0, .) and max pooling;
    the result is one vector, the LSTM's input at that step. The weights of the convolution are the
    same for all steps. After J. Donahue et al., Long-term Recurrent Convolutional Networks for
    Visual Recognition and Description, CVPR 2015, arXiv:1411.4389.

    Parameters
    ----------
    channels, height, width : int
        Sizes of a frame.
    filters : int
        Channels of the convolution's output.
    hidden_size, output_size : int
        Units of the LSTM, numbers in the output.
    kernel_size : int
        Rows and columns of the convolution's window, odd.
    pool : int
        Rows and columns that max pooling makes one of; what is left over at the edge is not looked
        at.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        The dtype of the parameters.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        filters: int,
        hidden_size: int,
        output_size: int,
        *,
        kernel_size: int = 3,
        pool: int = 2,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ShapeError(
                f"CNNLSTM: kernel_size must be odd, so that height and width stay as they are; found {kernel_size}"
            )
        if not 1 <= pool <= min(height, width):
            raise ShapeError(
                f"CNNLSTM: pool must be from 1 to the height and the width of a frame; found {pool} for {height} x {width}"
            )
        rng = init.generator(rng)
        self.frame, self.pool = (channels, height, width), pool
        self.convolution = Conv2d(
            channels, filters, kernel_size, padding=kernel_size // 2, rng=rng, dtype=dtype
        )
        self.lstm = LSTM(
            filters * (height // pool) * (width // pool), hidden_size, rng=rng, dtype=dtype
        )
        self.output = Linear(hidden_size, output_size, rng=rng, dtype=dtype)

    def forward(self, xs: Any, lengths: Any = None) -> Any:
        """Read image sequences.

        Parameters
        ----------
        xs : Tensor or array, shape (T, batch, channels, height, width)
        lengths : integers, shape (batch,), optional
            Frames of each sequence; the rest is padding, which may hold anything.

        Returns
        -------
        Tensor, shape (batch, output_size)
        """
        xs = floats(self, xs)
        if xs.ndim != 5 or xs.shape[2:] != self.frame:
            sizes = ", ".join(map(str, self.frame))
            raise ShapeError(
                f"CNNLSTM: expected image sequences of shape (T, batch, {sizes}); found {describe(xs)}. A single sequence gets its batch "
                "axis with xs[:, None], frames of one channel their channel axis with xs[:, :, None]."
            )
        steps, batch = xs.shape[:2]
        # other shapes are refused, with a message, by the LSTM
        if lengths is not None and np.shape(lengths) == (batch,):
            # A frame that does not count would spoil the gradient of the convolution if it held
            # nan: 0 * nan is nan.
            counts = np.arange(steps)[:, None] < as_array(lengths)
            xs = where(counts[:, :, None, None, None], xs, 0)
        seen = relu(self.convolution(reshape(xs, (steps * batch, *self.frame))))
        vectors = reshape(max_pool2d(seen, self.pool), (steps, batch, -1))
        _, state = self.lstm(vectors, lengths=lengths)
        return self.output(state.h[-1])


class BidirectionalLSTM(Module):
    """A label for every step, from what came before it and what comes after it.

    One LSTM reads forwards and another backwards; a linear layer sees both outputs of a step. M.
    Schuster and K. Paliwal, Bidirectional Recurrent Neural Networks, IEEE Transactions on Signal
    Processing 45 (1997); with LSTM: A. Graves and J. Schmidhuber, Framewise Phoneme Classification
    with Bidirectional LSTM and Other Neural Network Architectures, Neural Networks 18 (2005).

    Parameters
    ----------
    input_size, hidden_size, output_size : int
        Features of a step, units of each direction, numbers in the output of a step (labels, for
        logits).
    num_layers : int
        Levels; each reads both directions of the one below.
    dropout : float
        Probability of dropout between levels, in [0, 1).
    rng : numpy Generator or int, optional
        For first values and dropout.
    dtype : dtype
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        rng = init.generator(rng)
        self.lstm = LSTM(
            input_size,
            hidden_size,
            num_layers,
            dropout=dropout,
            bidirectional=True,
            rng=rng,
            dtype=dtype,
        )
        self.output = Linear(2 * hidden_size, output_size, rng=rng, dtype=dtype)

    def forward(self, xs: Any, lengths: Any = None) -> Any:
        """Read sequences.

        Parameters
        ----------
        xs : Tensor or array, shape (T, batch, input_size)
        lengths : integers, shape (batch,), optional
            Steps of each sequence; the backward direction begins at its last step that counts.

        Returns
        -------
        Tensor, shape (T, batch, output_size)
            At padding every number is the linear layer's bias and means nothing; a loss leaves it
            out with the mask ``np.arange(T)[:, None] < lengths``.
        """
        ys, _ = self.lstm(xs, lengths=lengths)
        return self.output(ys)


def floats(model: Module, xs: Any) -> Any:
    """Return a tensor; an array of floating numbers takes the dtype of the model."""
    if isinstance(xs, Tensor):
        return xs
    values = as_array(xs)
    return tensor(values, next(model.parameters()).dtype)
