"""Random functions and cells of every entry of the registry, and of what is made of them.

Each operation gets what its entry says that it takes: numbers of its domain, or the shapes and the
parameters of one of its examples, from values that were computed before, as far as they fit.
Functions are compared plain and compiled to the second derivative, and with finite differences;
cells likewise, as sequences with masks, lengths, resets, in both directions of time.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

import tests.test_primitives as entries
import tinygrad_rnn as tg
from tinygrad_rnn.core.primitive import REGISTRY, Primitive

from ._program import RAISED, Input, Program, op, written
from ._shrink import settled

LARGEST = 60  # elements of a value
# A rounding may decide what these give, so they get inputs and nothing computed; so do all without a derivative.
STEPS = {"sign", "floor", "ceil", "trunc", "round", "floor_divide", "mod"}
DIFFERENT = {"stop_gradient"}  # finite differences see through it
PUBLIC = (  # what is made of several entries, with the number of axes that it takes
    ("tg.max_pool1d({a}, 2)", 3), ("tg.avg_pool1d({a}, 2, 1)", 3), ("tg.adaptive_avg_pool1d({a}, 2)", 3), ("tg.adaptive_max_pool1d({a}, 2)", 3),
    ("tg.max_pool2d({a}[None], 2)", 3), ("tg.avg_pool2d({a}[None], 2)", 3), ("tg.conv1d({a}, {a}[:2, :, :2])", 3), ("tg.median({a}, axis=-1)", 2),
    ("tg.quantile({a}, 0.3, axis=-1)", 2), ("tg.topk({a}, 2, axis=-1)[0]", 2), ("tg.var({a}, axis=-1)", 2), ("tg.std({a} + tg.arange({n}), axis=-1)", 2),
    ("tg.nn.cross_entropy({a}, np.zeros({m}, int), label_smoothing=0.1)", 2), ("tg.nn.mse_loss({a}, {a}[::-1])", 2), ("tg.nn.huber_loss({a}, 0.3 * {a}[::-1])", 2),
    ("tg.nn.kl_div(tg.log_softmax({a}), tg.softmax({a}[::-1]))", 2), ("tg.nn.bce_with_logits({a}, tg.sigmoid({a}[::-1]))", 2), ("tg.nn.l1_loss({a}, {a}[::-1] * 0.5)", 2),
    ("tg.nn.gaussian_nll_loss({a}, {a}[::-1], tg.softplus({a}) + 0.1)", 2), ("tg.nn.scaled_dot_product_attention({a}, {a}, {a})", 3), ("tg.glu({a}[..., :2])", 2),
    ("tg.cumprod({a}, axis=-1)", 2), ("tg.prod({a}, axis=0)", 2), ("tg.kron({a}, {a}[:1])", 2), ("tg.tensordot({a}, {a}, 2)", 2), ("tg.diff({a}, axis=-1)", 2), ("tg.rot90({a})", 2),
    ("tg.tile({a}, (2, 1))", 2), ("tg.repeat({a}, 2, axis=0)", 2), ("tg.flip({a}, 0)", 2), ("tg.nanmean({a}, axis=0)", 2), ("tg.linalg.norm({a})", 2), ("tg.outer({a}, {a})", 1),
    ("tg.linalg.matrix_power({a}[:2, :2] * 0.5, 3)", 2), ("tg.fft.rfft({a}).real", 2), ("tg.moveaxis({a}, 0, -1)", 2), ("tg.diag({a})", 1), ("tg.inner({a}, {a})", 1),
)  # fmt: skip


@functools.cache
def usable(rows: bool) -> list[Primitive]:
    """The entries that graphs are made of; with `rows` those that fit values with a batch."""
    found = [REGISTRY[n] for n in sorted(entries.NAMES) if n not in DIFFERENT]
    found = [e for e in found if e.elementwise or all(_is_data(p) for _, p in e.examples or [])]
    return [e for e in found if e.elementwise or "axis" in e.defaults] if rows else found


def _is_data(params: dict[str, Any]) -> bool:
    """Whether parameters can be written down; a part of a recording can not."""
    try:
        eval(written(params), {"np": np})
    except SyntaxError:
        return False
    return True


class Written:
    """Makes a program, line by line; a line is kept if the plain operation takes its operands."""

    def __init__(self, seed: int, size: int) -> None:
        self.rng = rng = np.random.default_rng([seed, 7])
        self.limited = seed % 3 == 0
        self.cell = bool(rng.random() < 0.4)
        self.dtype = np.dtype(np.float64 if rng.random() < 0.7 else np.float32)
        self.inputs: dict[str, Input] = {}
        self.lines: list[tuple[str, str]] = []
        self.values: dict[str, Any] = {}
        self.T, self.batch = int(rng.choice([1, 2, 4])), int(rng.choice([1, 2, 3]))
        for k in range(1 + int(rng.integers(2))):
            kind = "f" if not k or rng.random() < 0.5 else str(rng.choice(["i", "b"]))
            self._input(f"x{k}", self._shape(), kind, "given")
        if self.cell:
            for k in range(1 + int(rng.integers(2))):
                kind = "f" if rng.random() < 0.85 else "i"
                self._input(f"s{k}", self._shape(), kind, "state")
        wanted = int(rng.integers(1, size + 1))
        for _ in range(6 * wanted):
            if len(self.lines) >= wanted:
                break
            self._line()

    # --- what is given ----------------------------------------------------------------------------

    def _shape(self) -> tuple[int, ...]:
        rng = self.rng
        if self.cell:  # features, behind the batch
            return (self.batch, int(rng.integers(1, 5)))
        shape = tuple(
            int(n) for n in rng.integers(1, 5, size=rng.choice(4, p=[0.1, 0.3, 0.4, 0.2]))
        )
        return shape if math.prod(shape) <= LARGEST else shape[1:]

    def _input(self, name: str, shape: tuple[int, ...], kind: str, role: str, array: Any = None) -> str:  # fmt: skip
        rng = self.rng
        full = (self.T, *shape) if self.cell and role == "given" else shape
        if array is None:
            array = {"f": lambda: rng.normal(size=full).astype(self.dtype),
                     "i": lambda: rng.integers(0, 5, size=full), "b": lambda: rng.random(full) < 0.5}[kind]()  # fmt: skip
        self.inputs[name] = made = Input(np.asarray(array), bool(rng.random() < 0.85), role)
        self.values[name] = made.tensor(made.array[0] if self.cell and role == "given" else None)
        return name

    def _outside(self, array: Any) -> str:
        """An input that the program closes over."""
        name = f"c{sum(n[0] == 'c' for n in self.inputs)}"
        array = array.astype(self.dtype) if array.dtype.kind == "f" else array
        return self._input(name, array.shape, "f", "outside", array)

    # --- lines ------------------------------------------------------------------------------------

    def _pick(self, kinds: str = "f", axes: int = 0, exact: bool = False) -> str | None:
        """The name of a value; with `exact` no floating numbers that were computed."""
        rows = self.cell
        names = [n for n, t in self.values.items() if t.dtype.kind in kinds and t.ndim >= axes
                 and t.size and (t.dtype == self.dtype or t.dtype.kind != "f") and not (rows and n[0] == "c")]  # fmt: skip
        if exact:
            names = [n for n in names if n in self.inputs or self.values[n].dtype.kind != "f"]
        if names and self.rng.random() < 0.6:
            names = names[-4:]
        return names[int(self.rng.integers(len(names)))] if names else None

    def _line(self) -> None:
        rng = self.rng
        before = dict(self.inputs)
        choice = rng.random()
        text = (self._public() if choice < 0.15 and not self.cell
                else self._joined() if choice < 0.35
                else self._entry(usable(self.cell)[int(rng.integers(len(usable(self.cell))))]))  # fmt: skip
        name = f"v{len(self.lines)}"
        if text is not None and self._kept(name, text):
            return
        self.inputs = before
        self.values = {n: v for n, v in self.values.items() if n in before or n[0] == "v"}

    def _kept(self, name: str, text: str) -> bool:
        """Compute a line; whether it gives a tensor of ordinary numbers."""
        try:
            with np.errstate(all="ignore"):
                made = eval(text, {"tg": tg, "np": np, "op": op, **self.values})
        except RAISED:
            return False
        if not isinstance(made, tg.Tensor) or not 0 < made.size <= LARGEST:
            return False
        rows = not self.cell or (made.ndim > 0 and made.shape[0] == self.batch)
        plain = made.dtype.kind != "f" or (made.dtype == self.dtype and np.all(np.abs(made.numpy()) < 1e3))  # fmt: skip
        if rows and plain:
            self.lines.append((name, f"{name} = {text}"))
            self.values[name] = made
        return bool(rows and plain)

    def _entry(self, entry: Primitive) -> str | None:
        rng = self.rng
        if entry.elementwise:
            params = _chosen(rng, entries.parameter_sets(entry))
            given = [self._in_domain(entry, k) for k in range(len(entry.inputs))]
            return None if None in given else _call(entry.name, given, params)
        if (
            "axis" in entry.defaults
            and len(entry.inputs) == 1
            and (self.cell or rng.random() < 0.5)
        ):
            a = self._pick(axes=1, exact=not entry.rules)
            if a is None:
                return None
            low = 1 if self.cell else 0
            if self.values[a].ndim <= low:
                return None
            params = {"axis": int(rng.integers(low, self.values[a].ndim))}
            if "keepdims" in entry.defaults:
                params["keepdims"] = bool(rng.random() < 0.5)
            if "descending" in entry.defaults:
                params["descending"] = bool(rng.random() < 0.5)
            return _call(entry.name, [a], params)
        if self.cell or not entry.examples:
            return None
        given, params = entry.examples[int(rng.integers(len(entry.examples)))]
        return _call(entry.name, [self._like(v) for v in given], params)

    def _in_domain(self, entry: Primitive, position: int) -> str | None:
        """A value as an operand of an elementwise entry."""
        if entries.is_condition(entry, position):
            return self._pick("b") or ((a := self._pick()) and f"({a} > 0.1)")
        if not entries.takes_floats(entry):
            return self._pick("i")
        exact = not entry.rules or entry.name in STEPS
        a = self._pick("f" if self.rng.random() < 0.9 else "fi", exact=exact)
        low, high = entries.bounds(entry, position)
        if a is None or (low, high) == (-2.0, 2.0) or self.rng.random() < 0.3:
            return a
        return f"({low} + {high - low} * tg.sigmoid({a}))"

    def _like(self, wanted: Any) -> str:
        """Something in place of an input of an example."""
        if not isinstance(wanted, tuple):
            if not isinstance(wanted, np.ndarray) or wanted.dtype.kind != "f":
                return written(wanted)
            name, near = self._outside(wanted), self._of_shape(wanted.shape)
            return name if near is None else f"({name} + 0.05 * tg.tanh({near}))"
        found = self._of_shape(wanted)
        return self._outside(self.rng.normal(size=wanted)) if found is None else found

    def _of_shape(self, shape: tuple[int, ...]) -> str | None:
        """A value with a shape, if need be a part of a larger one."""
        size = math.prod(shape)
        names = [n for n, t in self.values.items() if t.dtype == self.dtype and t.size >= max(size, 1)]  # fmt: skip
        if not names or self.rng.random() < 0.2:
            return None
        name = names[int(self.rng.integers(len(names)))]
        if self.values[name].shape == shape:
            return name
        return f"{name}.reshape(-1)[:{size}].reshape({shape})"

    def _public(self) -> str | None:
        text, axes = PUBLIC[int(self.rng.integers(len(PUBLIC)))]
        a = self._pick(axes=axes)
        if a is None or self.values[a].ndim != axes:
            return None
        shape = self.values[a].shape
        return text.format(a=a, n=shape[-1], m=shape[0])

    def _joined(self) -> str | None:
        """Products, sums of several values, slices and concatenations."""
        rng = self.rng
        a, b = self._pick(axes=1), self._pick(axes=1)
        if a is None or b is None:
            return None
        n = self.values[a].shape[-1]
        weight = int(rng.integers(1, 5))
        choices = [lambda: f"{a} @ {self._outside(rng.normal(size=(n, weight)) * 0.5)}", lambda: f"{a} + {b}", lambda: f"{a} * {b}",
                   lambda: f"tg.concatenate([{a}, {b}], axis=-1)", lambda: f"{a}[..., {int(rng.integers(n))}:]", lambda: f"{a}[..., ::-1]",
                   lambda: f"{a} + {self._outside(rng.normal(size=(n,)))}", lambda: f"tg.stack([{a}, {b}], axis=1)",
                   lambda: f"tg.where({a} > {b}, {a}, {b})", lambda: f"{a} - {a}.mean(axis=-1, keepdims=True)"]  # fmt: skip
        return choices[int(rng.integers(len(choices)))]()

    # --- the whole --------------------------------------------------------------------------------

    def program(self) -> Program:
        """The program, with one to three results."""
        rng = self.rng
        names = [n for n in self.values if n[0] != "c"]
        results = {names[-1], *(names[int(k)] for k in rng.integers(len(names), size=int(rng.integers(3))))}  # fmt: skip
        lines = list(self.lines)
        states = {}
        for name in [n for n, given in self.inputs.items() if given.role == "state"]:
            old = self.values[name]
            fits = [n for n, v in self.values.items() if n[0] != "c" and (v.shape, v.dtype) == (old.shape, old.dtype)]  # fmt: skip
            states[name] = fits[int(rng.integers(len(fits)))]
            if old.dtype.kind == "f":  # so that it does not grow
                lines.append((f"v{len(lines)}", f"v{len(lines)} = tg.tanh({states[name]})"))
                states[name] = lines[-1][0]
        return Program(
            self.inputs, tuple(lines), tuple(sorted(results)), states, self._options(), self.limited
        )

    def _options(self) -> dict[str, Any] | None:
        rng = self.rng
        if not self.cell:
            return None
        options: dict[str, Any] = {}
        if rng.random() < 0.3:
            options["lengths"] = rng.integers(1, self.T + 1, self.batch)
        if rng.random() < 0.2:
            options["resets"] = rng.random((self.T, self.batch)) < 0.3
        if rng.random() < 0.3:
            options["reverse"] = True
        return options


def _chosen(rng: np.random.Generator, several: list[Any]) -> Any:
    return several[int(rng.integers(len(several)))]


def _call(name: str, inputs: list[Any], params: dict[str, Any]) -> str:
    rest = [f"{k}={written(v)}" for k, v in params.items()]
    return f"op({', '.join([repr(name), *inputs, *rest])})"


def case(seed: int, *, compiled: bool) -> str:
    """One random program; one that fails is made smaller, and shown as a program that runs."""
    return settled(Written(seed, 4 if compiled else 9).program(), compiled)
