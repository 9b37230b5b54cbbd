"""Nested tuples, lists, dicts and named tuples of tensors, as flat lists and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .errors import ShapeError, TinygradError


def flatten(tree: Any, path: str = "") -> list[tuple[str, Any]]:
    """The leaves of a nest with their paths, in order (dicts in order of insertion).

    None has no leaves.
    """
    return list(_items(tree, path))


def _items(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _items(value, f"{path}[{key!r}]")
    elif isinstance(tree, (tuple, list)):
        names = getattr(tree, "_fields", None)
        for i, value in enumerate(tree):
            yield from _items(value, f"{path}.{names[i]}" if names else f"{path}[{i}]")
    elif tree is not None:
        yield path, tree


def leaves(tree: Any) -> list[Any]:
    """The leaves of a nest, in order."""
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (tuple, list)):
        return [] if tree is None else [tree]
    return [leaf for part in tree for leaf in leaves(part)]


def pairs(tree: Any, other: Any, what: str, root: str = "") -> list[tuple[Any, Any]]:
    """Corresponding leaves of two nests (of dicts by key), or a ShapeError if they are not of one structure."""
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
    """Apply `f` to corresponding leaves of nests of the same structure."""
    if isinstance(tree, dict):
        return {key: tree_map(f, tree[key], *(o[key] for o in others)) for key in tree}
    if isinstance(tree, (tuple, list)):
        parts = [tree_map(f, *group) for group in zip(tree, *others, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return None if tree is None else f(tree, *others)


def detach(tree: Any) -> Any:
    """A nest with each tensor cut from its tape: what carries a state from one window to the next.

    Arrays and numbers stay as they are.
    """

    def one(t: Any) -> Any:
        if not hasattr(t, "detach") and not isinstance(t, (int, float, np.ndarray, np.generic)):
            raise TinygradError(
                f"detach: expected a tensor, or a tuple, list, dict or named tuple of tensors; found a {type(t).__name__}"
            )
        return t.detach() if hasattr(t, "detach") else t

    return tree_map(one, tree)


def unflatten(tree: Any, values: list[Any]) -> Any:
    """A nest of the structure of `tree` with new leaves."""
    iterator = iter(values)
    return tree_map(lambda _: next(iterator), tree)
