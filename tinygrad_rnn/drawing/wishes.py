"""The overlays that the arguments of `draw` ask for."""

from __future__ import annotations

from typing import Any

from .errors import DrawingError
from .halves import ValueAndGradient
from .overlays import WRONG_HEAT, GivenHeat, GradientHeat, Ledger, Overlay, Saved, Values


def overlays_of(heat: Any, *, ledger: bool, memory: bool, values: bool | str) -> list[Overlay]:
    """Return the overlays that these arguments of `draw` ask for, in the order of laying them.

    Raises
    ------
    DrawingError
        If heat or values is another word.
    """
    found: list[Overlay] = []
    if values not in (False, True, "numbers", "gradient"):
        raise DrawingError(f"draw: values is True, 'numbers' or 'gradient'; found {values!r}")
    if isinstance(heat, str):
        if heat != "grad":
            raise DrawingError(f"{WRONG_HEAT} {heat!r}")
        found.append(GradientHeat())
    elif heat is not None:
        found.append(GivenHeat(heat))
    if ledger:
        found.append(Ledger())
    if memory:
        found.append(Saved())
    if values == "gradient":
        found.append(ValueAndGradient())
    elif values:
        found.append(Values(numbers=values == "numbers"))
    return found
