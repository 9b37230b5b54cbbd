"""Whether numba is there, how many threads to use, and generated modules, each compiled once."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.errors import TinygradError
from . import cache

if TYPE_CHECKING:  # the rest of the standard library is imported where it is used: importing the package stays quick
    from pathlib import Path
    from queue import SimpleQueue

compile_cell: Callable[[Any], Any] | None = None  # for floors below the compiler: the face of the package puts it here, and it loads it
_available: bool | None = None
_complained = False
_pool: SimpleQueue[Any] | None = None
_pool_lock = threading.Lock()
_threads = 0
_modules: dict[str, Any] = {}


def available() -> bool:
    """Whether kernels can be compiled here. The first time that they cannot, one warning says why; NumPy does the work."""
    global _available
    if _available is None:
        reason = ""
        if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
            reason = "NUMBA_DISABLE_JIT is set"
        else:
            try:
                from . import scalar  # noqa: F401  (imports numba and the scalar functions)
            except Exception as error:
                reason = f"numba cannot be used here ({type(error).__name__}: {error})"
        _available = not reason
        if reason:
            warnings.warn(f"tinygrad_rnn: {reason}; elementwise kernels run through NumPy.", RuntimeWarning, stacklevel=2)
    return _available


def complain(error: Exception) -> None:
    """Say, once in a process, that a kernel could not be compiled and that NumPy does its work."""
    global _complained
    if not _complained:
        _complained = True
        text = f"tinygrad_rnn: a kernel could not be compiled ({type(error).__name__}: {error}); going on through NumPy."
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def threads() -> int:
    """The number of threads that kernels on large arrays use."""
    global _threads
    if not _threads:
        asked = os.environ.get("TINYGRAD_RNN_THREADS", "")
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        _threads = int(asked) if asked.isdigit() and int(asked) > 0 else usable or 1
    return _threads


def set_num_threads(count: int) -> None:
    """Set the number of threads for kernels (the default: TINYGRAD_RNN_THREADS, or the cores this process may use)."""
    global _threads, _pool
    if count < 1:
        raise TinygradError(f"set_num_threads: expected at least 1, found {count}")
    with _pool_lock:
        if _pool is not None:
            for _ in range(max(1, threads() - 1)):
                _pool.put(None)  # the threads there are go home, when they have done what was put there before
        _threads, _pool = count, None


def share(function: Callable[..., Any], jobs: list[tuple[Any, ...]]) -> None:
    """Call a function that releases the GIL with each of several tuples of arguments, the first of them in this thread.

    A queue and threads that wait at it start the work in a third of the time that an executor takes.
    """
    import queue

    done = queue.SimpleQueue[Any]()
    with _pool_lock:  # so that no job is put where the threads have gone home
        pool = _workers()
        for job in jobs[1:]:
            pool.put((function, job, done))
    try:
        function(*jobs[0])
    finally:  # the others work on the same arrays, so nobody leaves before them
        errors = [done.get() for _ in jobs[1:]]
    for error in errors:
        if error is not None:
            raise error


def _workers() -> SimpleQueue[Any]:
    """The queue at which the threads wait; they are started when they are first needed."""
    global _pool
    import queue

    if _pool is None:
        _pool = queue.SimpleQueue[Any]()
        for _ in range(max(1, threads() - 1)):
            threading.Thread(target=_serve, args=(_pool,), name="tinygrad_rnn", daemon=True).start()
    return _pool


def _serve(jobs: SimpleQueue[Any]) -> None:
    """What each thread does: take a job, answer None or the error, until there is None for a job."""
    while (job := jobs.get()) is not None:
        function, arguments, done = job
        try:
            function(*arguments)
        except BaseException as error:  # whatever it is, the caller waits for an answer
            done.put(error)
        else:
            done.put(None)


def _forget_pool() -> None:
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()  # threads do not survive a fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


@functools.cache
def _text_of(path: str) -> str:
    """A hash of a file that is compiled into the kernels; numba's own cache does not look at it."""
    with open(path, "rb") as file:
        return _digest(file.read())


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()[:24]


def load(source: str, *, distinct: bool = False) -> Any:
    """A generated module: kept on disk under a hash of its code, and compiled at most once (see `cache`).

    `distinct` promises that the arrays that its functions are called with do not overlap. The first line of the source is a docstring
    that says what it is; this line and comments do not count.
    """
    import tempfile
    from pathlib import Path

    import numba
    from numba.core.errors import NumbaError

    from . import integers, scalar, tiles

    ours = " ".join(_text_of(module.__file__) for module in (scalar, tiles, integers))
    versions = f"{sys.version_info[:3]} {numba.__version__} {ours}"
    key = _digest(f"{versions} {distinct}\n{cache.code(source)}".encode())
    if key in _modules:
        return _modules[key]
    folder = cache.folder()
    with cache.locked(folder, key):
        for _ in range(2):
            try:
                module = _run(source, cache.write(folder, key, source), distinct)
                break
            except NumbaError:
                raise  # the source is in memory, so no damage on disk is the reason
            except Exception:  # anew: the files may be damaged
                cache.discard(folder, key)
        else:  # something keeps damaging them, or the disk is full
            with tempfile.TemporaryDirectory(prefix="tinygrad_rnn-") as apart:
                module = _run(source, cache.write(Path(apart), key, source), distinct)
        cache.use(folder, key)
    _modules[key] = module
    if any(map(_was_compiled, vars(module).values())):
        cache.shrink(folder, cache.limit(), _modules)
    return module


def _was_compiled(function: Any) -> bool:
    """Whether numba compiled a function, in place of taking its machine code from the cache."""
    stats = getattr(function, "stats", None)  # of what njit makes; what cfunc makes has a count alone
    return bool(getattr(stats, "cache_misses", False)) or getattr(function, "cache_hits", None) == 0


def _run(source: str, path: Path, distinct: bool) -> Any:
    """The module of a source that stands at `path`: compiled, or with the machine code that numba kept beside it."""
    import types

    from . import scalar

    module = types.ModuleType(f"tinygrad_rnn_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # numba's cache looks the module up by name
    with scalar.interleaving(), scalar.distinct_arrays() if distinct else contextlib.nullcontext():
        exec(compile(source, path, "exec"), vars(module))
    return module
