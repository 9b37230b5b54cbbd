"""How much memory training needs, and how much there is."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import UserError
from .trainer import Settings

__all__ = ["check_memory"]


def check_memory(settings: Settings, symbols: int) -> None:
    """Raise a UserError if training needs more memory than the machine has.

    The system would end the program without a word.

    Parameters
    ----------
    settings
        The sizes of the network and of its windows.
    symbols
        Size of the vocabulary.
    """
    there = _memory()
    h, e = settings.hidden, settings.embedding
    parameters = symbols * e + 4 * h * (e + h + 2) + symbols * (h + 1)
    activations = settings.window * settings.batch * (4 * e + 14 * h + 3 * symbols)
    needed = 4 * (5 * parameters + activations)
    if there is not None and needed > there:
        names = ("hidden", "embedding", "batch", "window")
        sizes = ", ".join(f"--{name} {getattr(settings, name)}" for name in names)
        raise UserError(
            f"training with {sizes} needs about {needed / 1e9:,.1f} GB of memory; there are {there / 1e9:,.1f} GB. Give smaller sizes"
        )


def _memory() -> int | None:
    """Return the bytes of memory of this machine, or of the control group if that has fewer.

    The result is None if it cannot be found out.
    """
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    try:
        return min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return found
