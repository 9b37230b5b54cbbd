"""Random changes of what the code of a function or a cell reads.

The compiled one has to see them, as the plain one does.

A case is a place where a value stands (`PLACES`: a variable of a closure, a global two levels down,
an attribute of an object with slots, ...), a kind of value with two values that differ (`VALUES`),
and a way to run the code (`WAYS`: `tg.jit` of a function or of a cell, `tg.elementwise`, ...). The
code runs with the one value, with the other, and with the first again; values and gradients have to
be those of the plain code each time.
"""

from __future__ import annotations

import array
import contextlib
import copy
import ctypes
import io
import itertools
import operator
import sys
import textwrap
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from tests.interpreted import interpreting

HEAD = """
import argparse, builtins, collections, contextvars, importlib, dataclasses, enum, functools, operator, os, sys, threading, types, weakref
from collections import ChainMap, OrderedDict, UserDict, UserList, defaultdict, deque
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg


class Plain:
    pass


class Slots:
    __slots__ = ("v",)


class Pair(NamedTuple):
    v: Any
    other: int = 0
"""


class Place(NamedTuple):
    """Where a value stands.

    Module-level code, code that puts `value` there, an expression that reads it, and code that puts
    `new` there.
    """

    top: str
    setup: str
    read: str
    change: str
    nonlocals: str = ""


def attribute(
    setup: str, change: str = "o.v = new", read: str = "o.v", top: str = "", nonlocals: str = ""
) -> Place:
    return Place(top, setup, read, change, nonlocals)


