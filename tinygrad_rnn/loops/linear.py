"""Linear forms: integers as sums of products of names, such as ``s * 64 * B + 3 * B + q``.

Sizes, places in arrays and the ends of loops are such forms, so that what a loop does to a place
can be read off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SIZES = ("T", "B", "batch", "one")  # names of sizes, which are written behind a coefficient


@dataclass(frozen=True, slots=True)
class Linear:
    """An integer as a sum of products: of a coefficient and names, which stand in order.

    Attributes
    ----------
    terms : tuple of (tuple of str, int)
    """

    terms: tuple[tuple[tuple[str, ...], int], ...] = ()

    @classmethod
    def of(cls, value: int | str | Linear) -> Linear:
        """Return the form of a number or a name."""
        if isinstance(value, Linear):
            return value
        if isinstance(value, str):
            return cls((((value,), 1),))
        return cls((((), int(value)),)) if value else cls()

    def __add__(self, other: int | str | Linear) -> Linear:
        found = dict(self.terms)
        for names, n in Linear.of(other).terms:
            found[names] = found.get(names, 0) + n
        return _sorted(found)

    def __mul__(self, other: int | str | Linear) -> Linear:
        found: dict[tuple[str, ...], int] = {}
        for names, n in self.terms:
            for more, m in Linear.of(other).terms:
                key = tuple(sorted((*names, *more), key=_order))
                found[key] = found.get(key, 0) + n * m
        return _sorted(found)

    def __radd__(self, other: int) -> Linear:
        return self + other

    def __rmul__(self, other: int) -> Linear:
        return self * other

    def __bool__(self) -> bool:
        return bool(self.terms)

    @property
    def constant(self) -> int | None:
        """The number that it is, or None if it has names."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def names(self) -> set[str]:
        """The names in it."""
        return {name for names, _ in self.terms for name in names}

    def stride(self, index: str) -> Linear:
        """Return how far it moves when an index grows by one."""
        return Linear(
            tuple((_without(names, index), n) for names, n in self.terms if index in names)
        )

    def without(self, *indices: str) -> Linear:
        """Return what is left where these indices are 0."""
        return Linear(tuple(t for t in self.terms if not any(i in t[0] for i in indices)))

    def __str__(self) -> str:
        plus = [_product_text(names, n) for names, n in self.terms if n > 0]
        minus = [_product_text(names, -n) for names, n in self.terms if n < 0]
        if not plus and minus:
            plus = [f"-{minus.pop(0)}"]
        return " - ".join([" + ".join(plus) or "0", *minus])


def _product_text(names: tuple[str, ...], n: int) -> str:
    first = [name for name in names if name not in SIZES]
    last = [name for name in names if name in SIZES]
    number = [str(n)] if n != 1 or not names else []
    return " * ".join([*first, *number, *last])


def _sorted(terms: dict[tuple[str, ...], int]) -> Linear:
    """Return the form with these terms; equal forms have equal terms in equal order."""
    order = sorted((term for term in terms.items() if term[1]), key=lambda t: (-len(t[0]), t[0]))
    return Linear(tuple(order))


def _order(name: str) -> tuple[bool, str]:
    return (name in SIZES, name)


def _without(names: tuple[str, ...], index: str) -> tuple[str, ...]:
    k = names.index(index)
    return names[:k] + names[k + 1 :]


def linears(*values: int | str | Linear) -> tuple[Linear, ...]:
    """Return the forms of several numbers or names."""
    return tuple(Linear.of(value) for value in values)


def product(sizes: Iterable[int | str | Linear]) -> Linear:
    """Return the product of sizes."""
    found = Linear.of(1)
    for n in sizes:
        found = found * n
    return found


NOWHERE = Linear()  # 0
