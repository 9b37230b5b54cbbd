"""The page docs/operations.md: a row for each operation, made from the entries and by running them.

``python -m tests.operations_page --write`` makes it anew. What stands at 0, at ties, for nan and for
nothing is what the operation gives when the page is made; tests/test_conventions.py holds such
values against PyTorch's.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tests.test_entries import in_cell, in_function
from tests.test_primitives import NAMES
from tinygrad_rnn.core.primitive import Primitive
from tinygrad_rnn.ops.names import CALLED

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "operations.md"
TORCH = set((ROOT / "tests" / "data" / "torch_names.txt").read_text("utf-8").split())
SPACES = ("torch", "torch.linalg", "torch.fft", "torch.special", "torch.nn.functional")
# what PyTorch and NumPy call otherwise, and ops/names.py does not list
IN_TORCH = {
    "array_split": "torch.tensor_split", "astype": "Tensor.to", "bitwise_not": "torch.bitwise_not", "conv1d": "torch.nn.functional.conv1d",
    "expm": "torch.linalg.matrix_exp", "index_add": "torch.index_add", "neg": "torch.neg", "outer": "torch.outer", "pad": "torch.nn.functional.pad",
    "stop_gradient": "Tensor.detach", "swapaxes": "torch.swapaxes", "tile": "torch.tile", "transpose": "torch.permute", "take_along_axis": "torch.take_along_dim",
    "concatenate": "torch.cat", "expand_dims": "torch.unsqueeze", "repeat": "torch.repeat_interleave", "split": "torch.chunk", "power": "torch.pow",
    "mod": "torch.remainder", "trunc": "torch.trunc", "append": "torch.cat", "floor_divide": "torch.floor_divide",
    "equal": "torch.eq", "take": "torch.index_select", "scatter": "", "log_sigmoid": "torch.nn.functional.logsigmoid",
    "left_shift": "torch.bitwise_left_shift", "right_shift": "torch.bitwise_right_shift", "not_equal": "torch.ne", "empty": "torch.full",
    "empty_like": "torch.full_like", "moveaxis": "torch.movedim",
}  # fmt: skip
IN_NUMPY = {"neg": "np.negative", "abs": "np.absolute", "max": "np.max", "min": "np.min", "power": "np.power", "linalg.expm": "scipy.linalg.expm",
            "linalg.solve_triangular": "scipy.linalg.solve_triangular", "relu": "", "split": "np.split", "erf": "scipy.special.erf",
            "erfc": "scipy.special.erfc", "erfinv": "scipy.special.erfinv", "lgamma": "scipy.special.gammaln", "digamma": "scipy.special.digamma",
            "polygamma": "scipy.special.polygamma", "logsumexp": "scipy.special.logsumexp", "softmax": "scipy.special.softmax",
            "log_softmax": "scipy.special.log_softmax", "sigmoid": "scipy.special.expit", "xlogy": "scipy.special.xlogy", "norm": "np.linalg.norm",
            "cummax": "np.maximum.accumulate", "flatten": "ndarray.flatten"}  # fmt: skip
HEAD = """# Operations

Every function of tensors, by family, with NumPy's and PyTorch's names for it. Operators and methods (`x @ y`, `x.reshape`) are the same
operations. `python -m tests.operations_page --write` makes this page: it reads the entries, and runs each operation.

- **derivative**: "rule", its entry states it in operations, so there is one of every order; "linear", the derivative is the operation
  itself; "parts", those of the operations that it is made of; "0", nowhere another; "none", the result holds integers or truth values.
- **compiled function**, **compiled step**: "loop", in a loop with its neighbours; "view", read where the source lies; "parts", as what it is
  made of; "own loop", a loop that moves elements; "NumPy", a line that calls NumPy; "refused", by an error that says what to do.
- **at 0**: value and slope there. **ties**: the gradient of what it makes of (1, 1); of two inputs those of 1 and 1. **nan**: what it makes
  of (nan, 1). **empty**: what it makes of no numbers ("none": no numbers again; "refused": an error).

