"""Attention with several heads."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError
from ..core.record import describe
from ..module import Module, Parameter
from ..ops.checks import number, sizes
from ..ops.define import operand
from ..ops.elementwise import logical_and, where
from ..ops.linear import matmul
from .attention import attention_mask
from .functional import attention_weights
from .functional import dropout as dropped_out
from .layers import Linear


class MultiheadAttention(Module):
    """Attention by scaled products in several heads, each on features of its own.

    Vaswani et al. 2017. The parameters have PyTorch's names and places, so its ``state_dict()`` fits.

    Parameters
    ----------
    embed_dim : int
        Features of queries and of the output.
    num_heads : int
        Divides embed_dim.
    dropout : float
        The share of the weights that are zeroed in training, in [0, 1).
    bias : bool
        Whether the projections have biases.
    kdim, vdim : int, optional
        Features of keys and values, where they are others than embed_dim.
    batch_first : bool
        Whether the batch is axis 0 of queries, keys, values and output, and time axis 1.
    rng : numpy Generator or int, optional
        For first values, Xavier uniform as in PyTorch, and for dropout.
    dtype : dtype
        The dtype of the parameters.

    Attributes
    ----------
    in_proj_weight : Parameter, shape (3 * embed_dim, embed_dim)
        Of queries, keys and values; with other sizes of keys or values it is three:
        q_proj_weight, k_proj_weight and v_proj_weight.
    in_proj_bias : Parameter, shape (3 * embed_dim,)
    out_proj : Linear
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        name = "MultiheadAttention"
        kdim, vdim = (embed_dim if n is None else n for n in (kdim, vdim))
        sizes(name, embed_dim=embed_dim, num_heads=num_heads, kdim=kdim, vdim=vdim)
        if embed_dim % num_heads:
            raise ShapeError(
                f"{name}: num_heads must divide embed_dim; found {num_heads} for {embed_dim}"
            )
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        self.kdim, self.vdim = kdim, vdim
        self.dropout = number(dropout, f"{name}: dropout", "[0, 1)")
        self.rng = rng = init.generator(rng)

        def drawn(rows: int, columns: int) -> Parameter:
            return Parameter(init.xavier_uniform((rows, columns), rng=rng, dtype=dtype))

        self.joined = kdim == vdim == embed_dim
        if self.joined:
            self.in_proj_weight = drawn(3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = drawn(embed_dim, embed_dim)
            self.k_proj_weight, self.v_proj_weight = drawn(embed_dim, kdim), drawn(embed_dim, vdim)
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, rng=rng, dtype=dtype)
        if self.out_proj.bias is not None:
            self.out_proj.bias.data = np.zeros(embed_dim, dtype)

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        mask: Any = None,
        *,
        allowed: Any = None,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """Attend with each query.

        Parameters
        ----------
        query : Tensor, shape (queries, batch, embed_dim)
        key : Tensor, shape (places, batch, kdim), optional
            By default the query: attention of a sequence to itself.
        value : Tensor, shape (places, batch, vdim), optional
            By default the key.
        mask : array, optional
            Bool (batch, places), true where there is a place, or integer lengths (batch,): the first
            so many places, as in the other attentions. (What PyTorch calls key_padding_mask is true
            where there is none.) The other places may hold anything.
        allowed : bool array, or floating, optional
            Of a shape that broadcasts to (batch, num_heads, queries, places), such as (queries,
            places): true where a query may look, or what is added to the scores.
        is_causal : bool
            Whether query i looks at the places 0 to i alone.

        Returns
        -------
        outputs : Tensor, shape (queries, batch, embed_dim)
        weights : Tensor, shape (batch, queries, places)
            The means over the heads.
        """
        name = "MultiheadAttention"
        key = query if key is None else key
        value = key if value is None else value
        query, key, value = self._batches(query, key, value)
        batch, places = key.shape[:2]
        if mask is not None:
            mask = attention_mask(mask, batch, places)
            key, value = (where(mask[:, :, None], x, 0) for x in (key, value))
            mask = mask[:, None, None, :]
        if allowed is not None:
            allowed = operand(allowed, f"{name}: allowed")
            if mask is not None and allowed.dtype.kind == "b":
                allowed, mask = logical_and(allowed, mask), None
            elif mask is not None:
                allowed, mask = where(mask, allowed, -np.inf), None
        q, k, v = (self._heads(x, n) for n, x in enumerate((query, key, value)))
        chosen = mask if allowed is None else allowed
        weights, values = attention_weights(name, q, k, v, chosen, is_causal, None)
        dropped = dropped_out(weights, self.dropout, training=self.training, rng=self.rng)
        found = matmul(dropped, values).transpose((0, 2, 1, 3))
        y = self.out_proj(found.reshape((batch, query.shape[1], self.embed_dim)))
        return (y if self.batch_first else y.swapaxes(0, 1)), weights.mean(axis=1)

    def _batches(self, *given: Any) -> list[Any]:
        """Return queries, keys and values, checked, with the batch first."""
        found = [operand(x, "MultiheadAttention") for x in given]
        wanted = (self.embed_dim, self.kdim, self.vdim)
        fits = all(x.ndim == 3 and x.shape[2] == n for x, n in zip(found, wanted, strict=True))
        batch, time = (0, 1) if self.batch_first else (1, 0)
        if (
            not fits
            or len({x.shape[batch] for x in found}) > 1
            or found[1].shape[time] != found[2].shape[time]
        ):
            order = "(batch, time, features)" if self.batch_first else "(time, batch, features)"
            raise ShapeError(
                f"MultiheadAttention: expected query, key and value as {order} of one batch, key and value of one time, with {wanted} features; "
                f"found {', '.join(map(describe, found))}"
            )
        return found if self.batch_first else [x.swapaxes(0, 1) for x in found]

    def _heads(self, x: Any, which: int) -> Any:
        """Return queries (0), keys (1) or values (2) as (batch, heads, time, features)."""
        here = slice(which * self.embed_dim, (which + 1) * self.embed_dim)
        if self.joined:
            weight = self.in_proj_weight[here]
        else:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[which]
        y = matmul(x, weight.T)
        if self.in_proj_bias is not None:
            y = y + self.in_proj_bias[here]
        split = (*y.shape[:2], self.num_heads, self.embed_dim // self.num_heads)
        return y.reshape(split).transpose((0, 2, 1, 3))
