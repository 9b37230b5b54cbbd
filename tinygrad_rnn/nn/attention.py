"""Attention: a weighted mean of a memory, with weights that depend on a query."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.primitive import Array, Spec
from ..core.record import describe
from ..core.tensor import Tensor, as_array
from ..module import Module, Parameter
from ..ops.along import softmax
from ..ops.checks import size, sizes
from ..ops.define import operand
from ..ops.elementwise import tanh, where
from ..ops.linear import matmul


class Attention(Module):
    """What attentions have in common: ``(query, memory, mask) -> (context, weights)``.

    weights = softmax(score(query, memory_s) over s); context = sum over s of weights_s * memory_s.

    A subclass defines `scores`, and `keys` for what the scores need of the memory alone, which may
    then be computed once for many queries.

    Attributes
    ----------
    query_size, memory_size : int
        Features of a query and of one place of the memory.
    """

    query_size: int
    memory_size: int

    def __init__(self, query_size: int, memory_size: int) -> None:
        self.query_size, self.memory_size = sizes(
            type(self).__name__, query_size=query_size, memory_size=memory_size
        )

    def keys(self, memory: Any) -> Any:
        """Return what `scores` needs of a memory (batch, S, memory_size): keys (batch, S, ...)."""
        return memory

    def scores(self, query: Any, keys: Any) -> Any:
        """Return the score of each place before the softmax, (batch, S).

        Parameters
        ----------
        query : Tensor, shape (batch, query_size)
            What is looked for.
        keys : Tensor, shape (batch, S, ...)
            What `keys` made of the memory.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no scores(query, keys)")

    def forward(
        self, query: Any, memory: Any, mask: Any = None, *, keys: Any = None
    ) -> tuple[Any, Any]:
        """Attend to a memory.

        Parameters
        ----------
        query : Tensor, shape (batch, query_size)
        memory : Tensor, shape (batch, S, memory_size)
            Batch first; the outputs of `unroll` are made so with ``swapaxes(0, 1)``.
        mask : array, optional
            Bool (batch, S), true where there is memory, or integer lengths (batch,): the first so
            many places. The others get weight 0, and may hold anything.
        keys : Tensor, optional
            ``self.keys(memory)``, if it is known already. The memory is then read as it is, so that
            places without memory must hold finite numbers: `masked` makes them 0 once for many
            queries.

        Returns
        -------
        context : Tensor, shape (batch, memory_size)
        weights : Tensor, shape (batch, S)
            Of each row the sum is 1.

        Raises
        ------
        ShapeError, DtypeError
            For shapes that do not fit, a mask that is neither bool nor lengths, and a sequence
            without any place to attend to.
        """
        name = type(self).__name__
        query, memory = operand(query, f"{name}: query"), operand(memory, f"{name}: memory")
        check_memory(self, memory)
        if (
            len(query.shape) != 2
            or query.shape[1] != self.query_size
            or query.shape[0] != memory.shape[0]
        ):
            raise ShapeError(
                f"{type(self).__name__}: expected a query of shape ({memory.shape[0]}, {self.query_size}), for a memory of shape "
                f"{tuple(memory.shape)}; found {describe(query)}"
            )
        if mask is not None:
            mask = attention_mask(mask, memory.shape[0], memory.shape[1])
        if keys is None:
            memory = masked(memory, mask)
            keys = self.keys(memory)
        scores = self.scores(query, keys)
        if mask is not None:
            scores = where(mask, scores, -np.inf)
        weights = softmax(scores, -1)
        return matmul(weights[:, None, :], memory)[:, 0], weights


