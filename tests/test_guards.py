"""What the code of a compiled function or cell reads besides its arguments.

Each change is seen, or refused by name.
"""

from __future__ import annotations

import array
import collections
import contextlib
import contextvars
import ctypes
import decimal
import gc
import importlib
import io
import itertools
import mmap
import multiprocessing
import operator
import os
import pkgutil
import random
import re
import struct
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import runtime
from tinygrad_rnn.loops import workspace as running
from tinygrad_rnn.ops.guards import Guards, places

from .interpreted import interpreting

X = np.array([1.0, -2.0, 3.0])
GIVE = running.WorkspacePool.give  # where code runs as Python, another takes its place
CASES: dict[str, Callable[[], tuple[Callable[..., Any], Callable[[], None]]]] = {}


@pytest.fixture(autouse=True, params=["compared by machine code", "compared by Python"])
def _as_python(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    runtime.available()
    if request.param == "compared by Python":
        monkeypatch.setattr(places.Places, "_compiled", lambda self: None)
    with interpreting():
        yield


def case(make: Callable[[], tuple[Callable[..., Any], Callable[[], None]]]) -> Any:
    """Decorator: a function of x that reads something, and what changes it."""
    CASES[make.__name__] = make
    return make


def numbers(f: Callable[..., Any], *args: Any) -> list[np.ndarray]:
    """The value of a function, and its gradient for the first argument."""
    x = tg.tensor(X, requires_grad=True)
    y = f(x, *args)
    y.sum().backward()
    return [y.numpy(), np.zeros(3) if x.grad is None else x.grad.numpy()]


def same(one: list[np.ndarray], two: list[np.ndarray]) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)
        np.testing.assert_array_equal(np.signbit(b), np.signbit(a))


# --- what is read ---------------------------------------------------------------------------------------------------------------


@case
def method_of_two_objects() -> Any:
    class Model:
        def __init__(self, k: float) -> None:
            self.k = k

        @tg.jit
        def scaled(self, x: Any) -> Any:
            return x * self.k

        def plain(self, x: Any) -> Any:
            return x * self.k

    one, two = Model(2.0), Model(3.0)
    calls = [one]

    def f(x: Any) -> Any:
        return calls[0].scaled(x) if isinstance(x.array, np.ndarray) else calls[0].plain(x)

    return f, lambda: calls.__setitem__(0, two)


@case
def constant_tensor_gets_other_values() -> Any:
    t = tg.tensor(X)
    return lambda x: x * t, lambda: setattr(t, "data", X[::-1].copy())


@case
def constant_tensor_is_written_to() -> Any:
    t = tg.tensor(X)
    return lambda x: x * t, lambda: t.__setitem__(0, 5.0)


@case
def constant_tensor_comes_to_need_a_gradient() -> Any:
    t = tg.tensor(X)
    return lambda x: x * t, lambda: setattr(t, "requires_grad", True)


@case
def gradient_of_a_parameter() -> Any:
    p = tg.Parameter(X)
    p.grad = tg.tensor(X)
    return lambda x: x * p.grad, lambda: setattr(p, "grad", tg.tensor(2 * X))


@case
def inside_of_a_transform() -> Any:
    rates = [2.0]

    def loss(x: Any) -> Any:
        return (x * x * rates[0]).sum()

    gradient, both = tg.grad(loss), tg.value_and_grad(loss)
    return lambda x: gradient(x) + both(x)[1], lambda: rates.__setitem__(0, 3.0)


@case
def transform_itself() -> Any:
    rates = [2.0]
    gradient = tg.grad(lambda x: (x * x * rates[0]).sum())
    return gradient, lambda: rates.__setitem__(0, 3.0)


@case
def inside_of_a_derivative() -> Any:
    rates = [2.0]
    found = tg.jacobian(lambda x: x * x * rates[0])
    return lambda x: found(x).sum(axis=0), lambda: rates.__setitem__(0, 3.0)


@case
def array_through_its_base() -> Any:
    base = X.copy()
    view = base[::-1]
    view.flags.writeable = False
    return lambda x: x * view, lambda: base.__setitem__(0, 7.0)


@case
def array_of_objects() -> Any:
    several = np.array([[1.0], None], object)
    return lambda x: x * several[0][0], lambda: several[0].__setitem__(0, 4.0)


@case
def masked_array() -> Any:
    m = np.ma.array([1.0, 2.0], mask=[False, False])
    return lambda x: x * float(m.sum()), lambda: m.__setitem__(0, np.ma.masked)


@case
def list_that_holds_itself() -> Any:
    a: list[Any] = [1.0]
    a.append(a)
    return lambda x: x * a[1][1][0], lambda: a.__setitem__(0, 2.0)


@case
def object_that_holds_itself() -> Any:
    o = types.SimpleNamespace(k=2.0)
    o.me = o
    return lambda x: x * o.me.me.k, lambda: setattr(o, "k", 3.0)


@case
def list_that_is_shared() -> Any:
    one, two = [1.0], [1.0]
    pair = [one, one]
    return lambda x: x * 2 if pair[0] is pair[1] else x * 3, lambda: pair.__setitem__(1, two)


@case
def list_that_shares_another() -> Any:
    one, two = [1.0], [1.0]
    three = [one, two, one]
    return lambda x: x * 2 if three[2] is three[0] else x * 3, lambda: three.__setitem__(2, two)


@case
def class_derived_from_a_dict() -> Any:
    class D(dict):  # type: ignore[type-arg]
        fill = 1.0

        def __missing__(self, key: Any) -> float:
            return self.fill

    d = D()
    return lambda x: x * d["k"], lambda: setattr(d, "fill", 2.0)


@case
def counter() -> Any:
    c = collections.Counter("aab")
    return lambda x: x * c["a"], lambda: c.update("a")


@case
def environment() -> Any:
    os.environ["GUARDS_OF_TESTS"] = "2.0"
    return lambda x: x * float(os.environ["GUARDS_OF_TESTS"]), lambda: os.environ.__setitem__(
        "GUARDS_OF_TESTS", "3.0"
    )


