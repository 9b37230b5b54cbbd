"""What the boxes say: titles, second lines and tooltips."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..core.tape import Derived, Leaf, Node
from ..ops.source import expressions, function_of, names_of, spot_of
from ..recurrent.moments import Lane
from ..recurrent.pieces import PIECE, is_checkpoint
from .boxes import TIMES, Box, Family
from .facts import contracts, cuts_gradient, is_power, moves, reduces, symbol, takes_part
from .fold import Kinds
from .graph import Graph
from .rules import formula, rule_text

# parameters of operations that belong into the picture; the tooltip has all
IN_LABEL = ("axis", "subscripts", "shift", "dtype")
LONGEST = 28  # characters of a label
PRIME = "\N{PRIME}"
FEW = 10  # of an expression that is used as a name
TOLD = 4  # steps that differ, and are told one by one

Groups = Mapping[Lane, list[list[int]]]  # the steps that are drawn as one, of each lane


class Labels:
    """The words for the nodes of a graph.

    Parameters
    ----------
    graph : Graph
    nodes : sequence of Node
        Those that are drawn, and others that have names.
    """

    def __init__(self, graph: Graph, nodes: Sequence[Node]) -> None:
        self.graph = graph
        self.names = names_of(nodes)
        self.short: dict[Node, str] = {}  # expressions of values without names
        if graph.back is not None:
            self.short = _short_expressions(nodes, self.names)
            named = {**self.short, **self.names}
            self.names.update(graph.back.names(named, graph.elsewhere))
        self._rules: dict[Any, str] = {}

    def box(self, n: Node) -> Box:
        """Make the box of a node."""
        graph = self.graph
        made = self._leaf(n) if graph.is_leaf(n) else self._operation(n)
        made.moment, made.framed = graph.moments[n], n in graph.framed
        made.root = n in graph.roots
        return made

    def _leaf(self, n: Node) -> Box:
        kind = "input" if n in self.graph.given else "parameter" if n.requires_grad else "constant"
        name = self.names.get(n) or (n.op if n.primitive else self._rule_of(n) or kind)
        what = f"{kind} {name}" if name != kind else kind
        family = Family.PARAMETER if kind == "parameter" else Family.INPUT
        return Box(short(name), _size(n), family, tooltip=f"{what}\n{_facts(n)}")

    def _rule_of(self, n: Node) -> str:
        """Return what a constant gradient is called by: the rule that gave it."""
        back = self.graph.back
        made = None if back is None else back.results.get(n)
        return "" if made is None else primed(self.graph, made.by)

    def _operation(self, n: Node) -> Box:
        variable = self.names.get(n)
        known = {} if self.graph.of_backward(n) else self.names
        call = function_of(n, known) or call_text(self.graph, n)
        call = f"0 {call} ·" if n in self.graph.unadded else call
        title = call if variable is None else variable if takes_part(n) else f"{variable} = {call}"
        where = n.where.described().strip(" ()")
        return Box(
            short(title),
            "not kept, run again" if is_checkpoint(n) else _size(n),
            _family(n),
            tooltip="\n".join(filter(None, [self._what(n), _facts(n), where])),
            takes_part=takes_part(n),
            cut="the gradient ends here: stop_gradient" if cuts_gradient(n) else "",
        )

    def _what(self, n: Node) -> str:
        """Return the operation with its parameters, and its derivative."""
        params = ", ".join(
            f"{key}={value_text(value)}" for key, value in n.params.items() if key != PIECE
        )
        key = (n.primitive, n.origin[:2], params, len(n.edges), len(n.shape))
        if key not in self._rules:
            what, said = n.op, formula(n)
            if params:
                what += f"({params})"
            elif not said.startswith(f"{what}("):
                what += f": {said}"
            self._rules[key] = what + "".join(
                _derivative(n, position, rule) for _, position, rule in n.edges[:4]
            )
        return self._rules[key]


def _short_expressions(nodes: Sequence[Node], names: Mapping[Node, str]) -> dict[Node, str]:
    """Return the expressions of values without names, where these are a few characters."""
    found = {}
    whole = expressions(nodes)
    for n in nodes:
        if n in names or n.primitive is None or isinstance(n.where.mark, Derived):
            continue
        said = function_of(n, names)
        spot = spot_of(n) if n in whole and not said else None
        text = "" if spot is None else spot.text().replace("self.", "")
        if said or 0 < len(text) <= FEW:
            found[n] = said or (text if re.fullmatch(r"[\w.]+(\[.*\])?", text) else f"({text})")
    return found


def _derivative(n: Node, position: int, rule: Any) -> str:
    """Return the rule for one input, as a line; nothing if the rule cannot be read."""
    inputs = n.primitive.inputs
    name = (
        f"input {position}" if n.primitive.variadic or position >= len(inputs) else inputs[position]
    )
    text = rule_said(n, position, rule)
    return f"\nd {name} = {text}" if text else ""


def rule_said(n: Node, position: int, rule: Any) -> str:
    """Return the rule for one input of a node as an expression; nothing if it cannot be read."""
    g = np.broadcast_to(np.zeros((), n.dtype), n.shape)
    bare = SimpleNamespace(  # without the saved values, which a backward may have released
        primitive=n.primitive,
        params=n.params,
        inputs=n.inputs,
        op=n.op,
        shape=n.shape,
        dtype=n.dtype,
        ndim=n.ndim,
        saved=[None] * (2 if n.primitive.variadic else len(n.inputs) + 1),
    )
    try:
        return rule_text(bare, position, rule, g)  # type: ignore[arg-type]
    except Exception:
        return ""


def call_text(graph: Graph, n: Node) -> str:
    """Return an operation with its numbers: ``x + 1``, ``getitem[…, 0:4]``, ``sum(axis=0)``."""
    op = n.op
    if "index" in n.params and len(n.inputs) == 1:
        index = f"[{value_text(n.params['index'])}]"
        return index if takes_part(n) else f"{op}{index}"
    sign = symbol(n)
    arguments = []
    if any(map(graph.is_literal, n.inputs)):
        values = (
            i.value.item() if isinstance(i, Leaf) and graph.is_literal(i) else i for i in n.inputs
        )
        arguments = ["·" if isinstance(v, Node) else value_text(v) for v in values]
        if is_power(n) and len(arguments) == 2 and arguments[0] == "·":
            return "x²" if arguments[1] == "2" else f"x^{arguments[1]}"
        if sign != op and len(arguments) == 2:
            return f"{arguments[0]} {sign} {arguments[1]}"
    defaults = n.primitive.defaults
    arguments += [
        f"{k}={value_text(v)}"
        for k, v in n.params.items()
        if k in IN_LABEL and v is not defaults.get(k)
    ]
    return f"{sign}({', '.join(arguments)})" if arguments else sign


def primed(graph: Graph, n: Node) -> str:
    """Return what the derivative rule of an operation is called: the operation with a prime."""
    said = call_text(graph, n)
    return f"{said}{PRIME}" if said.isidentifier() or said[0] == "[" else f"({said}){PRIME}"


def value_text(value: Any) -> str:
    """Return a literal or a parameter in few characters."""
    if isinstance(value, tuple):
        return ", ".join(map(value_text, value))
    if isinstance(value, slice):
        return slice_text(value)
    if hasattr(value, "shape") and value.shape:
        return f"array {_times(value.shape)}"
    return "…" if value is ... else f"{value:.6g}" if isinstance(value, float) else str(value)


def slice_text(value: slice) -> str:
    """Return a slice as it is written in brackets, such as ``0:4`` or ``::2``."""
    parts = ["" if part is None else str(part) for part in (value.start, value.stop, value.step)]
    return ":".join(parts if value.step is not None else parts[:2])


def _times(shape: Sequence[int]) -> str:
    return TIMES.join(map(str, shape))


def _size(n: Node) -> str:
    return _times(n.shape) or "scalar"


def _facts(n: Node) -> str:
    return f"{_size(n)} {n.dtype}"


def short(text: str) -> str:
    """Return a text as a label: in one line, and cut off if it is too long."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _family(n: Node) -> Family:
    """Return the family of an operation."""
    primitive = n.primitive
    if primitive.elementwise:
        call = primitive.scalar is None or "(" in primitive.scalar
        unary = call and len(primitive.inputs) == 1
        return Family.FUNCTION if unary else Family.ARITHMETIC
    if moves(n):
        return Family.SHAPING
    if contracts(n):
        return Family.LINEAR
    if reduces(n) and not (
        isinstance(n.inputs[0], Node) and n.inputs[0].shape == n.shape and n.shape
    ):
        return Family.REDUCTION
    return Family.FUNCTION


