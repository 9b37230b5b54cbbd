"""Data for training: batches that go on from where they were."""

from .batches import Batches
from .windows import Window, Windows

__all__ = ["Batches", "Window", "Windows"]
