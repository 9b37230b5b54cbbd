"""numba's compiled functions as bytes, which are taken from what was kept or handed over to be kept.

numba's own cache looks for its files in several folders (beside the source, in NUMBA_CACHE_DIR, in
the user's cache) and unpickles what it finds there, whoever wrote it. Here the bytes come from
`cache.read`, which says whose they are and that they are whole.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from typing import Any

from numba.core import ccallback, dispatcher
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps

__all__ = ["keeping"]


class _Kept(NullCache):
    """The cache that numba asks before it compiles a function, and tells what it has compiled."""

    def __init__(self, function: Any, known: dict[str, bytes], made: dict[str, bytes]) -> None:
        self.name, self.known, self.made = function.__qualname__, known, made

    def load_overload(self, signature: Any, target: Any) -> Any:
        target.refresh()
        content = self.known.get(f"{self.name} {signature}")
        return None if content is None else CompileResult._rebuild(target, *pickle.loads(content))  # type: ignore[no-untyped-call]

    def save_overload(self, signature: Any, result: Any) -> None:
        # Any other code is right in this process alone.
        if not result.lifted and not result.library.has_dynamic_globals:
            self.made[f"{self.name} {signature}"] = dumps(result._reduce())  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def keeping(space: dict[str, Any], known: dict[str, bytes]) -> Iterator[dict[str, bytes]]:
    """Context: functions of one module that say ``cache=True`` come from `known`.

    Parameters
    ----------
    space : dict
        The global names of the module. Functions of other modules keep numba's own cache.
    known : dict of str to bytes
        Machine code by name and signature of a function. It is unpickled, so it must be this user's
        own.

    Yields
    ------
    dict of str to bytes
        The machine code that had to be compiled.
    """
    made: dict[str, bytes] = {}
    places: tuple[Any, ...] = (dispatcher, ccallback)
    numbas = places[0].FunctionCache

    def chosen(function: Any) -> Any:
        return _Kept(function, known, made) if function.__globals__ is space else numbas(function)

    with global_compiler_lock:
        for place in places:
            place.FunctionCache = chosen
        try:
            yield made
        finally:
            for place in places:
                place.FunctionCache = numbas
