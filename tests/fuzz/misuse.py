"""Random programs of writes, aliases, views and copies.

Values as NumPy has them, gradients as finite differences, or a refusal.

A program is a list of Python statements. The same text runs on tensors and on NumPy arrays. A
statement that is refused is left out of both, and must leave the tensors as they were. In NumPy a
view follows what is written to the array that it was taken from; here it keeps the values of the
moment, so before such a write the views in the reference are replaced by copies. A write *to* a
view is not prepared in this way: it has to be refused, or NumPy's array shows the difference.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygrad_rnn as tg

EPS = 1e-5
SHAPE = (2, 3)
OPERATORS = ("+=", "-=", "*=", "/=")
INDICES = (
    "[0]",
    "[-1]",
    "[:, 1]",
    "[:, ::2]",
    "[0, 1]",
    "[[0, 1, 0]]",
    "[:, [2, -1, 0]]",
    "[[0, -2], [1, 1]]",
    "[...]",
    "[None]",
    "[0][1]",
    "[:, 1:][0]",
)
VIEWS = (".T", ".reshape(3, 2)", ".reshape(-1)", "[0]", "[:, :2]", "[:, 1]", ".T[1]", "[None][0]")


class Random:
    """A program that is made line by line; `parents` says of which variable a variable is a view."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.names: list[str] = []
        self.parameters: list[str] = []
        self.parents: dict[str, str] = {}

    def pick(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def value(self) -> str:
        number = f"{self.rng.uniform(-1.5, 1.5):.3f}"
        return self.pick(
            [*self.names, *[f"{n}[0, 0]" for n in self.names], *[number] * len(self.names)]
        )  # type: ignore[no-any-return]

    def new(self, parameter: bool = False) -> str:
        name = f"{'p' if parameter else 'v'}{len(self.names)}"
        self.names.append(name)
        if parameter:
            self.parameters.append(name)
        return name

    def line(self) -> tuple[str, str | None, str | None, str | None]:
        """A statement; the variable that it makes; the one of which this is a view.

        And the variable that it writes to.
        """
        x = self.pick([*self.names, *self.names[2:]])
        kind = self.rng.choice(
            [
                "arithmetic",
                "alias",
                "view",
                "copy",
                "augmented",
                "item",
                "assign",
                "rows",
                "no_grad",
                "data",
                "transform",
                "number",
            ],
            p=[0.16, 0.06, 0.12, 0.08, 0.14, 0.12, 0.14, 0.04, 0.06, 0.03, 0.03, 0.02],
        )
        if kind == "arithmetic":
            made = self.pick(
                [
                    f"tanh({x} * {self.value()})",
                    f"{x} * {x}",
                    f"{x} + {self.value()}",
                    f"{x}[[0, 0]]",
                    f"{x} @ {x}.T",
                ]
            )
            return f"{{}} = {made}", "new", None, None
        if kind == "alias":
            return f"{{}} = {x}", "new", self.parents.get(x), None
        if kind == "view":
            return f"{{}} = {x}{self.pick(VIEWS)}", "new", x, None
        if kind == "copy":
            return (
                f"{{}} = {self.pick(['%s.copy()', 'detach(%s)', 'deepcopy(%s)', '%s.astype(float)', '%s * 1.0']) % x}",
                "new",
                None,
                None,
            )
        if kind == "transform":
            return f"{{}} = cubes({x})", "new", None, None
        if kind == "number":
            return f"{{}} = {x} * float({x}[0, 0])", "new", None, None
        if kind == "augmented":
            return f"{x} {self.pick(OPERATORS)} {self.value()}", None, None, x
        if kind == "item":
            return f"{x}{self.pick(INDICES)} {self.pick(OPERATORS)} {self.value()}", None, None, x
        if kind == "assign":
            return f"{x}{self.pick(INDICES)} = {self.value()}", None, None, x
        if kind == "rows":
            return f"for row in {x}: row{self.pick(['[:] = 0.5', '[0] += 1.0'])}", None, None, x
        p = self.pick(self.parameters)
        if kind == "data":
            return (
                f"set_data({p}, {self.pick(['-=', '='])!r}, {self.rng.uniform(-1, 1):.3f})",
                None,
                None,
                p,
            )
        written = self.pick([p, x])
        return (
            f"with no_grad(): {written}{self.pick(['', *INDICES])} {self.pick(['-=', '*='])} {self.value()}",
            None,
            None,
            written,
        )


class Reference:
    """The program in NumPy, with the parameters moved by `eps` in a direction."""

    def __init__(
        self, base: Reference | None = None, moved: str = "", direction: Any = 0.0
    ) -> None:
        self.base, self.moved, self.change = base, moved, EPS * np.asarray(direction)
        # values that are constants for the gradient, in the order in which they arise
        self.known: list[Any] = []
        self.space: dict[str, Any] = {
            "tanh": np.tanh, "detach": self.constant, "deepcopy": self.constant, "no_grad": contextlib.nullcontext, "set_data": self.set_data,
            "cubes": lambda x: 3 * x * x,
        }  # fmt: skip

    def constant(self, x: Any) -> Any:
        return self.fixed(np.array(x))

    def fixed(self, value: Any) -> Any:
        """The value of the base run, which a derivative does not look behind."""
        self.known.append(np.array(value))
        return (
            self.known[-1].copy()
            if self.base is None
            else self.base.known[len(self.known) - 1].copy()
        )

    def set_data(self, p: Any, how: str, number: float) -> None:
        p[...] = p - number if how == "-=" else number

    def parameter(self, name: str, value: Any) -> None:
        self.space[name] = self.fixed(value)
        self.renew(name)

    def renew(self, name: str) -> None:
        """Move a parameter after it was given values."""
        if name == self.moved:
            self.space[name][...] += self.change

    def run(
        self, line: str, target: str | None, parents: dict[str, str], parameters: list[str]
    ) -> None:
        if target is not None:
            self.freeze(target, parents)
        with np.errstate(all="ignore"):
            exec(line, self.space)
        # not recorded: constants from here on
        if target is not None and line.startswith(("with no_grad", "set_data")):
            self.space[target][...] = self.fixed(self.space[target])
            for p in parameters:
                if self.space[p] is self.space[target]:
                    self.renew(p)

    def freeze(self, target: str, parents: dict[str, str]) -> None:
        """Copies in place of the views of what is written to."""
        written = self.space[target]
        twins: dict[int, Any] = {}
        for name in parents:
            value, above, whole = self.space.get(name), name, False
            while above in parents and value is not None:
                above = parents[above]
                whole = whole or self.space.get(above) is written
            if whole and value is not written:
                self.space[name] = twins.setdefault(id(value), value.copy())


def cubes(x: Any) -> Any:
    """The gradient of the sum of the cubes, which stays on the tape of x."""
    return tg.grad(lambda v: (v * v * v).sum())(x)


def _set_data(p: Any, how: str, number: float) -> None:
    if how == "-=":
        p.data -= number
    else:
        p.data = np.full(p.shape, number)


@contextlib.contextmanager
def _strict() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", RuntimeWarning)
        yield


def case(seed: int, *, compiled: bool) -> str:
    """One program: "equal", or "refused" if a statement was refused.

    An AssertionError has the text of the program.
    """
    del compiled
    program = Random(seed)
    rng = program.rng
    tensors: dict[str, Any] = {
        "tanh": tg.tanh, "detach": lambda x: x.detach(), "deepcopy": copy.deepcopy, "no_grad": tg.no_grad, "set_data": _set_data, "cubes": cubes,
    }  # fmt: skip
    lines: list[tuple[str, str | None, dict[str, str]]] = []
    starts: dict[str, Any] = {}
    reference = Reference()
    refused: list[str] = []
    for parameter in (True, True, False, False):
        name = program.new(parameter)
        starts[name] = rng.uniform(-1.5, 1.5, SHAPE)
        tensors[name] = tg.tensor(starts[name], requires_grad=parameter)
        reference.parameter(name, starts[name])

    def text() -> str:
        return "\n".join(
            [
                *(f"{n} = {v.tolist()}" for n, v in starts.items()),
                *(line for line, _, _ in lines),
                *(f"# refused: {r}" for r in refused),
            ]
        )

    for _ in range(int(rng.integers(3, 12))):
        line, made, parent, target = program.line()
        name = program.new() if made else ""
        line = line.format(name)
        before = {n: tensors[n].array for n in program.names if n in tensors}
        try:
            with _strict():
                exec(line, tensors)
        except (tg.TinygradError, RuntimeWarning, IndexError) as error:
            assert str(error), f"a refusal without a word\n{text()}"
            refused.append(f"{line}: {str(error)[:150]}")
            if made:
                program.names.remove(name)
            for n, array in before.items():
                assert tensors[n].array is array, (
                    f"refused, and yet {n} was written to: {line}\n{text()}"
                )
            continue
        if made and parent is not None:
            program.parents[name] = parent
        lines.append((line, target, dict(program.parents)))
        try:
            reference.run(line, target, program.parents, program.parameters)
        except (ValueError, IndexError, TypeError) as error:
            raise AssertionError(f"NumPy refuses the last line: {error}\n{text()}") from error
        for n in program.names:
            np.testing.assert_allclose(
                tensors[n].numpy(),
                reference.space[n],
                rtol=1e-9,
                atol=1e-9,
                equal_nan=True,
                err_msg=f"{n} after the last line of\n{text()}",
            )
    if _gradients(program, tensors, reference, starts, lines, text):
        return "refused" if refused else "equal"
    return "refused"


def _gradients(
    program: Random,
    tensors: dict[str, Any],
    reference: Reference,
    starts: Any,
    lines: Any,
    text: Any,
) -> bool:
    """Compare the gradients of a sum of everything; False if backward was refused."""
    rng = program.rng
    weights = {n: rng.uniform(-1, 1, tensors[n].shape) for n in program.names}
    loss: Any = sum((tensors[n] * weights[n]).sum() for n in program.names)
    if not loss.requires_grad or not np.isfinite(loss.item()) or abs(loss.item()) > 1e3:
        return True
    try:
        loss.backward()
    except tg.GraphError as error:
        assert "replaced" in str(error) or "nobody holds" in str(error), f"{error}\n{text()}"
        return False
    for p in program.parameters:
        direction = rng.uniform(-1, 1, SHAPE)
        ends = []
        for sign in (1, -1):
            other = Reference(reference, p, sign * direction)
            for name, value in starts.items():
                other.parameter(name, value)
            for line, target, parents in lines:
                other.run(line, target, parents, program.parameters)
            ends.append(sum(float((other.space[n] * weights[n]).sum()) for n in program.names))
        slope = (ends[0] - ends[1]) / (2 * EPS)
        grad = tensors[p].grad
        found = 0.0 if grad is None else float((grad.numpy() * direction).sum())
        if np.isfinite(slope) and abs(slope) < 1e3:
            assert abs(found - slope) <= 1e-5 * max(1.0, abs(slope)) * 10, (
                f"gradient of {p} along {direction.tolist()}: {found}, differences {slope}\n{text()}"
            )
    return True
