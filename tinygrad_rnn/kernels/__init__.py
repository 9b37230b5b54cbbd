"""Kernels that numba compiles, their scalar functions and matrix tiles, and the cache of code.

Importing this does not import numba.
"""
