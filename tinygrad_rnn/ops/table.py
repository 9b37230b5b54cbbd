"""How lists of nodes are shown.

A tape as a table with the time step of each node, a traced program as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..core.errors import GraphError
from ..core.tape import Node, reachable
from ..core.trace import Program
from .source import function_of, names_of


class Tape(Sequence[Node]):
    """What a tensor depends on, in the order in which it was recorded.

    It prints as a table: index, time step, cell, operation, inputs (as indices), shape, name (the
    variable of the source), source line.
    """

    def __init__(self, root: Node) -> None:
        self.root = root
        self.nodes = reachable([root], every=True)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, index: Any) -> Any:
        return self.nodes[index]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def table(self, limit: int | None = 40) -> str:
        """Return the rows as text; of a tape longer than `limit`, the head and the last rows."""
        return self._rows(range(len(self.nodes)), limit)

    def backward_table(self, limit: int | None = 40) -> str:
        """Return the reverse walk as text.

        It has the same rows in the order in which backward visits them, with the values each rule
        reads.
        """
        return self._rows(
            [i for i in reversed(range(len(self.nodes))) if self.nodes[i].requires_grad],
            limit,
            backward=True,
        )

    def _rows(self, order: Sequence[int], limit: int | None, backward: bool = False) -> str:
        number = {node: i for i, node in enumerate(self.nodes)}
        hidden = 0 if limit is None else max(0, len(order) - limit)
        head = len(order) - hidden - (limit // 4 if hidden and limit else 0)
        shown = [i for k, i in enumerate(order) if not (hidden and head <= k < head + hidden)]
        names = {} if backward else names_of(self._near(shown, number))
        rows = [
            (
                "",
                "t",
                "cell",
                "op",
                "adds to" if backward else "inputs",
                "shape",
                "reads" if backward else "name",
                "line",
            )
        ]
        for i in shown:
            node = self.nodes[i]
            inputs = [f"%{number[n]}" if isinstance(n, Node) else repr(n) for n in node.inputs]
            if backward:
                inputs = [f"%{number[n]}" for n, _, _ in node.edges] or [".grad"]
            step = "" if node.where.mark.step is None else str(node.where.mark.step)
            note = _reads(node) if backward else names.get(node) or function_of(node, names)
            shape = "x".join(map(str, node.shape)) or "scalar"
            rows.append(
                (
                    f"%{i}",
                    step,
                    node.where.mark.cell,
                    node.op,
                    " ".join(inputs),
                    shape,
                    note,
                    str(node.where),
                )
            )
        used = [k for k in range(len(rows[0])) if any(row[k] for row in rows[1:])]
        lines = columns([[row[k] for k in used] for row in rows])
        if hidden:
            lines.insert(head + 1, f"... {hidden} more nodes")
        return "\n".join(lines)

    def _near(self, shown: Sequence[int], number: Mapping[Node, int]) -> list[Node]:
        """Return the nodes of some rows, and those that their names depend on."""
        nodes, kept = self.nodes, set(shown)
        if len(kept) == len(nodes):
            return nodes
        kept.update(number[i] for k in shown for i in nodes[k].inputs if isinstance(i, Node))
        for i in list(kept):
            for way in (-1, 1):  # the expression that made it, as a whole
                k = i + way
                while 0 <= k < len(nodes) and nodes[k].origin == nodes[i].origin:
                    kept.add(k)
                    k += way
        leaves = {nodes[i] for i in shown if nodes[i].primitive is None and nodes[i].name is None}
        for k, n in enumerate(nodes):
            if n.name or (leaves and not leaves.isdisjoint(n.inputs)):
                kept.add(k)
        return [nodes[k] for k in sorted(kept)]

    __str__ = table
    __repr__ = table


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Return rows of cells as lines of columns; those in `right` are numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(w) if k in right else cell.ljust(w)
            for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _reads(node: Node) -> str:
    if node.primitive is None:
        return ""
    names = ["out", "inputs"] if node.primitive.variadic else ["out", *node.primitive.inputs]
    return " ".join(names[k] for k in sorted({k for _, _, rule in node.edges for k in rule.needs}))


def tape(y: Any) -> Tape:
    """Return the tape of a tensor: an ordered view of every node that it depends on."""
    if y.node is None:
        raise GraphError(
            "tape: this tensor was not recorded: nothing it was made from requires gradients. Set requires_grad=True on an input."
        )
    return Tape(y.node)


def listing(self: Program) -> str:
    """Return the program as text, with a line for each node."""
    names: dict[Any, str] = {}
    for i, n in enumerate([*self.inputs, *self.constants, *self.nodes]):
        names[n] = f"%{n.name}" if n.name and f"%{n.name}" not in names.values() else f"%{i}"
    rows = [
        ("input" if n.primitive is None else f"from {n.op}", names[n], "", n) for n in self.inputs
    ] + [("leaf", names[n], "", n) for n in self.constants]
    for n in self.nodes:
        params = "".join(f" {k}={v}" for k, v in n.params.items())
        rows.append((n.op, names[n], " ".join(names.get(i, f"{i}") for i in n.inputs) + params, n))
    lines = [
        f"{name:<12} = {op:<12} {args:<44} {'x'.join(map(str, n.shape)) or 'scalar'}"
        for op, name, args, n in rows
    ]
    return "\n".join([*lines, f"return {', '.join(names.get(o, str(o)) for o in self.outputs)}"])


Program.table = Program.__repr__ = Program.__str__ = listing  # type: ignore[attr-defined, method-assign, assignment]
