"""Whether numba is there, how many threads it uses, and generated modules, each compiled once."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import TinygradError
from . import cache
from .progress import progress

# The rest of the standard library is imported where it is used, so that importing the package
# stays quick.
if TYPE_CHECKING:
    from pathlib import Path
    from queue import SimpleQueue

MOST_THREADS = 1024
_available: bool | None = None
_reason = ""  # why kernels cannot be compiled here
_complained = False
_pool: SimpleQueue[Any] | None = None
_pool_lock = threading.Lock()
_threads = 0
_modules: dict[str, Any] = {}


def available() -> bool:
    """Whether kernels can be compiled here.

    If they cannot, one warning says why, and NumPy does the work.
    """
    global _available, _reason
    if _available is None:
        reason = ""
        if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
            reason = "NUMBA_DISABLE_JIT is set"
        else:
            try:
                from . import scalar  # noqa: F401  (imports numba and the scalar functions)
            except Exception as error:
                reason = f"numba cannot be used here ({type(error).__name__}: {error})"
        _available, _reason = not reason, reason
        if reason:
            warnings.warn(
                f"tinygrad_rnn: {reason}; elementwise kernels run through NumPy.",
                RuntimeWarning,
                stacklevel=2,
            )
    return _available


def refusal() -> str:
    """Return why kernels cannot be compiled here, for a message that says it after a colon."""
    return _reason or "compiling is switched off"


def is_in_use() -> bool:
    """Whether something was compiled in this process, or could have been."""
    return bool(_available)


def raising() -> bool:
    """Whether NumPy was told to raise, or to call a function, at numerical faults.

    Compiled code cannot do that, so NumPy does the work (see `numpy.errstate`).
    """
    import numpy as np

    modes = np.geterr().values()
    return "raise" in modes or "call" in modes


def complain(error: Exception) -> None:
    """Say, once in a process, that a kernel could not be compiled and that NumPy does its work."""
    global _complained
    if not _complained:
        _complained = True
        why = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # numba's are in colour where colorama is
        text = f"tinygrad_rnn: a kernel could not be compiled ({type(error).__name__}: {why}); going on through NumPy."
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def threads() -> int:
    """Return the number of threads that kernels on large arrays use."""
    global _threads
    if not _threads:
        asked = os.environ.get("TINYGRAD_RNN_THREADS", "")
        usable = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )
        _threads = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 5 else 0
        if asked and not 0 < _threads <= MOST_THREADS:
            text = f"TINYGRAD_RNN_THREADS must be a number from 1 to {MOST_THREADS}; found {asked!r}. The cores of this process are used."
            warnings.warn(f"tinygrad_rnn: {text}", RuntimeWarning, stacklevel=2)
            _threads = 0
        _threads = _threads or usable or 1
    return _threads


def set_num_threads(count: int) -> None:
    """Set the number of threads that kernels on large arrays use.

    By default it is TINYGRAD_RNN_THREADS, or the number of cores that this process may use.

    Parameters
    ----------
    count : int
        A number from 1 to 1024.

    Raises
    ------
    TinygradError
        If it is not.
    """
    global _threads, _pool
    if not 1 <= count <= MOST_THREADS:
        raise TinygradError(
            f"set_num_threads: expected a number from 1 to {MOST_THREADS}, found {count}"
        )
    with _pool_lock:
        if _pool is not None:
            for _ in range(max(1, threads() - 1)):
                # The threads end when they have done what was put there before.
                _pool.put(None)
        _threads, _pool = count, None


def share(function: Callable[..., Any], jobs: list[tuple[Any, ...]]) -> None:
    """Call a function with each of several tuples of arguments, in several threads.

    This thread does the first of them. A queue and threads that wait at it start the work in a
    third of the time that an executor takes.

    Parameters
    ----------
    function : callable
        A function that releases the GIL.
    jobs : list of tuple
        Its arguments, for each call.
    """
    import queue

    done = queue.SimpleQueue[Any]()
    with _pool_lock:  # so that no job is put where the threads have ended
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
    """Return the queue at which the threads wait, which are started when they are first needed."""
    global _pool
    import queue

    if _pool is None:
        _pool = queue.SimpleQueue[Any]()
        for _ in range(max(1, threads() - 1)):
            threading.Thread(target=_serve, args=(_pool,), name="tinygrad_rnn", daemon=True).start()
    return _pool


def _serve(jobs: SimpleQueue[Any]) -> None:
    """Do jobs until there is None in place of one; this is what each thread runs.

    The answer to a job is None, or the error that it raised.
    """
    while (job := jobs.get()) is not None:
        function, arguments, done = job
        answer = None
        try:
            function(*arguments)
        except BaseException as error:  # whatever it is, the caller waits for an answer
            answer = error
        # a thread that waits keeps nothing of its last job alive
        del job, function, arguments
        done.put(answer)
        del done, answer


def _forget_pool() -> None:
    """Forget the threads, which do not survive a fork."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


