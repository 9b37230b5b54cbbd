"""Kernels.

The way back to NumPy, the cache on disk, threads and forks, and arrays of every layout.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import norm, runtime
from tinygrad_rnn.loops import elementwise as fused

from .processes import together

FLOATS = [np.float32, np.float64]
ROOT = Path(__file__).parents[1]


@tg.elementwise
def swish(x: Any) -> Any:
    return x / (1 + tg.exp(-x))


@tg.elementwise
def gated(x: Any, y: Any) -> Any:
    return tg.where(x > 0.25, x * y, tg.tanh(y) - x)


@tg.elementwise
def same(x: Any) -> Any:
    return x


def script(text: str) -> str:
    return textwrap.dedent(text)


def environment(cache: Path, **changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "TINYGRAD_RNN"))}
    return {
        **kept,
        "TINYGRAD_RNN_CACHE": str(cache),
        "TINYGRAD_RNN_THREADS": "2",
        "PYTHONPATH": str(ROOT),
        **changes,
    }


def python(
    text: str, cache: Path, *arguments: str, **changes: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment(cache, **changes),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


# --- without numba -------------------------------------------------------------------------------------------------------------------


BATTERY = script("""
    import sys, warnings
    import numpy as np
    import tinygrad_rnn as tg

    @tg.elementwise
    def swish(x):
        return x / (1 + tg.exp(-x))

    found = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rng = np.random.default_rng(0)
        for dtype in ("float32", "float64"):
            x = tg.tensor(rng.normal(size=(300, 500)).astype(dtype), requires_grad=True)
            b = tg.tensor(rng.normal(size=500).astype(dtype), requires_grad=True)
            y = tg.sigmoid(x + b) * swish(x)
            y.sum().backward()
            found |= {dtype + " y": y.numpy(), dtype + " x": x.grad.numpy(), dtype + " b": b.grad.numpy()}
        cell = tg.cells.LSTM(64, 128, rng=0)  # (batch, 4 * hidden) is large
        ys, state = tg.unroll(cell, rng.normal(size=(3, 64, 64)))
        (ys * ys).mean().backward()
        found |= {name: p.grad.numpy() for name, p in cell.named_parameters()}
        found["ys"] = ys.numpy()
    from tinygrad_rnn.kernels import runtime
    print(runtime.available(), len(caught), *(f"{w.category.__name__}: {w.message}" for w in caught), sep="|")
    np.savez(sys.argv[1], **found)
""")


@pytest.fixture(scope="module")
def with_kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("kernels")
    done = python(BATTERY, folder / "cache", str(folder / "found.npz"))
    assert done.stdout.strip() == "True|0", done.stdout + done.stderr
    assert list((folder / "cache").glob("kernel_*.code"))
    return dict(np.load(folder / "found.npz"))


@pytest.mark.parametrize("way", ["disabled", "missing", "too old", "broken"])
def test_everything_works_through_numpy_with_one_warning(
    way: str, with_kernels: dict[str, np.ndarray], tmp_path: Path
) -> None:
    faults = {
        "missing": ("raise ImportError('no numba here')", "ImportError: no numba here"),
        "too old": ("__version__ = '0.1'", "ImportError"),
        "broken": (
            "import ctypes; raise OSError('libLLVM is damaged')",
            "OSError: libLLVM is damaged",
        ),
    }
    changes, reason = {"NUMBA_DISABLE_JIT": "1"}, "NUMBA_DISABLE_JIT is set"
    if way != "disabled":
        text, reason = faults[way]
        (tmp_path / "fake").mkdir()
        (tmp_path / "fake" / "numba.py").write_text(text)
        changes = {"PYTHONPATH": f"{tmp_path / 'fake'}:{ROOT}"}
    done = python(BATTERY, tmp_path / "cache", str(tmp_path / "found.npz"), **changes)
    available, count, *messages = done.stdout.strip().split("|")
    assert (available, count) == ("False", "1"), done.stdout
    assert (
        messages[0].startswith("RuntimeWarning: tinygrad_rnn: ")
        and reason in messages[0]
        and "through NumPy" in messages[0]
    )
    found = np.load(tmp_path / "found.npz")
    assert set(found.files) == set(with_kernels)
    for name in found.files:
        assert found[name].dtype == with_kernels[name].dtype
        tolerance = 2e-6 if found[name].dtype == np.float32 else 1e-14
        np.testing.assert_allclose(
            found[name],
            with_kernels[name],
            rtol=tolerance,
            atol=tolerance * np.abs(found[name]).max(),
            err_msg=name,
        )
    assert not (tmp_path / "cache").exists(), "nothing is written"


def test_nothing_is_compiled_for_small_arrays(tmp_path: Path) -> None:
    done = python(
        script("""
            import sys
            import numpy as np
            import tinygrad_rnn as tg
            x = tg.tensor(np.ones(100), requires_grad=True)
            tg.tanh(tg.silu(x) * tg.sigmoid(x)).sum().backward()
            print("numba" in sys.modules)
        """),
        tmp_path / "cache",
    )
    assert done.stdout.strip() == "False" and not (tmp_path / "cache").exists()


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The state of the runtime before its first use, put back afterwards."""
    for name, value in {
        "_available": None,
        "_complained": False,
        "_modules": dict(runtime._modules),
    }.items():
        monkeypatch.setattr(runtime, name, value)
    yield


