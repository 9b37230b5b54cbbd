"""How loops are written: what the text and the machine code of a module have in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How loops are written.

    Attributes
    ----------
    unsigned : bool
        Elements are read at unsigned places, for which numba asks no question about negative ones,
        and not through slices. In a module with hundreds of loops a slice of each array takes
        several times as long to compile; in a kernel of few loops it runs a little faster.
        Arrays that are handed over as pointers, of inner and packed functions, have no slices.
    open_extents : bool
        Extents that are known are multiplied by `one`, a size that is 1. LLVM would write out loops
        over few features one by one, for minutes.
    exact : bool
        Each operation is rounded, as NumPy does it: no product and sum are one instruction.
    """

    unsigned: bool
    open_extents: bool
    exact: bool = False

    @property
    def options(self) -> str:
        """How numba compiles it, as a part of the text."""
        allowed = "" if self.exact else ', "fastmath": {"contract"}'
        return f'"error_model": "numpy"{allowed}'


SEQUENCES = Style(unsigned=True, open_extents=True)
KERNELS = Style(unsigned=False, open_extents=False)
EXACT = Style(unsigned=False, open_extents=False, exact=True)