OTHER_MODULE = """
def put(value):
    sys.modules['guards_fuzz_again'] = types.ModuleType('guards_fuzz_again')
    sys.modules['guards_fuzz_again'].V = value
"""
PLACES = {
    "closure": Place("", "v = value", "v", "v = new", "v"),
    "closure of a closure": Place("", "v = value\ndef get():\n    def inner(): return v\n    return inner", "get()()", "v = new", "v"),
    "list": Place("", "o = [1, value]", "o[1]", "o[1] = new"),
    "list that is another": Place("", "o = [1, value]", "o[1]", "o = [1, new]", "o"),
    "tuple": Place("", "o = (1, (value,))", "o[1][0]", "o = (1, (new,))", "o"),
    "dict": Place("", "o = {'a': {'b': [value]}}", "o['a']['b'][0]", "o['a']['b'][0] = new"),
    "dict with number keys": Place("", "o = {1: value, '1': 0}", "o[1]", "o[1] = new"),
    "ordered dict": Place("", "o = OrderedDict(a=value)", "o['a']", "o['a'] = new"),
    "default dict": Place("", "o = defaultdict(lambda: value)\nvalue_ = value", "o.get('a', value_)", "o['a'] = new if o.get('a') is None else None; o.__setitem__('a', new)"),
    "deque": Place("", "o = deque([value])", "o[0]", "o[0] = new"),
    "user dict": Place("", "o = UserDict(a=value)", "o['a']", "o['a'] = new"),
    "chain map": Place("", "o = ChainMap({}, {'a': value})", "o['a']", "o.maps[1]['a'] = new"),
    "mapping proxy": Place("", "d = {'a': value}\no = types.MappingProxyType(d)", "o['a']", "d['a'] = new"),
    "values of a dict": Place("", "d = {'a': value}\no = d.values()", "next(iter(o))", "d['a'] = new"),
    "items of a dict": Place("", "d = {'a': value}\no = d.items()", "next(iter(o))[1]", "d.clear(); d['b'] = new"),
    "values of an ordered dict": Place("", "d = OrderedDict(a=value)\no = d.values()", "next(iter(o))", "d['b'] = new; d.move_to_end('b', last=False)"),
    "values of a chain map": Place("", "d = ChainMap({}, {'a': value})\no = d.values()", "next(iter(o))", "d.maps[1]['a'] = new"),
    "proxy of a user dict": Place("", "d = UserDict(a=value)\no = types.MappingProxyType(d)", "o['a']", "d['a'] = new"),
    "user list": Place("", "o = UserList([value])", "o[0]", "o[0] = new"),
    "deque that is filled anew": Place("", "o = deque([value])", "o[-1]", "o.clear(); o.append(new)"),
    "cell of a closure": Place("", "o = types.CellType(value)", "o.cell_contents", "o.cell_contents = new"),
    "exception": Place("", "o = ValueError(value)", "o.args[0]", "o.args = (new,)"),
    "context": Place("", "c = contextvars.ContextVar('c')\no = contextvars.copy_context()\no.run(c.set, value)", "o[c]", "o.run(c.set, new)"),
    "array of objects": Place("", "o = np.empty(1, object)\no[0] = value", "o[0]", "o[0] = new"),
    "namespace": attribute("o = argparse.Namespace(v=value)"),
    "simple namespace": attribute("o = types.SimpleNamespace(v=value)"),
    "namespace by vars": attribute("o = argparse.Namespace(v=value)", read="vars(o)['v']"),
    "plain object": attribute("o = Plain()\no.v = value"),
    "plain object by dict": attribute("o = Plain()\no.v = value", read="o.__dict__['v']"),
    "plain object by a computed name": attribute("o = Plain()\no.v = value", read="getattr(o, chr(118))"),
    "plain object by attrgetter": attribute("o = Plain()\no.v = value", read="operator.attrgetter('v')(o)"),
    "object without a class statement": attribute("o = type('T', (), {})()\no.v = value"),
    "nested objects": attribute("o = Plain()\no.p = Plain()\no.p.v = value", "o.p.v = new", "o.p.v"),
    "nested object that is another": attribute("o = Plain()\no.p = Plain()\no.p.v = value", "q = Plain(); q.v = new; o.p = q", "o.p.v"),
    "slots": attribute("o = Slots()\no.v = value"),
    "data class": attribute("o = Data(value)", top="@dataclasses.dataclass\nclass Data:\n    v: Any"),
    "data class as a dict": attribute("o = Data(value)", read="dataclasses.asdict(o)['v']", top="@dataclasses.dataclass\nclass Data:\n    v: Any"),
    "frozen data class": attribute("o = Data(value)", "object.__setattr__(o, 'v', new)", top="@dataclasses.dataclass(frozen=True)\nclass Data:\n    v: Any"),
    "frozen data class that is another": attribute("o = [Data(value)]", "o[0] = dataclasses.replace(o[0], v=new)", "o[0].v", "@dataclasses.dataclass(frozen=True)\nclass Data:\n    v: Any"),
    "data class with slots": attribute("o = Data(value)", top="@dataclasses.dataclass(slots=True)\nclass Data:\n    v: Any"),
    "named tuple": attribute("o = Pair(value)", "o = Pair(new)", nonlocals="o"),
    "class attribute": attribute("class C: v = value\no = C()", "C.v = new"),
    "class attribute of the class": attribute("class C: v = value", "C.v = new", "C.v"),
    "class attribute of a base": attribute("class A: v = value\nclass C(A): pass\no = C()", "A.v = new"),
    "attribute of the metaclass": attribute("class M(type): v = value\nclass C(metaclass=M): pass", "M.v = new", "C.v"),
    "class method": attribute("class C:\n    u = value\n    @classmethod\n    def v(cls): return cls.u", "C.u = new", "C.v()"),
    "static method": attribute("class C:\n    @staticmethod\n    def v(): return o[0]\no = [value]", "o[0] = new", "C().v()"),
    "property": attribute("class C:\n    @property\n    def v(self): return self.u\no = C()\no.u = value", "o.u = new"),
    "property that is another": attribute("class C:\n    v = property(lambda self: value)\no = C()", "C.v = property(lambda self: new)"),
    "descriptor": attribute("class D:\n    def __get__(self, o, owner): return self.u\nd = D()\nd.u = value\nclass C: v = d\no = C()", "d.u = new"),
    "cached property": attribute("class C:\n    @functools.cached_property\n    def v(self): return value\no = C()", "o.v = new"),
    "getattr of a class": attribute("class C:\n    def __getattr__(self, name): return d[name]\nd = {'v': value}\no = C()", "d['v'] = new"),
    "item of an object": attribute("class C:\n    def __getitem__(self, k): return self.u[k]\no = C()\no.u = [value]", "o.u[0] = new", "o[0]"),
    "callable object": attribute("class C:\n    def __call__(self): return self.u\no = C()\no.u = value", "o.u = new", "o()"),
    "method on an instance": attribute("class C:\n    def m(self): return value\no = C()", "o.m = lambda: new", "o.m()"),
    "method on a class": attribute("class C:\n    def m(self): return value\no = C()", "C.m = lambda self: new", "o.m()"),
    "method of a base by super": attribute("class A:\n    def m(self): return self.u\nclass C(A):\n    def m(self): return super().m()\no = C()\no.u = value", "o.u = new", "o.m()"),
    "bound method": attribute("class C:\n    def m(self): return self.u\no = C()\no.u = value\nm = o.m", "o.u = new", "m()"),
    "bound method of a dict": attribute("d = {'v': value}\nm = d.get", "d['v'] = new", "m('v')"),
    "class of an object": attribute("class A: v = value\nclass B: pass\no = A()", "B.v = new; o.__class__ = B"),
    "attribute that appears": attribute("class C: v = value\no = C()\no.other = 1", "o.__dict__.pop('other', None); o.v = new"),
    "attribute that goes": attribute("class C: pass\no = C()\no.v = value", "C.v = new; o.__dict__.pop('v', None)"),
    "dict of an object": attribute("o = Plain()\no.v = value", "o.__dict__ = {'v': new}"),
    "weak reference": attribute("o = Plain()\no.v = value\nr = weakref.ref(o)", "o.v = new", "r().v"),
    "context variable": attribute("c = contextvars.ContextVar('c')\nc.set(value)", "c.set(new)", "c.get()"),
    "thread local": attribute("o = threading.local()\no.v = value"),
    "match": Place("class Box:\n    __match_args__ = ('v',)\n    def __init__(self, v): self.v = v\ndef pick(o):\n    match o:\n        case Box(v): return v", "o = Box(value)", "pick(o)", "o.v = new"),
    "function attribute": attribute("def o(): return o.v\no.v = value", "o.v = new", "o()"),
    "default": Place("", "def g(v=value): return v", "g()", "g.__defaults__ = (new,)"),
    "keyword default": Place("", "def g(*, v=value): return v", "g()", "g.__kwdefaults__ = {'v': new}"),
    "keyword default in place": Place("", "def g(*, v=value): return v", "g()", "g.__kwdefaults__['v'] = new"),
    "code of a function": Place("", "def g(): return value\ndef h(): return new_[0]\nnew_ = [value]", "g() if g.__code__.co_freevars == ('value',) else h()", "new_[0] = new; g = h", "g"),
    "partial": Place("", "def g(v): return v\np = functools.partial(g, value)", "p()", "p = functools.partial(g, new)", "p"),
    "keywords of a partial": Place("", "def g(v): return v\np = functools.partial(g, v=value)", "p()", "p.keywords['v'] = new"),
    "cached function": Place("", "o = [value]\n@functools.lru_cache\ndef g(): return o[0]", "g()", "o[0] = new; g.cache_clear()"),
    "wrapped function": Place("", "o = [value]\ndef wrap(f):\n    @functools.wraps(f)\n    def inner(): return f()\n    return inner\n@wrap\ndef g(): return o[0]", "g()", "o[0] = new"),
    "single dispatch": Place("", "o = [value]\n@functools.singledispatch\ndef g(k): return 0.0\n@g.register\ndef _(k: int): return o[0]", "g(1)", "o[0] = new"),
    "function that is another": Place("", "def one(): return value\no = [one]", "o[0]()", "o[0] = lambda: new"),
    "global": Place("V = None", "global V\nV = value", "V", "V = new", "global V"),
    "global by name": Place("V = None", "global V\nV = value", "globals()['V']", "V = new", "global V"),
    "global two levels down": Place("V = None\ndef one(): return two()\ndef two(): return V", "global V\nV = value", "one()", "V = new", "global V"),
    "global defined later": Place("def get():\n    try: return LATER\n    except NameError: return FIRST[0]\nFIRST = [None]", "globals().pop('LATER', None)\nFIRST[0] = value", "get()", "LATER = new", "global LATER"),
    "global that hides a builtin": Place("def get(): return divmod(7, 2)", "globals()['divmod'] = lambda a, b: value", "get()", "globals()['divmod'] = lambda a, b: new"),
    "helper of another module": Place("other = types.ModuleType('guards_fuzz_other')\nexec('def get(): return inner()\\ndef inner(): return V', vars(other))", "other.V = value", "other.get()", "other.V = new"),
    "module": Place("config = types.ModuleType('guards_fuzz_config')", "config.V = value", "config.V", "config.V = new"),
    "module in a variable": Place("config = types.ModuleType('guards_fuzz_config')", "config.V = value\nm = config", "m.V", "config.V = new"),
    "module in a list": Place("config = types.ModuleType('guards_fuzz_config')", "config.V = value\no = [config]", "o[0].V", "config.V = new"),
    "module that is imported inside": Place("config = types.ModuleType('guards_fuzz_config')\nsys.modules['guards_fuzz_config'] = config\ndef get():\n    import guards_fuzz_config as c\n    return c.V", "config.V = value", "get()", "config.V = new"),
    "name that is imported inside": Place("config = types.ModuleType('guards_fuzz_config')\nsys.modules['guards_fuzz_config'] = config\ndef get():\n    from guards_fuzz_config import V\n    return V", "config.V = value", "get()", "config.V = new"),
    "another module of the same name": Place(OTHER_MODULE + "def get():\n    import guards_fuzz_again\n    return guards_fuzz_again.V", "put(value)", "get()", "put(new)"),
    "name in another module of the same name": Place(OTHER_MODULE + "def get():\n    from guards_fuzz_again import V as v\n    return v", "put(value)", "get()", "put(new)"),
    "another module that is imported by a text": Place(OTHER_MODULE, "put(value)", "importlib.import_module('guards_fuzz_again').V", "put(new)"),
    "object in a module": Place("config = types.ModuleType('guards_fuzz_config')\nconfig.o = Plain()", "config.o.v = value", "config.o.v", "config.o.v = new"),
    "module of tg": Place("", "m = tg.nn.Module()\nm.v = value", "m.v", "m.v = new"),
    "module in a module of tg": Place("", "m = tg.nn.Module()\nm.inner = [tg.nn.Module()]\nm.inner[0].v = value", "m.inner[0].v", "m.inner[0].v = new"),
    "flag of training": Place("", "m = tg.nn.Module()\none, two = value, value", "one if m.training else two", "two = new; m.eval()", "two"),
    "monkeypatched tg": Place("", "tg.nn.fuzz_v = value", "tg.nn.fuzz_v", "tg.nn.fuzz_v = new"),
}  # fmt: skip


