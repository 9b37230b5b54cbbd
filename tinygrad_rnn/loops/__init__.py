"""The loop language, the one writer of text for numba, and the eager elementwise kernels."""
