"""Generated modules as plain Python: what they compute can be checked in milliseconds, where compiling them takes seconds."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.core.primitive import REGISTRY
from tinygrad_rnn.kernels import runtime


class _Dotted:
    """In place of numba: what is asked for is itself, and calling it gives a decorator that changes nothing."""

    def __getattr__(self, name: str) -> _Dotted:
        return self

    def __call__(self, *args: Any, **options: Any) -> Any:
        return lambda function: function


def _scalar(name: str) -> Any:
    if name == "select":
        return lambda condition, a, b: a if condition else b
    if name == "wide_vectors":
        return lambda: None
    own = {"maximum": np.maximum, "minimum": np.minimum, "absolute": np.abs, "mod": np.mod, "power": np.power}
    return own[name] if name in own else REGISTRY[name].forward


class Interpreted:
    """The functions of a generated module."""

    def __init__(self, source: str) -> None:
        head, _, rest = source.partition("from tinygrad_rnn.kernels.scalar import ")
        names, _, body = rest.partition("\n")
        space: dict[str, Any] = {"np": np, "math": math, "njit": _Dotted(), "types": _Dotted(), **{n.strip(): _scalar(n.strip()) for n in names.split(",")}}
        head = "\n".join(line for line in head.splitlines() if "numba" not in line)
        exec(compile(head + "\n" + body, "<generated>", "exec"), space)
        self.__dict__.update(space)


@contextlib.contextmanager
def interpreting() -> Iterator[None]:
    """Within, `tg.jit` runs generated code as Python."""
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(runtime, "load", lambda source, distinct=False: Interpreted(source))
        yield
