"""The words for a derivative rule, and for a sum of gradients, that are drawn as one box.

A rule reads as its author wrote it, with the names of the values: the product ``o * tanh(c)`` gives
o the gradient ``δ * tanh(c)``, δ being what arrives at the product. The title says what the result
is: ``∂L/∂o`` if it is the whole gradient of o; ``∂L/∂W +=`` if it is one of several that are added
up; tanh with a prime if nothing has a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..core.tape import Node
from .backprop import Backprop, Made
from .boxes import Box
from .facts import symbol, transposes
from .labels import LONGEST, PRIME, Labels, call_text, primed, rule_said, short, value_text

UPSTREAM = "δ"  # the gradient that arrives, which rules call g as some cells call a gate
EXPLAINED = f"{UPSTREAM} is the gradient that arrives at a rule; what += marks is a part of a sum."
FEW = 4  # steps whose numbers are all written out


class RuleWords:
    """Writes into the boxes of a recorded backward.

    Parameters
    ----------
    back : Backprop
    labels : Labels
    heads : mapping of Node to Node
        The operation that gives the box of each operation its name.
    """

    def __init__(self, back: Backprop, labels: Labels, heads: Mapping[Node, Node]) -> None:
        self.back, self.labels, self.heads, self.graph = back, labels, heads, labels.graph
        self.arriving: dict[Node, Node] = {}  # the whole gradient of each node of the forward
        for n, forward in back.gradient_of.items():
            self.arriving.update(dict.fromkeys(forward, n))

    def describe(self, box: Box, n: Node) -> None:
        """Write into the box of a rule or a sum what it gives, and how."""
        made = self.back.results.get(n)
        if made is None:
            return
        shape = box.detail
        if made.rule is None:
            said = self._sum(n)
            title = self.labels.names.get(n) or f"∂L/∂({call_text(self.graph, made.source)})"
        else:
            said, title = self._rule(n, made), self._title(n, made)
        if len(said) > LONGEST:
            said = squared(said)
        box.said = said if len(said) <= LONGEST else ""
        box.title, box.detail = short(title), box.said or shape
        box.tooltip = f"{title} = {said or shape}\n{shape}\n{self._what(made)}\n{box.tooltip}"

    def _what(self, made: Made) -> str:
        """Say what made the box."""
        if made.rule is None:
            return "the sum of the gradients that arrive"
        what = f"the derivative rule of {made.by.op}{made.by.where.described()}"
        given = self.arriving.get(made.by)
        name = "" if given is None else self.labels.names.get(given)
        return f"{what}; {UPSTREAM} = {name}" if name else what

    def _called(self, n: Node) -> str:
        """Return what an operand is called; a dot if it has no name."""
        names = self.labels.names
        return names.get(n) or self.labels.short.get(n) or "·"

    def _title(self, n: Node, made: Made) -> str:
        """Return what the result of a rule is."""
        if n in self.back.gradient_of:
            return self.labels.names.get(n) or primed(self.graph, made.by)
        name = self._called(made.source)
        if name == "·":
            return primed(self.graph, made.by)
        return f"∂L/∂{name}{self.graph.elsewhere(made.source, n)} +="

    def _rule(self, n: Node, made: Made) -> str:
        """Return a rule as an expression in the names of the values."""
        assert made.rule is not None
        text = rule_said(made.by, made.position, made.rule)
        if not text:
            return ""
        given = UPSTREAM
        for i in n.inputs:
            if i in self.back.results and self.heads.get(i, i) is self.heads.get(n, n):
                given = self._rule(i, self.back.results[i])
        if transposes(made.by):
            return _turned(given, made.by)
        words = {"g": given, "out": self._called(made.by)}
        names = made.by.primitive.inputs
        for k, i in enumerate(made.by.inputs):
            key = f"inputs[{k}]" if made.by.primitive.variadic else names[k]
            words[key] = self._called(i) if isinstance(i, Node) else f"{i:.6g}"
        words.update((k, value_text(v)) for k, v in made.by.params.items() if k not in words)
        keys = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
        text = re.sub(rf"(?<![\w.])({keys})(?![\w(])", lambda m: words[m[1]], text)
        text = _collapsed(text.replace(".swapaxes(-1, -2)", ".mT"))
        spread = made.source.shape != made.by.shape and made.by.primitive.elementwise
        return f"sum({text})" if spread else text

    def _sum(self, n: Node) -> str:
        """Return a sum, written out as far as that is short."""
        parts, graph = self.graph.inputs[n], self.graph
        steps = [graph.step(i) for i in parts if i in graph.framed]
        if n in graph.framed:
            said = " + ".join(self._part(i, n) for i in parts)
            return said if len(said) <= LONGEST else f"sum of {len(parts)}"
        if len(steps) < len(parts) or len(set(steps)) < len(steps):
            return f"sum of {len(parts)}"
        if len(steps) <= FEW:
            return f"sum over t = {', '.join(map(str, steps))}"
        return f"sum over t = {steps[0]} … {steps[-1]}"

    def _part(self, i: Node, n: Node) -> str:
        """Return from where a gradient arrives at a sum inside of a step."""
        graph, made = self.graph, self.back.results.get(i)
        here, there = graph.moments[n], graph.moments[i]
        if made is None or made.rule is None or here is None or there is None:
            return "·"
        if made.by not in graph.framed:
            return "loss"
        if there.step != here.step and there.lane == here.lane:
            return f"t={there.step}"
        called = self._called(made.by)
        if there.lane != here.lane:
            return there.lane.described()
        return symbol(made.by) + PRIME if called == "·" else called


def _turned(text: str, n: Node) -> str:
    """Return the expression of a gradient with its axes as those of the input of a transpose."""
    axes, last = n.params.get("axes"), n.ndim - 1
    text = f"({text})" if " " in text else text
    if n.ndim == 2:
        return _collapsed(f"{text}.T")
    if axes is not None and tuple(axes) == (*range(last - 1), last, last - 1):
        return _collapsed(f"{text}.mT")
    return f"{text}.transpose(…)"


def _collapsed(text: str) -> str:
    return text.replace(".T.T", "").replace(".mT.mT", "")


def squared(text: str) -> str:
    """Return an expression with ``x²`` in place of ``x * x``, where that is the same."""
    factor = r"[^\W\d][\w.]*(?:\([\w.]+\))?"
    before, after = r"(?<![/@%] )(?<!\*\* )(?<![\w.)\]])", r"(?![\w.(\[²]| \*\* )"
    return re.sub(rf"{before}({factor}) \* \1{after}", r"\1²", text)
