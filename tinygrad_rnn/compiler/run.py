"""Running a generated module on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..core.tape import Leaf
from ..core.tensor import Tensor
from ..kernels import blas, runtime
from .module import Module
from .step import B, Op


class Runner:
    """A compiled step, to be run over sequences."""

    def __init__(self, module: Module) -> None:
        self.module, self.step, self.dtype = module, module.step, module.dtype
        self.structure: Any = None  # how outputs and states were nested
        self.source = module.text()
        self.code = runtime.load(self.source, distinct=True)

    def forward(self, xs: Sequence[Array], states: Sequence[Array], reverse: bool) -> dict[str, Any]:
        """Run all steps; returns the arrays by name, which `backward` reads.

        Parameters
        ----------
        xs : arrays (T, batch, ...)
        states : arrays (batch, ...)
        """
        T, batch = xs[0].shape[:2]
        known = self._once(constant_values(self.step))
        arrays: dict[str, Any] = {"T": T, "B": batch, "reverse": reverse, "once": known}
        for k, x in enumerate(xs):
            arrays[f"x{k}"] = _inside(x, 2)
        for k, (op, s) in enumerate(zip(self.step.states, states, strict=True)):
            arrays[f"s{k}"] = whole = np.empty((T + 1) * op.size * batch, self.dtype)
            whole[: op.size * batch] = _inside(s, 1)
        for places in self.module.forward_wanted.values():
            for store, _ in places:
                if store.name not in arrays:
                    arrays[store.name] = np.empty(T * store.op.size * batch, self.dtype)
        with blas.threads(1):  # within a step, threads wait longer than they work
            self.code.forward(T, batch, reverse, *self._arguments("forward", arrays))
        return arrays

    def outputs(self, arrays: dict[str, Any]) -> tuple[list[Array], list[Array]]:
        """Outputs (T, batch, ...) and the last states."""
        T, batch = arrays["T"], arrays["B"]
        ys = []
        for op, (kind, k) in zip(self.step.outputs, self.module.y_from, strict=True):
            if kind == "y":
                ys.append(_outside(arrays[f"y{k}"], T, op.features, batch))
            else:
                y = _outside(arrays[f"s{k}"][op.size * batch :], T, op.features, batch)
                ys.append(y[::-1] if arrays["reverse"] else y)
        last = [_outside(arrays[f"s{k}"][T * op.size * batch :], None, op.features, batch) for k, op in enumerate(self.step.states)]
        return ys, last

    def backward(self, arrays: dict[str, Any], dys: Sequence[Array], dstates: Sequence[Array]) -> dict[Op, Array]:
        """Gradients of the wanted inputs, states and constants."""
        T, batch, module = arrays["T"], arrays["B"], self.module
        arrays = dict(arrays)
        for k, g in enumerate(dys):
            arrays[f"dy{k}"] = _inside(g, 2)
        for k, (op, g) in enumerate(zip(self.step.states, dstates, strict=True)):
            arrays[f"ds{k}"] = both = np.empty(2 * op.size * batch, self.dtype)
            both[((T - 1) % 2) * op.size * batch : ((T - 1) % 2 + 1) * op.size * batch] = _inside(g, 1)
        for places in module.backward_wanted.values():
            for store, how in places:
                if store.name not in arrays:
                    size = store.op.size * batch
                    arrays[store.name] = np.empty(size if how != "{v}" else T * size, self.dtype)
        known: dict[Op, Any] = dict(arrays["once"])
        with blas.threads(1):
            self.code.backward(T, batch, arrays["reverse"], *self._arguments("backward", arrays))
            for op, (left, right, _, _) in module.products.items():
                known[op] = _product(*(self._all_steps(arrays, side) for side in (left, right)))
        found: dict[Op, Array] = {}
        for k, op in enumerate(self.step.states):
            found[op] = _outside(arrays[f"ds{k}"][op.size * batch :], None, op.features, batch)  # where step 0 wrote it
        for k in module.dx:
            found[self.step.xs[k]] = _outside(arrays[f"dx{k}"], T, self.step.xs[k].features, batch)
        for op, store in module.sums.items():
            source = op.inputs[0]
            collected = np.moveaxis(arrays[store.name].reshape((*source.features, batch)), -1, source.batch)
            known[op] = collected.sum(axis=tuple(op.params["axis"]) if isinstance(op.params["axis"], list) else op.params["axis"], keepdims=op.params["keepdims"])
        for op in module.post:
            known[op] = self._compute(op, known)
        for op in module.constants:
            gradient = self.step.gradients[op]
            assert gradient is not None
            value = known[gradient] if gradient in known else self._compute(gradient, known)
            found[op] = np.asarray(value, order="C")  # ascontiguousarray would give a number an axis
        return found

    def _all_steps(self, arrays: dict[str, Any], op: Op) -> Array:
        """A value in all steps, (steps, features, batch), in the order in which they were computed."""
        T, batch = arrays["T"], arrays["B"]
        name, begin, by_time = self.module.operand(op)
        values: Array = arrays[name][begin * batch : (begin + T * op.size) * batch].reshape(T, op.size, batch)
        return values[::-1] if by_time and arrays["reverse"] else values

    def _once(self, constants: dict[Op, Array]) -> dict[Op, Any]:
        known: dict[Op, Any] = dict(constants)
        for op in [*self.step.forward, *self.step.backward]:
            if not op.varies and B not in op.shape:
                known[op] = self._compute(op, known)
        return known

    @staticmethod
    def _compute(op: Op, known: dict[Op, Any]) -> Any:
        primitive = op.node.primitive
        assert primitive is not None
        return np.asarray(primitive.forward(*[known[i] if isinstance(i, Op) else i for i in op.inputs], **op.node.params))

    def _arguments(self, which: str, arrays: dict[str, Any]) -> list[Any]:
        names = getattr(self.module, f"{which}_arguments")
        once = {store.name: op for (op, _), store in self.module.once_ops.items()}
        flat = [np.array(arrays["once"][once[name]], dtype=self.dtype, order="C").reshape(-1) for name in getattr(self.module, f"{which}_once")]
        return [*(arrays[name] for name in names), *flat]


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


def _inside(x: Array, axis: int) -> Array:
    """(..., batch, features) as a flat array with the batch last; `axis` counts the axes up to the batch."""
    lead, rest = x.shape[:axis], x.shape[axis:]
    n = int(np.prod(rest))
    y = x.reshape((*lead, n)).swapaxes(-1, -2)
    return np.ascontiguousarray(y).reshape(-1)


def _outside(flat: Array, T: int | None, features: tuple[int, ...], batch: int) -> Array:
    """Back to (T, batch, features), or (batch, features) without time."""
    n = int(np.prod(features))
    if T is None:
        return flat.reshape((n, batch)).T.reshape((batch, *features))
    return np.ascontiguousarray(flat.reshape((T, n, batch)).swapaxes(1, 2)).reshape((T, batch, *features))


def constant_values(step: Any) -> dict[Op, Array]:
    """The values of the constants, as they are now."""
    return {op: owner(op).array for op in step.constants}


def owner(op: Op) -> Tensor:
    """The tensor that a constant belongs to, with its node and values as they are now."""
    node = op.node
    assert isinstance(node, Leaf)
    found: Tensor | None = None if node.tensor is None else node.tensor()
    return Tensor(node.value, node) if found is None else found