@case
def environment_by_getenv() -> Any:
    os.environ["GUARDS_OF_TESTS"] = "2.0"
    return lambda x: x * float(os.getenv("GUARDS_OF_TESTS", "1")), lambda: os.environ.__setitem__(
        "GUARDS_OF_TESTS", "3.0"
    )


@case
def class_without_a_module() -> Any:
    space: dict[str, Any] = {}
    exec(
        "class C:\n    k = 2.0\n    def get(self): return self.k * self.factor()\n    def factor(self): return FACTOR\nFACTOR = 1.0",
        space,
    )
    o = space["C"]()
    return lambda x: x * o.get(), lambda: (
        setattr(space["C"], "k", 3.0),
        space.__setitem__("FACTOR", 2.0),
    )[0]


@case
def generator_function() -> Any:
    k = [2.0]

    def several() -> Any:
        yield from (k[0] for _ in range(2))

    return lambda x: x * sum(several()), lambda: k.__setitem__(0, 3.0)


@case
def class_inside_the_function() -> Any:
    k = 2.0

    def f(x: Any) -> Any:
        class Inner:
            held = k

        return x * Inner.held

    def change() -> None:
        nonlocal k
        k = 3.0

    return f, change


@case
def text_that_is_evaluated() -> Any:
    space = {"k": 2.0}
    return lambda x: x * eval("k", space), lambda: space.__setitem__("k", 3.0)


@case
def attribute_by_the_class_of_self() -> Any:
    class C:
        k = 2.0

        def __call__(self, x: Any) -> Any:
            return x * type(self).k + x * self.__class__.__dict__["k"]

    return C(), lambda: setattr(C, "k", 3.0)


@case
def attribute_by_its_own_getattribute() -> Any:
    class C:
        def __getattribute__(self, name: str) -> Any:
            return table[name]

    table, o = {"k": 2.0}, C()
    return lambda x: x * o.k, lambda: table.__setitem__("k", 3.0)


@case
def iteration_over_an_object() -> Any:
    class C:
        def __iter__(self) -> Iterator[float]:
            return iter(self.several)

    o = C()
    o.several = [1.0, 2.0]  # type: ignore[attr-defined]
    return lambda x: x * sum(o), lambda: setattr(o, "several", [5.0])


@case
def operator_of_an_object() -> Any:
    class C:
        def __rmul__(self, other: Any) -> Any:
            return other * self.k

        __array_ufunc__ = None

        def __float__(self) -> float:
            return float(self.k)

    o = C()
    o.k = 2.0  # type: ignore[attr-defined]
    return lambda x: x * float(o), lambda: setattr(o, "k", 3.0)


@case
def function_in_no_grad() -> Any:
    k = [2.0]

    @tg.no_grad()
    def g(x: Any) -> Any:
        return x * k[0]

    return lambda x: x * g(x), lambda: k.__setitem__(0, 3.0)


@case
def optimiser_of_the_package() -> Any:
    o = tg.optim.SGD([tg.Parameter(X)], lr=0.5)
    return lambda x: x * o.lr, lambda: setattr(o, "lr", 0.25)


@case
def custom_vjp() -> Any:
    k = [2.0]

    @tg.custom_vjp
    def g(x: Any) -> Any:
        return x * k[0]

    @g.vjp
    def _(g: Any) -> Any:
        return g * k[0]

    return g, lambda: k.__setitem__(0, 3.0)


class Held:
    k: float


@case
def weak_proxy() -> Any:
    o = Held()
    o.k = 2.0
    p = weakref.proxy(o)
    return lambda x: x * p.k * (1.0 if o else 0.0), lambda: setattr(o, "k", 3.0)


@case
def class_that_is_called() -> Any:
    k = [2.0]

    class C:
        def __init__(self) -> None:
            self.k = k[0]

    return lambda x: x * C().k, lambda: k.__setitem__(0, 3.0)


@case
def class_that_is_called_by_an_object() -> Any:
    k = [2.0]

    class C:
        def __init__(self) -> None:
            self.k = k[0]

    o = C()
    return lambda x: x * type(o)().k, lambda: k.__setitem__(0, 3.0)


@case
def rule_of_custom_vjp() -> Any:
    k = [2.0]

    @tg.custom_vjp
    def f(x: Any) -> Any:
        return x * 1.0

    @f.vjp
    def _(g: Any) -> Any:
        return g * k[0]

    return f, lambda: k.__setitem__(0, 3.0)


@case
def another_rule_of_custom_vjp() -> Any:
    @tg.custom_vjp
    def f(x: Any) -> Any:
        return x * 1.0

    @f.vjp
    def _(g: Any) -> Any:
        return g * 2.0

    return f, lambda: f.vjp(lambda g: g * 5.0)


@case
def module_of_the_package_that_is_patched() -> Any:
    linear = tg.nn.Linear(3, 3, rng=0, dtype=np.float64)
    return linear, lambda: setattr(linear, "forward", lambda x: x * 2.0)


CONTAINERS: dict[str, tuple[Callable[[float], Any], Callable[[Any, float], None], Callable[[Any], float]]] = {
    "set": (lambda v: {v}, lambda o, v: (o.clear(), o.add(v))[0], sum),
    "deque": (lambda v: collections.deque([v]), lambda o, v: (o.clear(), o.append(v))[0], sum),
    "array of objects": (lambda v: np.array([v, "a"], object), lambda o, v: o.__setitem__(0, v), lambda o: o[0]),
    "context variable": (lambda v: (c := contextvars.ContextVar("c"), c.set(v))[0], lambda o, v: (o.set(None), o.set(v))[0], lambda o: o.get()),
    "list": (lambda v: [v], lambda o, v: o.__setitem__(0, v), sum),
    "dict": (lambda v: {"k": v}, lambda o, v: o.__setitem__("k", v), lambda o: o["k"]),
    "attribute": (lambda v: types.SimpleNamespace(v=v), lambda o, v: setattr(o, "v", v), lambda o: o.v),
}  # fmt: skip


