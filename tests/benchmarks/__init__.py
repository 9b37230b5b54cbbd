"""Benchmarks: ``make bench`` prints figures.

Nothing here is a test, because times are not asserted.
"""
