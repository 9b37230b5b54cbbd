"""A generated module as it is read.

The code that is compiled, under the names of the user's source, with comments.

The module is compiled under names of its own, so that equal steps are compiled once, whatever their
authors called things. For readers the scalars of its loops are renamed: a value has the name of the
variable that the user's code assigns it to, a state that of its component, a parameter its own, and
the gradient of i is d_i. Comments say which of the user's lines a loop holds, what a product
multiplies, and what the arrays are. Comments and these names apart, it is the same text.
"""

from __future__ import annotations

import builtins
import keyword
import linecache
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from ..core.tape import Node
from ..kernels.cache import code
from ..recurrent.cell import component_names
from ..recurrent.names import Names
from ..recurrent.source import variables
from .affine import products
from .effects import B
from .lower import Loop
from .module import Module, Schedule, Slot, untransposed
from .op import Op

SIGNS = {"add": " + ", "subtract": " - ", "multiply": " * ", "matmul": " @ "}
LONGEST = 70  # characters of an expression in a comment
_SCALAR = re.compile(r"\bv\d+\b")


def readable(reader: Reader) -> str:
    """The text of a module for readers."""
    text = reader.text
    lines = text.splitlines()
    for which in ("backward", "forward"):  # from the end, so that places stay
        begin = next(k for k, line in enumerate(lines) if line.startswith(f"def {which}(")) - 1
        end = next(
            (k for k in range(begin + 2, len(lines)) if not lines[k].startswith(" ")), len(lines)
        )
        lines[begin:end] = reader.function(which, lines[begin:end])
    return "\n".join([*lines, ""])


def given_names(
    module: Module, cell: Callable[..., Any], state: Any, several: bool, masked: bool, resets: bool
) -> dict[Op, str]:
    """What the user's code calls the inputs and the state of a step."""
    step = module.step
    own: Names = component_names(cell, state[0] if resets else state)
    xs = len(step.xs) - sum(op.op == "x" for _, op in step.drawn) - masked - resets
    found = {op: f"{own.given}_{k}" if several else own.given for k, op in enumerate(step.xs[:xs])}
    found.update(zip(step.xs[xs:], [*["valid"] * masked, *["begins"] * resets], strict=False))
    names = [*own.short, *([f"first_{name}" for name in own.short] if resets else [])]
    found.update(zip(step.states, names, strict=True))
    found.update(
        {
            op: (op.node.name or "").rpartition(".")[2] or "drawn"
            for op in [*step.fixed, *(op for _, op in step.drawn)]
            if op not in found
        }
    )
    return found


