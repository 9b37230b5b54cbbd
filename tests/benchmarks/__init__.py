"""Benchmarks: ``make bench`` prints figures; nothing here is a test, because times are not asserted."""
