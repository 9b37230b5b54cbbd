"""Trees of tensors (nested tuples, lists, dicts and named tuples) as flat lists, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import ShapeError, TinygradError


def flatten(tree: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return the leaves of a tree with their paths, in order (dicts in order of insertion).

    None has no leaves.
    """
    if isinstance(tree, dict):
        parts = [(f"{path}[{key!r}]", value) for key, value in tree.items()]
    elif isinstance(tree, (tuple, list)):
        fields = getattr(tree, "_fields", None)
        names = [f".{n}" for n in fields] if fields else [f"[{i}]" for i in range(len(tree))]
        parts = [(path + name, value) for name, value in zip(names, tree, strict=True)]
    else:
        return [] if tree is None else [(path, tree)]
    return [leaf for name, part in parts for leaf in flatten(part, name)]


def leaves(tree: Any) -> list[Any]:
    """Return the leaves of a tree, in order."""
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (tuple, list)):
        return [] if tree is None else [tree]
    return [leaf for part in tree for leaf in leaves(part)]


def pairs(tree: Any, other: Any, what: str, root: str = "") -> list[tuple[Any, Any]]:
    """Return the corresponding leaves of two trees; those of dicts correspond by key.

    Raises
    ------
    ShapeError
        If the trees are not of one structure. Its message begins with `what`, and the names of the
        components with `root`.
    """
    found: list[tuple[Any, Any]] = []
    try:
        tree_map(lambda a, b: found.append((a, b)), tree, other)
        fits = sorted(id(b) for _, b in found) == sorted(map(id, leaves(other)))
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        expected, got = (
            [path or "one tensor" for path, _ in flatten(t, root)] for t in (tree, other)
        )
        raise ShapeError(f"{what}: expected the components {expected}; found {got}")
    return found


def tree_map(f: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Return the tree of what `f` makes of the corresponding leaves of trees of one structure."""
    if isinstance(tree, dict):
        return {key: tree_map(f, tree[key], *(o[key] for o in others)) for key in tree}
    if isinstance(tree, (tuple, list)):
        parts = [tree_map(f, *group) for group in zip(tree, *others, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return None if tree is None else f(tree, *others)


def detach(tree: Any) -> Any:
    """Return a tree with each tensor cut from its tape: so a state is carried to the next window.

    Arrays and numbers stay as they are.

    Raises
    ------
    TinygradError
        If a leaf is neither a tensor nor an array nor a number.
    """

    def one(t: Any) -> Any:
        if not hasattr(t, "detach") and not isinstance(t, (int, float, np.ndarray, np.generic)):
            raise TinygradError(
                f"detach: expected a tensor, or a tuple, list, dict or named tuple of tensors; found a {type(t).__name__}"
            )
        return t.detach() if hasattr(t, "detach") else t

    return tree_map(one, tree)


def unflatten(tree: Any, values: list[Any]) -> Any:
    """Return a tree of the structure of `tree` with new leaves."""
    iterator = iter(values)
    return tree_map(lambda _: next(iterator), tree)
