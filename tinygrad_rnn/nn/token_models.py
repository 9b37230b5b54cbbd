"""Networks made of LSTM layers that read and write sequences of tokens.

Sequences have time first: (T, batch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import init
from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.primitive import Array, Spec
from ..core.tape import context, no_grad
from ..core.tensor import Tensor, as_array
from ..core.tree import tree_map
from ..module import Module
from ..ops.elementwise import where
from ..ops.shaping import swapaxes
from ..recurrent.arguments import steps_within
from .decoding import beam as beam_search
from .decoding import cut, greedy, sample
from .layers import Embedding, Linear
from .recurrent import LSTM


class EncoderDecoderLSTM(Module):
    """One LSTM reads a sequence of tokens, and from its last state another writes one.

    I. Sutskever, O. Vinyals and Q. V. Le, Sequence to Sequence Learning with Neural Networks,
    NeurIPS 2014, arXiv:1409.3215; and K. Cho et al., Learning Phrase Representations using RNN
    Encoder-Decoder for Statistical Machine Translation, EMNLP 2014, arXiv:1406.1078. There is no
    attention: all that is known of the source is in the state. `AttentionCell` is for that.

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
        """Return the encoder's last state after source ids (S, batch) of some lengths."""
        source = _ids("EncoderDecoderLSTM", "source", "S", source, self.source_vocabulary, lengths)
        return self.encoder(self.source_embedding(source), lengths=lengths)[1]

    def forward(self, source: Any, target: Any, lengths: Any = None) -> Any:
        """Return logits of the target's tokens, each from the source and the true tokens before it.

        That is called teacher forcing.

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

        Dropout and gradients are off meanwhile.

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
    """A model of token sequences that predicts each token from those before it, and can go on.

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
        """Return logits of the token that follows each token.

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

        Dropout and gradients are off meanwhile.

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


def _ids(owner: str, what: str, time: str, ids: Any, vocabulary: int, lengths: Any = None) -> Any:
    """Return token ids as an integer array (time, batch), checked.

    What lies after `lengths` is not checked but made 0. In a recorded function an argument is
    checked at each call.
    """
    if isinstance(ids, Tensor) and isinstance(ids.array, Spec):
        shape = ids.shape

        def check(array: Any, lengths: Any = lengths) -> None:
            _ids(owner, what, time, array, vocabulary, lengths)

        check(np.zeros(shape, ids.dtype), None)  # shape and dtype
        known = not (isinstance(lengths, Tensor) and isinstance(lengths.array, Spec))
        if context().effects is not None and ids.node in context().inputs and known:
            context().effects.require(ids.node, check)
        if lengths is None:
            return ids
        counts = lengths if isinstance(lengths, Tensor) else as_array(lengths)
        return where(steps_within(counts, shape[0]), ids, 0)
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
        array = np.where(steps_within(as_array(lengths), len(array)), array, 0)
    if array.size and (array.min() < 0 or array.max() >= vocabulary):
        raise ShapeError(
            f"{owner}: {what} has ids from {array.min()} to {array.max()}; expected 0 to {vocabulary - 1}, a vocabulary of {vocabulary}"
        )
    return array


def _batch_first(state: Any) -> Any:
    """Return the state of a layer, (levels, batch, features), with the batch first, for decoding.

    It turns such a state back as well.
    """
    return tree_map(lambda s: swapaxes(s, 0, 1), state)


def _stepping(
    embedding: Embedding, lstm: LSTM, output: Linear
) -> Callable[[Array, Any], tuple[Any, Any]]:
    """Return the step that `nn.decoding` calls."""

    def step(ids: Array, state: Any) -> tuple[Any, Any]:
        ys, state = lstm(embedding(ids[None]), _batch_first(state))
        return output(ys[0]), _batch_first(state)

    return step


@contextmanager
def _evaluation(model: Module) -> Iterator[None]:
    """Switch to evaluation within the block; afterwards every part is as it was."""
    parts = [(module, module.training) for _, module in model.named_modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in parts:
            module.training = training
