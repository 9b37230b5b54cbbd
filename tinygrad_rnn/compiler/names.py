"""What readers call the values of a compiled step: the names of the user's own source.

A value has the name of the variable that the user's code assigns it to, a state that of its
component, a parameter its own, and the gradient of i is d_i. In comments a value without a name is
said by the expression that makes it.
"""

from __future__ import annotations

import builtins
import io
import keyword
import tokenize
from collections.abc import Iterable
from typing import Any

from ..core.tape import Node
from ..loops import ir
from ..ops.facts import Contraction, facts_of, infix, is_identity, signs
from ..ops.source import variables
from ..recurrent.cell import component_names
from .forms import untransposed
from .fusion import contraction
from .internal import AFFINE, ASSEMBLED
from .parts import LoopPart, Parts
from .products import Factor, factors
from .runner import Runner
from .value import B, Given, Value

LONGEST = 70  # characters of an expression in a comment
MOST = 7  # operands of one


class ValueNames:
    """Names of the values of a step, and expressions for those without one.

    Parameters
    ----------
    runner : Runner
        The compiled step.

    Attributes
    ----------
    names : dict of Value to str
        No two values have the same name.
    numbers : dict of str to str
        New names for the numbers of both functions.
    parts : Parts
        The parts of the code.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner, self.code, self.step = runner, runner.code, runner.step
        self.parts = Parts(self.code)
        self.reserved = {*words(runner.source), *keyword.kwlist, *dir(builtins)}
        self.own = {node.origin[:2] for node in self.step.nodes}  # places in the user's source
        self.names: dict[Value, str] = {}
        self._taken = set(self.reserved)
        given = self._of_given()
        for v, name in given.items():
            self._call(v, name)
        for v in self.step.constants:
            self._call(v, v.node.name or "constant")
        self._name_forward(given)
        self._name_backward()
        self._gradients = {g: self.names[v] for g, v in self.step.gradient_of if v in self.names}
        self._aliases = self._find_aliases()
        self.numbers: dict[str, str] = {}
        for found in self.code.functions.values():
            self._name_numbers(found.function.body, set())

    # --- names ------------------------------------------------------------------------------------

    def _of_given(self) -> dict[Value, str]:
        """Return what the user's code calls the inputs and the state of a step."""
        step, form, state = self.step, self.runner.variant.form, self.runner.structure[1]
        own = component_names(self.runner.variant.cell, state[0] if form.resets else state)
        drawn = [v for _, v in step.drawn]
        added = [*["valid"] * form.masked, *["begins"] * form.resets]
        xs = len(step.xs) - sum(v.given is Given.INPUT for v in drawn) - len(added)
        found = {
            v: f"{own.given}_{k}" if form.takes_tuple else own.given
            for k, v in enumerate(step.xs[:xs])
        }
        found.update(zip(step.xs[xs:], added, strict=False))
        first = [f"first_{name}" for name in own.short] if form.resets else []
        found.update(zip(step.states, [*own.short, *first], strict=True))
        for v in [*step.fixed, *drawn]:
            found.setdefault(v, (v.node.name or "").rpartition(".")[2] or "drawn")
        return found

    def _call(self, value: Value, name: str) -> None:
        """Give a value a name, if it has none; another one where the code has that for itself."""
        if value in self.names:
            return
        letters = [c if c.isalnum() or c == "_" else " " for c in name]
        base = "_".join("".join(letters).split()).strip("_") or "value"
        base = base if not base[0].isdigit() else f"_{base}"
        base, tries = f"{base}_" if base in self.reserved else base, 1
        found = base
        while found in self._taken:
            tries += 1
            found = f"{base.rstrip('_')}_{tries}"
        self._taken.add(found)
        self.names[value] = found

    def _name_forward(self, given: dict[Value, str]) -> None:
        step = self.step
        own = variables(step.nodes)
        assigned = {
            v: own[v.node]
            for v in step.forward
            if v.node in own and step.known.get(v.node) in (None, v)
        }
        for v, state in zip(step.new_states, step.states, strict=True):
            if v not in given and assigned.get(v, given[state]) == given[state]:
                self._call(v, f"{given[state]}_new")
        for v in step.forward:
            if v in assigned:
                self._call(v, assigned[v])
        for k, v in enumerate(step.outputs):
            self._call(v, "output" if len(step.outputs) == 1 else f"output_{k}")
        for v in step.forward:
            if v.scalar and len(v.inputs) == 1 and v.inputs[0] in self.names:
                self._call(v, f"{v.op}_{self.names[v.inputs[0]]}")
        for v in step.forward:
            product = v.primitive is AFFINE or _is_product(v)
            if product and v.varies and v.batch is not None:
                self._call(v, "sums")

    def _name_backward(self) -> None:
        step = self.step
        for k, v in enumerate(step.d_outputs):
            self._call(v, "d_output" if len(step.d_outputs) == 1 else f"d_output_{k}")
        for v, state in zip(step.d_states, step.states, strict=True):
            self._call(v, f"d_{self.names[state]}_later")
        recorded = set(step.forward)
        for gradient, v in step.gradient_of:
            arrives = gradient.given is Given.COTANGENT
            if not arrives and v in self.names and gradient not in recorded:
                self._call(gradient, f"d_{self.names[v]}")

    def _find_aliases(self) -> dict[Value, str]:
        """Return names for values without one of their own that are the same as one with a name."""
        found: dict[Value, str] = {}
        for v in reversed([*self.step.forward, *self.step.backward]):
            name = self.names.get(v) or found.get(v)
            if name is None or v.leaf:
                continue
            view = facts_of(v.primitive).view is not None and v.size == v.inputs[0].size
            if view or is_identity(v.primitive):
                found.setdefault(v.inputs[0], name)
        return found

    def of_number(self, value: Value) -> str | None:
        """Return what a number of a value is called in the code; None if nothing says it."""
        value = self.parts.original(value)
        while value not in self.names and value not in self._aliases:
            if value.leaf or facts_of(value.primitive).view is None:
                return None
            value = self.parts.original(value.inputs[0])
        return self.names.get(value) or self._aliases[value]

    def _name_numbers(self, statements: Iterable[ir.Statement], used: set[str]) -> None:
        """Find names for the numbers of statements; `used` are those that can be read there."""
        for s in statements:
            if isinstance(s, (ir.Load, ir.Let)) and s.origin is not None:
                name = self.of_number(s.origin.value)
                if name is not None and name not in used:
                    used.add(name)
                    self.numbers[s.name] = name
            self._name_numbers(ir.inside(s), {*used} if isinstance(s, ir.Loop) else used)

    def stored(self, part: LoopPart) -> list[str]:
        """Return the names of what a loop stores, as the code says them."""
        found: list[str | None] = []
        for s in ir.walk(part.statements):
            if isinstance(s, ir.Store) and s.origin is not None:
                number = self.numbers.get(s.value.name) if isinstance(s.value, ir.Var) else None
                found.append(number or self.of_number(s.origin.value))
            elif isinstance(s, ir.Accumulate) and s.origin is not None:
                value = s.origin.value
                found.append(self.of_number(value) or self.label(value, 2))
        return list(dict.fromkeys(name for name in found if name))

    # --- expressions ------------------------------------------------------------------------------

    def label(self, value: Any, depth: int = 3) -> str:
        """Return a value in a comment: its name, or how it is made.

        Of long expressions only the last operation is said.
        """
        if not isinstance(value, Value):
            return str(value)
        value = self.parts.original(value)
        if value in self.names:
            own = value.node.name if value.given is Given.CONSTANT else None
            return own or self.names[value]
        if value in self._gradients:
            return f"d_{self._gradients[value]}"
        operands = self._operands(value)
        if not depth or not operands or len(operands) > MOST:
            return f"{value.node.op}(...)"
        text = self._expression(value, [self.label(i, depth - 1) for i in operands])
        return text if len(text) <= LONGEST else f"{value.node.op}(...)"

    def _expression(self, value: Value, operands: list[str]) -> str:
        """Return the operation of a value, of operands in words."""
        if value.primitive is AFFINE:
            several, bias = factors(value)
            terms = [self.product(f) for f in several]
            return " + ".join([*terms, *([] if bias is None else [self.label(bias)])])
        if _is_turned(value):
            return transposed(operands[0])
        if facts_of(value.primitive).subscript:
            return f"{bracketed(operands[0])}[{_index(value.params['index'])}]"
        sign = infix(value.primitive)
        if sign is not None:
            total = signs(value.primitive) == (1, 1)
            return f" {sign} ".join(operands if total else map(bracketed, operands))
        return f"{value.node.op}({', '.join(operands)})"

    def _operands(self, value: Value) -> list[Any]:
        """Return what a value is made of; of one that is put together what was put together."""
        if value.primitive is not ASSEMBLED:
            return value.inputs
        known = self.step.known
        return [known.get(i, i) if isinstance(i, Node) else i for i in value.node.inputs]

    def product(self, factor: Factor) -> str:
        """Return a product of a batch with a matrix, as it is computed: the batch last."""
        moving = self.parts.original(factor.moving)
        matrix, right = self.label(factor.matrix), self.label(untransposed(moving)[0])
        turned = factor.matrix.shape[-2:] != (factor.N, factor.K) or factor.transposed
        return f"{transposed(matrix) if turned else bracketed(matrix)} @ {bracketed(right)}"

    def weight_of(self, value: Value) -> str:
        """Return whose gradient a product over all steps is, as it is computed, or is part of."""
        code, found = self.code, []
        for constant in code.constants:
            name = f"d_{constant.node.name or 'constant'}"
            stack: list[tuple[Any, bool]] = [(self.step.gradients[constant], False)]
            seen: set[Value] = set()
            while stack:
                top, part = stack.pop()
                here, order = untransposed(top)
                turned = order == (1, 0)
                if here is value:
                    turned = turned != (value in code.transposed)
                    found.append(f"part of {name}" if part else f"{name}{'.T' if turned else ''}")
                    break
                ends = here in code.sunk.products or here in code.sunk.sums
                if here not in seen and not ends:
                    seen.add(here)
                    stack += [(i, True) for i in here.sources]
        return ", ".join(dict.fromkeys(found)) or "a part"

    def operation(self, value: Value) -> str:
        """Return the name of the operation that made a value; joined products are one operation."""
        joined = value.primitive is AFFINE and len(value.inputs) > 2
        return value.op if joined else value.node.op

    def in_source(self, node: Node) -> bool:
        """Whether a node was made by the user's code, and not by a derivative rule."""
        return node.origin[:2] in self.own


