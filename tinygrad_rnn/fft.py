"""Fourier transforms of real values, under NumPy's names: ``tg.fft.rfft(x)``, ``tg.fft.irfft(pair)``.

There are no complex tensors: a spectrum is a pair of tensors, its real and its imaginary parts.
"""

from .ops.fourier import Pair, irfft, rfft

__all__ = ["Pair", "irfft", "rfft"]
