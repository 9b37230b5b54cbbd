"""Running a generated module on arrays."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..core.tape import Leaf
from ..core.tensor import Tensor
from ..kernels import blas, runtime
from .exchange import B
from .module import Module
from .op import Op
from .step import Sized


class Runner:
    """A compiled step, to be run over sequences."""

    def __init__(self, module: Module) -> None:
        self.module, self.step, self.dtype = module, module.step, module.dtype
        self.structure: Any = None  # how outputs and states were nested
        self.source = module.text()
        self.code = runtime.load(self.source, distinct=True)

    def forward(self, xs: Sequence[Array], states: Sequence[Array], fixed: Sequence[Array], asked: Mapping[Op, Array], batch: int, reverse: bool) -> dict[str, Any]:
        """Run all steps; returns the arrays by name, which `backward` reads.

        Parameters
        ----------
        xs : arrays (T, batch, ...)
        states : arrays (batch, ...)
        fixed : arrays (batch, ...)
            What is the same at each step.
        asked : dict
            Values of constants that are found anew for each sequence.
        """
        T = xs[0].shape[0]
        known = self._once({**constant_values(self.step), **asked}, batch)
        arrays: dict[str, Any] = {"T": T, "B": batch, "reverse": reverse, "once": known}
        for k, (op, x) in enumerate(zip(self.step.xs, xs, strict=True)):
            arrays[f"x{k}"] = self._inside(op, x, 1)
        for k, (op, s) in enumerate(zip(self.step.states, states, strict=True)):
            n = elements(op, batch)
            arrays[f"s{k}"] = whole = np.empty((T + 1) * n, inner_dtype(op))
            whole[:n] = self._inside(op, s, 0)
        for k, (op, x) in enumerate(zip(self.step.fixed, fixed, strict=True)):
            arrays[f"f{k}"] = self._inside(op, x, 0)
        for places in self.module.forward_wanted.values():
            for store, _ in places:
                if store.name not in arrays:
                    arrays[store.name] = np.empty(T * elements(store.op, batch), inner_dtype(store.op))
        with blas.threads(1):  # within a step, threads wait longer than they work
            self.code.forward(T, batch, reverse, *self._arguments("forward", arrays))
        return arrays

    def outputs(self, arrays: dict[str, Any]) -> tuple[list[Array], list[Array]]:
        """Outputs (T, batch, ...) and the last states."""
        T, batch = arrays["T"], arrays["B"]
        ys = []
        for op, (kind, k) in zip(self.step.outputs, self.module.y_from, strict=True):
            if kind == "y":
                ys.append(_outside(arrays[f"y{k}"], T, op, batch))
            else:
                y = _outside(arrays[f"s{k}"][elements(op, batch) :], T, op, batch)
                ys.append(y[::-1] if arrays["reverse"] else y)
        last = [_outside(arrays[f"s{k}"][T * elements(op, batch) :], None, op, batch) for k, op in enumerate(self.step.states)]
        return ys, last

    def told(self, arrays: dict[str, Any]) -> list[list[Array]]:
        """What the steps leave outside, (T, ...) each."""
        count = itertools.count()
        return [[_outside(arrays[f"l{next(count)}"], arrays["T"], op, arrays["B"]) for op in several] for several in self.step.told]

    def backward(self, arrays: dict[str, Any], dys: Sequence[Array | None], dstates: Sequence[Array | None]) -> dict[Op, Array]:
        """Gradients of the wanted inputs, states, fixed inputs and constants; None in place of what has none."""
        T, batch, module = arrays["T"], arrays["B"], self.module
        arrays = dict(arrays)
        for k, (op, g) in enumerate(zip(self.step.outputs, dys, strict=True)):
            if g is not None:
                arrays[f"dy{k}"] = self._inside(op, g, 1)
        for k, (op, g) in enumerate(zip(self.step.states, dstates, strict=True)):
            if g is not None:
                n = elements(op, batch)
                arrays[f"ds{k}"] = both = np.empty(2 * n, op.dtype)
                both[((T - 1) % 2) * n : ((T - 1) % 2 + 1) * n] = self._inside(op, g, 0)
        for places in module.backward_wanted.values():
            for store, how in places:
                if store.name not in arrays:
                    size = elements(store.op, batch)
                    arrays[store.name] = np.empty(size if how != "{v}" else T * size, inner_dtype(store.op))
        known: dict[Op, Any] = dict(arrays["once"])
        with blas.threads(1):
            self.code.backward(T, batch, arrays["reverse"], *self._arguments("backward", arrays))
            for op, (left, right, _, _) in module.products.items():
                known[op] = _product(*(self._all_steps(arrays, side) for side in (left, right)))
        found: dict[Op, Array] = {}
        for k, op in enumerate(self.step.states):
            if f"ds{k}" in arrays:
                found[op] = _outside(arrays[f"ds{k}"][elements(op, batch) :], None, op, batch)  # where step 0 wrote it
        for k in module.dx:
            found[self.step.xs[k]] = _outside(arrays[f"dx{k}"], T, self.step.xs[k], batch)
        for k in module.df:
            found[self.step.fixed[k]] = _outside(arrays[f"df{k}"], None, self.step.fixed[k], batch)
        for op, store in module.sums.items():
            if store.op is op:  # added up as it stands
                known[op] = arrays[store.name].reshape(op.shape)
                continue
            source = op.inputs[0]
            collected = np.moveaxis(arrays[store.name].reshape((*source.features, batch)), -1, source.batch)
            known[op] = collected.sum(axis=tuple(op.params["axis"]) if isinstance(op.params["axis"], list) else op.params["axis"], keepdims=op.params["keepdims"])
        for op in module.post:
            known[op] = self._compute(op, known, batch)
        for op in module.constants:
            gradient = self.step.gradients[op]
            assert gradient is not None
            value = known[gradient] if gradient in known else self._compute(gradient, known, batch)
            found[op] = np.asarray(value, order="C")  # ascontiguousarray would give a number an axis
        return found

    def _all_steps(self, arrays: dict[str, Any], op: Op) -> Array:
        """A value in all steps, (steps, features, batch), in the order in which they were computed."""
        T, batch = arrays["T"], arrays["B"]
        name, begin, by_time = self.module.operand(op)
        values: Array = arrays[name][begin * batch : (begin + T * op.size) * batch].reshape(T, op.size, batch)
        return values[::-1] if by_time and arrays["reverse"] else values

    def _once(self, constants: dict[Op, Array], batch: int) -> dict[Op, Any]:
        known: dict[Op, Any] = dict(constants)
        for op in [*self.step.forward, *self.step.backward]:
            if not op.varies and B not in op.shape:
                known[op] = self._compute(op, known, batch)
        return known

    @staticmethod
    def _compute(op: Op, known: dict[Op, Any], batch: int) -> Any:
        primitive = op.node.primitive
        assert primitive is not None
        inputs = [known[i] if isinstance(i, Op) else i.at(batch) if isinstance(i, Sized) else i for i in op.inputs]
        return np.asarray(primitive.forward(*inputs, **op.node.params))

    def _arguments(self, which: str, arrays: dict[str, Any]) -> list[Any]:
        names = getattr(self.module, f"{which}_arguments")
        once = {store.name: store for store in self.module.once_ops.values()}
        stores = [once[name] for name in getattr(self.module, f"{which}_once")]
        flat = [np.array(arrays["once"][s.op], dtype=inner_dtype(s.op), order="C").reshape(-1) for s in stores]
        flat = [np.repeat(a, arrays["B"]) if s.wide else a for s, a in zip(stores, flat, strict=True)]
        room = [np.empty(elements(s.op, arrays["B"]), inner_dtype(s.op)) for s in getattr(self.module, f"{which}_room")]
        return [*(arrays[name] for name in names), *flat, *room, *(self.module.tables[name] for name in getattr(self.module, f"{which}_tables"))]

    @staticmethod
    def _inside(op: Op, value: Array, lead: int) -> Array:
        """An array as the code has it: flat, the batch last; `lead` axes stand before those of the value."""
        value = value if op.batch is None else np.moveaxis(value, op.batch + lead, -1)
        return np.ascontiguousarray(value, inner_dtype(op)).reshape(-1)


def _product(left: Array, right: Array) -> Array:
    """The sum over all steps of (M, batch) @ (batch, N): many steps side by side make one product."""
    T, M, batch = left.shape
    N = right.shape[1]
    if batch == 1:
        return left[:, :, 0].T @ right[:, :, 0]
    many = max(1, 8192 // batch)
    total = np.zeros((M, N), left.dtype)
    for start in range(0, T, many):
        a, b = (side[start : start + many].transpose(1, 0, 2).reshape(side.shape[1], -1) for side in (left, right))
        total += a @ b.T
    return total


def elements(op: Op, batch: int) -> int:
    """How many numbers a value has."""
    return op.size * (batch if op.batch is not None else 1)


def inner_dtype(op: Op) -> np.dtype[Any]:
    """In which type the code has a value: integers are int64."""
    return np.dtype(np.int64) if op.dtype.kind in "iu" else op.dtype


def _outside(flat: Array, T: int | None, op: Op, batch: int) -> Array:
    """Back to (T, ...) with the batch where it belongs, or without time."""
    lead = () if T is None else (T,)
    if op.batch is None:
        return flat[: math.prod(lead) * op.size].reshape((*lead, *op.features)).astype(op.dtype, copy=False)
    whole = np.moveaxis(flat[: math.prod(lead) * op.size * batch].reshape((*lead, *op.features, batch)), -1, len(lead) + op.batch)
    return whole.astype(op.dtype, copy=False) if T is None else np.ascontiguousarray(whole, op.dtype)


def constant_values(step: Any) -> dict[Op, Array]:
    """The values of the constants, as they are now."""
    return {op: owner(op).array for op in step.constants}


def owner(op: Op) -> Tensor:
    """The tensor that a constant belongs to, with its node and values as they are now."""
    node = op.node
    assert isinstance(node, Leaf)
    found: Tensor | None = None if node.tensor is None else node.tensor()
    return Tensor(node.value, node) if found is None else found