class Reader:
    """Names of the values of a module, and comments on its functions.

    Parameters
    ----------
    module : Module
    text : str
        What was compiled.
    cell : Cell or callable
        For the names of its input and of the components of its state.
    state : nest
        As the step was given it.
    several, masked, resets : bool
        Whether x is a tuple, and whether lengths and resets are among what the step is given.
    """

    def __init__(
        self,
        module: Module,
        text: str,
        cell: Callable[..., Any],
        state: Any,
        several: bool,
        masked: bool,
        resets: bool,
    ) -> None:
        self.module, self.step, self.text = module, module.step, text
        given = given_names(module, cell, state, several, masked, resets)
        self.reserved = {
            *re.findall(r"[A-Za-z_]\w*", re.sub(r"#.*", "", code(text))),
            *keyword.kwlist,
            *dir(builtins),
        }
        self.own = {node.origin[:2] for node in self.step.nodes}  # places in the user's source
        self.names: dict[Op, str] = {}
        self._name(given)

    # --- names ------------------------------------------------------------------------------------------------------------------

    def _name(self, given: dict[Op, str]) -> None:
        step, taken = self.step, set(self.reserved)

        def call(op: Op, name: str) -> None:
            if op in self.names:
                return
            base = re.sub(r"\W+", "_", name).strip("_") or "value"
            base = base if not base[0].isdigit() else f"_{base}"
            base, tries = f"{base}_" if base in self.reserved else base, 1
            found = base
            while found in taken:
                tries += 1
                found = f"{base.rstrip('_')}_{tries}"
            taken.add(found)
            self.names[op] = found

        for op, name in given.items():
            call(op, name)
        for op in step.constants:
            call(op, op.node.name or "constant")
        own = variables(step.nodes)
        assigned = {
            op: own[op.node]
            for op in step.forward
            if op.node in own and self.first(op.node) in (None, op)
        }
        for op, state in zip(step.new_states, step.states, strict=True):
            if op not in given and assigned.get(op, given[state]) == given[state]:
                call(op, f"{given[state]}_new")
        for op in step.forward:
            if op in assigned:
                call(op, assigned[op])
        for k, op in enumerate(step.outputs):
            call(op, "output" if len(step.outputs) == 1 else f"output_{k}")
        for op in step.forward:
            values = [i for i in op.inputs if isinstance(i, Op)]
            if op.elementwise and len(op.inputs) == 1 and values and values[0] in self.names:
                call(op, f"{op.op}_{self.names[values[0]]}")
        for op in step.forward:
            if op.op in ("matmul", "affine") and op.varies and op.batch is not None:
                call(op, "sums")
        for k, op in enumerate(step.d_outputs):
            call(op, "d_output" if len(step.d_outputs) == 1 else f"d_output_{k}")
        for op, state in zip(step.d_states, step.states, strict=True):
            call(op, f"d_{self.names[state]}_later")
        for gradient, op in step.gradient_of:
            if gradient.op != "cotangent" and op in self.names and gradient not in step.forward:
                call(gradient, f"d_{self.names[op]}")

    def first(self, node: Node) -> Op | None:
        """What the step has in place of a node."""
        return self.step.known.get(node)

    def scalars(self, schedule: Schedule) -> dict[str, str]:
        """New names of the variables of a function; within one loop no two have the same."""
        found: dict[str, str] = {}
        for loop in loops(schedule):
            used: set[str] = set()
            for var, ops in held(loop).items():
                size = math.prod(n for n in loop.domain if n != B)
                # of several names for one number the last, of a whole that it is
                called = [op for op in reversed(ops) if op in self.names]
                called = [op for op in called if op.size <= size] or (
                    called if var in loop.streams.values() else []
                )
                name = self.names[called[0]] if called else None
                if name is not None and name not in used and var not in found:
                    used.add(name)
                    found[var] = name
        return found

    def label(self, op: Any, depth: int = 3) -> str:
        """A value in a comment: its name, or how it is made.

        Of long expressions the last operation.
        """
        if not isinstance(op, Op):
            return str(op)
        if op in self.names:
            return op.node.name or self.names[op] if op.op == "constant" else self.names[op]
        name = next(
            (self.names[o] for g, o in self.step.gradient_of if g is op and o in self.names), None
        )
        if name is not None:
            return f"d_{name}"
        if not depth or not op.inputs or len(op.inputs) > 7:
            return f"{op.op}(...)"
        inputs = [self.label(i, depth - 1) for i in op.inputs]
        first = inputs[0] if " " not in inputs[0] else f"({inputs[0]})"
        if op.op == "transpose":
            text = _turned(inputs[0])
        elif op.op == "getitem":
            text = f"{first}[{_index(op.params['index'])}]"
        elif op.op == "affine":
            pairs, bias = products(op)
            terms = [
                self.product(moving, fixed, op.inputs[2 * k] is moving)
                for k, (moving, fixed) in enumerate(pairs)
            ]
            text = " + ".join([*terms, *([] if bias is None else [self.label(bias)])])
        elif op.op in SIGNS:
            text = SIGNS[op.op].join(
                inputs if op.op == "add" else [i if " " not in i else f"({i})" for i in inputs]
            )
        else:
            text = f"{op.op}({', '.join(inputs)})"
        return text if len(text) <= LONGEST else f"{op.op}(...)"

    def product(self, moving: Op, fixed: Op, first: bool) -> str:
        """A product of a batch with a matrix, as it is computed: the batch last."""
        value, matrix = untransposed(moving)[0], untransposed(fixed)
        turned = first != matrix[1]  # x @ W.T of the source is W @ x here
        name = self.label(matrix[0])
        name = (
            name
            if name.isidentifier() or re.fullmatch(r"[\w.]+(\[.*\]|\(.*\))?", name)
            else f"({name})"
        )
        right = self.label(value)
        return f"{name}{'.T' if turned else ''} @ {right if right.isidentifier() else f'({right})'}"

    # --- comments ---------------------------------------------------------------------------------------------------------------

    def function(self, which: str, lines: list[str]) -> list[str]:
        """The lines of a function, renamed, with comments."""
        module = self.module
        schedule: Schedule = getattr(module, f"{which}_schedule")
        body, names = module.functions[which].body, self.scalars(schedule)
        comments: dict[int, list[str]] = {}
        for at, op, part in schedule.notes:
            if isinstance(part, Loop):
                if part.writes:
                    comments[body + at] = self.loop(part, schedule, names, which)
            elif op.op in ("matmul", "affine") and part and part[0].startswith("multiply("):
                pairs, bias = products(op)
                target = self.names.get(op) or schedule.block.stores[op].name
                for k, (moving, fixed) in enumerate(pairs):
                    text = self.product(
                        moving, fixed, op.inputs[2 * k if op.op == "affine" else 0] is moving
                    )
                    text += f" + {self.label(bias)}" if bias is not None and not k else ""
                    where = _line(op.node)
                    comments[body + at + k] = [
                        f"# {target} {'+=' if k else '='} {text}{f'  ({where})' if where and not k else ''}"
                    ]
            else:
                comments[body + at] = [
                    f"# {self.names.get(op) or schedule.block.stores[op].name}: {op.op}{_of_line(op.node)}"
                ]
        out = [f"# {line}" if line else "#" for line in self.legend(which, lines[1])]
        after = body + len(schedule.lines)
        for k, line in enumerate(lines):
            if re.match(r"    # (c|wide)\d+: ", line):
                continue  # as the legend says
            out += ["        " + text for text in comments.get(k, [])]
            if which == "backward" and k >= after and line.lstrip().startswith("gradient("):
                out.append(f"    # {self._over_steps(line)}")
            bare, _, note = line.partition("  # ")
            stripped = bare.lstrip()
            # the operation stands in the line
            note = "" if note and stripped.startswith("v") else note
            out.append(
                _SCALAR.sub(lambda m: names.get(m[0], m[0]), bare) + (f"  # {note}" if note else "")
            )
        return out

    def loop(self, loop: Loop, schedule: Schedule, names: dict[str, str], which: str) -> list[str]:
        """What a loop computes, and of which lines of the source."""
        written = [names.get(value, "") for *_, value, _ in loop.writes]
        made = ", ".join(dict.fromkeys(name for name in written if name))
        ops = computed(loop)
        if not ops:
            return [f"# {made or 'a copy'}"]
        lines = source_lines(
            [op.node for op in ops if op.node.origin[:2] in self.own], which == "backward"
        )
        head = f"# {made}" if made else "#"
        if which == "backward":
            return [
                f"{head}{': ' if made else ' '}the chain rule through",
                *(f"#   {line}" for line in lines),
            ]
        return [f"{head}:" if made else "# lines of the cell:", *(f"#   {line}" for line in lines)]

    def _over_steps(self, line: str) -> str:
        """On a product over all steps."""
        number = re.search(r"at\(dw(\d+), 0\)", line)
        assert number is not None
        op, (left, right) = list(self.module.products.items())[int(number[1])]
        left, right = (right, left) if op in self.module.transposed else (left, right)
        return f"{self.weight_of(op)}: the sum over all steps of {self.label(left)} @ {_turned(self.label(right))}{self._summed(line)}"

    def _summed(self, line: str) -> str:
        found = re.search(r"at\((b\d+), 0\)", line)
        return (
            f"; {found[1]} = the sum of {self.label(next(s for s, n in self.module.totals.items() if n == found[1]))}"
            if found
            else ""
        )

    def weight_of(self, op: Op) -> str:
        """Whose gradient a product over all steps is, as it is computed, or what it is a part of."""
        module, found = self.module, []
        for constant in module.constants:
            name = f"d_{constant.node.name or 'constant'}"
            stack: list[tuple[Any, bool, bool]] = [
                (self.step.gradients[constant], op in module.transposed, False)
            ]
            seen: set[Op] = set()
            while stack:
                here, turned, part = stack.pop()
                if here is op:
                    found.append(f"part of {name}" if part else f"{name}{'.T' if turned else ''}")
                    break
                if here not in seen and here not in module.products and here not in module.sums:
                    seen.add(here)
                    stack += [
                        (i, turned != (here.op == "transpose"), part or here.op != "transpose")
                        for i in here.inputs
                        if isinstance(i, Op)
                    ]
        return ", ".join(dict.fromkeys(found)) or "a part"

    # --- the legend -------------------------------------------------------------------------------------------------------------

    def legend(self, which: str, head: str) -> list[str]:
        """What the arguments of a function are."""
        arguments = re.search(r"\((.*)\)", head)
        assert arguments is not None
        slots = {slot.name: slot for slot in self.module.functions[which].slots}
        rows = []
        # a backward without gradients has sizes alone
        for name in [a.strip() for a in arguments[1].split(",") if a.strip()][5:]:
            what, shape = self.array(which, name, slots.get(name))
            rows.append((name, what, shape))
        width = max([len(row[0]) for row in rows], default=0)
        title = (
            "Forward: all steps."
            if which == "forward"
            else "Backward through time: the gradients of all steps, the last first."
        )
        return [
            title,
            "T steps; B rows of the batch, which begin at `row` of `batch`. The arrays, each flat:",
            *(
                f"  {name:<{width}}  {what}{f', ({shape})' if shape else ''}"
                for name, what, shape in rows
            ),
        ]

    def array(self, which: str, name: str, slot: Slot | None) -> tuple[str, str]:
        """What an array of a function is, and its shape."""
        module, step = self.module, self.step
        kind, k = re.fullmatch(r"([a-z]+)(\d+)", name).groups()  # type: ignore[union-attr]
        k = int(k)
        if kind in ("c", "wide"):
            op, wide = next(
                (op, wide) for (op, wide), store in module.once_ops.items() if store.name == name
            )
            return f"{self.label(op)}{', repeated for each row' if wide else ''}", ", ".join(
                map(str, op.shape)
            )
        if kind == "n":
            return "places of elements", ""
        if kind in ("in", "first", "out", "last", "din", "dfirst", "dout", "dlast", "dw"):
            return self._argument(kind, k)
        assert slot is not None
        if kind == "z":
            packed = next(
                matrix
                for (matrix, *_), own in getattr(module, f"{which}_schedule").packs.items()
                if own == name
            )
            return f"{packed}, packed for products", ""
        if kind == "h":
            return "room for the products over all steps", ""
        owner = self.owner(which, name)
        shape = [*map(str, owner.features), *([B] if owner.batch is not None else [])]
        lead = {"all": ["T"], "states": ["T + 1"], "both": ["2"], "once": []}[slot.times]
        label = self.label(owner)
        what = {
            "x": f"{label}, of each time",
            "s": f"the state {self.label(step.states[k]) if kind == 's' else ''}, before each step and after the last",
            "k": f"{label} of each step, kept for backward",
            "ds": f"the gradient of the state {self.label(step.states[k]) if kind == 'ds' else ''}, of two steps in turn",
            "dy": f"{label}: the gradient of the outputs",
            "y": f"{label}, what the step gives",
            "b": f"the sum over all steps of {label}",
            "m": f"{label}, of one step",
            "g": f"{label} of each step, for the products over all steps",
            "f": f"{label}, the same at each step",
            "df": f"the gradient of {self.label(step.fixed[k]) if kind == 'df' else ''}",
            "dx": f"the gradient of {self.label(step.xs[k]) if kind == 'dx' else ''}",
            "l": f"{label}, which the step leaves outside",
        }[kind]
        return what, ", ".join([*lead, *shape])

    def owner(self, which: str, name: str) -> Op:
        """The value that an array holds."""
        module = self.module
        wanted, given = (
            (module.forward_wanted, module.given)
            if which == "forward"
            else (module.backward_wanted, module.backward_given)
        )
        for op, places in wanted.items():
            if any(store.name == name for store, _ in places):
                return op
        stores = {**given, **getattr(module, f"{which}_schedule").temporary}
        totals = {total: op for op, total in getattr(module, "totals", {}).items()}
        found = next(
            (op for op, store in stores.items() if store.name == name), None
        ) or totals.get(name)
        # a state that the step does not read
        return found if found is not None else self.step.states[int(name[1:])]

    def _argument(self, kind: str, k: int) -> tuple[str, str]:
        """An array of the caller's."""
        step = self.step
        if kind == "dw":
            op = list(self.module.products)[k]
            left, right = self.module.products[op]
            sides = (right, left) if op in self.module.transposed else (left, right)
            return self.weight_of(op), ", ".join(str(side.size) for side in sides)
        d, base = kind[:1] == "d", kind.removeprefix("d")
        op = {"in": step.xs, "first": step.states, "out": step.outputs, "last": step.states}[base][
            k
        ]
        label = {
            "in": self.label(op),
            "first": f"the first {self.label(op)}",
            "out": "the outputs",
            "last": f"the last {self.label(op)}",
        }[base]
        shape = ["T"] if base in ("in", "out") else []
        return f"of the caller: {'the gradient of ' if d else ''}{label}", ", ".join(
            [*shape, *("batch" if n == B else str(n) for n in op.shape)]
        )