def test_a_kernel_that_cannot_be_compiled_is_given_up_with_one_warning(
    fresh: None, monkeypatch: pytest.MonkeyPatch, rng: Any
) -> None:
    from numba.core.errors import TypingError

    def failing(source: str) -> Any:
        raise TypingError("not today")

    monkeypatch.setattr(runtime, "load", failing)

    @tg.elementwise
    def fresh_function(x: Any) -> Any:
        return tg.tanh(x) * x + 0.123

    x = tg.tensor(rng.normal(size=20_000), requires_grad=True)
    with pytest.warns(
        RuntimeWarning,
        match=r"could not be compiled \(TypingError: not today\); going on through NumPy",
    ) as caught:
        y = fresh_function(x)
        y.sum().backward()
        fresh_function(x)
    assert len(caught) == 1
    t = np.tanh(x.numpy())
    np.testing.assert_allclose(y.numpy(), t * x.numpy() + 0.123, rtol=1e-14)
    np.testing.assert_allclose(x.grad.numpy(), t + x.numpy() * (1 - t * t), rtol=1e-12, atol=1e-14)


# --- the cache -----------------------------------------------------------------------------------------------------------------------


SHORT = script("""
    import sys, time
    import numpy as np
    import tinygrad_rnn as tg

    if len(sys.argv) > 1:  # begin together
        import numba, tinygrad_rnn.kernels.scalar
        print("ready", flush=True)
        sys.stdin.readline()

    @tg.elementwise
    def curve(x):
        return tg.tanh(x) * 2.5

    x = tg.tensor(np.linspace(-3, 3, 20_000), requires_grad=True)
    y = curve(x)
    y.sum().backward()
    np.testing.assert_allclose(y.numpy(), 2.5 * np.tanh(x.numpy()), rtol=1e-14)
    np.testing.assert_allclose(x.grad.numpy(), 2.5 * (1 - np.tanh(x.numpy()) ** 2), rtol=1e-11, atol=1e-14)
    from tinygrad_rnn.kernels import cache, runtime
    print(runtime._available, cache.place().path)
""")


def test_two_processes_may_begin_with_an_empty_cache_at_the_same_time(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    both = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", SHORT, "together"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=environment(cache))
        for _ in range(2)
    ]  # fmt: skip
    for out in together(both):
        assert out.startswith("True"), out
    assert len(list(cache.glob("kernel_*.code"))) == 2, (
        "one for the function, one for its derivative"
    )
    assert not list(cache.glob("*.tmp"))


def test_the_second_process_loads_the_machine_code(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    python(SHORT, cache)
    before = {p: p.stat().st_mtime_ns for p in cache.glob("*.code")}
    assert before
    python(
        f"from tinygrad_rnn.kernels import machine_code\nmachine_code._Kept.save_overload = None\n{SHORT}",
        cache,
    )
    assert {p: p.stat().st_mtime_ns for p in cache.glob("*.code")} == before


def test_a_cache_folder_that_cannot_be_used_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "tmp").mkdir()
    done = python(SHORT, tmp_path / "file" / "cache", TMPDIR=str(tmp_path / "tmp"))
    available, folder = done.stdout.split()
    assert available == "True" and Path(folder).parent == tmp_path / "tmp"


def test_without_any_folder_kernels_are_compiled_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    text = SHORT.replace(
        "import numpy as np",
        "import numpy as np, tempfile; tempfile.gettempdir = lambda: '/dev/null/none'",
        1,
    )
    done = python(text, tmp_path / "file" / "cache")
    assert done.stdout.split() == ["True", str(tmp_path / "file" / "cache")]
    assert done.stderr.count("RuntimeWarning") == 1 and "Not a directory" in done.stderr, (
        done.stderr
    )


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(content: bytes) -> bytes:
    return b""


