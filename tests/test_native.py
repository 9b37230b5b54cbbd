"""What Python calls of compiled loops looks at its arguments: nothing is read as what it is not."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.loops.ir import (
    Access,
    Apply,
    Array,
    Branch,
    Fail,
    Function,
    Index,
    Kind,
    Load,
    Loop,
    LoopKind,
    Module,
    Number,
    Role,
    Store,
    Var,
)
from tinygrad_rnn.loops.launch import CodeRefused, compiled
from tinygrad_rnn.loops.linear import Linear
from tinygrad_rnn.loops.style import KERNELS
from tinygrad_rnn.loops.writer import write

J = Linear.of("j")
F32 = np.dtype(np.float32)


def doubling(axes: int = 1, dtype: Any = None, base: Any = F32, function: str = "+") -> Any:
    """y = x + x, of `axes` axes, for n elements."""
    kind = Kind.FLOAT if dtype is None else Kind.INTEGER
    x = Array("x", kind, Role.INPUT, axes=axes, written=False, dtype=dtype)
    y = Array("y", Kind.FLOAT, Role.OUTPUT, axes=axes)
    value = Apply(function, (Var("v"), Var("v")))
    body = (Load("v", Access(x, J)), Store(Access(y, J), value))
    loop = Loop("j", Linear.of("n"), body, LoopKind.LANES)
    bad = Branch(Apply("<", (Index(Linear.of("n")), Number(0, Kind.INTEGER))), (Fail("below 0"),))
    return Module("doubled", np.dtype(base), (Function("kernel", ("n",), (x, y), (bad, loop)),))


def made(**options: Any) -> Any:
    return compiled(write(doubling(**options), KERNELS)).kernel


def test_results() -> None:
    x, y = np.arange(5, dtype=F32), np.zeros(5, F32)
    assert made()(5, x, y) is None
    np.testing.assert_array_equal(y, 2 * x)
    made()(np.int64(3), x + 1, y)  # what is an integer
    np.testing.assert_array_equal(y[:3], 2 * x[:3] + 2)
    np.testing.assert_array_equal(y[3:], 2 * x[3:])


@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_axes(axes: int) -> None:
    kernel, shape = made(axes=axes), (2,) * axes
    x, y = np.ones(shape, F32), np.zeros(shape, F32)
    kernel(x.size, x, y)
    assert (y == 2).all()
    with pytest.raises(TypeError, match="argument 1 "):
        kernel(1, np.ones((1,) * (axes + 1), F32), y)


@pytest.mark.parametrize("code", "bBhHiIlLqQ")
def test_integers_of_all_dtypes(code: str) -> None:
    dtype = np.dtype(code)
    x, y = np.arange(5).astype(dtype), np.zeros(5, F32)
    made(dtype=dtype)(5, x, y)
    np.testing.assert_array_equal(y, 2 * np.arange(5))
    for other in "bBhHiIlLqQfd?":
        if np.dtype(other) != dtype:
            with pytest.raises(TypeError, match="argument 1 "):
                made(dtype=dtype)(5, x.astype(other), y)


class Derived(np.ndarray):
    """An array of another class."""


X, Y = np.ones(6, np.float32), np.zeros(6, np.float32)
FIXED = np.zeros(6, np.float32)
FIXED.setflags(write=False)
WRONG: dict[str, tuple[tuple[Any, ...], int]] = {
    "another dtype": ((3, X.astype(np.float64), Y), 1),
    "gaps": ((3, X[::2], Y), 1),
    "backwards": ((3, X[::-1], Y), 1),
    "bytes in another order": ((3, X.astype(">f4"), Y), 1),
    "not aligned": ((3, np.frombuffer(b"\0" * 25, np.uint8)[1:].view(F32), Y), 1),
    "read only": ((3, X, FIXED), 2),
    "times": ((3, np.zeros(6, "M8[s]"), Y), 1),
    "objects": ((3, np.zeros(6, object), Y), 1),
    "records": ((3, np.zeros(6, "f4,f4"), Y), 1),
    "half": ((3, np.zeros(6, np.float16), Y), 1),
    "complex": ((3, np.zeros(6, np.complex64), Y), 1),
    "a list": ((3, [1.0, 2.0, 3.0], Y), 1),
    "none": ((3, None, Y), 1),
    "an array of another class": ((3, X.view(Derived), Y), 1),
    "an array for a size": ((X, X, Y), 0),
    "a float for a size": ((3.0, X, Y), 0),
    "too large a size": ((2**63, X, Y), 0),
    "too few": ((3, X), -1),
    "too many": ((3, X, Y, Y), -1),
}


if hasattr(np.dtypes, "StringDType"):  # its number is beyond those of NumPy's older dtypes
    TEXTS = np.array(["a", "b"], np.dtypes.StringDType())
    WRONG["texts"] = ((2, TEXTS, Y), 1)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_taken(name: str) -> None:
    given, number = WRONG[name]
    before = Y.copy()
    with pytest.raises((TypeError, OverflowError)) as error:
        made()(*given)
    if number:
        assert f"argument {number} " in str(error.value)
    np.testing.assert_array_equal(Y, before)


def test_what_is_read_only_may_be_read() -> None:
    y = np.ones(6, F32)
    made()(6, FIXED, y)
    assert not y.any()


def test_an_error_of_the_code() -> None:
    with pytest.raises(IndexError, match="below 0"):
        made()(-1, X, Y)


def test_no_reference_is_lost_or_kept() -> None:
    kernel, y = made(), np.zeros(6, F32)
    counts = [sys.getrefcount(o) for o in (X, y)]
    for _ in range(1000):
        kernel(6, X, y)
        with pytest.raises(TypeError):
            kernel(6, X[::2], y)
    gc.collect()
    assert [sys.getrefcount(o) for o in (X, y)] == counts


def test_other_threads_run_meanwhile() -> None:
    """The GIL is released: a call that takes long does not keep others from theirs."""
    n = 30_000_000
    x, y, seen = np.ones(n, F32), np.zeros(n, F32), []
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            seen.append(y[-1])

    made(function="power")  # so that the work is not all of memory
    thread = threading.Thread(target=count)
    thread.start()
    kernel, before = made(function="power"), len(seen)
    while not seen:
        pass
    before = len(seen)
    kernel(n, x, y)
    during = len(seen) - before
    done.set()
    thread.join()
    assert during > 10


def test_a_function_that_outlives_the_package_when_python_ends_does_no_harm() -> None:
    """What was freed is overwritten (by the C library of Linux), so that whoever reads it is found out."""
    program = (
        "import sys, numpy as np, tinygrad_rnn as tg\n"
        "sys.kept = tg.jit(lambda x: tg.tanh(x) * 2.0)\n"
        "print(sys.kept(tg.tensor(np.ones((64, 64), np.float32))).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "255"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stdout) == (0, "(64, 64)\n"), done.stderr


@pytest.mark.parametrize(
    "function, said",
    [("nowhere", "there is no function 'nowhere'"), ("and", "expected conditions for 'and'")],
)
def test_what_has_no_instructions_is_refused(function: str, said: str) -> None:
    with pytest.raises(CodeRefused, match=said) as refused:
        made(function=function)
    assert isinstance(refused.value.statement, Store)
