"""Published cells written once more, from their equations, on plain Python numbers.

Each module has a table REFERENCES: from the name of a class in `tinygrad_rnn.cells` to a function
``step(p, x, state, cell)`` for one row: p holds the parameters by name as nested lists, x is a list
(or a tuple of lists), state the list of the state's components; `cell` is there for sizes and
constants alone. It returns the output and the list of the new state's components. There is no NumPy
in them.

Where a cell needs other sizes, options, inputs or first states than the rest, its module has a
table SPECIAL: from the name to a list of keyword arguments of `tests.cell_checks.Case`, one for
each variant that is checked. A table EQUIVALENT, from (name, change) to a reason, has the changes
of `tests.cell_mutants` after which the cell computes the same. A table FIRST has functions
``first(p, cell)`` of one row's first state for the cells that do not start at zero.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

REFERENCES: dict[str, Callable[..., Any]] = {}
SPECIAL: dict[str, list[dict[str, Any]]] = {}
EQUIVALENT: dict[tuple[str, str], str] = {}
FIRST: dict[str, Callable[..., Any]] = {}
for _module in pkgutil.iter_modules(__path__):
    if _module.name != "numbers":
        _found = importlib.import_module(f"{__name__}.{_module.name}")
        REFERENCES |= _found.REFERENCES
        SPECIAL |= getattr(_found, "SPECIAL", {})
        EQUIVALENT |= getattr(_found, "EQUIVALENT", {})
        FIRST |= getattr(_found, "FIRST", {})
