"""The exercises of the course in docs/learn, and `check`, which says whether an answer is right."""

from .checking import check

__all__ = ["check"]
