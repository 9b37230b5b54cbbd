"""Numba kernels made from the scalar expressions of elementwise operations.

Importing this does not import numba.
"""
