"""Six common networks made of LSTM layers, and two baselines to read their figures against.

Sequences have time first: (T, batch, ...). Each network is short enough to be read, copied and
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import init
from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.primitive import Array
from ..core.record import describe
from ..core.tape import no_grad
from ..core.tensor import Tensor, as_array, tensor
from ..core.tree import tree_map
from ..module import Module
from ..ops.checks import size, sizes
from ..ops.elementwise import relu, tanh, where
from ..ops.shaping import reshape, swapaxes
from ..ops.windows import max_pool2d
from .convolution import Conv2d
from .decoding import beam as beam_search
from .decoding import cut, greedy, sample
from .layers import Embedding, Linear
from .recurrent import LSTM

__all__ = [
    "CNNLSTM",
    "BidirectionalLSTM",
    "EncoderDecoderLSTM",
    "GenerativeLSTM",
    "LinearAutoregression",
    "StackedLSTM",
    "VanillaLSTM",
    "WindowMLP",
]


# --- a sequence to one output ---------------------------------------------------------------------------------------------


class StackedLSTM(Module):
    """Several LSTM levels, and a linear layer on the last state of the highest.

    A sequence to one output.

    Each level reads the outputs of the one below (A. Graves, A. Mohamed and G. Hinton, Speech
    Recognition with Deep Recurrent Neural Networks, ICASSP 2013, arXiv:1303.5778); dropout stands
    between levels and not in the recurrence (W. Zaremba, I. Sutskever and O. Vinyals, Recurrent
    Neural Network Regularization, 2014, arXiv:1409.2329).

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
    """A convolution looks at each frame of an image sequence, an LSTM at the sequence of what it found.

    Each frame goes through a convolution that keeps height and width, max(0, .) and max pooling;
    the result is one vector, the LSTM's input at that step. The weights of the convolution are the
    same for all steps. After J. Donahue et al., Long-term Recurrent Convolutional Networks for
    Visual Recognition and Description, CVPR 2015, arXiv:1411.4389.

    Parameters
    ----------
    channels, height, width : int
        Of a frame.
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
    dtype : dtype
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
        xs = _floats(self, xs)
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


# --- a sequence to a sequence ---------------------------------------------------------------------------------------------


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


class EncoderDecoderLSTM(Module):
    """One LSTM reads a sequence of tokens, another writes a sequence of tokens from the state in which the first ended.

    I. Sutskever, O. Vinyals and Q. V. Le, Sequence to Sequence Learning with Neural Networks,
    NeurIPS 2014, arXiv:1409.3215; and K. Cho et al., Learning Phrase Representations using RNN
    Encoder-Decoder for Statistical Machine Translation, EMNLP 2014, arXiv:1406.1078. There is no
    attention: all that is known of the source is in the state. See `AttentionCell` for that.

    Parameters
    ----------
    source_vocabulary, target_vocabulary : int
        Numbers of tokens; ids are 0 to one less.
    embedding_size, hidden_size : int
        Features of a token, units of both LSTMs.
    num_layers : int
        Levels of both.
    dropout : float
        Probability of dropout between levels, in [0, 1).
    start : int
        Target token that stands before the first.
    stop : int or None
        Target token that ends a sequence; None: all have the same length.
    rng : numpy Generator or int, optional
        For first values and dropout.
    dtype : dtype
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        embedding_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        start: int = 0,
        stop: int | None = 1,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        for name, token in (("start", start), ("stop", stop)):
            if token is not None and not 0 <= token < target_vocabulary:
                raise TinygradError(
                    f"EncoderDecoderLSTM: {name}={token} is no token of the target; expected 0 to target_vocabulary - 1 = {target_vocabulary - 1}"
                )
        rng = init.generator(rng)
        self.source_vocabulary, self.target_vocabulary = source_vocabulary, target_vocabulary
        self.start, self.stop = start, stop
        self.source_embedding = Embedding(source_vocabulary, embedding_size, rng=rng, dtype=dtype)
        self.target_embedding = Embedding(target_vocabulary, embedding_size, rng=rng, dtype=dtype)
        self.encoder = LSTM(
            embedding_size, hidden_size, num_layers, dropout=dropout, rng=rng, dtype=dtype
        )
        self.decoder = LSTM(
            embedding_size, hidden_size, num_layers, dropout=dropout, rng=rng, dtype=dtype
        )
        self.output = Linear(hidden_size, target_vocabulary, rng=rng, dtype=dtype)

    def encode(self, source: Any, lengths: Any = None) -> Any:
        """Source ids (S, batch), and the lengths of the sequences in it, to the encoder's last state."""
        source = _ids("EncoderDecoderLSTM", "source", "S", source, self.source_vocabulary, lengths)
        return self.encoder(self.source_embedding(source), lengths=lengths)[1]

    def forward(self, source: Any, target: Any, lengths: Any = None) -> Any:
        """Logits of the target's tokens, each from the source and the true tokens before it (teacher forcing).

        Parameters
        ----------
        source : integer array, shape (S, batch)
        target : integer array, shape (T, batch)
            Without start; if the model is to stop by itself, with stop. What follows stop may be
            any token: leave it out of the loss with a mask.
        lengths : integers, shape (batch,), optional
            Tokens of each source.

        Returns
        -------
        Tensor, shape (T, batch, target_vocabulary)
            For ``tg.nn.cross_entropy(logits, target, mask)``.
        """
        source = _ids("EncoderDecoderLSTM", "source", "S", source, self.source_vocabulary, lengths)
        target = _ids("EncoderDecoderLSTM", "target", "T", target, self.target_vocabulary)
        if source.shape[1] != target.shape[1]:
            raise ShapeError(
                f"EncoderDecoderLSTM: source has {source.shape[1]} sequences and target {target.shape[1]}; expected as many"
            )
        state = self.encode(source, lengths)
        before = np.concatenate([np.full_like(target[:1], self.start), target[:-1]])
        ys, _ = self.decoder(self.target_embedding(before), state)
        return self.output(ys)

    def decode(
        self,
        source: Any,
        lengths: Any = None,
        *,
        max_length: int,
        beam: int = 1,
        length_penalty: float = 0.0,
    ) -> list[list[int]]:
        """Write the target, by greedy choice or beam search (`nn.decoding`).

        Without dropout and without gradients.

        Parameters
        ----------
        source : integer array, shape (S, batch)
        lengths : integers, shape (batch,), optional
        max_length : int
            Most tokens of a target, stop included.
        beam : int
            Width of the beam; 1: the likeliest token, one after the other.
        length_penalty : float
            See `nn.decoding.beam`.

        Returns
        -------
        list of list of int
            For each source the tokens of the best target found, without start and stop.
        """
        if beam < 1:
            raise TinygradError(
                f"EncoderDecoderLSTM.decode: beam must be at least 1 (greedy choice); found {beam}"
            )
        with _evaluation(self), no_grad():
            state = _batch_first(self.encode(source, lengths))
            step = _stepping(self.target_embedding, self.decoder, self.output)
            if beam == 1:
                return cut(greedy(step, state, self.start, self.stop, max_length), self.stop)
            return [
                found[0].tokens
                for found in beam_search(
                    step, state, self.start, self.stop, max_length, beam, length_penalty
                )
            ]