A dash: it does not apply, or wants other arguments.
"""
CELL = {
    "in a loop with others": "loop", "by what it is made of": "parts", "where its source lies, if strides allow it": "view", "by NumPy": "NumPy",
    "by copies into their places": "own loop", "by loops of its own": "own loop", "not at all: that is refused": "refused", "as its single steps": "parts",
}  # fmt: skip


def operations() -> dict[str, Callable[..., Any]]:
    """Every public function of tensors, by its name after ``tg.``."""
    found = {
        name: getattr(tg, name)
        for name in tg.__all__
        if inspect.isfunction(getattr(tg, name))
        and family(getattr(tg, name)).startswith("tinygrad_rnn.ops.")
        and name not in ("custom_vjp", "elementwise", "register_ufunc", "tape")
    }
    for space in ("linalg", "fft"):
        module = getattr(tg, space)
        names = [n for n in module.__all__ if inspect.isfunction(getattr(module, n))]
        found |= {f"{space}.{n}": getattr(module, n) for n in names}
    return found


def family(function: Any) -> str:
    """The module that defines a function."""
    return str(function.__module__)


def primitive_of(name: str, function: Any) -> Primitive | None:
    """The entry of a function: its own, or one of its name in its file."""
    found = getattr(function, "primitive", None)
    if found is None:
        private = f"_{name.rpartition('.')[2]}"
        found = getattr(getattr(importlib.import_module(family(function)), private, None), "primitive", None)  # fmt: skip
    return found if isinstance(found, Primitive) else None


def numpys(name: str) -> str:
    """NumPy's or SciPy's name for it; empty: there is none."""
    if name in IN_NUMPY:
        return IN_NUMPY[name]
    space: Any = np
    for part in name.split("."):
        space = getattr(space, part, None)
    return f"np.{name}" if callable(space) else ""


def torchs(name: str) -> str:
    """PyTorch's name for it; empty: there is none."""
    short = name.rpartition(".")[2]
    own = [n for n, ours in CALLED.items() if ours == name and f"torch.{n}" in TORCH]
    same = [f"{space}.{short}" for space in SPACES if f"{space}.{short}" in TORCH]
    if "." in name:
        same = [n for n in same if n.startswith(f"torch.{name.partition('.')[0]}")]
    return IN_TORCH.get(short) or next(iter([*same, *(f"torch.{n}" for n in own)]), "")


def tried(function: Callable[[], Any]) -> Any:
    """What a call gives; the error, if there is one."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function()
        except Exception as error:
            return error


def shown(value: Any) -> str:
    """Numbers as the page writes them."""
    if isinstance(value, (tuple, list)):
        return ", ".join(shown(v) for v in value) if value else "none"
    array = np.asarray(value.detach() if isinstance(value, tg.Tensor) else value)
    if not array.size:
        return "none"
    words = [f"{v:.4g}" if array.dtype.kind == "f" else str(v) for v in array.ravel().tolist()]
    words = [w if w != "-0" else "-0.0" for w in words]
    return words[0] if array.ndim == 0 else f"({', '.join(words[:4])}{', ...' if len(words) > 4 else ''})"  # fmt: skip


class Row:
    """What the page says of one operation."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function
        self.entry = primitive_of(name, function)
        self.count = len(self.entry.inputs) if self.entry and not self.entry.variadic else 0
        self.made = family(function).endswith(".making")  # of sizes, not of tensors
        self.pointwise = self.entry is not None and self.entry.elementwise

    def on(self, *values: Any) -> Any:
        """The result on these values, and the gradients of its sum; None where it fails."""
        xs = [tg.tensor(np.asarray(v, np.float64), requires_grad=True) for v in values]

        def call() -> Any:
            y = self.function(*xs)
            if isinstance(y, tg.Tensor) and y.requires_grad:
                y.sum().backward()
            return y

        return tried(call), [x.grad for x in xs]

    def derivative(self) -> str:
        """How it is differentiated."""
        if self.made:
            return "none"
        if self.entry is None:
            y = next((y for y in (self.on([0.5, 0.25])[0], self.on([0.5, 0.25], [0.5, 0.5])[0]) if isinstance(y, tg.Tensor)), None)  # fmt: skip
            return "none" if y is not None and y.dtype.kind != "f" else "parts"
        if not any(self.entry.rules):
            return "none"
        if self.entry.linear == "jointly":
            return "linear"
        if self.pointwise and self.count in (1, 2):
            xs = ([0.3, 0.7, 1.3], [0.6, 0.4, 0.2])
            slopes = self.on(*xs[: self.count])[1]
            if all(s is not None and not s.numpy().any() for s in slopes):
                return "0"
        return "parts" if self.entry.body is not None else "rule"

    def compiled(self, how: Callable[[Primitive], str]) -> str:
        """How compiled code has it."""
        if self.made:
            return "-"
        return "parts" if self.entry is None else CELL[how(self.entry)]

    def at_zero(self) -> str:
        """Value and slope at 0, of a function of one number."""
        if not self.pointwise or self.count != 1:
            return "-"
        value, (slope,) = self.on(0.0)
        if isinstance(value, Exception):
            return "-"
        return f"{shown(value)}; {shown(slope)}" if slope is not None else shown(value)

    def ties(self) -> str:
        """The gradients at equal values."""
        if self.count == 2 and self.pointwise:
            value, slopes = self.on(1.0, 1.0)
        elif not self.pointwise and "." not in self.name:
            value, slopes = self.on([1.0, 1.0])
            if isinstance(value, tg.Tensor) and value.ndim:
                return "-"
        else:
            return "-"
        if isinstance(value, Exception) or not all(s is not None for s in slopes):
            return "-"
        return "; ".join(shown(s) for s in slopes)

    def of(self, *values: Any) -> str:
        """The result on values, one input or two."""
        for xs in ([values[0]], list(values)):
            value = self.on(*xs)[0]
            if not isinstance(value, Exception):
                return shown(value)
            if isinstance(value, tg.TinygradError) and "empty" in str(value):
                return "refused"
        return "-"

    def text(self) -> str:
        """The row as a line of the table."""
        with_space = "." in self.name
        cells = [
            f"`tg.{self.name}`", code(numpys(self.name)), code(torchs(self.name)), self.derivative(),
            self.compiled(in_function), self.compiled(in_cell), self.at_zero(), self.ties(),
            "-" if with_space else self.of([np.nan, 1.0], [1.0, 1.0]),
            "-" if with_space else self.of(np.zeros(0), np.zeros(0)),
        ]  # fmt: skip
        return f"| {' | '.join(cells)} |"