class Value(NamedTuple):
    """Two values that differ, and an expression of x that says which one it is."""

    values: Callable[[], tuple[Any, Any]]
    use: Callable[[Any, Any], Any]
    scalar: bool = False  # the expression may stand in tg.elementwise


def _alike(x: Any, several: Any) -> Any:
    return x * (2.0 if several[0] is several[1] else 3.0)


def _lists() -> tuple[Any, Any]:
    one = [1.0]
    return [one, one], [one, [1.0]]


def _named(x: Any, v: Any) -> Any:
    return x * {
        float: 2.0,
        int: 3.0,
        bool: 4.0,
        np.float32: 5.0,
        np.float64: 6.0,
        str: 7.0,
        type(None): 8.0,
    }.get(type(v), 1.0)


def _buffers() -> tuple[Any, Any]:
    return tg.nn.Buffer(np.full(4, 1.5)), tg.nn.Buffer(np.array([-2.0, 0.5, -1.0, 0.25]))


def _in_try(x: Any, v: Any) -> Any:
    try:
        return x * v.numpy()[0]
    except tg.TinygradError:
        return x * 77.0


VALUES = {
    "floats": Value(lambda: (2.0, -0.7), lambda x, v: x * v, True),
    "zeros of both signs": Value(lambda: (0.0, -0.0), lambda x, v: x / v, True),
    "nan and a number": Value(lambda: (float("nan"), 1.5), lambda x, v: x * v, True),
    "infinity": Value(lambda: (float("inf"), 1.5), lambda x, v: x * v, True),
    "True and 1": Value(lambda: (True, 1), lambda x, v: x * (2.0 if v is True else 3.0), True),
    "1 and 1.0": Value(lambda: (1, 1.0), _named, True),
    "numpy and python": Value(lambda: (np.float64(1.5), 1.5), _named, True),
    "dtypes of numpy numbers": Value(
        lambda: (np.float32(1.5), np.float64(1.5)),
        lambda x, v: x * (2.0 if v.dtype == np.float32 else 3.0),
        True,
    ),
    "complex": Value(lambda: (1 + 2j, 1 - 2j), lambda x, v: x * v.imag, True),
    "large integers": Value(
        lambda: (10**6, 10**6 + 1), lambda x, v: x * (2.0 if v % 2 else 3.0), True
    ),
    "texts": Value(lambda: ("tanh", "relu"), lambda x, v: getattr(tg, v)(x), True),
    "bytes": Value(lambda: (b"\x01", b"\x02"), lambda x, v: x * float(v[0]), True),
    "None": Value(lambda: (None, 1), lambda x, v: x * (2.0 if v is None else 3.0), True),
    "Ellipsis": Value(lambda: (..., None), lambda x, v: x * (2.0 if v is ... else 3.0), True),
    "functions of tg": Value(lambda: (tg.tanh, tg.relu), lambda x, v: v(x), True),
    "reductions": Value(lambda: (tg.sum, tg.max), lambda x, v: x * v(x)),
    "ufuncs": Value(lambda: (np.tanh, np.sin), lambda x, v: v(x)),
    "builtin functions": Value(lambda: (abs, float), lambda x, v: x * v(-2.5), True),
    "lambdas": Value(lambda: (lambda x: x * 2.0, lambda x: x * 3.0), lambda x, v: v(x), True),
    "types": Value(lambda: (int, float), lambda x, v: x * v(2.5), True),
    "lists": Value(lambda: ([1.0, 2.0], [1.0, 3.0]), lambda x, v: x * sum(v), True),
    "lengths of lists": Value(lambda: ([1.0], [1.0, 0.0]), lambda x, v: x * len(v), True),
    "shared and equal": Value(_lists, _alike, True),
    "types of keys": Value(lambda: ({1: 2.0}, {"1": 2.0}), lambda x, v: x * v.get(1, 5.0), True),
    "numbers as keys": Value(
        lambda: ({1: 2.0}, {True: 2.0}),
        lambda x, v: x * (3.0 if any(k is True for k in v) else 2.0),
        True,
    ),
    "order of keys": Value(
        lambda: ({"a": 1.0, "b": 2.0}, {"b": 2.0, "a": 1.0}),
        lambda x, v: x * next(iter(v.values())),
        True,
    ),
    "sets": Value(lambda: ({1, 2}, {1, 3}), lambda x, v: x * sum(v), True),
    "frozen sets": Value(
        lambda: (frozenset("a"), frozenset("b")), lambda x, v: x * (2.0 if "a" in v else 3.0), True
    ),
    "ranges": Value(lambda: (range(3), range(1, 4)), lambda x, v: x * sum(v), True),
    "slices": Value(lambda: (slice(0, 2), slice(1, 3)), lambda x, v: x * x[v].sum()),
    "arrays": Value(lambda: (np.arange(4.0), np.arange(4.0)[::-1].copy()), lambda x, v: x * v),
    "arrays of zeros": Value(lambda: (np.zeros(4), -np.zeros(4)), lambda x, v: x / v),
    "shapes of arrays": Value(
        lambda: (np.ones((1, 4)), np.ones((4,))), lambda x, v: x * float(v.ndim)
    ),
    "dtypes": Value(
        lambda: (np.dtype("f4"), np.dtype("f8")), lambda x, v: x * float(v.itemsize), True
    ),
    "constant tensors": Value(
        lambda: (tg.tensor(np.arange(4.0)), tg.tensor(np.ones(4))), lambda x, v: x * v
    ),
    "parameters": Value(
        lambda: (tg.Parameter(np.arange(4.0)), tg.Parameter(np.ones(4))), lambda x, v: x * v
    ),
    "memory of arrays": Value(
        lambda: (memoryview(np.arange(4.0)), memoryview(np.ones(4))), lambda x, v: x * sum(v), True
    ),
    "arrays of Python": Value(
        lambda: (array.array("i", [1]), array.array("f", [1.5])), lambda x, v: x * v[0], True
    ),
    "values of ctypes": Value(
        lambda: (ctypes.c_double(2.0), ctypes.c_double(-0.7)), lambda x, v: x * v.value, True
    ),
    "files in memory": Value(
        lambda: (io.StringIO("2.0"), io.StringIO("-0.7")),
        lambda x, v: x * float(v.getvalue()),
        True,
    ),
    "item getters": Value(
        lambda: (operator.itemgetter(0), operator.itemgetter(1)),
        lambda x, v: x * v((2.0, 3.0)),
        True,
    ),
    "ufuncs of functions": Value(
        lambda: (np.frompyfunc(lambda a: a * 2.0, 1, 1), np.frompyfunc(lambda a: a * 3.0, 1, 1)),
        lambda x, v: x * float(v(1.5)),
        True,
    ),
    "views of dicts": Value(
        lambda: ({"a": 2.0}.values(), {"a": 3.0}.values()), lambda x, v: x * sum(v), True
    ),
    "byte arrays": Value(
        lambda: (bytearray(b"a"), bytearray(b"b")), lambda x, v: x * float(v[0]), True
    ),
    "buffers": Value(_buffers, lambda x, v: x * tg.tanh(v * 2.0)),
    "buffers in a condition": Value(_buffers, lambda x, v: x if v.sum() > 0 else -x),
    "buffers as numbers": Value(_buffers, lambda x, v: x * float(v.sum() * 0.5), True),
    "buffers in try": Value(_buffers, _in_try, True),
    "copies of buffers": Value(_buffers, lambda x, v: x * copy.copy(v) + x * v.detach()),
    "derived texts": Value(
        lambda: (type("S", (str,), {"k": 2.0})("a"), "a"),
        lambda x, v: x * getattr(v, "k", 3.0),
        True,
    ),
}