@pytest.mark.parametrize("compiled", [tg.jit, tg.elementwise])
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_number_at_the_address_of_another_that_is_gone_is_another(
    name: str, compiled: Callable[..., Any]
) -> None:
    make, put, read = CONTAINERS[name]
    o = make(float("2.5"))
    f = compiled(lambda x: x * read(o))
    for k in range(20):
        put(o, float(f"{k}.25"))  # some of these stand where an earlier one stood
        put(o, float(f"{k}.5"))
        np.testing.assert_array_equal(f(tg.tensor(X)).numpy(), X * (k + 0.5))


def box(value: Any) -> Any:
    return types.SimpleNamespace(v=value)


# an object, what is read, what changes it
SHOWN: dict[str, tuple[Callable[[], Any], Callable[[Any], float], tuple[Callable[[Any], Any], ...]]] = {
    "values of a dict": (lambda: (d := {1.0: 2.5}, d.values()), lambda o: sum(o[1]), (lambda o: o[0].update({1.0: 3.5}), lambda o: o[0].clear())),
    "keys of a dict": (lambda: (d := {1.0: 2.5}, d.keys()), lambda o: sum(o[1]), (lambda o: o[0].update({2.0: 3.5}), lambda o: o[0].pop(1.0))),
    "items of a dict": (lambda: (d := {1.0: 2.5}, d.items()), lambda o: sum(v for _, v in o[1]), (lambda o: o[0].update({1.0: 3.5}),)),
    "order of an ordered dict": (lambda: collections.OrderedDict(a=1.0, b=2.0), lambda o: next(iter(o.values())), (lambda o: o.move_to_end("a"),)),
    "values of an ordered dict": (lambda: (d := collections.OrderedDict(a=1.0, b=2.0), d.values()), lambda o: next(iter(o[1])), (lambda o: o[0].move_to_end("a"),)),
    "keys of a proxy": (lambda: (d := {"a": 2.0}, types.MappingProxyType(d)), lambda o: sum(map(ord, o[1])), (lambda o: (o[0].pop("a"), o[0].update(b=2.0)),)),
    "proxy of a user dict": (
        lambda: (d := collections.UserDict(a=2.0), types.MappingProxyType(d)), lambda o: o[1]["a"], (lambda o: o[0].update(a=3.0),)
    ),
    "values of a chain": (lambda: (d := collections.ChainMap({}, {"a": 2.0}), d.values()), lambda o: sum(o[1]), (lambda o: o[0].maps[1].update(a=3.0),)),
    "user list": (lambda: collections.UserList([2.0]), sum, (lambda o: o.append(3.0), lambda o: o.pop(0))),
    "counter": (lambda: collections.Counter("aab"), lambda o: o["a"], (lambda o: o.update("a"), lambda o: o.subtract("aa"))),
    "default dict": (lambda: collections.defaultdict(lambda: 2.0), lambda o: o.get("a", 1.0), (lambda o: o["a"],)),
    "deque": (lambda: collections.deque([2.0, 3.0], 2), lambda o: o[0], (lambda o: o.append(4.0), lambda o: o.rotate())),
    "memory of an array": (lambda: (a := np.array([2.0]), memoryview(a)), lambda o: o[1][0], (lambda o: o[0].fill(3.0),)),
    "memory of bytes": (lambda: (a := bytearray(b"a"), memoryview(a)), lambda o: o[1][0], (lambda o: operator.setitem(o[0], 0, 3),)),
    "array of Python": (lambda: array.array("d", [2.0]), lambda o: o[0], (lambda o: operator.setitem(o, 0, 3.0),)),
    "type of an array of Python": (lambda: box(array.array("i", [1])), lambda o: o.v[0], (lambda o: setattr(o, "v", array.array("f", [1.4e-45])),)),
    "ctypes": (lambda: ctypes.c_double(2.0), lambda o: o.value, (lambda o: setattr(o, "value", 3.0),)),
    "array of ctypes": (lambda: (ctypes.c_double * 2)(1.0, 2.0), lambda o: o[0], (lambda o: operator.setitem(o, 0, 3.0),)),
    "pointer of ctypes": (lambda: (c := ctypes.c_double(2.0), ctypes.pointer(c)), lambda o: o[1].contents.value, (lambda o: setattr(o[0], "value", 3.0),)),
    "text of ctypes": (lambda: ctypes.c_char_p(b"a"), lambda o: o.value[0], (lambda o: setattr(o, "value", b"b"),)),
    "value of processes": (lambda: multiprocessing.Value("d", 2.0), lambda o: o.value, (lambda o: setattr(o, "value", 3.0),)),
    "array of processes": (lambda: multiprocessing.Array("d", [2.0]), lambda o: o[0], (lambda o: operator.setitem(o, 0, 3.0),)),
    "mapped memory": (lambda: mmap.mmap(-1, 16), lambda o: 1.0 + o[0], (lambda o: operator.setitem(o, 0, 3),)),
    "text in memory": (lambda: io.StringIO("2.5"), lambda o: float(o.getvalue()), (lambda o: (o.seek(0), o.write("3.5")),)),
    "file in memory": (lambda: io.BytesIO(b"a"), lambda o: (o.seek(0), o.read())[1][0], (lambda o: (o.seek(0), o.write(b"c")),)),
    "wrapped file": (lambda: (f := io.BytesIO(b"2.5"), io.TextIOWrapper(f)), lambda o: float((o[1].seek(0), o[1].read())[1]), (lambda o: (o[0].seek(0), o[0].write(b"3.5")),)),
    "derived text in memory": (lambda: type("T", (io.StringIO,), {})("2.5"), lambda o: float(o.getvalue()), (lambda o: (o.seek(0), o.write("3.5")),)),
    "computed text": (lambda: eval("lambda: eval('LEVEL * 2.0')", {"LEVEL": 2.0}), lambda o: o(), (lambda o: o.__globals__.update(LEVEL=3.0),)),
    "decimals": (lambda: decimal.Decimal(1), lambda o: float(o / 3), (lambda o: setattr(decimal.getcontext(), "prec", 3),)),
    "decimals that are made": (lambda: None, lambda o: float(decimal.Decimal(1) / 3), (lambda o: setattr(decimal.getcontext(), "prec", 3),)),
    "context of decimals": (lambda: decimal.Context(prec=4), lambda o: float(o.divide(1, 3)), (lambda o: setattr(o, "prec", 3),)),
    "numerical errors": (lambda: None, lambda o: 2.0 if np.geterr()["over"] == "ignore" else 3.0, (lambda o: np.seterr(over="ignore"), lambda o: np.seterr(over="warn"))),
    "ufunc of a function": (lambda: (k := [2.0], np.frompyfunc(lambda a: a * k[0], 1, 1)), lambda o: float(o[1](1.0)), (lambda o: operator.setitem(o[0], 0, 3.0),)),
    "row of records": (lambda: (a := np.array([(1.0,)], [("v", float)]), a[0]), lambda o: float(o[1]["v"]), (lambda o: o[0]["v"].fill(3.0),)),
    "cell of a closure": (lambda: types.CellType(2.0), lambda o: o.cell_contents, (lambda o: setattr(o, "cell_contents", 3.0),)),
    "long pattern": (lambda: box(re.compile("a" * 300 + "b")), lambda o: 2.0 if o.v.match("a" * 300 + "b") else 3.0, (lambda o: setattr(o, "v", re.compile("a" * 300 + "c")),)),
    "match": (lambda: box(re.match("a(.*)", "abc")), lambda o: len(o.v.group(1)), (lambda o: setattr(o, "v", re.match("(a.*)", "abc")),)),
    "item getter": (lambda: box(operator.itemgetter(0)), lambda o: o.v([2.0, 3.0]), (lambda o: setattr(o, "v", operator.itemgetter(1)),)),
    "method caller": (lambda: (k := [2.0], operator.methodcaller("__radd__", k), Adding()), lambda o: o[1](o[2]), (lambda o: operator.setitem(o[0], 0, 3.0),)),
    "structure of bytes": (lambda: box(struct.Struct("<f")), lambda o: o.v.size, (lambda o: setattr(o, "v", struct.Struct("<d")),)),
    "arguments of an exception": (lambda: ValueError(2.0), lambda o: o.args[0], (lambda o: setattr(o, "args", (3.0,)),)),
}  # fmt: skip