def code(name: str) -> str:
    """A name as code, or a dash."""
    return f"`{name}`" if name else "-"


def page() -> str:
    """The text of the page."""
    rows: dict[str, list[Row]] = {}
    for name, function in operations().items():
        rows.setdefault(family(function), []).append(Row(name, function))
    parts = [HEAD]
    for module in sorted(rows):
        about = (importlib.import_module(module).__doc__ or "").strip().splitlines()[0]
        head = about.partition(": ")[0].partition(". ")[0].rstrip(".")
        parts += [
            f"\n## {head} (`ops/{module.rpartition('.')[2]}.py`)\n",
            "| here | NumPy, SciPy | PyTorch | derivative | compiled function | compiled step | at 0 | ties | nan | empty |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *(row.text() for row in rows[module]),
        ]
    shown_entries = {
        row.entry.name for family_rows in rows.values() for row in family_rows if row.entry
    }
    behind = sorted(set(NAMES) - shown_entries)
    parts += [
        "",
        CONVENTIONS,
        f"## Entries behind others\n\n{BEHIND}: {', '.join(f'`{n}`' for n in behind)}.\n",
    ]
    return "\n".join(parts)


BEHIND = "Operators, methods and the functions above are made of these entries as well"
CONVENTIONS = """## Where values coincide

- `max`, `min`, `maximum`, `minimum` share the gradient among equal ones; `cummax`, `argmax` and what sorts take the first.
- `scatter_reduce` with "max" or "min" shares the gradient among equal ones as well, what stood there included, as PyTorch's "amax" does. Without
  `include_self` what stood there counts nowhere (PyTorch counts it among equal ones). The gradient of "prod" is exact at zeros.
- `norm`, `std`, `hypot` have the gradient 0 at 0, and so has `linalg.norm` of the orders from 1 on.
- `linalg.eigh`, `linalg.svd`: vectors that belong to values which coincide have no derivative, which is an error. Values have: what treats
  them alike gets the right one, and each by itself that of the vectors which LAPACK finds. The second derivative is an error there.
- `linalg.det` has two derivatives for every matrix, singular ones as well; from four rows on it is LAPACK's, which a compiled step refuses. `linalg.inv`, `solve` and `slogdet` of a singular matrix are an
  error, the last one when its gradient is asked for. `linalg.qr` has no derivative where columns depend on each other, `linalg.pinv` is not
  given there.
- `c + a @ b` is two operations, and no function joins them: a product that begins with c saved less than a tenth of the time of both where it was
  measured (of 32 x 64 x 256 to 256 x 512 x 512 numbers), and compiled cells add biases inside their products as it is.
- NumPy's keywords (`dtype`, `initial`, `where`, `ddof`, `mean`, `out=None` and others) are taken wherever NumPy's function of the name has them. `max`
  with `initial` is `maximum` of both, where these are equal; what `where` leaves out is not read, and may be nan.
- `linalg.cholesky`, `eigh`, `eigvalsh` read one triangle, and have their gradient there.
"""


def main() -> None:
    """Write the page, or say whether it is as made."""
    text = page()
    if "--write" in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text("utf-8") != text:
        sys.exit("docs/operations.md is not as made: python -m tests.operations_page --write")


if __name__ == "__main__":
    main()
