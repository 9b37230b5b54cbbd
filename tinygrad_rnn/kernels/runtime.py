"""Whether numba is there, how many threads to use, and generated modules: written, locked, compiled once, cached on disk."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..core.errors import TinygradError

if TYPE_CHECKING:  # the rest of the standard library is imported where it is used: importing the package stays quick
    from pathlib import Path
    from queue import SimpleQueue

_available: bool | None = None
_complained = False
_pool: SimpleQueue[Any] | None = None
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
    if _pool is not None:
        for _ in range(max(1, threads() - 1)):
            _pool.put(None)  # the threads there are go home
    _threads, _pool = count, None


def share(function: Callable[..., Any], jobs: list[tuple[Any, ...]]) -> None:
    """Call a function that releases the GIL with each of several tuples of arguments, the first of them in this thread.

    A queue and threads that wait at it start the work in a third of the time that an executor takes.
    """
    global _pool
    import queue
    import threading

    if _pool is None:
        _pool = queue.SimpleQueue()
        for _ in range(max(1, threads() - 1)):
            threading.Thread(target=_serve, args=(_pool,), name="tinygrad_rnn", daemon=True).start()
    pool, done = _pool, queue.SimpleQueue[Any]()
    for job in jobs[1:]:
        pool.put((function, job, done))
    function(*jobs[0])
    for error in [done.get() for _ in jobs[1:]]:
        if error is not None:
            raise error


def _serve(jobs: SimpleQueue[Any]) -> None:
    """What each thread does: take a job, answer None or the error, until there is None for a job."""
    while (job := jobs.get()) is not None:
        function, arguments, done = job
        try:
            function(*arguments)
        except Exception as error:
            done.put(error)
        else:
            done.put(None)


def _forget_pool() -> None:
    global _pool
    _pool = None  # threads do not survive a fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def cache_folder() -> Path:
    """Where generated modules and their machine code are kept: TINYGRAD_RNN_CACHE, or the user's cache folder."""
    import tempfile
    from pathlib import Path

    named = os.environ.get("TINYGRAD_RNN_CACHE")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_rnn"
    try:
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=base):
            pass
    except OSError:
        base = Path(tempfile.gettempdir()) / f"tinygrad_rnn-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and (base.stat().st_uid != os.getuid() or base.stat().st_mode & 0o022):
            base = Path(tempfile.mkdtemp(prefix="tinygrad_rnn-"))  # what lies there is executed, so it must be ours alone
    return base


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; without fcntl (Windows) a process may compile once more than needed, which is harmless."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.cache
def _text_of(path: str) -> str:
    """A hash of a file that is compiled into the kernels; numba's own cache does not look at it."""
    with open(path, "rb") as file:
        return _digest(file.read())


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()[:24]


def load(source: str, *, distinct: bool = False) -> Any:
    """A generated module; written under the hash of its content and compiled at most once.

    `distinct` promises that the arrays that its functions are called with do not overlap.
    """
    import importlib.util
    import tempfile

    import numba

    from . import scalar, tiles

    versions = f"{sys.version_info[:3]} {numba.__version__} {_text_of(scalar.__file__)} {_text_of(tiles.__file__)}"
    key = _digest(f"{versions} {distinct}\n{source}".encode())
    if key not in _modules:
        folder = cache_folder()
        path = folder / f"kernel_{key}.py"
        with _locked(folder / f"kernel_{key}.lock"):
            for attempt in (1, 2):
                if not path.exists():
                    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".tmp", delete=False) as file:
                        file.write(source)
                    os.replace(file.name, path)
                spec = importlib.util.spec_from_file_location(f"tinygrad_rnn_kernel_{key}", path)
                assert spec is not None and spec.loader is not None
                module = importlib.util.module_from_spec(spec)
                sys.modules[spec.name] = module  # numba's cache looks the module up by name
                try:
                    with scalar.interleaving(), scalar.distinct_arrays() if distinct else contextlib.nullcontext():
                        spec.loader.exec_module(module)  # compiles, or loads the machine code from the cache
                    _modules[key] = module
                    break
                except Exception:
                    if attempt == 2:
                        raise
                    for damaged in [path, *folder.glob(f"__pycache__/kernel_{key}*")]:  # anew: the files may be damaged
                        damaged.unlink(missing_ok=True)
    return _modules[key]