class Adding:
    def __radd__(self, several: list[float]) -> float:
        return sum(several)


@pytest.fixture
def _settings() -> Iterator[None]:
    with np.errstate(), decimal.localcontext():
        yield


@pytest.mark.usefixtures("_settings")
@pytest.mark.parametrize("compiled", [tg.jit, tg.elementwise])
@pytest.mark.parametrize("name", SHOWN)
def test_what_another_object_shows_is_seen(name: str, compiled: Callable[..., Any]) -> None:
    make, read, changes = SHOWN[name]
    o = make()
    f = compiled(lambda x: x * read(o))
    found = {read(o)}
    np.testing.assert_array_equal(f(tg.tensor(X)).numpy(), X * read(o))
    for change in changes:
        change(o)
        found.add(read(o))
        np.testing.assert_array_equal(f(tg.tensor(X)).numpy(), X * read(o))
    assert len(found) > 1


def test_a_view_among_the_arguments_is_seen() -> None:
    d = {"k": 2.0}
    fast = tg.jit(lambda x, several: x * sum(several))
    for value in (2.0, 3.0):
        d["k"] = value
        np.testing.assert_array_equal(fast(tg.tensor(X), d.values()).numpy(), X * value)


def imports_module() -> float:
    import guarded_plan

    return guarded_plan.s


def imports_name() -> float:
    from guarded_plan import s

    return s


def imports_submodule() -> float:
    import guarded_plan.sub

    return guarded_plan.sub.s


def imports_submodule_by_another_name() -> float:
    import guarded_plan.sub as sub

    return sub.s


def imports_by_text() -> float:
    return importlib.import_module("guarded_plan").s


def imports_by_text_elsewhere() -> float:
    return imports_what_is_given("guarded_plan.sub")


def imports_what_is_given(name: str) -> float:
    from importlib import import_module as get

    return get(name).s


def imports_by_hand() -> float:
    return __import__(PLAN).s


def imports_in_a_text() -> float:
    return eval("__import__('guarded_plan').s")


def resolves() -> float:
    return pkgutil.resolve_name("guarded_plan:s")


def looks_it_up() -> float:
    return sys.modules[PLAN].s


PLAN = "guarded_plan"


