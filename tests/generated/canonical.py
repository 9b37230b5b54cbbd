"""The form in which two texts of generated code are compared.

What a reader would not call a difference is taken out: comments, docstrings, empty lines, redundant
parentheses, the order of imports, and the names of variables inside functions. Everything else
stays, among it the order of statements and of operands, numbers, signatures and the names of what
is called.
"""

from __future__ import annotations

import ast
import functools
import hashlib


def canonical(text: str) -> str:
    """Return the canonical form of a text of Python code.

    The parameters and variables of each function are numbered in the order in which they occur.
    """
    lines = text.splitlines()
    imports: set[str] = set()
    rest: list[str] = []
    for node in _without_texts(ast.parse(text).body):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports |= set(_imported(node))
        elif isinstance(node, ast.FunctionDef):
            begin = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            rest.append(_function("\n".join(lines[begin - 1 : node.end_lineno])))
        else:
            rest.append(ast.unparse(node))
    return "\n".join([*sorted(imports), *rest, ""])


@functools.lru_cache(256)  # two texts of one module have most functions in common
def _function(text: str) -> str:
    """Return the canonical form of a function that stands by itself."""
    (node,) = ast.parse(text).body
    assert isinstance(node, ast.FunctionDef)
    node.body = _without_texts(node.body) or [ast.Pass()]
    return ast.unparse(_Numbered(node).visit(node))


def digest(text: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_texts(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements except those that are a string and nothing else."""
    return [
        node
        for node in body
        if not (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        )
    ]


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return one line for each imported name."""
    if isinstance(node, ast.Import):
        return [ast.unparse(ast.Import([alias])) for alias in node.names]
    return [ast.unparse(ast.ImportFrom(node.module, [a], node.level)) for a in node.names]


class _Numbered(ast.NodeTransformer):
    """Gives numbers to the parameters and variables of one function, those of functions in it included."""

    def __init__(self, function: ast.FunctionDef) -> None:
        nodes = list(ast.walk(function))
        self.own = {node.arg for node in nodes if isinstance(node, ast.arg)}
        self.own |= {
            node.id
            for node in nodes
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        self.names: dict[str, str] = {}

    def _of(self, name: str) -> str:
        return self.names.setdefault(name, f"local{len(self.names)}") if name in self.own else name

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.arg = self._of(node.arg)
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self._of(node.id)
        return node
