"""What the user's own code calls the components of a state, read from the source of a cell."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import re
import textwrap
import tokenize
from types import CodeType


class Names(list[str]):
    """The names of a state's components, in order.

    Attributes
    ----------
    root : str
        What the cell calls its state.
    given : str
        What the cell calls its input.
    """

    root = "state"
    given = "x"

    @functools.cached_property
    def short(self) -> list[str]:
        """The last part of each name, such as "c" for state.c and for state['c']."""
        return [
            (re.findall(r"[^\W\d]\w*", name.removeprefix(self.root)) or [name])[-1] for name in self
        ]


@functools.lru_cache(maxsize=1024)
def names_in(code: CodeType | None, method: bool, plain: bool, paths: tuple[str, ...]) -> Names:
    """Return the names that the code of a cell has for the components of its state.

    Parameters
    ----------
    code : code object or None
        The code of ``(x, state) -> (output, state)``; None where there is none.
    method : bool
        Whether its first parameter is the object that it belongs to.
    plain : bool
        Whether the state is a plain tuple or list, whose components the code may unpack.
    paths : tuple of str
        Where the components stand in the state, such as "[0]" or ".c".
    """
    own = code.co_varnames[method : code.co_argcount] if code else ()
    names = Names()
    names.given = own[0] if own else "x"
    names.root = own[1] if len(own) > 1 else "state"
    unpacked = _unpacked(code, names.root) if code and plain else None
    for path in paths:
        top, _, rest = path[1:].partition("]")
        if unpacked and top.isdigit() and int(top) < len(unpacked) and path.startswith("["):
            names.append(f"{unpacked[int(top)]}{rest}")
        else:
            names.append(f"{names.root}{path}")
    return names


@functools.lru_cache(maxsize=1024)
def _unpacked(code: CodeType, root: str) -> list[str] | None:
    """Return the variables of ``a, b = root`` in the source of a function.

    It is None if there is no such line.
    """
    try:
        # `inspect.getsource` would look for the module among all that are imported
        lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :]
        tree = ast.parse(textwrap.dedent("".join(inspect.getblock(lines))))
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):
        return None
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Name)
            and node.value.id == root
        ):
            target = node.targets[0]
            if isinstance(target, ast.Tuple) and all(isinstance(e, ast.Name) for e in target.elts):
                return [e.id for e in target.elts if isinstance(e, ast.Name)]
    return None
