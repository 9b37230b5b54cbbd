"""Data for training: batches that go on from where they were."""

from .batches import Batches
from .tables import DataError, Series, read_csv
from .windows import Window, Windows

__all__ = ["Batches", "DataError", "Series", "Window", "Windows", "read_csv"]
