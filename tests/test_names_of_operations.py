"""No part above the vocabulary knows an operation by its name: it asks the entry (`ops/facts.py`).

Whoever renames an operation, or adds one that is like another, then has one file to change. The list
of exceptions has words that are no names of operations, each with its number and its reason. It may
only shrink: an entry that is no longer needed fails the test, as a fault without an entry does.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.test_layout import sources
from tinygrad_rnn.core.primitive import REGISTRY
from tinygrad_rnn.ops import windows  # noqa: F401  (for the registry)
from tinygrad_rnn.ops.facts import facts_of

# Others were made by other tests (a dot in the name), are derivatives of programs, or stand for a
# piece of the user's code (such as "jit").
NAMES = {
    n
    for n in REGISTRY
    if "." not in n and not re.search(r"_d\d+$", n) and not facts_of(REGISTRY[n]).runs_again
}
FOLDERS = ("compiler/", "drawing/")
FILES = ("nn/named_products.py",)

WORDS: dict[tuple[str, str], tuple[int, str]] = {
    ("compiler/arrays.py", "transpose"): (4, "the matrix kernel of this name"),
    ("compiler/lower.py", "multiply"): (1, "the matrix kernel of this name"),
    ("compiler/natives.py", "multiply"): (1, "the matrix kernel of this name"),
    ("compiler/natives.py", "transpose"): (1, "the matrix kernel of this name"),
    ("compiler/straight.py", "part"): (2, "what the functions of a program's module are called"),
    ("compiler/host.py", "broadcast_to"): (1, "NumPy's function, as host programs call it"),
    ("compiler/internal.py", "part"): (1, "the name of an operation that only the compiler has"),
    ("drawing/contents.py", "norm"): (2, "a key of the page's data"),
    ("drawing/explorer.py", "positive"): (1, "a colour of the palette"),
    ("drawing/selection.py", "all"): (1, 'the option show="all" of a picture'),
}


def words_of(source: str) -> Counter[str]:
    """Count the strings of a file that are the name of an operation; docstrings are none."""
    strings = (n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant))
    return Counter(s for s in strings if isinstance(s, str) and s in NAMES)


def asks_for_a_name(node: ast.AST) -> bool:
    """Whether a piece of code looks at the name of an operation to decide something.

    It compares the name with a text, looks for it in a collection, or looks something up by it.
    """
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        texts = [isinstance(s, ast.Constant | ast.Tuple | ast.Set | ast.List) for s in sides]
        inside = any(isinstance(o, ast.In | ast.NotIn) for o in node.ops)
        named = isinstance(sides[-1], ast.Name) and sides[-1].id.isupper()
        return any(map(is_name, sides)) and (any(texts) or (inside and named))
    if isinstance(node, ast.Subscript):
        return is_name(node.slice)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        looks = node.func.attr in ("get", "startswith", "endswith")
        return looks and any(map(is_name, [node.func.value, *node.args]))
    return isinstance(node, ast.Match) and is_name(node.subject)


def is_name(node: ast.AST) -> bool:
    """Whether an expression is the name of an operation: ``node.op``, ``value.primitive.name``."""
    if not isinstance(node, ast.Attribute):
        return False
    of_primitive = ast.unparse(node.value).endswith("primitive")
    return node.attr == "op" or (node.attr == "name" and of_primitive)


def watched() -> Iterator[tuple[str, str]]:
    """The files that know no names, and their texts."""
    for file, source in sources().items():
        if file.startswith(FOLDERS) or file in FILES:
            yield file, source


def test_no_string_is_the_name_of_an_operation() -> None:
    found = {(f, w): n for f, source in watched() for w, n in words_of(source).items()}
    assert all(reason for _, reason in WORDS.values()), "each exception needs a reason"
    for (file, word), n in found.items():
        allowed = WORDS.get((file, word), (0, ""))[0]
        assert n <= allowed, (
            f"{file} has {word!r}, the name of an operation, as a text. Ask the entry for what is "
            "to be known of it (ops/facts.py); if the word is no operation, say so in WORDS of "
            f"{__name__}"
        )
    gone = {key for key, (n, _) in WORDS.items() if found.get(key, 0) < n}
    assert not gone, f"these have gone; lower their numbers in WORDS of {__name__}: {gone}"


def test_nothing_is_decided_by_the_name_of_an_operation() -> None:
    found = [
        f"{file}:{node.lineno}: {ast.unparse(node)}"  # type: ignore[attr-defined]
        for file, source in watched()
        for node in ast.walk(ast.parse(source))
        if asks_for_a_name(node)
    ]
    assert not found, "ask the entry (ops/facts.py) in place of the name:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('if node.op == "softmax": pass', True),
        ('if "softmax" != node.op: pass', True),
        ('if node.op in ("max", "min"): pass', True),
        ("if value.op in REDUCTIONS: pass", True),
        ("cost = COSTS[value.op]", True),
        ('cost = COSTS.get(n.primitive.name, "free")', True),
        ('if node.op.startswith("log"): pass', True),
        ("if one.op != other.op: pass", False),
        ("if node.op in drawn: pass", False),
        ("title = symbol(node) or node.op", False),
        ('if array.name == "x0": pass', False),
        ("if node.primitive is COPY: pass", False),
    ],
)
def test_what_is_found(code: str, found: bool) -> None:
    assert any(map(asks_for_a_name, ast.walk(ast.parse(code)))) == found


def test_words_are_found() -> None:
    code = '''
def f(n):
    """softmax"""
    return n.op == "tanh" or n.op in {"softmax", "sum of rows"} or {"sum": 1}[n.op] or f"{n}tanh"
'''
    assert words_of(code) == {"tanh": 2, "softmax": 2, "sum": 1}