class GenerativeLSTM(Module):
    """A model of token sequences that predicts each token from those before it, and can be asked to go on.

    A. Graves, Generating Sequences With Recurrent Neural Networks, 2013, arXiv:1308.0850.

    Parameters
    ----------
    vocabulary : int
        Number of tokens; ids are 0 to one less.
    embedding_size, hidden_size : int
        Features of a token, units of each level.
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
        vocabulary: int,
        embedding_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        rng = init.generator(rng)
        self.vocabulary = vocabulary
        self.embedding = Embedding(vocabulary, embedding_size, rng=rng, dtype=dtype)
        self.lstm = LSTM(
            embedding_size, hidden_size, num_layers, dropout=dropout, rng=rng, dtype=dtype
        )
        self.output = Linear(hidden_size, vocabulary, rng=rng, dtype=dtype)

    def forward(self, ids: Any, state: Any = None) -> tuple[Any, Any]:
        """Logits of the token that follows each token.

        Parameters
        ----------
        ids : integer array, shape (T, batch)
        state : optional
            Where an earlier call ended; by default zeros. For training window by window it is cut
            off with ``tg.detach``.

        Returns
        -------
        logits : Tensor, shape (T, batch, vocabulary)
            At step t of what stands at t + 1.
        state
            The last state of the LSTM.
        """
        ids = _ids("GenerativeLSTM", "ids", "T", ids, self.vocabulary)
        ys, state = self.lstm(self.embedding(ids), state)
        return self.output(ys), state

    def generate(
        self,
        prompt: Any,
        length: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        rng: Any = None,
    ) -> Array:
        """Go on from a prompt, by drawing from what is predicted (`nn.decoding.sample`).

        Without dropout and without gradients.

        Parameters
        ----------
        prompt : integer sequence, shape (P,), or array, shape (P, batch)
            The tokens before, at least one.
        length : int
            Number of new tokens.
        temperature : float
            Logits are divided by it; at 0 always the likeliest token.
        top_k : int, optional
            Only the k likeliest tokens are drawn.
        rng : numpy Generator or int, optional

        Returns
        -------
        int64 array, shape (length,) or (length, batch)
            The new tokens, without the prompt.
        """
        given = as_array(prompt)
        if not given.size:
            raise ShapeError(
                "GenerativeLSTM.generate: the prompt is empty; give at least one token, such as one that begins every sequence"
            )
        ids = _ids(
            "GenerativeLSTM.generate",
            "prompt",
            "P",
            given[:, None] if given.ndim == 1 else given,
            self.vocabulary,
        )
        with _evaluation(self), no_grad():
            state = (
                self.lstm(self.embedding(ids[:-1]))[1]
                if len(ids) > 1
                else self.lstm.initial_state(ids.shape[1])
            )
            step = _stepping(self.embedding, self.lstm, self.output)
            drawn = sample(
                step, _batch_first(state), ids[-1], None, length, temperature, top_k, rng
            ).T
        return drawn[:, 0] if given.ndim == 1 else drawn


# --- baselines ------------------------------------------------------------------------------------------------------------


class WindowMLP(Module):
    """A network without memory: linear, tanh, linear on the last steps of a sequence.

    The baseline of forecasting. F. Gers, D. Eck and J. Schmidhuber, Applying LSTM to Time Series
    Predictable through Time-Window Approaches, ICANN 2001, advise to use LSTM only where this
    fails. A. Weigend, D. Rumelhart and B. Huberman, Generalization by Weight-Elimination with
    Application to Forecasting, NeurIPS 1990, predict sunspots with such a network.

    Parameters
    ----------
    window : int
        Steps that it sees.
    hidden, output : int
        Units, and numbers in the output.
    features : int
        Of a step.
    rng : numpy Generator or int, optional
    dtype : dtype
    """

    def __init__(
        self,
        window: int,
        hidden: int,
        output: int = 1,
        features: int = 1,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        sizes("WindowMLP", window=window, hidden=hidden, output=output, features=features)
        rng = init.generator(rng)
        self.window, self.features = window, features
        self.hidden = Linear(window * features, hidden, rng=rng, dtype=dtype)
        self.output = Linear(hidden, output, rng=rng, dtype=dtype)

    def forward(self, xs: Any) -> Any:
        """(T, batch, features), T at least `window`, to (batch, output)."""
        xs = _floats(self, xs)
        if xs.ndim != 3 or xs.shape[2] != self.features or xs.shape[0] < self.window:
            raise ShapeError(
                f"WindowMLP: expected a sequence of shape (T, batch, {self.features}) with T at least window={self.window}; found {describe(xs)}"
            )
        last = swapaxes(xs[xs.shape[0] - self.window :], 0, 1)
        return self.output(
            tanh(self.hidden(reshape(last, (xs.shape[1], self.window * self.features))))
        )


class LinearAutoregression:
    """Each value of a series as a weighted sum of those before it, and an intercept, by least squares.

    y[t] = intercept + coefficients[0] y[t - 1] + ... + coefficients[order - 1] y[t - order]. The
    fit is conditional on the first `order` values and computed in float64; there is nothing to
    train and nothing random. G. U. Yule, On a Method of Investigating Periodicities in Disturbed
    Series, with Special Reference to Wolfer's Sunspot Numbers, Philosophical Transactions A 226
    (1927).

    Parameters
    ----------
    order : int
        Values that are looked at.

    Attributes
    ----------
    coefficients : float64 array, shape (order,)
        That of the latest value first.
    intercept : float
    """

    coefficients: Array
    intercept: float

    def __init__(self, order: int) -> None:
        self.order = size(order, "LinearAutoregression: order")

    def fit(self, series: Any) -> LinearAutoregression:
        """Fit to a series of shape (n,), n at least 2 * order + 1, and return the object itself."""
        series = self._checked(series, 2 * self.order + 1, "to fit")
        rows = np.concatenate(
            [self._rows(series[:-1]), np.ones((len(series) - self.order, 1))], axis=1
        )
        solution = np.linalg.lstsq(rows, series[self.order :], rcond=None)[0]
        self.coefficients, self.intercept = solution[:-1], float(solution[-1])
        return self

    def predict(self, series: Any) -> Array:
        """The value that follows, at every place of a series of shape (n,), n at least order, where `order` values are known.

        Returns
        -------
        float64 array, shape (n - order + 1,)
            Element k is the prediction of value order + k from the true values before it; the last
            one is of the value after the end.
        """
        self._check_fitted()
        predicted: Array = (
            self._rows(self._checked(series, self.order, "to predict")) @ self.coefficients
            + self.intercept
        )
        return predicted

    def forecast(self, series: Any, steps: int) -> Array:
        """The next `steps` values after the end of a series.

        Each prediction is the next one's latest value. Shape (steps,).
        """
        self._check_fitted()
        known = self._checked(series, self.order, "to forecast").tolist()
        for _ in range(steps):
            known.append(float(self.predict(known[-self.order :])[-1]))
        return np.array(known[len(known) - steps :])

    def _rows(self, series: Array) -> Array:
        """The `order` values up to each place, the latest first."""
        return np.lib.stride_tricks.sliding_window_view(series, self.order)[:, ::-1]

    def _checked(self, series: Any, least: int, what: str) -> Array:
        values = np.asarray(series.numpy() if isinstance(series, Tensor) else series, np.float64)
        if values.ndim != 1 or len(values) < least:
            raise ShapeError(
                f"LinearAutoregression: {what} with order {self.order}, expected a series of shape (n,) with n at least {least}; "
                f"found shape {values.shape}"
            )
        if not np.isfinite(values).all():
            raise TinygradError(
                f"LinearAutoregression: the series has a value that is no number at {int(np.argmin(np.isfinite(values)))}"
            )
        return values

    def _check_fitted(self) -> None:
        if not hasattr(self, "coefficients"):
            raise TinygradError(
                "LinearAutoregression has no coefficients yet; call fit(series) first"
            )


# --- what the networks share ----------------------------------------------------------------------------------------------


def _floats(model: Module, xs: Any) -> Any:
    """A tensor; an array of floating numbers takes the dtype of the model."""
    if isinstance(xs, Tensor):
        return xs
    values = as_array(xs)
    return tensor(values, next(model.parameters()).dtype)


def _ids(owner: str, what: str, time: str, ids: Any, vocabulary: int, lengths: Any = None) -> Array:
    """Token ids as an integer array (time, batch).

    What lies after `lengths` is not checked but made 0.
    """
    array = np.asarray(ids.numpy() if isinstance(ids, Tensor) else ids)
    if array.ndim != 2 or not array.shape[0]:
        raise ShapeError(
            f"{owner}: expected {what} of shape ({time}, batch), {time} at least 1; found {array.shape}. "
            "A single sequence gets its batch axis with ids[:, None]."
        )
    if array.dtype.kind not in "iu":
        raise DtypeError(f"{owner}: {what} must be integers; found {array.dtype}")
    # other shapes are refused, with a message, by the LSTM
    if lengths is not None and np.shape(lengths) == array.shape[1:]:
        array = np.where(np.arange(len(array))[:, None] < as_array(lengths), array, 0)
    if array.size and (array.min() < 0 or array.max() >= vocabulary):
        raise ShapeError(
            f"{owner}: {what} has ids from {array.min()} to {array.max()}; expected 0 to {vocabulary - 1}, a vocabulary of {vocabulary}"
        )
    return array


def _batch_first(state: Any) -> Any:
    """The state of a layer, (levels, batch, features), with the batch first, as decoding wants it.

    And the other way round.
    """
    return tree_map(lambda s: swapaxes(s, 0, 1), state)


def _stepping(
    embedding: Embedding, lstm: LSTM, output: Linear
) -> Callable[[Array, Any], tuple[Any, Any]]:
    """The step that `nn.decoding` calls."""

    def step(ids: Array, state: Any) -> tuple[Any, Any]:
        ys, state = lstm(embedding(ids[None]), _batch_first(state))
        return output(ys[0]), _batch_first(state)

    return step


@contextmanager
def _evaluation(model: Module) -> Iterator[None]:
    """Without dropout; afterwards every part is as it was."""
    parts = [(module, module.training) for _, module in model.named_modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in parts:
            module.training = training
