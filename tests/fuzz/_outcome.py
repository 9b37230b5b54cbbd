"""What became of one case.

In a module of its own, since worker processes cannot import what stands in __main__.
"""

from __future__ import annotations

import importlib
import traceback
import warnings


def outcome(task: tuple[str, int, bool]) -> tuple[int, str, str]:
    """The seed, what happened in one word, and of a failure the text."""
    name, seed, compiled = task
    warnings.simplefilter("ignore")
    try:
        return seed, importlib.import_module(f"tests.fuzz.{name}").case(seed, compiled=compiled), ""
    except Exception as error:
        text = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
        return seed, "FAILED", text