@pytest.mark.parametrize("read", [
    imports_module, imports_name, imports_submodule, imports_submodule_by_another_name, imports_by_text, imports_by_text_elsewhere, imports_by_hand, looks_it_up,
    imports_in_a_text, resolves,
])  # fmt: skip
def test_another_module_of_the_same_name_is_seen(
    read: Callable[[], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(value: float) -> None:
        plan, sub = types.ModuleType("guarded_plan"), types.ModuleType("guarded_plan.sub")
        plan.__dict__.update(s=value, sub=sub, __path__=[])
        sub.__dict__.update(s=-value)
        monkeypatch.setitem(sys.modules, "guarded_plan", plan)
        monkeypatch.setitem(sys.modules, "guarded_plan.sub", sub)

    put(2.0)
    fast = tg.jit(lambda x: x * read())
    for value in (2.0, 3.0, 2.0, 5.0):
        put(value)
        same(numbers(lambda x: x * read()), numbers(fast))
    sys.modules["guarded_plan"].s = sys.modules["guarded_plan.sub"].s = 7.0  # type: ignore[attr-defined]
    same([X * 7.0, np.full(3, 7.0)], numbers(fast))


def test_a_module_that_the_first_run_imports_is_seen(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "guarded_late.py").write_text("s = 2.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def f(x: Any) -> Any:
        import guarded_late

        return x * guarded_late.s

    fast = tg.jit(f)
    same([X * 2.0, np.full(3, 2.0)], numbers(fast))
    monkeypatch.setattr(sys.modules["guarded_late"], "s", 3.0)
    same([X * 3.0, np.full(3, 3.0)], numbers(fast))
    monkeypatch.delitem(sys.modules, "guarded_late")


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_seen(name: str) -> None:
    f, change = CASES[name]()
    fast = tg.jit(f)
    before = numbers(f)
    same(before, numbers(fast))
    change()
    after = numbers(f)
    assert (
        any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        or name == "constant_tensor_comes_to_need_a_gradient"
    )
    same(after, numbers(fast))


def arguments() -> list[tuple[str, Any, Any]]:
    a, b = [1.0], [1.0]

    class Holder:
        def __init__(self, k: float) -> None:
            self.k = k

        def scaled(self, x: Any) -> Any:
            return x * self.k

    one = Holder(2.0)
    return [
        ("functions", tg.tanh, tg.relu), ("reductions", tg.sum, tg.max), ("ufuncs", np.tanh, np.sin), ("types", int, float),
        ("signs of zero", 0.0, -0.0), ("True and 1", True, 1), ("int and float", 1, 1.0), ("shared", [a, a], [a, b]), ("keys", {1: 2.0}, {"1": 2.0}),
        ("key types", {1: 2.0}, {True: 2.0}), ("bound methods", one.scaled, Holder(3.0).scaled), ("objects", one, Holder(3.0)), ("slices", slice(0, 1), slice(0, 2)),
        ("numpy", np.float64(1.5), 1.5), ("complex", 1 + 2j, 1 - 2j), ("nothing", None, ...),
    ]  # fmt: skip


def tell(x: Any, v: Any) -> Any:
    """A value that says which argument it was given."""
    if callable(v) and not isinstance(v, type):
        return v(x)
    if isinstance(v, type):
        return x * v(2.5)
    if isinstance(v, slice):
        return x * x[v].sum()
    if isinstance(v, list):
        return x * (2.0 if v[0] is v[1] else 3.0)
    if isinstance(v, dict):
        return x * (2.0 if type(next(iter(v))) is int else 3.0)
    if hasattr(v, "k"):
        return x * v.k
    if isinstance(v, complex):
        return x * v.imag
    if v is None or v is ...:
        return x * (2.0 if v is None else 3.0)
    return x / v + (1.0 if type(v) is float else 2.0 if type(v) is int else 4.0)


@pytest.mark.parametrize("name", [name for name, _, _ in arguments()])
def test_arguments_that_differ(name: str) -> None:
    one, two = next((a, b) for found, a, b in arguments() if found == name)
    fast = tg.jit(tell)
    for v in (one, two, one):
        same(numbers(tell, v), numbers(fast, v))
    same(numbers(lambda x: tell(x, v=two)), numbers(lambda x: fast(x, v=two)))


def test_the_same_tensor_twice() -> None:
    def f(a: Any, b: Any) -> Any:
        return a * 2.0 if a is b else a * 3.0

    fast, x, y = tg.jit(f), tg.tensor(X), tg.tensor(X)
    for pair in ((x, y), (x, x), (y, x)):
        np.testing.assert_array_equal(fast(*pair).numpy(), f(*pair).numpy())
    t = tg.tensor(X, requires_grad=True)
    tg.jit(lambda a, b: a * b)(t, t).sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), 2 * X)


def test_numbers_of_other_types_are_other_recordings() -> None:
    fast = tg.jit(lambda x, k: x * 2.0 if k is True else x * 3.0)
    assert [float(fast(tg.tensor([1.0]), k).item()) for k in (1, True, 1.0, 1)] == [
        3.0,
        2.0,
        3.0,
        3.0,
    ]


def test_what_nobody_reads_makes_no_recording() -> None:
    """A loop of training that counts its steps in the object whose method is compiled."""

    class Trainer:
        def __init__(self) -> None:
            self.k, self.steps, self.losses = 2.0, 0, []  # type: ignore[var-annotated]
            self.fast = tg.jit(self.loss)

        def loss(self, x: Any) -> Any:
            return (x * self.k).sum()

        def step(self) -> None:
            self.losses.append(self.fast(tg.tensor(X)).item())
            self.steps += 1

    trainer = Trainer()
    for _ in range(5):
        trainer.step()
    assert len(trainer.fast._programs) == 1
    trainer.k = 3.0
    trainer.step()
    assert trainer.losses[-1] == 6.0


def test_a_guard_holds_without_following_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = tg.cells.LSTM(3, 4, rng=0)
    fast, xs = tg.jit(cell), np.zeros((2, 2, 3), np.float32)
    tg.unroll(fast, xs)

    def fails(*args: Any) -> None:
        raise AssertionError("followed again")

    monkeypatch.setattr(Guards, "fresh", fails)
    for parameter in cell.parameters():
        parameter.data = parameter.numpy() * 0.5
    tg.unroll(fast, xs)


def test_what_was_read_before_is_not_held() -> None:
    """A tensor that the code reads, and that is another one at each call, as the memory of a decoder is."""
    held: dict[str, Any] = {}

    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(h + x * held["memory"])
        return h, h

    fast, alive = tg.jit(step), []
    for k in range(6):
        held["memory"] = tg.tensor(np.full((2, 3), float(k)), requires_grad=True) * 1.0
        alive.append(weakref.ref(held["memory"]))
        tg.unroll(fast, np.ones((2, 2, 3)), np.zeros((2, 3)))[0].sum().backward()
    held.clear()
    gc.collect()
    assert len(fast._code.runners) == 1
    assert sum(t() is not None for t in alive) <= Guards.KEPT


# --- what is refused -----------------------------------------------------------------------------------------------------------


class Keeping(tg.Cell):
    """A cell that keeps a tensor in itself."""

    hidden_size = 3
    last: Any = None

    def forward(self, x: Any, h: Any) -> Any:
        self.last = h = tg.tanh(h * 0.5 + x)
        return h, h


class Slotted:
    __slots__ = ("last",)


def writers() -> dict[str, tuple[Callable[..., Any], Callable[[], Any], str]]:
    """Steps that write outside, how what they wrote to looks, and how it is called."""
    seen: list[Any] = []
    table: dict[str, Any] = {}
    count = np.zeros(3)
    memory, number, text = bytearray(b"a"), ctypes.c_double(2.0), io.StringIO("a")
    o, slotted, several, k = types.SimpleNamespace(z=1), Slotted(), {1}, 0

    def appends(x: Any, h: Any) -> Any:
        seen.append(h)
        return x, h

    def enters(x: Any, h: Any) -> Any:
        table["a"] = h
        return x, h

    def counts(x: Any, h: Any) -> Any:
        count[0] += 1
        return x, h

    def sets(x: Any, h: Any) -> Any:
        o.last = h
        return x, h

    def sets_by_name(x: Any, h: Any) -> Any:
        setattr(o, "la" + "st", h)
        return x, h

    def sets_a_slot(x: Any, h: Any) -> Any:
        slotted.last = h
        return x, h

    def adds(x: Any, h: Any) -> Any:
        several.add(len(several) + 1)
        return x, h

    def fills(x: Any, h: Any) -> Any:
        memory.append(1)
        return x, h

    def counts_in_c(x: Any, h: Any) -> Any:
        number.value += 1.0
        return x, h

    def notes(x: Any, h: Any) -> Any:
        text.write("b")
        return x, h

    def rebinds(x: Any, h: Any) -> Any:
        nonlocal k
        k += 1
        return x, h

    return {
        "list": (appends, lambda: list(seen), r"seen\[0\]"), "dict": (enters, lambda: dict(table), r"table\['a'\]"),
        "array": (counts, count.tolist, "count"), "attribute": (sets, lambda: vars(o).copy(), r"o\.last"),
        "attribute by name": (sets_by_name, lambda: vars(o).copy(), r"o\.last"), "slot": (sets_a_slot, lambda: hasattr(slotted, "last"), r"slotted\.last"),
        "bytes": (fills, lambda: bytes(memory), "memory"), "ctypes": (counts_in_c, lambda: number.value, "number"), "text": (notes, text.getvalue, "text"),
        "set": (adds, lambda: set(several), "several"), "closure": (rebinds, lambda: k, "k"),
    }  # fmt: skip


@pytest.mark.parametrize("name", writers())
def test_what_a_step_writes_outside_is_refused_and_put_back(name: str) -> None:
    step, look, text = writers()[name]
    before = look()
    with pytest.raises(
        tg.TraceError,
        match=rf"the step of '{step.__name__}' changes {text}\. .*hand the value\s+back.*tg\.eager",
    ):
        tg.unroll(tg.jit(step), np.zeros((2, 2, 3)), np.zeros((2, 3)))
    assert look() == before


def test_a_cell_that_keeps_a_tensor_is_refused_and_left_as_it_was() -> None:
    cell, xs = Keeping(), np.ones((4, 2, 3), np.float32)
    with pytest.raises(tg.TraceError, match=r"changes Keeping\.last"):
        tg.unroll(tg.jit(cell), xs)
    assert cell.last is None
    with tg.eager():
        ys, _ = tg.unroll(tg.jit(cell), xs)
    np.testing.assert_array_equal(cell.last.numpy(), ys[-1].numpy())


def test_what_is_made_once_for_all_may_be_kept() -> None:
    cache: dict[str, Any] = {}

    def step(x: Any, h: Any) -> Any:
        if "w" not in cache:
            cache["w"] = np.full(3, 2.0)
        h = tg.tanh(h + x * cache["w"])
        return h, h

    fast, xs = tg.jit(step), np.ones((2, 2, 3))
    found = tg.unroll(fast, xs, np.zeros((2, 3)))[0]
    tg.unroll(fast, xs, np.zeros((2, 3)))
    assert len(fast._code.runners) == 1
    np.testing.assert_allclose(found.numpy(), tg.unroll(step, xs, np.zeros((2, 3)))[0].numpy())


def test_a_tensor_that_a_recording_has_left_says_so() -> None:
    left: list[Any] = []
    tg.trace(lambda x: left.append(x) or x * 2.0, tg.tensor([1.0]))
    with pytest.raises(tg.TraceError, match="was left by a recording"):
        left[0] + 1.0
    with pytest.raises(tg.TraceError, match=r"reads left\[0\], a tensor that an earlier recording"):
        tg.jit(lambda x: x * left[0])(tg.tensor([1.0]))


def test_random_numbers_are_refused_by_the_name_of_their_generator() -> None:
    rng, own = np.random.default_rng(0), random.Random(0)
    for f, text in (
        (lambda x: x * (1.0 if random.random() < 2 else 0.0), "random.random"),
        (lambda x: x * (1.0 if np.random.rand() < 2 else 0.0), "numpy.random|np.random"),
        (lambda x: x * (1.0 if rng.random() < 2 else 0.0), "rng"),
        (lambda x: x * (1.0 if own.random() < 2 else 0.0), "own"),
    ):
        state = rng.bit_generator.state["state"], own.getstate()
        with pytest.raises(tg.TraceError, match=f"draws random numbers from ({text})"):
            tg.jit(f)(tg.tensor([1.0]))
        assert (rng.bit_generator.state["state"], own.getstate()) == state


def test_iterators_are_refused() -> None:
    once = iter([1.0, 2.0])
    for f, args in (
        (lambda x: x * next(once), ()),
        (lambda x, several: x * sum(several), ((i for i in range(3)),)),
        (lambda x, c: x * next(c), (itertools.count(),)),
    ):
        with pytest.raises(tg.TraceError, match="is an iterator"):
            tg.jit(f)(tg.tensor([1.0]), *args)


def test_results_that_hide_tensors_are_refused() -> None:
    with pytest.raises(
        tg.TraceError, match=r"returns tensors inside a SimpleNamespace \(SimpleNamespace\.y\)"
    ):
        tg.jit(lambda x: types.SimpleNamespace(y=x * 2.0))(tg.tensor([1.0]))


def test_lists_that_are_given_are_not_changed() -> None:
    log: list[Any] = []
    with pytest.raises(tg.TraceError, match="changes a list that it is given"):
        tg.jit(lambda x, log: (log.append(x), x * 2.0)[1])(tg.tensor([1.0]), log)
    assert log == []


def test_an_array_in_a_result_is_the_callers_own() -> None:
    fast, x = tg.jit(lambda x: (x * 2.0, np.zeros(2))), tg.tensor([1.0])
    fast(x)[1][:] = 5.0
    np.testing.assert_array_equal(fast(x)[1], [0.0, 0.0])


# --- tg.elementwise ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, pytest.param(300_000, marks=pytest.mark.full)])
def test_elementwise_functions_see_what_changes(size: int) -> None:
    beta, x = [2.0], np.random.default_rng(0).normal(size=size)
    with contextlib.ExitStack() as stack:
        if size > 3:
            stack.enter_context(pytest.MonkeyPatch.context())

        @tg.elementwise
        def gain(x: Any) -> Any:
            return x * beta[0] + x / beta[0]

        fast = tg.jit(lambda t: gain(t) * 1.5)
        for k in (2.0, 10.0, 0.0, -0.0, 2.0):
            beta[0] = k
            t, u = tg.tensor(x, requires_grad=True), tg.tensor(x, requires_grad=True)
            with np.errstate(all="ignore"):
                y, z = gain(t), fast(u)
                beta[0] = 77.0  # a backward is of the numbers that the forward had
                y.sum().backward()
                z.sum().backward()
                np.testing.assert_allclose(y.numpy(), x * k + x / k)
                np.testing.assert_allclose(z.numpy(), (x * k + x / k) * 1.5)
                np.testing.assert_allclose(t.grad.numpy(), np.full(size, k + 1 / np.float64(k)))
                np.testing.assert_allclose(
                    u.grad.numpy(), np.full(size, (k + 1 / np.float64(k)) * 1.5)
                )


def test_elementwise_gradients_of_gradients_are_of_the_numbers_of_their_forward() -> None:
    power = [2.0]
    f = tg.elementwise(lambda x: x ** power[0])
    x = tg.tensor(2.0, requires_grad=True)
    y = f(x)
    power[0] = 5.0
    y.backward(create_graph=True)
    g, x.grad = x.grad, None
    g.backward()
    assert (float(g.item()), float(x.grad.item())) == (4.0, 2.0)
    assert f(tg.tensor(2.0)).item() == 32.0


def test_elementwise_functions_of_chance_are_refused() -> None:
    with pytest.raises(
        tg.TraceError, match=r"tg\.elementwise: '<lambda>' draws random numbers from random\.random"
    ):
        tg.elementwise(lambda x: x + random.random())(tg.tensor([1.0]))


# --- the size of the batch -----------------------------------------------------------------------------------------------------


def stepped(f: Callable[[Any], Any]) -> Callable[..., Any]:
    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(f(x) + h * 0.5)
        return h, h

    return step


@pytest.mark.parametrize(
    ("f", "fits"),
    [
        (lambda x: x * 2.0 if x.shape[0] == 1 else x, (2, 20)),
        (lambda x: x * 2.0 if len(x) > 16 else x, (1, 2)),
        (lambda x: x * (1.0 if x.shape[0] % 2 else 2.0), (1, 3)),
        (lambda x: x * min(x.shape[0], 10), (20, 30)),
        (lambda x: x + np.arange(x.shape[0])[:, None] * (x.shape[0] > 16), (1, 2)),
        (lambda x: tg.squeeze(x[:, None, :]), (2, 20)),
    ],
)
def test_steps_that_decide_by_the_size_of_the_batch(f: Any, fits: tuple[int, ...]) -> None:
    step = stepped(f)
    fast = tg.jit(step)
    for batch in (4, 1, 2, 3, 11, 13, 20, 30):
        xs, h = np.random.default_rng(batch).normal(size=(3, batch, 3)), np.zeros((batch, 3))
        try:
            found = tg.unroll(fast, xs, h)[0].numpy()
        except tg.CompileError as error:
            assert batch not in fits
            assert f"does with a batch of {batch} something else than with 11 and 13 rows" in str(
                error
            )
        else:
            np.testing.assert_allclose(found, tg.unroll(step, xs, h)[0].numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * x.shape[0],
        lambda x: x / (x.shape[0] + 1),
        lambda x: x - x.mean(0),
        lambda x: x.reshape(x.shape[0], -1),
        lambda x: x + np.zeros((x.shape[0], 3)),
        lambda x: x + tg.broadcast_to(tg.tensor(X), shape=(x.shape[0], 3)),
        lambda x: x * (1 if x.ndim == 2 else 2),
    ],
)
def test_steps_that_use_the_size_of_the_batch_serve_any(f: Any) -> None:
    step = stepped(f)
    fast = tg.jit(step)
    for batch in (4, 1, 3, 2, 20):
        xs, h = np.random.default_rng(batch).normal(size=(3, batch, 3)), np.zeros((batch, 3))
        np.testing.assert_allclose(
            tg.unroll(fast, xs, h)[0].numpy(), tg.unroll(step, xs, h)[0].numpy(), rtol=1e-12
        )