def _is_turned(value: Value) -> bool:
    """Whether a value is a transpose of a matrix."""
    return untransposed(value)[1] == (1, 0)


def words(text: str) -> set[str]:
    """Return the names in a text of Python."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


def bracketed(label: str) -> str:
    """Return a label in brackets, if it has to be held together beside a sign."""
    return f"({label})" if " " in label and not _is_closed(label) else label


def transposed(label: str) -> str:
    """Return the label of a transpose."""
    if label.endswith(".T"):
        return label.removesuffix(".T")
    return f"{bracketed(label)}.T"


def _is_closed(label: str) -> bool:
    """Whether all spaces of a label are within brackets."""
    depth = 0
    for c in label:
        depth += (c in "([") - (c in ")]")
        if c == " " and not depth:
            return False
    return True


def _is_product(value: Value) -> bool:
    """Whether it is a product of matrices that was not joined with others."""
    labels: Contraction | None = contraction(value)
    return labels is not None and infix(value.primitive) is not None


def _index(index: Any) -> str:
    """Return the index of a subscript as it is written."""
    parts = index if isinstance(index, tuple) else (index,)

    def one(part: Any) -> str:
        if isinstance(part, slice):
            bounds = ["" if b is None or b == B else str(b) for b in (part.start, part.stop)]
            start = bounds[0] if bounds[0] != "0" else ""
            return f"{start}:{bounds[1]}{f':{part.step}' if part.step not in (None, 1) else ''}"
        return "..." if part is Ellipsis or bool(getattr(part, "ndim", 0)) else str(part)

    return ", ".join(one(part) for part in parts)