# --- loops -------------------------------------------------------------------------------------------------------------------------


def loops(schedule: Schedule) -> list[Loop]:
    """The loops of a function, in order."""
    return [part for _, _, part in schedule.notes if isinstance(part, Loop) and part.writes]


def held(loop: Loop) -> dict[str, list[Op]]:
    """The variables of a loop, in order, each with the values that it stands for."""
    found: dict[str, list[Op]] = {
        var: []
        for var in [*loop.streams.values(), *(line.partition(" = ")[0] for line in loop.lines)]
    }
    for (op, _), var in loop.memo.items():
        if var in found:
            found[var].append(op)
    return found


def computed(loop: Loop) -> list[Op]:
    """The operations that a loop computes."""
    read = set(loop.streams.values())
    return [
        op
        for (op, _), var in loop.memo.items()
        if var not in read and (op.elementwise or op.op == "astype")
    ]


def source_lines(nodes: Iterable[Node], reverse: bool = False) -> list[str]:
    """The lines of the source that made nodes.

    File, number and text, in the order in which they were run.
    """
    found: dict[tuple[str, int], str] = {}
    for node in nodes:
        code, line = node.origin[0], node.where.line
        if code is not None and line is not None:
            found[code.co_filename, line] = (
                f"{node.where}  {linecache.getline(code.co_filename, line).strip()}".rstrip()
            )
    return [
        found[key]
        for key in sorted(found, key=lambda key: (key[0], -key[1] if reverse else key[1]))
    ]


def _turned(label: str) -> str:
    """The label of a transpose."""
    if label.endswith(".T"):
        return label[:-2]
    return f"{label}.T" if label.isidentifier() else f"({label}).T"


def _line(node: Node) -> str:
    return str(node.where)


def _of_line(node: Node) -> str:
    lines = source_lines([node])
    return f", {lines[0]}" if lines else ""


def _index(index: Any) -> str:
    """The index of a getitem as it is written."""
    parts = index if isinstance(index, tuple) else (index,)

    def one(part: Any) -> str:
        if isinstance(part, slice):
            bounds = ["" if b is None or b == B else str(b) for b in (part.start, part.stop)]
            return f"{bounds[0] if bounds[0] != '0' else ''}:{bounds[1]}{f':{part.step}' if part.step not in (None, 1) else ''}"
        return "..." if part is Ellipsis else "..." if getattr(part, "ndim", 0) else str(part)

    return ", ".join(one(part) for part in parts)
