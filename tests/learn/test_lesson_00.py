from __future__ import annotations

import itertools

import numpy as np
import pytest

from .mistakes import Mistake

running = itertools.count()


class Node:
    def __init__(self, value, inputs=(), rules=()):
        self.value = np.asarray(value, dtype=float)
        self.inputs, self.rules, self.index = inputs, rules, next(running)


def tanh(rule, inputs=lambda a: (a,)):
    def function(a):
        out = np.tanh(a.value)
        return Node(out, inputs(a), (lambda g: rule(g, a.value, out),))

    return function


def matmul(first=lambda g, a, b: g @ b.T, second=lambda g, a, b: a.T @ g):
    def function(a, b):
        rules = (lambda g: first(g, a.value, b.value), lambda g: second(g, a.value, b.value))
        return Node(a.value @ b.value, (a, b), rules)

    return function


right_tanh = tanh(lambda g, x, out: g * (1 - out * out))


right_matmul = matmul()


def operations(hint, tanh=right_tanh, matmul=right_matmul):
    return Mistake("two-operations", hint, Node, tanh, matmul)


def visited(node, inputs_of=lambda node: node.inputs):
    """The nodes behind a root, each once, in the order in which they are met."""
    found, waiting = [], [node]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.append(node)
            waiting += inputs_of(node)
    return found


def order(root):
    return sorted(visited(root), key=lambda node: node.index)


def twice(root):
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += found[-1].inputs
    return sorted(found, key=lambda node: node.index)


def deep(root):
    seen = set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for source in node.inputs:
                visit(source)

    visit(root)
    return sorted(seen, key=lambda node: node.index)


def walk(nodes=lambda root: reversed(order(root)), join=lambda old, new: old + new, given=None):
    def backward(root):
        gradients = {root: np.ones(root.value.shape)}
        for node in nodes(root):
            for source, rule in zip(node.inputs, node.rules, strict=True):
                g = gradients.get(node, 0.0)
                new = given(rule, g) if given else rule(g)
                gradients[source] = join(gradients[source], new) if source in gradients else new
        return gradients

    return backward


def walk_without_defaults(root):
    gradients = {root: np.ones(root.value.shape)}
    for node in order(root):
        for source, rule in zip(node.inputs, node.rules, strict=True):
            gradients[source] = gradients.get(source, 0.0) + rule(gradients[node])
    return gradients


def every_way(root):
    gradients = {}

    def visit(node, g):
        gradients[node] = gradients.get(node, 0.0) + g
        for source, rule in zip(node.inputs, node.rules, strict=True):
            visit(source, rule(g))

    visit(root, np.ones(root.value.shape))
    return gradients


def in_place(old, new):
    old += new
    return old


MISTAKES = [
    operations("That is the derivative alone", tanh(lambda g, x, out: 1 - out * out)),
    operations("not the input", tanh(lambda g, x, out: g * (1 - x * x))),
    operations("the square is missing", tanh(lambda g, x, out: g * (1 - out))),
    operations("as that of an addition", tanh(lambda g, x, out: g)),
    operations("nobody can walk back", tanh(lambda g, x, out: g, inputs=lambda a: ())),
    operations("It has to return a Node", lambda a: np.tanh(a.value)),
    operations("on which side of g", matmul=matmul(lambda g, a, b: g @ b)),
    operations("That is the transpose", matmul=matmul(lambda g, a, b: b @ g.T)),
    operations("as that of an addition", matmul=matmul(second=lambda g, a, b: g)),
    operations("with a comma", lambda a: Node(np.tanh(a.value), (a,), lambda g: g)),
    operations("with a comma", lambda a: Node(np.tanh(a.value), a, (lambda g: g,))),
    Mistake("order", "to its inputs", Node, lambda root: [root]),
    Mistake("order", "to its inputs", Node, lambda root: sorted([root, *root.inputs], key=lambda n: n.index)),
    Mistake("order", "Return a list", Node, lambda root: set(order(root))),
    Mistake("order", "more than once", Node, twice),
    Mistake("order", "Sort them", Node, lambda root: [*visited(root)[1:], root]),
    Mistake("order", "the reverse", Node, lambda root: order(root)[::-1]),
    Mistake("order", "The root itself", Node, lambda root: order(root)[:-1]),
    Mistake("order", "follows every way anew", Node, lambda root: sorted(set(twice(root)), key=lambda n: n.index)),
    Mistake("order", "Python's stack", Node, deep),
    Mistake("order", "Return a list", Node, lambda root: None),
    Mistake("backward", "there is one already, add", Node, walk(join=lambda old, new: new)),
    Mistake("backward", "there is one already, add", Node, walk(join=lambda old, new: old)),
    Mistake("backward", "not multiplied", Node, walk(join=lambda old, new: old * new)),
    Mistake("backward", "derivatives are multiplied", Node, walk(given=lambda rule, g: rule(1.0))),
    Mistake("backward", "before all parts", Node, walk(nodes=visited)),
    Mistake("backward", "hands on every part by itself", Node, every_way),
    Mistake("backward", "Write a + b", Node, walk(join=in_place)),
    Mistake("backward", "begin with the largest index", Node, walk_without_defaults),
    Mistake("backward", "1 in each element", Node, lambda root: {node: g.flat[0] for node, g in walk()(root).items()}),
    Mistake("backward", "Return the dict", Node, lambda root: None),
    Mistake("backward", "from the last to the first", Node, lambda root: {root: 1.0} if not root.inputs else {}),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)