@pytest.mark.parametrize("kind", [tg.cells.GRU, tg.cells.LSTM, tg.cells.LayerNormLSTM])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("first", [0, 1])
def test_parameters_may_have_other_values_when_another_size_of_the_batch_comes(
    first: int, grad: bool, kind: Any
) -> None:
    """All of them, or those from the second on.

    A parameter with new values has a leaf that is newer than those of others.
    """
    cell = kind(3, 4, rng=0, dtype="f8")
    fast, rng = tg.jit(cell), np.random.default_rng(0)
    for batch in (2, 1, 5, 3):
        xs = rng.standard_normal((3, batch, 3))
        with contextlib.nullcontext() if grad else tg.no_grad():
            np.testing.assert_allclose(
                tg.unroll(fast, xs)[0].numpy(), tg.unroll(cell, xs)[0].numpy(), rtol=1e-12
            )
        with tg.no_grad():
            tg.unroll(fast, xs)
        for p in list(cell.parameters())[first::2]:
            p.data = p.numpy() * 1.1


# --- faults --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 6000])
def test_numerical_faults_are_raised_where_numpy_is_told_to(size: int) -> None:
    x = np.full((1, size), -1.0)
    gain = tg.elementwise(lambda x: tg.log(x))
    step = tg.jit(lambda x, h: (tg.log(x) + h, h))
    for f in (
        tg.jit(tg.log),
        gain,
        tg.jit(lambda x: gain(x) * 2.0),
        lambda x: tg.unroll(step, tg.stack([x, x]), np.zeros((1, size))),
    ):
        with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
            f(tg.tensor(x))