class BahdanauAttention(Attention):
    """Additive attention, score(s, m) = v . tanh(W s + U m).

    D. Bahdanau, K. Cho and Y. Bengio, Neural Machine Translation by Jointly Learning to Align and
    Translate, ICLR 2015, arXiv:1409.0473, appendix A.1.2.

    Parameters
    ----------
    query_size, memory_size, attention_size : int
        Features of a query, of one place of the memory, and inside the tanh.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        The dtype of the parameters.

    Attributes
    ----------
    weight_query : Parameter, shape (attention_size, query_size)
        W.
    weight_memory : Parameter, shape (attention_size, memory_size)
        U.
    v : Parameter, shape (attention_size,)
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(query_size, memory_size)
        attention_size = size(attention_size, "BahdanauAttention: attention_size")
        rng = init.generator(rng)
        self.weight_query = Parameter(
            init.xavier_uniform((attention_size, query_size), rng=rng, dtype=dtype)
        )
        self.weight_memory = Parameter(
            init.xavier_uniform((attention_size, memory_size), rng=rng, dtype=dtype)
        )
        self.v = Parameter(
            init.uniform((attention_size,), attention_size**-0.5, rng=rng, dtype=dtype)
        )

    def keys(self, memory: Any) -> Any:
        """Return U m of each place: (batch, S, attention_size)."""
        return memory @ self.weight_memory.T

    def scores(self, query: Any, keys: Any) -> Any:
        """Return the scores (batch, S) of a query (batch, query_size) and the keys."""
        return tanh((query @ self.weight_query.T)[:, None, :] + keys) @ self.v


class LuongAttention(Attention):
    """Global attention: score(h, m) = h . m, h . W m or v . tanh(W [h; m]).

    M.-T. Luong, H. Pham and C. D. Manning, Effective Approaches to Attention-based Neural Machine
    Translation, EMNLP 2015, arXiv:1508.04025, equation 8.

    Parameters
    ----------
    query_size, memory_size : int
        Features of a query and of one place of the memory; equal for "dot".
    score : {"dot", "general", "concat"}
        Which of the three scores, in this order.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        The dtype of the parameters.

    Attributes
    ----------
    weight : Parameter
        (query_size, memory_size) for "general"; (query_size, query_size + memory_size) for
        "concat".
    v : Parameter, shape (query_size,)
        For "concat".
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        score: str = "dot",
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(query_size, memory_size)
        if score not in ("dot", "general", "concat"):
            raise TinygradError(
                f"LuongAttention: score must be 'dot', 'general' or 'concat'; found {score!r}"
            )
        if score == "dot" and query_size != memory_size:
            raise ShapeError(
                f"LuongAttention: score 'dot' needs equal sizes; found query_size={query_size}, memory_size={memory_size}. Use score='general'."
            )
        rng = init.generator(rng)
        self.score = score
        if score == "general":
            self.weight = Parameter(
                init.xavier_uniform((query_size, memory_size), rng=rng, dtype=dtype)
            )
        elif score == "concat":
            self.weight = Parameter(
                init.xavier_uniform((query_size, query_size + memory_size), rng=rng, dtype=dtype)
            )
            self.v = Parameter(init.uniform((query_size,), query_size**-0.5, rng=rng, dtype=dtype))

    def keys(self, memory: Any) -> Any:
        """Return the memory, or its product with the weights: (batch, S, query_size)."""
        if self.score == "dot":
            return memory
        return (
            memory
            @ (self.weight if self.score == "general" else self.weight[:, self.query_size :]).T
        )

    def scores(self, query: Any, keys: Any) -> Any:
        """Return the scores (batch, S) of a query (batch, query_size) and the keys."""
        if self.score == "concat":
            return tanh((query @ self.weight[:, : self.query_size].T)[:, None, :] + keys) @ self.v
        return matmul(keys, query[:, :, None])[:, :, 0]


def check_memory(attention: Attention, memory: Any) -> None:
    """Raise a ShapeError if `memory` is not (batch, S, memory_size) with S at least 1."""
    if (
        len(getattr(memory, "shape", ())) != 3
        or memory.shape[2] != attention.memory_size
        or not memory.shape[1]
    ):
        raise ShapeError(
            f"{type(attention).__name__}: expected a memory of shape (batch, S, {attention.memory_size}), S at least 1; found "
            f"{describe(memory)}. The outputs of tg.unroll have time first: swapaxes(0, 1) puts the batch first."
        )


def masked(memory: Any, mask: Any) -> Any:
    """Return the memory (batch, S, memory_size) with 0 where the bool mask (batch, S) is false.

    There it may hold anything, and 0 * nan is nan.
    """
    return memory if mask is None else where(mask[:, :, None], memory, 0)


def attention_mask(mask: Any, batch: int, places: int) -> Any:
    """Return a bool array (batch, places), true where there is memory.

    It is made from such a mask or from integer lengths (batch,).

    Raises
    ------
    ShapeError, DtypeError
        If it is neither, or leaves a sequence no place to attend to.
    """
    if (
        isinstance(mask, Tensor)
        and isinstance(mask.array, Spec)
        and mask.dtype.kind == "b"
        and mask.shape == (batch, places)
    ):
        return mask  # of a step that is recorded: its values are not known
    array = mask.numpy() if isinstance(mask, Tensor) else as_array(mask)
    if array.dtype.kind in "iu" and array.shape == (batch,):
        if array.size and not (array.min() >= 1 and array.max() <= places):
            raise ShapeError(
                f"attention: lengths from {array.min()} to {array.max()}; expected 1 to {places}"
            )
        lengths: Array = np.arange(places) < array[:, None]
        return lengths
    if array.dtype.kind != "b":
        raise DtypeError(
            f"attention: expected a bool mask of shape ({batch}, {places}) or integer lengths of shape ({batch},); found {describe(mask)}"
        )
    if array.shape != (batch, places):
        raise ShapeError(
            f"attention: expected a mask of shape ({batch}, {places}); found {array.shape}"
        )
    empty = np.flatnonzero(~array.any(axis=1))
    if empty.size:
        raise ShapeError(
            f"attention: the mask leaves sequence {empty[0]} of the batch no place to attend to; expected at least one"
        )
    return array