def one_bit(content: bytes) -> bytes:
    place = len(content) * 2 // 3
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


def other_file(content: bytes) -> bytes:
    return b"\x80\x04damaged"


@pytest.mark.parametrize(
    "damage",
    [cut, one_bit, *[pytest.param(d, marks=pytest.mark.full) for d in (empty, other_file)]],
)
def test_a_damaged_cache_is_no_obstacle(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    python(SHORT, cache)
    whole = {path: path.read_bytes() for path in cache.glob("*.code")}
    assert whole
    for path, content in whole.items():
        path.write_bytes(damage(content))
    python(SHORT, cache)
    assert all(
        len(path.read_bytes()) > 1000 and path.read_bytes() != damage(content)
        for path, content in whole.items()
    )


def test_threads_and_forks(tmp_path: Path) -> None:
    """A child of a process whose pool has run has a pool of its own.

    Threads of one process may start kernels together.
    """
    done = python(
        script("""
            import os, sys, threading
            import numpy as np
            import tinygrad_rnn as tg
            from tinygrad_rnn.kernels import runtime

            x = np.linspace(-3, 3, 400_000)
            expected = np.tanh(x)

            def work():
                t = tg.tensor(x, requires_grad=True)
                y = tg.tanh(t)
                y.sum().backward()
                np.testing.assert_allclose(y.numpy(), expected, rtol=1e-14)
                np.testing.assert_allclose(t.grad.numpy(), 1 - expected**2, rtol=1e-9, atol=1e-14)

            threads = [threading.Thread(target=work) for _ in range(3)]
            for t in threads: t.start()
            for t in threads: t.join()
            assert runtime._pool is not None and runtime.threads() == 2
            child = os.fork()
            if child == 0:
                assert runtime._pool is None
                work()
                print("child done", flush=True)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            work()
            import multiprocessing
            with multiprocessing.get_context("fork").Pool(2) as pool:
                assert pool.map(len, ["a", "ab"]) == [1, 2]
            print("done")
        """),
        tmp_path / "cache",
    )
    assert done.stdout.split("\n")[:2] == ["child done", "done"], done.stdout + done.stderr


# --- the same numbers ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def numpy_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], Any]:
    def run(work: Callable[[], Any]) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(runtime, "_available", False)
            return work()

    return run


@pytest.fixture
def kernel_runs(monkeypatch: pytest.MonkeyPatch) -> list[fused.ElementwiseKernel]:
    """The chains that ran as kernels."""
    runs: list[fused.ElementwiseKernel] = []
    plain = fused.ElementwiseKernel.run

    def run(self: fused.ElementwiseKernel, *arrays: Any, **options: Any) -> Any:
        runs.append(self)
        return plain(self, *arrays, **options)

    monkeypatch.setattr(fused.ElementwiseKernel, "run", run)
    return runs


def contiguous(x: np.ndarray) -> np.ndarray:
    return x


def read_only(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": contiguous,
    "read-only": read_only,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every second column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "rows of zero stride": lambda x: np.broadcast_to(x[:1], x.shape),
    "columns of zero stride": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "one number": lambda x: np.broadcast_to(x[:1, :1], x.shape),
    "in a wider array": lambda x: np.pad(x, 3)[3:-3, 3:-3],
    "at an odd address": lambda x: np.frombuffer(b" " + x.tobytes(), x.dtype, x.size, 1).reshape(
        x.shape
    ),
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "tanh": lambda x, y: tg.tanh(x) * y,
    "sigmoid and softplus": lambda x, y: tg.sigmoid(x) + tg.softplus(y),
    "logaddexp": lambda x, y: tg.logaddexp(x, y),
    "where": lambda x, y: tg.where(x > y, tg.sigmoid(x), tg.softplus(y)),
    "elu": lambda x, y: tg.elu(x, alpha=1.5) * tg.elu(y),
    "of the user": lambda x, y: swish(x) * gated(x, y),
    "maximum": lambda x, y: tg.maximum(x, y) - tg.clip(y, -0.5, 0.75),
}


def leaf_of(array: np.ndarray) -> tg.Tensor:
    """A tensor on this very array, not on a copy."""
    made = tg.Tensor(array)
    made.requires_grad = True
    return made


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_large_arrays_of_every_layout(
    function: str, layout: str, dtype: Any, rng: Any, numpy_only: Any, kernel_runs: list[Any]
) -> None:
    f = FUNCTIONS[function]
    x = LAYOUTS[layout](rng.normal(size=(90, 103)).astype(dtype))
    y, g = rng.normal(size=(90, 103)).astype(dtype), rng.normal(size=(90, 103)).astype(dtype)
    kept = x.copy(), y.copy()

    def work() -> list[np.ndarray]:
        a, b = leaf_of(x), leaf_of(y)
        out = f(a, b)
        out.backward(g)
        assert out.dtype == a.grad.dtype == b.grad.dtype == dtype
        return [out.numpy(), a.grad.numpy(), b.grad.numpy()]

    found = work()
    assert kernel_runs, "no kernel was used"
    count = len(kernel_runs)
    expected = numpy_only(work)
    assert len(kernel_runs) == count
    tolerance = 4e-6 if dtype == np.float32 else 1e-13
    for a, b, what in zip(
        found, expected, ("value", "first gradient", "second gradient"), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=what)
        assert not np.shares_memory(a, x) and not np.shares_memory(a, y)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "shapes",
    [
        ((90, 103), (103,)),
        ((90, 103), (90, 1)),
        ((90, 103), ()),
        ((1, 103), (90, 1)),
        ((3, 1, 50), (1, 70, 50)),
    ],
    ids=str,
)
def test_large_broadcasts(
    shapes: Any, dtype: Any, rng: Any, numpy_only: Any, kernel_runs: list[Any]
) -> None:
    x, y = (rng.normal(size=s).astype(dtype) for s in shapes)

    def work() -> list[np.ndarray]:
        a, b = tg.tensor(x, requires_grad=True), tg.tensor(y, requires_grad=True)
        gated(a, b).sum().backward()
        assert a.grad.shape == x.shape and b.grad.shape == y.shape
        return [a.grad.numpy(), b.grad.numpy()]

    found = work()
    if max(x.size, y.size) >= 8192:
        assert kernel_runs
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for a, b in zip(found, numpy_only(work), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize("dtype", FLOATS)
def test_conditions_and_masks(dtype: Any, rng: Any, kernel_runs: list[Any]) -> None:
    mask = rng.random((100, 120)) < 0.4
    for condition in (
        mask,
        mask[:, ::-1],
        np.broadcast_to(mask[:1], mask.shape),
        tg.tensor(mask),
        mask.T[:100, :100].repeat(2, 1)[:, :120],
    ):
        x = tg.tensor(rng.normal(size=(100, 120)).astype(dtype), requires_grad=True)
        g = rng.normal(size=(100, 120)).astype(dtype)
        y = tg.where(condition, tg.sigmoid(x), 2 * x)
        y.backward(g)
        plain = condition.numpy() if isinstance(condition, tg.Tensor) else condition
        s = 1 / (1 + np.exp(-x.numpy().astype(np.float64)))
        np.testing.assert_allclose(y.numpy(), np.where(plain, s, 2 * x.numpy()), rtol=2e-6)
        np.testing.assert_allclose(
            x.grad.numpy(), g * np.where(plain, s * (1 - s), 2), rtol=2e-5, atol=1e-7
        )
    assert kernel_runs


def test_outputs_are_arrays_of_their_own(rng: Any) -> None:
    for size in (10, 20_000):
        x = tg.tensor(rng.normal(size=size), requires_grad=True)
        before = x.numpy().copy()
        for f in (same, tg.tanh, swish):
            y = f(x)
            y[0] = 100.0
            y += 1
            np.testing.assert_array_equal(x.numpy(), before)
        z = same(x)
        z.sum().backward()
        assert x.grad.numpy().sum() == size
        x.grad = None


def test_an_array_that_is_both_inputs(rng: Any, numpy_only: Any) -> None:
    x = rng.normal(size=20_000)

    def work() -> np.ndarray:
        a = tg.tensor(x, requires_grad=True)
        gated(a, a).sum().backward()
        return a.grad.numpy()

    np.testing.assert_allclose(work(), numpy_only(work), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "shape",
    [(131_072,), (131_073,), (200_003,), (3, 50_001), (1, 140_001), (140_001, 1), (7, 11, 2003)],
    ids=str,
)
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_number_of_threads_does_not_change_a_bit(
    shape: tuple[int, ...], dtype: Any, rng: Any
) -> None:
    x, row = rng.normal(size=shape).astype(dtype), rng.normal(size=shape[-1:]).astype(dtype)
    before = runtime.threads()
    results = []
    try:
        for count in (1, 2, 3):
            tg.set_num_threads(count)
            a, b = tg.tensor(x, requires_grad=True), tg.tensor(row, requires_grad=True)
            y = gated(a, b)
            y.sum().backward()
            results.append((y.numpy(), a.grad.numpy(), b.grad.numpy()))
    finally:
        tg.set_num_threads(before)
    assert np.isfinite(results[0][0]).all() and np.any(results[0][1])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_shares_that_do_not_divide(threads: int, rng: Any) -> None:
    chain = fused.ElementwiseKernel(tg.trace(lambda x, y: tg.tanh(x) * y, tg.Spec(()), tg.Spec(())))
    for shape in [(1,), (2,), (4,), (7,), (3, 5), (2, 1), (5, 1001)]:
        for other in (shape, shape[-1:], ()):
            x, y = rng.normal(size=shape), rng.normal(size=other)
            (found,) = chain.run(x, y, threads=threads)
            np.testing.assert_allclose(found, np.tanh(x) * y, rtol=1e-14)
            assert found.shape == shape


def test_equal_objects_for_dtypes_are_the_same_dtype(rng: Any) -> None:
    """An array may carry a dtype object of its own (unpickled, or with metadata)."""
    strange = np.dtype("f8", metadata={"unit": "m"})
    x, plain = (
        rng.normal(size=20_000).astype(strange),
        tg.tensor(rng.normal(size=20_000), requires_grad=True),
    )
    y = tg.logaddexp(plain, x)
    y.sum().backward()
    np.testing.assert_allclose(y.numpy(), np.logaddexp(plain.numpy(), x), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(plain.grad.numpy(), 1 / (1 + np.exp(x - plain.numpy())), rtol=1e-12)


def test_bare_arrays_with_a_dtype_object_of_their_own(rng: Any) -> None:
    x = rng.normal(size=200_000).astype(np.dtype("f8", metadata={"unit": "m"}))
    np.testing.assert_allclose(tg.tanh(x), np.tanh(x), rtol=1e-14)


@tg.elementwise
def constant(x: Any) -> Any:
    return 2.0


@tg.elementwise
def first_only(x: Any, y: Any) -> Any:
    return x * x


@tg.elementwise
def step(x: Any) -> Any:
    return tg.where(x > 0, 1.0, -1.0)


def a_constant(x: Any, y: Any) -> Any:
    return constant(x)


def a_step(x: Any, y: Any) -> Any:
    return step(x)


@pytest.mark.parametrize("f, value, slope, size", [
    (a_constant, lambda x, y: np.full(x.shape, 2.0), 0, 4),
    (a_constant, lambda x, y: np.full(x.shape, 2.0), 0, 20_000),
    (a_step, lambda x, y: np.sign(x), 0, 4),
    (a_step, lambda x, y: np.sign(x), 0, 20_000),
    (first_only, lambda x, y: np.broadcast_to(x * x, y.shape), 2, 4),
    (first_only, lambda x, y: np.broadcast_to(x * x, y.shape), 2, 20_000),
])  # fmt: skip
def test_elementwise_functions_that_ignore_inputs(
    f: Any, value: Any, slope: float, size: int, rng: Any
) -> None:
    x, y = (
        tg.tensor(rng.normal(size=size), requires_grad=True),
        tg.tensor(rng.normal(size=(3, size)), requires_grad=True),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = f(x, y)
        np.testing.assert_allclose(out.numpy(), value(x.numpy(), y.numpy()))
        (out.sum() + 0 * x.sum() + 0 * y.sum()).backward()
    repeated = out.size // size
    np.testing.assert_allclose(x.grad.numpy(), slope * x.numpy() * repeated)
    np.testing.assert_allclose(y.grad.numpy(), 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100, norm.BLOCK, 2 * norm.BLOCK + 33])
@pytest.mark.parametrize("scale", [1e-42, 1.0, 1e15])
def test_squares_are_summed_alike_by_machine_code(
    dtype: Any, size: int, scale: float, rng: np.random.Generator
) -> None:
    array = (scale * rng.normal(size=size)).astype(dtype)
    runtime.available()
    found = norm.squares(array)
    assert found == norm._squares(array)
    assert math.isclose(
        found, math.fsum(x * x for x in array.astype(float).tolist()), rel_tol=1e-12
    )
