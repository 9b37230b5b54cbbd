"""What type checkers are told of the operators and methods that Tensor is given at run time.

``python -m tests.declarations`` writes `tinygrad_rnn/core/attached.pyi` anew. It is made from what
is attached to Tensor when the package has been imported: everything in ``vars(Tensor)`` that does
not stand in the body of the class. `tests/test_typing.py` fails where the file is another.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tinygrad_rnn as tg
from tinygrad_rnn.core import tensor as tensor_module
from tinygrad_rnn.ops.names import Elsewhere

FILE = Path(tensor_module.__file__).with_name("attached.pyi")
COMMAND = "python -m tests.declarations"

HEAD = '''"""The operators and methods that `ops` and `formats` attach to Tensor, for type checkers.

Made by ``python -m tests.declarations``, and not to be changed by hand. A result is a plain Tensor,
also where the operand is a parameter: so it has the type that the class is given, and not `Self`.
"""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from .primitive import Array

Plain = TypeVar("Plain")

class Attached(Generic[Plain]):
'''

# What the operations return is not annotated, since they take and return arrays as well. As methods
# of a tensor they return tensors, except for these.
RETURNS = {
    "item": "Any",
    "tolist": "Any",
    "data": "Any",
    "grad": "Plain | None",
    "split": "list[Plain]",
    "__reduce__": "Any",
    "__array_ufunc__": "Any",
    "__array_function__": "Any",
    "__float__": "float",
    "__int__": "int",
    "__complex__": "complex",
    "__round__": "Any",
    "__trunc__": "int",
    "__floor__": "int",
    "__ceil__": "int",
    "__format__": "str",
}
# `object` has them with another type
OVERRIDES = {"__eq__", "__ne__"}


def in_the_class() -> set[str]:
    """Return the names that stand in the body of the class Tensor."""
    tree = ast.parse(Path(tensor_module.__file__).read_text(encoding="utf-8"))
    (body,) = [n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Tensor"]
    found = {n.name for n in body if isinstance(n, ast.FunctionDef)}
    for n in body:
        targets = n.targets if isinstance(n, ast.Assign) else []
        found |= {t.id for t in targets if isinstance(t, ast.Name)}
    return found


class _Empty:
    """A class that has nothing but what Python puts into each."""

    __slots__ = ("__weakref__",)


def attached() -> dict[str, Any]:
    """Return what Tensor is given from outside: its name, and the function or property."""
    known = {*in_the_class(), *tg.Tensor.__slots__, *vars(_Empty), "__annotations__", "__dir__"}
    every = vars(tg.Tensor).items()
    return {n: v for n, v in every if n not in known and not isinstance(v, Elsewhere)}


def text_of(annotation: Any) -> str:
    """Return an annotation of the sources in the terms of the declarations."""
    text = annotation if isinstance(annotation, str) else "Any"
    return {"Tensor": "Plain", "list[Any]": "list[Plain]"}.get(text, text)


def arguments(name: str, function: Callable[..., Any]) -> Iterator[str]:
    """Yield the parameters of a method behind `self`, as they are written in a declaration."""
    parameters = list(inspect.signature(function).parameters.values())
    if name.startswith("__") and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        yield from [] if name == "__invert__" else ["other: Any"]
        return
    bare = hasattr(function, "primitive")  # then settings may be given by position or by name
    for p in parameters[1:]:
        if p.kind is p.KEYWORD_ONLY and not bare:
            yield "*"
            bare = True
        star = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
        text = f"{star.get(p.kind, '')}{p.name}: {text_of(p.annotation)}"
        yield text if p.default is p.empty else f"{text} = {p.default!r}"


def declaration(name: str, value: Any) -> str:
    """Return the declaration of one method or property."""
    function = value.fget if isinstance(value, property) else value
    found = text_of(inspect.signature(function).return_annotation)
    found = RETURNS.get(name, "Plain" if found == "Any" else found)
    ignored = "  # type: ignore[override]" if name in OVERRIDES else ""
    inside = ", ".join(["self", *arguments(name, function)])
    lines = [f"def {name}({inside}) -> {found}: ...{ignored}"]
    if len(lines[0]) > 96:
        lines = [f"def {name}(", f"    {inside}", f") -> {found}: ..."]
    if isinstance(value, property):
        lines = ["@property", f"def {name}(self) -> {found}: ..."]
        if value.fset is not None:
            lines += [f"@{name}.setter", f"def {name}(self, value: Any) -> None: ..."]
    return "\n".join(lines)


def text() -> str:
    """Return the text of the file."""
    return HEAD + textwrap.indent(
        "\n".join(declaration(name, value) for name, value in sorted(attached().items())) + "\n",
        "    ",
    )


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(f"{FILE}: {len(attached())} operators, methods and properties")