def in_function(
    f: Callable[[Any], Any], n: int
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    return f, tg.jit(f)


def in_function_of_function(
    f: Callable[[Any], Any], n: int
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    g = tg.jit(f)
    return lambda x: f(x) * 2.0, tg.jit(lambda x: g(x) * 2.0)


def in_cell(f: Callable[[Any], Any], n: int) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    class Step(tg.Cell):
        hidden_size = n

        def forward(self, x: Any, h: Any) -> Any:
            h = tg.tanh(f(x) * 0.3 + h * 0.5)
            return h, h

    cell = Step()
    fast = tg.jit(cell)

    def run(one: Any) -> Callable[[Any], Any]:
        return lambda x: tg.unroll(one, tg.stack([tg.stack([x, x * 0.5])] * 3), np.zeros((2, n)))[0]

    return run(cell), run(fast)


def in_elementwise(
    f: Callable[[Any], Any], n: int
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    return f, tg.elementwise(f)


def in_elementwise_in_function(
    f: Callable[[Any], Any], n: int
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    g = tg.elementwise(f)
    return lambda x: f(x) * 2.0, tg.jit(lambda x: g(x) * 2.0)


def in_argument(
    f: Callable[[Any], Any], n: int
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """The function that reads is an argument of the compiled one."""
    fast = tg.jit(lambda x, several: several["f"][0](x))
    return f, lambda x: fast(x, {"f": [f]})


WAYS = {
    "jit of a function": in_function, "jit of a cell": in_cell, "elementwise": in_elementwise, "elementwise in jit": in_elementwise_in_function,
    "jit in jit": in_function_of_function, "argument": in_argument,
}  # fmt: skip
_number = itertools.count()


def build(
    place: Place, use: Callable[[Any, Any], Any], value: Any
) -> tuple[Callable[[Any], Any], Callable[[Any], None]]:
    """The function that reads a place directly, and what changes it."""
    others = (
        f"nonlocal {place.nonlocals}"
        if place.nonlocals and not place.nonlocals.startswith("global")
        else place.nonlocals or "pass"
    )
    text = "\n".join([
        HEAD, place.top, "def make(use, value):", textwrap.indent(place.setup, "    "), "    def f(x):", f"        return use(x, {place.read})",
        "    def change(new):", f"        {others}", f"        {place.change}", "    return f, change",
    ])  # fmt: skip
    module = types.ModuleType(f"guards_fuzz_{next(_number)}")
    sys.modules[module.__name__] = module  # where classes are looked for
    exec(compile(text, module.__name__, "exec"), vars(module))
    made: tuple[Any, Any] = module.make(use, value)
    return made


def result(f: Callable[[Any], Any], x: np.ndarray, value: Any) -> list[np.ndarray]:
    """The value of a function, and the gradients for its argument and for a parameter that it reads."""
    t = tg.tensor(x, requires_grad=True)
    if isinstance(value, tg.Parameter):
        value.grad = None
    y = f(t)
    y.sum().backward()
    grads = [t.grad, value.grad if isinstance(value, tg.Parameter) else None]
    return [y.numpy(), *(g.numpy() for g in grads if g is not None)]


def case(seed: int, *, compiled: bool) -> str:
    """One change; see the module."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(list(PLACES)))
    way = str(rng.choice(list(WAYS)))
    kind = str(rng.choice([k for k, v in VALUES.items() if v.scalar or "elementwise" not in way]))
    n = 5000 if compiled and way == "elementwise" and not kind.startswith("slices") else 4
    values = VALUES[kind].values()
    shown = f"{name}, {kind}, {way} (seed {seed})"
    x = rng.uniform(-2.0, 2.0, n)
    f, change = build(PLACES[name], VALUES[kind].use, values[0])
    with contextlib.nullcontext() if compiled else interpreting(), np.errstate(all="ignore"):
        plain, fast = WAYS[way](f, n)
        buffer = isinstance(values[0], tg.nn.Buffer)
        for step, value in enumerate((values[0], values[1], *[values[0]] * (3 if buffer else 1))):
            if step < 3:
                change(value) if step else None
            else:  # it stays where it is, and gets other values
                value.data = value.numpy() * -0.75
            try:
                expected = result(plain, x, value)
            except (TypeError, tg.TinygradError):
                # a function in a class is a method there, and the like
                return "invalid"
            try:
                found = result(fast, x, value)
            except tg.TinygradError:
                return "refused"
            for k, (a, b) in enumerate(zip(expected, found, strict=True)):
                same = np.allclose(b, a, rtol=1e-9, atol=1e-12, equal_nan=True) and np.array_equal(
                    np.signbit(a[a == 0]), np.signbit(b[a == 0])
                )
                assert same, (
                    f"{shown}: part {k} at step {step} is {b.ravel()[:4]}; expected {a.ravel()[:4]}"
                )
    return "equal"