# --- memory --------------------------------------------------------------------------------------------------------------------


def test_workspaces_go_with_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.WorkspacePool, "give", GIVE)
    before = running.pool.size
    fast = tg.jit(tg.cells.GRU(3, 4, rng=0))
    ys = tg.unroll(fast, np.zeros((5, 2, 3), np.float32))[0]
    ys.sum().backward()
    ys = tg.unroll(fast, np.zeros((5, 2, 3), np.float32))[0]
    assert running.pool.size > before
    del fast
    ys.sum().backward()
    del ys
    assert running.pool.size == before


def test_workspaces_of_one_step_wait_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large they are together; and threads that wait keep none of them."""
    monkeypatch.setattr(running.WorkspacePool, "give", GIVE)
    monkeypatch.setattr(running, "pool", running.WorkspacePool())
    monkeypatch.setattr(running, "IDLE", 0)
    threads = runtime.threads()
    tg.set_num_threads(2)
    try:
        fast, xs = tg.jit(tg.cells.GRU(3, 4, rng=0)), np.zeros((50, 64, 3), np.float32)
        tg.unroll(fast, xs)[0].sum().backward()
        pool = running.pool
        assert pool.used == 0 < pool.size <= pool.most * 1.25
        waiting = {id(w) for several in pool.waiting.values() for w in several}
        ys = tg.unroll(fast, xs)[0]
        assert pool.used > 0
        ys.sum().backward()
        assert pool.used == 0
        assert waiting == {id(w) for several in pool.waiting.values() for w in several}
    finally:
        tg.set_num_threads(threads)


class Kept:
    """An object with attributes, a slot, a list and a dict of its own."""

    __slots__ = ("__dict__", "slot")

    def __init__(self) -> None:
        self.slot, self.one = "slot", "one"


PLACES: dict[str, Callable[[Any], None]] = {
    "attribute": lambda o: setattr(o[0], "slot", "other"),
    "no attribute": lambda o: delattr(o[0], "slot"),
    "attribute that was missing": lambda o: setattr(o[0], "gone", 1),
    "entry": lambda o: o[1].update(a=4),
    "no entry": lambda o: o[1].pop("a"),
    "entry that was missing": lambda o: o[1].update(gone=5),
    "key": lambda o: o[2].update(new=5),
    "key for another": lambda o: (o[2].pop("b"), o[2].update(c="B")),
    "order": lambda o: o[2].update(a=o[2].pop("a")),
    "value": lambda o: o[3].update(b=5),
    "element": lambda o: o[4].__setitem__(1, "new"),
    "length": lambda o: o[4].append(1),
    "no elements": lambda o: o[4].clear(),
    "own": lambda o: setattr(o[0], "__dict__", {}),
    "type": lambda o: setattr(o[5], "__class__", type("New", (Kept,), {})),
    "class": lambda o: setattr(type(o[5]), "more", 1),
    "entry of a class": lambda o: setattr(type(o[5]), "slots", 4),
}


@pytest.mark.parametrize("name", PLACES)
def test_each_place_is_compared(name: str) -> None:
    class Other(Kept):
        slots = 3

    kept, other = Kept(), Other()
    spaces = [{"a": "A", "b": "B"} for _ in range(3)]
    elements = ["x", "y"]
    found = places.Places()
    for attribute in ("slot", "gone"):
        found.watch(kept, attribute, getattr(kept, attribute, places.MISSING))
    for key in ("a", "gone"):
        found.lookup(spaces[0], key)
    found.keyed.append(spaces[1])
    found.valued.append(spaces[2])
    found.lists.append(elements)
    found.own[0].append(kept)
    found.own[1].append(vars(kept))
    found.types[0].append(other)
    found.types[1].append(Other)
    found.classes[Other] = (list(vars(Other)), list(vars(Other).values()))
    checks = list(found.checks(compiled=True))
    assert all(check() for check in checks)
    for _ in range(3):  # what stays the same objects is the same
        assert all(check() for check in checks)
    PLACES[name]((kept, *spaces, elements, other))

    def holds() -> bool:
        with contextlib.suppress(AttributeError):
            return all(check() for check in checks)
        return False

    assert not holds()


def test_an_attribute_that_fails_is_another_one() -> None:
    class Fails:
        fails = False

        @property
        def value(self) -> str:
            if self.fails:
                raise RuntimeError
            return "value"

    one, found = Fails(), places.Places()
    found.watch(one, "value", one.value)
    checks = list(found.checks(compiled=True))
    assert all(check() for check in checks)
    Fails.fails = True
    with contextlib.suppress(RuntimeError):
        assert not all(check() for check in checks)