@functools.cache
def _text_of(path: str) -> str:
    """Return a hash of a file that is compiled into the kernels."""
    with open(path, "rb") as file:
        return _digest(file.read())


def _digest(content: bytes) -> str:
    """Return a hash as 24 hexadecimal digits."""
    import hashlib

    return hashlib.sha256(content).hexdigest()[:24]


def load(source: str) -> Any:
    """Return a generated module.

    Its machine code is kept on disk under a hash of its code, and compiled at most once (see
    `cache`).

    Parameters
    ----------
    source : str
        Its text. The first line is a docstring that says what it is. Two texts that differ only in
        this line and in comments are the same module.
    """
    from numba.core.errors import NumbaError

    key = _digest(f"{_made_with()} numba\n{cache.code(source)}".encode())
    return _once(source, key, lambda known: _run(source, key, known), NumbaError)


class Translation(NamedTuple):
    """How the module of a text is made for LLVM.

    Attributes
    ----------
    names : tuple of str
        Of the functions that Python calls.
    make : callable
        Returns the module, an ``llvmlite.ir.Module``.
    files : tuple of str
        Where that is written.
    symbols : mapping of str to int
        The addresses of what it calls.
    """

    names: tuple[str, ...]
    make: Callable[[], Any]
    files: tuple[str, ...]
    symbols: Mapping[str, int]


def native(source: str, translation: Translation) -> Any:
    """Return a module of loops, compiled by LLVM without numba; its machine code is kept as well.

    Parameters
    ----------
    source : str
        Its text, as of `load`, by which its machine code is found.
    translation : Translation
    """
    from . import native

    def run(known: dict[str, bytes]) -> tuple[Any, dict[str, bytes]]:
        made = {} if known else {"object": native.object_code(translation.make())}
        code = (known or made)["object"]
        return native.loaded(code, translation.names, translation.symbols), made

    ours = " ".join(map(_text_of, translation.files))
    key = _digest(f"{_made_with()} {ours} native\n{cache.code(source)}".encode())
    return _once(source, key, run, ())


_Run = Callable[[dict[str, bytes]], tuple[Any, dict[str, bytes]]]


def _once(source: str, key: str, run: _Run, final: Any) -> Any:
    """Return what `run` makes of the machine code that is known: of this process, or on disk.

    Its other result is the machine code that had to be made. An error that is `final` is not the
    fault of what was kept.
    """
    if key in _modules:
        return _modules[key]
    folder, fault = cache.place()
    what = f"tinygrad_rnn: compiling {cache.first_sentence(source)}"
    with progress(what), without_collection():
        if fault:
            cache.complain(fault)
            module, made = run({})
        else:
            cache.sweep(folder)
            with cache.locked(folder, key):
                module, made = _kept(source, key, folder, run, final)
                cache.use(folder, key)
    _modules[key] = module
    if made and not fault:
        cache.shrink(folder, cache.limit(), _modules)
    return module


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Within, garbage is not collected: where many objects are made and few of them dropped.

    Compiling takes a sixth less time so; beside a long tape each search would walk all of it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _kept(
    source: str, key: str, folder: Path, run: _Run, final: Any
) -> tuple[Any, dict[str, bytes]]:
    """Return a module, from the folder or compiled and put there, and what had to be made."""
    known = cache.read(folder, key)
    try:
        module, made = run(known)
    except final:
        raise
    except Exception:
        if not known:
            raise
        known = {}  # the file is whole, and yet of no use
        module, made = run(known)
    if made:
        cache.write(folder, key, cache.first_sentence(source), {**known, **made})
    return module, made


def _made_with() -> str:
    """Return all that machine code depends on beside its source.

    That is versions, the processor, and the files that are compiled into it. numba's own cache does
    not look at the latter.
    """
    import llvmlite
    import numba
    import numpy
    from numba.core.registry import cpu_target

    from . import integers, native, scalar, tiles, vector_code

    versions = (sys.version, numba.__version__, llvmlite.__version__, numpy.__version__)
    processor = cpu_target.target_context.codegen().magic_tuple()
    parts = (scalar, vector_code, tiles, integers, native)
    ours = " ".join(_text_of(module.__file__) for module in parts)
    return f"{versions} {processor} {ours}"


def _run(source: str, key: str, known: dict[str, bytes]) -> tuple[Any, dict[str, bytes]]:
    """Run the source of a module whose machine code may be known.

    Returns
    -------
    module
        The module.
    dict of str to bytes
        The machine code that had to be made.
    """
    import linecache
    import types

    from . import machine_code, scalar

    path = f"<tinygrad_rnn kernel_{key}>"
    module = types.ModuleType(f"tinygrad_rnn_kernel_{key}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # numba looks the module up by name
    # Messages show the lines of the source.
    linecache.cache[path] = len(source), None, source.splitlines(keepends=True), path
    with scalar.interleaving(), machine_code.keeping(vars(module), known) as made:
        exec(compile(source, path, "exec"), vars(module))
    return module, made
