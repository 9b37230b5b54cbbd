"""A warning where a recording holds many copies of one step, which a loop could compute."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Container
from typing import Any

from ..core.tape import Node
from ..core.trace import Program

MANY = 32  # copies, each of which needs the one before


def warn_of_copies(program: Program, name: str, one_by_one: Container[str]) -> None:
    """Warn if a line was run many times in a recorded function, each time on what it gave before.

    Such a line stands in a loop over steps, of which each is compiled by itself.

    Parameters
    ----------
    program : Program
    name : str
        Of the function.
    one_by_one : container of str
        The names of cells whose sequences could not be recorded as one.
    """
    counts = Counter(_line(n) for n in program.nodes)
    repeated = {line for line, count in counts.items() if count >= MANY}
    if not repeated:
        return
    longest: dict[Any, dict[Node, int]] = {line: {} for line in repeated}
    for n in program.nodes:
        for line, found in longest.items():
            before = max((found.get(i, 0) for i in n.inputs if isinstance(i, Node)), default=0)
            found[n] = before + (_line(n) == line)
    chains = {line: max(found.values()) for line, found in longest.items()}
    last = max((n for n in program.nodes if chains.get(_line(n), 0) >= MANY),
               key=lambda n: chains[_line(n)], default=None)  # fmt: skip
    if last is None:
        return
    where, count = last.where, chains[_line(last)]
    if where.mark.cell in one_by_one:
        what = (
            f"the steps of '{where.mark.cell}' are recorded one by one, {count} of them, since the cell uses what the function has computed or cannot "
            f"be compiled{where.described()}. What it uses can be handed over in x or in the state"
        )
    else:
        what = (
            f"a line is repeated {count} times, each time on what it gave before{where.described()}. With "
            "tg.unroll(cell, xs) it is one loop, whatever the number of steps"
        )
    warnings.warn(
        f"tg.jit: in '{name}' {what}: each copy is compiled by itself, and takes its time.",
        RuntimeWarning,
        stacklevel=6,
    )


def _line(node: Node) -> Any:
    code, offset, _ = node.origin
    return node.op, code, offset