# --- of all steps at once -------------------------------------------------------------------------


def without_step(title: str) -> str:
    """Return the title of what stands for several steps: h for h_3, x[t] for x[3]."""
    return re.sub(r"^([^\W\d]\w*?)_\d+\b", r"\1", re.sub(r"\[\d+\](?=$|\.T$)", "[t]", title))


def relative(text: str, step: int) -> str:
    """Return the words of a rule in a step that stands for several: in step 5, t=6 is t+1."""
    text = re.sub(r"\bt=(\d+)", lambda m: f"t{int(m[1]) - step:+d}", text)
    return text.replace(f"[{step}]", "[t]")


def span(steps: Sequence[int]) -> str:
    """Return a text for steps that follow each other."""
    return f"t = {steps[0]}" + f" … {steps[-1]}" * (len(steps) > 1)


def folded_notes(kinds: Kinds, groups: Groups) -> list[str]:
    """Say of each lane how many of its steps are the same, and how the others differ."""
    notes = []
    for lane, found in groups.items():
        counts = Counter(kinds.kind[lane][s] for g in found for s in g)
        usual = counts.most_common(1)[0][0]
        like = next(g[0] for g in found if kinds.kind[lane][g[0]] == usual)
        if counts[usual] > 1:
            total = sum(counts.values())
            alike = f"{counts[usual]:,} of {total:,} steps are the same node by node"
        elif len(counts) > 1:
            alike = f"no two of {len(counts):,} steps are the same node by node"
        else:
            alike = "one step"
        name = lane.described()
        others = [s for g in found for s in g if kinds.kind[lane][s] != usual]
        told = [f"t = {s}: {'; '.join(kinds.differences(lane, s, like))}" for s in others[:TOLD]]
        more = f"; {len(others) - TOLD:,} more differ." if len(others) > TOLD else "."
        notes.append(". ".join([f"{name}: {alike}" if name else alike, *told]) + more)
    return notes
