"""The exercises of lesson 0: a tape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .exercise import Function, Wrong, exercise, expect, explaining


@exercise("two-operations", "values, inputs and rules of both, at 4 sizes")
def two_operations(node: Function, tanh: Function, matmul: Function) -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 4):
        x, g = rng.standard_normal((2, n, 3))
        a = node(x)
        out = np.tanh(x)
        expect(
            _recorded("tanh", tanh(a), (a,), out)[0](g),
            g * (1 - out * out),
            "the rule of tanh",
            (
                1 - out * out,
                "That is the derivative alone. A rule passes on the gradient g that arrives: multiply by it.",
            ),
            (g * (1 - x * x), "1 - tanh²: square the output, not the input."),
            (g * (1 - out), "The derivative is 1 - tanh²: the square is missing."),
            (g, "The rule passes g on unchanged, as that of an addition does."),
        )
        w, g = rng.standard_normal((3, 5)), rng.standard_normal((n, 5))
        b = node(w)
        rules = _recorded("matmul", matmul(a, b), (a, b), x @ w)
        for which, rule, right in (("a", rules[0], g @ w.T), ("b", rules[1], x.T @ g)):
            try:
                found = rule(g)
            except ValueError as error:
                raise Wrong(
                    f"the rule of matmul for {which}: NumPy says {error}",
                    f"The gradient has the shape of {which}: here {right.shape}, from g of shape {g.shape}, a of {x.shape}, b of {w.shape}. Which one is transposed, and on which side of g?",
                ) from None
            expect(
                found,
                right,
                f"the rule of matmul for {which}",
                (right.T, "That is the transpose of what it should be."),
                (g, "The rule passes g on unchanged, as that of an addition does."),
                hint="a gets g @ bᵀ, and b gets aᵀ @ g.",
            )


def _recorded(name: str, result: Any, inputs: tuple[Any, ...], value: Any) -> Any:
    """Return the rules of the node that an operation made, if all else of it is right."""
    if not hasattr(result, "rules"):
        raise Wrong(
            f"{name} returned a {type(result).__name__}.",
            "It has to return a Node, with the value, the inputs and the rules.",
        )
    expect(result.value, value, f"the value of {name}")
    for what in ("inputs", "rules"):
        if not isinstance(getattr(result, what), (tuple, list)):
            raise Wrong(
                f"the {what} of the node that {name} made: expected a tuple, found a {type(getattr(result, what)).__name__}.",
                "A tuple of one is written with a comma: (a,), (rule,).",
            )
    if tuple(result.inputs) != inputs:
        raise Wrong(
            f"the node that {name} made has {len(result.inputs)} inputs, or others than it was given.",
            "Its inputs are the nodes that were handed over, in order: without them nobody can walk back.",
        )
    if len(result.rules) != len(inputs):
        raise Wrong(
            f"the node that {name} made has {len(inputs)} inputs and {len(result.rules)} rules.",
            "Each input needs a rule; a tuple of one is written (rule,).",
        )
    return result.rules


class _Counted(tuple[Any, ...]):
    """Inputs that count how often somebody goes through them, and stop those who go too often."""

    times = 0

    def __iter__(self) -> Iterator[Any]:
        _Counted.times += 1
        if _Counted.times > 500:
            raise Wrong(
                "14 nodes, each of which uses the one before it twice: your function went through inputs more than 500 times.",
                "It follows every way anew, and the ways double from node to node. Look at the inputs of a node only when you see it for the first time.",
            )
        return super().__iter__()


def _ladder(node: Function, steps: int, kind: Function = tuple, rule: Any = None) -> list[Any]:
    """Make nodes each of which uses the one before it twice: 2 ** steps ways lead through them."""
    nodes = [node(1.0)]
    for _ in range(steps):
        nodes.append(node(1.0, kind((nodes[-1], nodes[-1])), (rule, rule)))
    return nodes


@exercise(
    "order", "a leaf, a chain, a node that is used twice, 2 ** 14 ways, and a chain of 10,000 nodes"
)
def order(node: Function, order: Function) -> None:
    a, _beside = node(1.0), node(2.0)
    b = node(2.0, (a,), (None,))
    c = node(3.0, (a, b), (None, None))
    for name, root, right in (
        ("a leaf", a, [a]),
        ("a chain of 2", b, [a, b]),
        ("a node that is used twice", c, [a, b, c]),
    ):
        _in_order(name, order(root), right)
    ladder = _ladder(node, 14, _Counted)
    _Counted.times = 0
    _in_order("14 nodes, each of which uses the one before it twice", order(ladder[-1]), ladder)
    chain = [node(1.0)]
    for _ in range(9_999):
        chain.append(node(1.0, (chain[-1],), (None,)))
    try:
        found = order(chain[-1])
    except RecursionError:
        raise Wrong(
            "a chain of 10,000 nodes: RecursionError.",
            "A function that calls itself for each input goes no deeper than Python's stack. Keep a list of nodes that wait, and a loop.",
        ) from None
    _in_order("a chain of 10,000 nodes", found, chain)


def _in_order(name: str, found: Any, right: list[Any]) -> None:
    """Raise `Wrong` unless the nodes are those, in that order."""
    try:
        listed = list(found)
    except TypeError:
        raise Wrong(
            f"{name}: your function returned a {type(found).__name__}.", "Return a list of nodes."
        ) from None
    if isinstance(found, (set, frozenset)):
        raise Wrong(
            f"{name}: your function returned a set, which has no order.",
            "Return a list: sorted(..., key=lambda node: node.index).",
        )
    found = listed
    if found == right:
        return
    hint = "Go on from each node to its inputs, until no new ones appear."
    if set(found) == set(right[:-1]):
        hint = "The root itself belongs to the list."
    elif set(found) == set(right):
        hint = "The nodes are right. Sort them by their index."
        if len(found) > len(right):
            hint = "A node is in the list more than once: remember which ones you have seen."
        elif found == right[::-1]:
            hint = "The order is the reverse of what is asked for: by rising index."
    raise Wrong(
        f"{name}: expected {len(right)} nodes, found {len(found)} (or another order).", hint
    )


@exercise(
    "backward",
    "a leaf, a chain, h * h, a value that is used early and late, arrays, and 2 ** 30 ways",
)
def backward(node: Function, backward: Function) -> None:
    def scaled(a: Any, factor: float) -> Any:
        return node(factor * a.value, (a,), (lambda g: factor * g,))

    def plus(a: Any, b: Any) -> Any:
        return node(a.value + b.value, (a, b), (lambda g: g, lambda g: g))

    def walk(root: Any) -> Any:
        with explaining(KeyError, "", _EARLY):
            return backward(root)

    x = node(3.0)
    _gradient("a leaf by itself", walk(x), x, 1.0)
    y = scaled(scaled(x, 2.0), 5.0)
    _gradient("y = 5 * (2 * x)", walk(y), x, 10.0, (2.0, _CHAIN), (5.0, _CHAIN), (7.0, _CHAIN))
    square = node(9.0, (x, x), (lambda g: g * 3.0, lambda g: g * 3.0))
    _gradient(
        "y = x * x at x = 3",
        walk(square),
        x,
        6.0,
        (3.0, _ADD),
        (9.0, "Gradients that arrive in two ways are added, not multiplied."),
    )
    early = scaled(x, 2.0)
    late = scaled(early, 3.0)
    for name, root in (
        ("y = a + 3 * a with a = 2 * x", plus(early, late)),
        ("y = 3 * a + a with a = 2 * x", plus(late, early)),
    ):
        _gradient(
            name,
            walk(root),
            x,
            8.0,
            (6.0, _ADD),
            (2.0, _COMPLETE),
            (10.0, _COMPLETE),
            (14.0, _COMPLETE),
            (16.0, _COMPLETE),
        )
    rows = node(np.arange(6.0).reshape(2, 3))
    doubled = scaled(rows, 2.0)
    _gradient(
        "y = 2 * x for an array of shape (2, 3)",
        walk(doubled),
        rows,
        np.full((2, 3), 2.0),
        (2.0, "The gradient of the root is an array like its value: 1 in each element."),
    )
    _each_rule_once(node, walk)
    _arrays_of_others(node, walk)


_CHAIN = "Along a chain derivatives are multiplied: each rule is given the gradient of its node."
_ADD = "x is used more than once, and one of the gradients is lost. If there is one already, add to it."
_COMPLETE = "A node handed its gradient on before all parts of it had arrived. Walk from the largest index down: then all that was made from a node comes before it."

_EARLY = "There is no gradient for that node yet. If its turn has come, the walk is in the wrong order: begin with the largest index. If it is an input, the first gradient that arrives is entered, and only later ones are added to it."


def _each_rule_once(node: Function, backward: Function) -> None:
    """Raise `Wrong` if the walk calls rules for every way to a node."""
    calls = 0

    def counted(g: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1000:
            raise Wrong(
                "30 nodes, each of which uses the one before it twice: your function called their rules more than 1000 times.",
                "It hands on every part by itself, and the ways double from node to node. Let all parts arrive at a node, and then hand on their sum.",
            )
        return g

    ladder = _ladder(node, 30, rule=counted)
    name = "30 nodes, each of which uses the one before it twice"
    _gradient(name, backward(ladder[-1]), ladder[0], 2.0**30)


def _arrays_of_others(node: Function, backward: Function) -> None:
    """Raise `Wrong` if the walk writes to what a rule has returned."""
    x = node(3.0)
    one = np.array(1.0)
    held = node(2.0, (x, x), (lambda g: one, lambda g: one))
    _gradient("two rules that hand on the same array", backward(held), x, 2.0)
    if one != 1.0:
        raise Wrong(
            "an array that a rule handed on was changed afterwards.",
            "It may belong to somebody else. Write a + b, which makes a new one, and not a += b, which changes a.",
        )


def _gradient(name: str, found: Any, node: Any, right: Any, *mistakes: tuple[Any, str]) -> None:
    """Raise `Wrong` unless the gradient of a node is right in what backward returned."""
    if not isinstance(found, dict):
        raise Wrong(
            f"{name}: your function returned {type(found).__name__}.",
            "Return the dict from nodes to gradients.",
        )
    if node not in found:
        raise Wrong(
            f"{name}: there is no gradient for the leaf.",
            "Go through all nodes of order(root), from the last to the first, and enter a gradient for each of their inputs.",
        )
    expect(found[node], right, f"{name}: the gradient of the leaf", *mistakes)
