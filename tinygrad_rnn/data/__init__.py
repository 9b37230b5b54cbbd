"""Data for training: batches that go on from where they were, and files of any size."""

from .batches import Batches
from .corpus import Corpus
from .errors import DataError
from .splits import split
from .tables import Series, read_csv
from .vocabulary import Vocabulary
from .windows import Window, Windows

__all__ = [
    "Batches",
    "Corpus",
    "DataError",
    "Series",
    "Vocabulary",
    "Window",
    "Windows",
    "read_csv",
    "split",
]
