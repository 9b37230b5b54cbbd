"""The facts of every entry agree with its forward function.

What the compiler and the pictures believe of an operation stands in its entry. Each kind of fact is
tried here on arrays for every primitive that states it, and a primitive that lacks a fact which
others need fails with a message that says which part of the package does without it.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.test_jit_operations import EXAMPLES
from tests.test_primitives import takes_floats
from tinygrad_rnn.compiler.host import fusable, reducible
from tinygrad_rnn.compiler.layout import is_view
from tinygrad_rnn.compiler.program import Builder
from tinygrad_rnn.compiler.program import given as compiled_as
from tinygrad_rnn.compiler.value import Value
from tinygrad_rnn.core.primitive import REGISTRY, Primitive
from tinygrad_rnn.core.record import apply
from tinygrad_rnn.core.trace import trace
from tinygrad_rnn.ops import facts as facts_file
from tinygrad_rnn.ops import windows  # noqa: F401  (for the registry)
from tinygrad_rnn.ops.facts import (
    COSTLY,
    FREE,
    WAYS,
    Assign,
    AtIndices,
    Facts,
    Gather,
    OneHot,
    Reduction,
    Scatter,
    by_library,
    cost_of,
    facts_of,
    infix,
    is_identity,
    is_logical,
    is_zero,
    linear_groups,
    signs,
    stops_gradient,
    ways,
)
from tinygrad_rnn.ops.views import Axis, Regrouped, SizeUnknown, View, groups, reshaped
from tinygrad_rnn.recurrent import checkpoint  # noqa: F401  (for the registry)

# Others were made by other tests (a dot in the name), or are derivatives of programs.
NAMES = [n for n in REGISTRY if "." not in n and not re.search(r"_d\d+$", n)]
FLOATS = [np.float32, np.float64]
DTYPES = [*FLOATS, np.int64, np.int8, np.bool_]
Given = tuple[list[Any], dict[str, Any]]

# Shapes (or arrays) of the inputs and params, besides the examples of the entries.
FURTHER: dict[str, list[Given]] = {
    "reshape": [([a], {"shape": b}) for a, b in [
        ((2, 3, 4), (6, 4)), ((2, 3, 4), (2, 12)), ((2, 3, 4), (4, 6)), ((6, 4), (2, 3, 2, 2)), ((2, 6), (4, 3)), ((3, 1, 2), (1, 3, 2, 1)),
        ((2, 3), (6, 1)), ((1, 1), ()), ((4, 1, 3), (2, 2, 3)), ((4, 3, 2), (2, 1, 2, 6)), ((0, 3), (0,)), ((2, 0), (0, 5)), ((5,), (5,))]],
    "transpose": [([(2, 3, 4)], {"axes": (-1, 0, 1)}), ([(1, 3)], {"axes": (1, 0)})],
    "broadcast_to": [([(2, 1, 3)], {"shape": (4, 2, 5, 3)}), ([(1,)], {"shape": (1,)})],
    "getitem": [([(4, 5)], {"index": i}) for i in [
        slice(None, None, -1), (slice(3, 0, -2), 4), (..., -1), (None, slice(1, 3), None, -2), (2, 3), (), slice(2, 2), (True,), np.int64(1),
        (slice(None, None, 3), slice(-3, None)), np.array([3, 0])]],
    "concatenate": [([(2, 3)], {"axis": 1}), ([(2, 0, 2), (2, 3, 2), (2, 1, 2)], {"axis": -2})],
    "stack": [([(2, 3)] * 3, {"axis": 1}), ([(2,)], {"axis": 0})],
    "roll": [([(5,)], {"shift": s, "axis": 0}) for s in (2, -1, 0, 5, 12)] + [([(0, 2)], {"shift": 1, "axis": 0})],
    "pad": [([(2, 3)], {"pad_width": w, "value": 0.0}) for w in (0, 1, (2, 0), ((0, 0), (1, 2)))],
    "scatter": [([s], {"index": i, "shape": (4, 5)}) for s, i in [
        ((5,), 1), ((5,), -1), ((2, 5), slice(1, 3)), ((4, 2), (slice(None), slice(-2, None))), ((), (2, 3)), ((1, 4), (None, ..., 2)),
        ((2, 5), slice(None, None, 2)), ((4, 5), ...), ((0, 5), slice(3, 1))]],
    "part": [([(9,)], {"begin": 2, "shape": s}) for s in ((), (1,), (2, 3), (3, 1, 2))],
}  # fmt: skip


class Symbol:
    """A size of which nothing is known: whoever computes with it fails."""

    def __repr__(self) -> str:
        return "N"


def given(name: str) -> list[Given]:
    """Inputs (shapes, or arrays of integers) and all params with which a primitive is tried."""
    entry = REGISTRY[name]
    examples = entry.examples or [([(2, 3)] * len(entry.inputs), {})]
    if entry.elementwise:
        shapes: list[Any] = [(2, 3)] * len(entry.inputs)
        examples = [(shapes, {}), *((shapes, params) for _, params in entry.examples or [])]
    return [
        ([v if isinstance(v, tuple) else np.asarray(v) for v in values], {**entry.defaults, **p})
        for values, p in [*examples, *FURTHER.get(name, [])]
    ]


def drawn(values: Sequence[Any], rng: np.random.Generator, dtype: Any = np.float64) -> list[Any]:
    """Arrays for the shapes among some inputs; a condition or an index is given as an array."""
    return [_draw(v, rng, dtype) if isinstance(v, tuple) else v for v in values]


def _draw(shape: tuple[int, ...], rng: np.random.Generator, dtype: Any) -> Any:
    if np.dtype(dtype).kind == "f":
        return rng.uniform(0.3, 2.0, shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def stating(fact: str) -> list[str]:
    """The primitives that state a fact."""
    return [n for n in NAMES if getattr(facts_of(REGISTRY[n]), fact) not in (None, False)]


def index_of(shape: Sequence[int]) -> list[Any]:
    return list(np.indices(shape, sparse=False)) if shape else []


def evaluated(expression: str, **values: Any) -> Any:
    """The value of an expression of the scalar language, on arrays."""
    known = {"maximum": np.maximum, "minimum": np.minimum}
    expression = expression.replace(" or ", " | ").replace(" and ", " & ")
    return eval(expression, known, values)


# --- what is missing ------------------------------------------------------------------------------


def missing(entry: Primitive) -> str:
    """Say what an entry lacks, and who does without it; empty: nothing."""
    facts = facts_of(entry)
    if facts.runs_again or facts.library:
        return ""
    if not ways(entry):
        return (
            f"'{entry.name}' states no fact from which code for it could be made: tg.jit refuses a cell that uses it, and a compiled "
            f"function leaves it to NumPy, with the values around it stored. Give it a scalar expression, or one of {', '.join(WAYS)}."
        )
    if (
        facts.view is not None
        and facts.cost is not FREE
        and not entry.elementwise
        and not facts.moves
    ):
        return (
            f"'{entry.name}' is a view and does not cost {FREE!r}: the compiler keeps it for backward in place of reading its source "
            "again. State cost=FREE, or what moves its elements as a whole array."
        )
    collects = facts.reduction or facts.scan or facts.extreme
    if collects and "axis" not in entry.defaults:
        return f"'{entry.name}' collects elements and has no parameter 'axis', by which the compiler knows over which."
    if facts.casts and "dtype" not in entry.defaults:
        return f"'{entry.name}' casts and has no parameter 'dtype', by which the compiler knows to which."
    wanted = isinstance(facts.moves, Gather) and facts.moves.fill
    if wanted and wanted not in entry.defaults:
        return f"'{entry.name}' has no parameter '{wanted}', which its Gather names as the constant between elements."
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_lacks_nothing(name: str) -> None:
    assert not missing(REGISTRY[name]), missing(REGISTRY[name])


def _new(name: str, **facts: Any) -> Primitive:
    made = Primitive(name, lambda x: x, [], shape=lambda x: x, facts=Facts(**facts))
    del REGISTRY[name]
    return made


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "tg.jit refuses a cell that uses it"),
        ({"view": facts_file.SUM}, "in place of reading its source again"),
        ({"scan": facts_file.LARGEST}, "no parameter 'axis'"),
        ({"casts": True}, "no parameter 'dtype'"),
        ({"moves": Gather("value")}, "no parameter 'value'"),
    ],
)
def test_what_a_new_entry_lacks_is_said(facts: dict[str, Any], words: str) -> None:
    assert words in missing(_new("new_operation", **facts))


# --- who can handle it ----------------------------------------------------------------------------

NO_GRADIENT = {
    "stop_gradient": "that is what it is for",
    "zeros_like": "it is 0 whatever its input is",
    "one_hot": "its input holds indices",
}


def in_gradient(entry: Primitive) -> str:
    """Say how a gradient comes through, or what is missing."""
    if any(entry.rules):
        return "by its rules"
    if not takes_floats(entry):
        return "there is none"
    if entry.name in NO_GRADIENT or result_kinds(entry) <= set("iub"):
        return "there is none"
    return f"'{entry.name}' has no derivative rule, and its result is floating"


def in_tangent(entry: Primitive) -> str:
    """Say how a tangent passes through, or what is missing."""
    if entry.linear is not None:
        return "by the operation itself"
    if entry.tangent is not None:
        return "by a function of its own"
    if entry.elementwise or not any(entry.rules):
        return "by its rules"
    return f"'{entry.name}' is neither linear nor elementwise and says no tangent: jvp refuses it"


def in_cell(entry: Primitive) -> str:
    """Say how a compiled cell has it, or what is missing."""
    if facts_of(entry).runs_again:
        return "as its single steps"
    if facts_of(entry).decomposition is not None or facts_of(entry).in_steps is not None:
        return "by what it is made of"
    if by_library(entry):
        return "not at all: that is refused"
    if facts_of(entry).view is not None:
        return "where its source lies, if strides allow it"
    if not ways(entry):
        return missing(entry)
    return {"pieces": "by copies into their places", "moves": "by loops of its own"}.get(
        ways(entry)[0], "in a loop with others"
    )


def in_function(entry: Primitive) -> str:
    """Say how a compiled function has it. Whatever it has no loop for it leaves to NumPy."""
    facts = facts_of(entry)
    if facts.runs_again:
        return "as its single steps"
    if facts.decomposition is not None:
        return "by what it is made of"
    if facts.view is not None:
        return "where its source lies, if strides allow it"
    collects = facts.reduction is not None and not isinstance(facts.reduction.start, bool)
    scalar = entry.scalar is not None and not is_logical(entry)
    return "in a loop with others" if scalar or facts.casts or collects else "by NumPy"


PARTS: dict[str, Callable[[Primitive], str]] = {
    "gradient": in_gradient,
    "tangent": in_tangent,
    "cell": in_cell,
    "function": in_function,
}


def result_kinds(entry: Primitive) -> set[str]:
    """The kinds of dtype of its results on its examples."""
    rng = np.random.default_rng(0)
    several = given(entry.name)
    return {np.asarray(entry.forward(*drawn(v, rng), **p)).dtype.kind for v, p in several}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", NAMES)
def test_each_part_of_the_package_can_handle_it(name: str, part: str) -> None:
    answer = PARTS[part](REGISTRY[name])
    assert not answer.startswith("'"), answer


def test_how_each_part_handles_an_operation() -> None:
    found = {n: [PARTS[part](REGISTRY[n]) for part in PARTS] for n in NAMES}
    assert found["tanh"] == ["by its rules"] * 2 + ["in a loop with others"] * 2
    assert found["softmax"][2:] == ["by what it is made of"] * 2
    assert found["transpose"][1:3] == [
        "by the operation itself",
        "where its source lies, if strides allow it",
    ]
    assert found["take"] == [
        "by its rules",
        "by the operation itself",
        "by loops of its own",
        "by NumPy",
    ]
    assert found["solve"][2:] == ["not at all: that is refused", "by NumPy"]
    assert found["rfft"][2:] == ["by what it is made of", "by NumPy"]
    assert found["concatenate"][2:] == ["by copies into their places", "by NumPy"]
    assert found["less"][0] == found["argmax"][0] == "there is none"
    none = {n for n in NAMES if found[n][0] == "there is none"}
    assert none >= NO_GRADIENT.keys() and "floor" not in none
    assert found["max"][1] == "by a function of its own"
    assert found["checkpoint"][2:] == ["as its single steps"] * 2


def test_a_new_operation_that_a_part_cannot_handle() -> None:
    entry = _new("new_operation")
    REGISTRY["new_operation"] = entry
    try:
        answers = {part: say(entry) for part, say in PARTS.items()}
    finally:
        del REGISTRY["new_operation"]
    assert "no derivative rule" in answers["gradient"]
    assert "tg.jit refuses a cell that uses it" in answers["cell"]
    assert answers["function"] == "by NumPy"
    entry = Primitive("new_operation", lambda x: x, [lambda g: g], shape=lambda x: x)
    del REGISTRY["new_operation"]
    assert "jvp refuses it" in in_tangent(entry)


@pytest.mark.parametrize("name", [n for n in NAMES if not facts_of(REGISTRY[n]).runs_again])
def test_a_compiled_function_has_it_as_its_facts_say(name: str) -> None:
    """The compiler's own division of a program of one operation: loops, views, and what is NumPy's."""
    entry = REGISTRY[name]
    for values, params in given(name):
        kind = np.float64 if takes_floats(entry) else np.int64
        xs = drawn(values, np.random.default_rng(0), kind)
        if entry.elementwise:  # conditions are not brought to the dtype of the others
            numeric = range(len(xs))[entry.promotes]
            xs = [x if k in numeric else x > 1 for k, x in enumerate(xs)]
        if not all(x.size for x in xs) or not np.asarray(entry.forward(*xs, **params)).size:
            continue
        program = trace(lambda *ts, params=params: apply(entry, ts, params), *xs)
        builder, found = Builder(), list[Value]()
        builder.known.update({node: compiled_as(node) for node in program.inputs})
        builder.add(program.nodes, found)
        loops = all(is_view(v) or fusable(v) or reducible(v) for v in found)
        says = in_function(entry)
        if says == "in a loop with others":
            assert loops or not any(x.dtype.kind == "f" for x in xs)
        elif says == "by NumPy":
            assert not loops


@pytest.mark.parametrize("name", [n for n in NAMES if not facts_of(REGISTRY[n]).runs_again])
def test_every_operation_is_tried_in_a_compiled_cell(name: str) -> None:
    if name != "part" and not by_library(
        REGISTRY[name]
    ):  # which cuts the results of a piece of code that is run again
        assert name in {example.name for example in EXAMPLES}


def test_no_two_operations_have_one_sign_in_a_picture() -> None:
    signs_of = [facts_of(REGISTRY[n]).symbol or n for n in NAMES]
    assert len(set(signs_of)) == len(signs_of)


def test_what_has_no_facts_is_known_for_nothing() -> None:
    assert facts_of(None) == Facts()
    entry = _new("new_operation")
    entry.facts = None
    assert facts_of(entry) == Facts() and ways(entry) == []


# --- where elements come from ---------------------------------------------------------------------


def _cases(fact: str) -> list[Any]:
    return [
        pytest.param(n, *g, id=f"{n}-{k}") for n in stating(fact) for k, g in enumerate(given(n))
    ]


@pytest.mark.parametrize(("name", "values", "params"), _cases("view"))
def test_a_view_is_where_numpy_reads(
    name: str, values: list[Any], params: dict[str, Any], rng: np.random.Generator
) -> None:
    entry = REGISTRY[name]
    [x] = drawn(values, rng)
    expected = np.asarray(entry.forward(x, **params))
    stated = facts_of(entry).view
    assert stated is not None
    found = stated(params, x.shape, expected.shape)
    if found is None:
        plain = not expected.size or not np.shares_memory(expected, x)
        assert plain, f"NumPy makes a view of '{name}' {params}, and the entry does not say which"
        return
    assert found.rank == expected.ndim
    if not expected.size:
        return
    places = found.at(index_of(expected.shape))
    np.testing.assert_array_equal(np.broadcast_to(x[places], expected.shape), expected)
    # the same by offset and strides, in arrays that lie in different ways
    for whole in (x, x.T.copy().T, np.repeat(x, 2, axis=0)[::2] if x.ndim else x):
        step = whole.itemsize
        layout = found.layout(0, [s // step for s in whole.strides])
        if layout is None:
            assert isinstance(found, Regrouped)
            assert not np.shares_memory(whole.reshape(expected.shape), whole)
        else:
            offset, strides = layout
            places = offset + sum(map(operator.mul, index_of(expected.shape), strides), np.array(0))
            own = sum(
                map(operator.mul, index_of(x.shape), (s // step for s in whole.strides)),
                np.array(0),
            )
            memory = np.full(int(own.max()) + 1, np.nan)
            memory[own] = x
            np.testing.assert_array_equal(np.broadcast_to(memory[places], expected.shape), expected)


@pytest.mark.parametrize(("name", "values", "params"), _cases("view"))
def test_a_view_does_not_compute_with_a_size_that_is_a_symbol(
    name: str, values: list[Any], params: dict[str, Any]
) -> None:
    entry = REGISTRY[name]
    stated = facts_of(entry).view
    assert stated is not None
    [x] = drawn(values, np.random.default_rng(0))
    shape = np.shape(entry.forward(x, **params))
    for k, n in enumerate(x.shape):
        # the axes of the result that have the size of this one, if there is one such axis
        same = [i for i, m in enumerate(shape) if m == n]
        if x.shape.count(n) != 1 or len(same) != 1 or n < 2:
            continue
        size = Symbol()
        source = tuple(size if i == k else m for i, m in enumerate(x.shape))
        result = tuple(size if i == same[0] else m for i, m in enumerate(shape))
        try:
            found = stated(params, source, result)
        except SizeUnknown:
            continue
        numbers = stated(params, x.shape, shape)
        if isinstance(found, Regrouped):
            assert isinstance(numbers, Regrouped) and found.groups == numbers.groups
        else:
            assert found == numbers


N = Symbol()


@pytest.mark.parametrize(
    ("name", "params", "source", "shape", "how"),
    [
        ("getitem", {"index": (slice(0, 2),)}, (N, 3), (2, 3), "some"),
        ("getitem", {"index": (slice(None, None, -1),)}, (N, 3), (N, 3), "some"),
        ("getitem", {"index": (0,)}, (N, 3), (3,), "one"),
        ("reshape", {"shape": (-1,)}, (N, 3), (Symbol(),), "mixed"),
    ],
)
def test_what_needs_the_size_says_so(
    name: str, params: dict[str, Any], source: Any, shape: Any, how: str
) -> None:
    stated = facts_of(REGISTRY[name]).view
    assert stated is not None
    with pytest.raises(SizeUnknown) as error:
        stated(params, source, shape)
    assert error.value.how == how


def test_views_of_a_batch() -> None:
    view: Any = facts_of(REGISTRY["getitem"]).view
    whole = view({"index": (slice(0, N), slice(2, 4))}, (N, 8), (N, 2))
    assert whole.at([5, 1]) == (5, 3)
    assert whole == view({"index": (..., slice(2, 4))}, (N, 8), (N, 2))
    assert reshaped((N, 2, 3), (N, 6)).at([5, 4]) == (5, 1, 1)
    assert reshaped((N, 6), (1, N, 2, 3)).at([0, 5, 1, 2]) == (5, 5)
    assert reshaped((6, N), (2, 3, N)).layout(7, (10, 1)) == (7, (30, 10, 1))
    assert reshaped((N, 0), (0,)).layout(0, (0, 1)) == (0, (0,))  # of no elements none is read
    with pytest.raises(SizeUnknown):
        groups((0,), (0, N))
    assert groups((1, N, 4), (N, 2, 2)) == [([0], []), ([1], [0]), ([2], [1, 2])]


def test_axes_that_run_together() -> None:
    diagonal = View((Axis(((0, 1),)), Axis(((0, 1),))), 1)
    assert diagonal.layout(2, (4, 1)) == (2, (5,))
    assert diagonal.at([3]) == (3, 3)
    assert diagonal.whole_axes((3, 3), (3,)) is None


def test_axes_of_a_view() -> None:
    transpose: Any = facts_of(REGISTRY["transpose"]).view
    turned = transpose({"axes": (2, 0, 1)}, (2, 3, 4), (4, 2, 3))
    assert turned.permutation((2, 3, 4), (4, 2, 3)) == (2, 0, 1)
    spread = facts_of(REGISTRY["broadcast_to"]).view({}, (1, 3), (2, 4, 3))  # type: ignore[misc]
    assert spread.whole_axes((1, 3), (2, 4, 3)) == (None, None, 1)
    assert spread.permutation((1, 3), (2, 4, 3)) is None
    assert reshaped((2, 3), (2, 1, 3)).whole_axes((2, 3), (2, 1, 3)) == (0, None, 1)  # type: ignore[union-attr]
    assert reshaped((6,), (2, 3)).whole_axes((6,), (2, 3)) is None  # type: ignore[union-attr]
    taken: Any = facts_of(REGISTRY["getitem"]).view
    for index in (slice(1, 3), slice(0, 2), slice(None, None, -1), 0):
        shape = np.zeros((3,))[index].shape
        assert taken({"index": index}, (3,), shape).whole_axes((3,), shape) is None


@pytest.mark.parametrize(("name", "values", "params"), _cases("pieces"))
def test_pieces_are_put_together_to_the_result(
    name: str, values: list[Any], params: dict[str, Any], rng: np.random.Generator
) -> None:
    entry = REGISTRY[name]
    stated = facts_of(entry).pieces
    assert stated is not None
    xs = drawn(values, rng)
    expected = np.asarray(entry.forward(*xs, **params))
    pieces = stated(params, [x.shape for x in xs], expected.shape)
    if pieces is None:
        assert facts_of(entry).moves, f"'{name}' {params} has no pieces, and nothing moves it"
        return
    found = np.zeros(expected.shape)
    filled = np.zeros(expected.shape, int)
    index = index_of(expected.shape)
    for piece in pieces:
        inside = np.ones(expected.shape, bool)
        for places, bounds in zip(index, piece.box, strict=True):
            if bounds is not None:
                inside &= (places >= bounds[0]) & (places < bounds[1])
        own = [places[inside] for places in index]
        found[inside] = np.broadcast_to(
            xs[piece.operand][piece.view.at(own)], own[0].shape if own else ()
        )
        filled += inside
    np.testing.assert_array_equal(found, expected)
    assert filled.max(initial=0) <= 1  # no two pieces meet


def test_pieces_of_a_batch() -> None:
    pieces: dict[str, Any] = {n: facts_of(REGISTRY[n]).pieces for n in stating("pieces")}
    assert pieces["concatenate"]({"axis": 1}, [(N, 2), (N, 3)], (N, 5))[1].view.at([7, 4]) == (7, 2)
    assert pieces["stack"]({"axis": 0}, [(N, 2)] * 2, (2, N, 2))[1].view.at([1, 7, 0]) == (7, 0)
    assert pieces["pad"]({"pad_width": ((0, 0), (1, 0)), "value": 0}, [(N, 2)], (N, 3))[0].box == (
        None,
        (1, 3),
    )
    assert pieces["scatter"]({"index": (slice(None), 1), "shape": (N, 4)}, [(N,)], (N, 4))[
        0
    ].view.at([7, 1]) == (7,)
    assert pieces["roll"]({"shift": 1, "axis": 0}, [(N, 2)], (N, 2)) is None
    for name, params, sources, shape in [
        ("concatenate", {"axis": 0}, [(N, 2), (N, 2)], (Symbol(), 2)),
        ("pad", {"pad_width": 1, "value": 0}, [(N, 2)], (Symbol(), 4)),
        ("scatter", {"index": 0, "shape": (N, 2)}, [(2,)], (N, 2)),
    ]:
        with pytest.raises(SizeUnknown):
            pieces[name](params, sources, shape)


@pytest.mark.parametrize(("name", "values", "params"), _cases("moves"))
def test_elements_are_moved_as_the_entry_says(
    name: str, values: list[Any], params: dict[str, Any], rng: np.random.Generator
) -> None:
    entry = REGISTRY[name]
    moves = facts_of(entry).moves
    xs = drawn(values, rng)
    expected = np.asarray(entry.forward(*xs, **params))
    if isinstance(moves, Gather):
        numbers = moves.numbers(entry, np.arange(1, xs[0].size + 1).reshape(xs[0].shape), params)
        flat = np.append(xs[0].reshape(-1), moves.constant(params))
        np.testing.assert_array_equal(flat[numbers - 1], expected)
    elif isinstance(moves, Scatter):
        whole = np.arange(expected.size).reshape(expected.shape)
        places = moves.numbers(whole, params, xs[0].shape)
        assert np.shape(places) == xs[0].shape
        found = np.zeros(expected.size)
        np.add.at(found, places, xs[0])
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-15)
    elif isinstance(moves, Assign):
        numbers = np.arange(1, xs[1].size + 1).reshape(xs[1].shape)
        places = entry.forward(np.zeros(xs[0].shape, int), numbers, **params)
        found = np.where(places > 0, xs[1].reshape(-1)[places - 1], xs[0])
        np.testing.assert_array_equal(found, expected)
    elif isinstance(moves, AtIndices):
        np.testing.assert_allclose(at_indices(moves, xs, params["axis"]), expected, rtol=1e-15)
    else:
        assert isinstance(moves, OneHot)
        found = np.zeros(expected.shape, expected.dtype)
        for place in np.ndindex(xs[0].shape):
            found[(*place, xs[0][place])] = 1
        np.testing.assert_array_equal(found, expected)


def at_indices(moves: AtIndices, xs: Sequence[Any], axis: int) -> Any:
    """What reads or adds at indices, element by element."""
    x, indices = xs[0], xs[1]
    axis %= x.ndim
    wide = 1 if moves.aligned else indices.ndim
    shape = (
        indices.shape if moves.aligned else (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    )
    found = x.copy() if moves.adds or moves.puts else np.zeros(shape)
    for place in np.ndindex(shape):
        k = indices[place] if moves.aligned else indices[place[axis : axis + wide]]
        there = (*place[:axis], k, *place[axis + wide :])
        if moves.adds:
            found[there] += xs[2][place]
        elif moves.puts:
            found[there] = xs[2][place]
        else:
            found[place] = x[there]
    return found


# --- what is collected ----------------------------------------------------------------------------


def first_of(reduction: Reduction, dtype: Any) -> Any:
    """What a reduction begins with in a dtype."""
    kind = np.dtype(dtype).kind
    if isinstance(reduction.start, bool) or kind == "f":
        return reduction.start
    if kind == "b":
        return reduction.start > 0
    limits = np.iinfo(dtype)
    if math.isfinite(reduction.start):
        return int(reduction.start)
    return limits.max if reduction.start > 0 else limits.min


def collected(reduction: Reduction, elements: Any, dtype: Any) -> list[Any]:
    """The states of a collection of elements, in the dtype of the result."""
    state = np.asarray(first_of(reduction, dtype)).astype(dtype)
    states = [state]
    for x in elements:
        x = np.asarray(x, bool if isinstance(reduction.start, bool) else dtype)
        state = np.asarray(evaluated(reduction.step, a=state, x=x), dtype)
        states.append(state)
    return states


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "values", "params"), _cases("reduction"))
def test_a_reduction_collects_to_the_result(
    name: str, values: list[Any], params: dict[str, Any], dtype: Any, rng: np.random.Generator
) -> None:
    entry = REGISTRY[name]
    reduction = facts_of(entry).reduction
    assert reduction is not None
    [x] = drawn(values, rng, dtype)
    x = np.where(rng.random(x.shape) < 0.3, -x, x).astype(dtype) if x.dtype != bool else x
    expected = np.asarray(entry.forward(x, **params))
    axis = params["axis"]
    axes = range(x.ndim) if axis is None else [a % x.ndim for a in np.atleast_1d(axis)]
    rows = np.moveaxis(x, list(axes), range(len(axes))).reshape(-1, expected.size)
    states = collected(reduction, rows, expected.dtype)
    found = np.broadcast_to(states[-1], expected.size).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("name", stating("reduction") + stating("scan"))
def test_a_reduction_says_what_becomes_of_a_zero(name: str) -> None:
    reduction = facts_of(REGISTRY[name]).reduction or facts_of(REGISTRY[name]).scan
    assert reduction is not None
    zeros = np.array([-0.0, -0.0])
    result = np.asarray(REGISTRY[name].forward(zeros)).reshape(-1)[-1]
    state = collected(reduction, zeros, result.dtype)[-1]
    lost = np.signbit(float(state)) and not np.signbit(float(result))
    assert reduction.plain_zero == lost
    assert reduction.additive == (name in ("sum", "cumsum"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "values", "params"), _cases("scan"))
def test_a_scan_gives_the_states_of_a_collection(
    name: str, values: list[Any], params: dict[str, Any], dtype: Any, rng: np.random.Generator
) -> None:
    entry = REGISTRY[name]
    scan = facts_of(entry).scan
    assert scan is not None
    [x] = drawn(values, rng, dtype)
    expected = np.asarray(entry.forward(x, **params))
    if not x.ndim or not x.size:
        np.testing.assert_array_equal(expected, x)
        return
    states = collected(scan, np.moveaxis(x, params["axis"], 0), expected.dtype)[1:]
    np.testing.assert_allclose(np.stack(states, params["axis"]), expected, rtol=1e-6)


@pytest.mark.parametrize("name", stating("extreme"))
def test_an_extreme_is_the_first_that_is_ahead(name: str) -> None:
    entry, facts = REGISTRY[name], facts_of(REGISTRY[name])
    ahead: Callable[[Any, Any], Any] = {">": operator.gt, "<": operator.lt}[facts.extreme or ""]
    for row in itertools.product([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan], repeat=3):
        best = 0
        for k, x in enumerate(row):
            if ahead(x, row[best]) or (x != x and row[best] == row[best]):
                best = k
        assert entry.forward(np.array(row), axis=0) == best


# --- what it is made of ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("name", "values", "params"), _cases("decomposition"))
def test_a_decomposition_computes_the_same(
    name: str, values: list[Any], params: dict[str, Any], dtype: Any, rng: np.random.Generator
) -> None:
    entry = REGISTRY[name]
    made: Any = facts_of(entry).decomposition
    xs = drawn(values, rng, dtype)
    if not all(x.size for x in xs):
        return
    expected = np.asarray(entry.forward(*xs, **params))
    found = made(*map(tg.tensor, xs), **params).numpy()
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == np.float32 else 1e-12)
    parts = trace(lambda *tensors: made(*tensors, **params), *xs).nodes
    assert entry not in [n.primitive for n in parts]
    lacking = [n.op for n in parts if not ways(n.primitive)]
    assert not lacking, f"'{name}' is made of {lacking}, for which there is no code either"


def test_the_operations_of_users_are_known_by_their_functions(rng: np.random.Generator) -> None:
    x = rng.normal(size=5).astype(np.float32)

    @tg.elementwise
    def swish(x: Any) -> Any:
        return x / (1 + tg.exp(-x))

    @tg.custom_vjp
    def step(x: Any) -> Any:
        return x > 0

    for op in (swish, step):
        entry = op.primitive  # type: ignore[union-attr]
        made: Any = facts_of(entry).decomposition
        np.testing.assert_allclose(made(tg.tensor(x)).numpy(), entry.forward(x), rtol=1e-6)


@pytest.mark.parametrize(("name", "values", "params"), _cases("contraction"))
def test_a_contraction_is_an_einsum(
    name: str, values: list[Any], params: dict[str, Any], rng: np.random.Generator
) -> None:
    entry = REGISTRY[name]
    stated = facts_of(entry).contraction
    assert stated is not None
    xs = drawn(values, rng)
    found = stated(params, [x.ndim for x in xs])
    letters: dict[str, str] = {}
    for label in itertools.chain(*found.terms):
        letters.setdefault(label, chr(ord("a") + len(letters)))
    sizes: dict[str, int] = {}
    for term, x in zip(found.terms, xs, strict=True):
        for label, n in zip(term, x.shape, strict=True):
            sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
    spread = [
        np.broadcast_to(x, [sizes[label] for label in term])
        for term, x in zip(found.terms, xs, strict=True)
    ]
    terms = ",".join("".join(letters[label] for label in term) for term in found.terms)
    text = f"{terms}->{''.join(letters[label] for label in found.result)}"
    np.testing.assert_allclose(
        np.einsum(text, *spread), entry.forward(*xs, **params), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize(("name", "values", "params"), _cases("casts"))
def test_a_cast_converts_every_element(
    name: str, values: list[Any], params: dict[str, Any], rng: np.random.Generator
) -> None:
    [x] = drawn(values, rng, np.float32)
    found = REGISTRY[name].forward(x, **params)
    np.testing.assert_array_equal(found, x.astype(params["dtype"]))
    assert found.dtype == params["dtype"]


# --- how it counts --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if not facts_of(REGISTRY[n]).runs_again])
def test_an_operation_is_linear_where_it_is_said_to_be(name: str, rng: np.random.Generator) -> None:
    entry = REGISTRY[name]
    for values, params in given(name):
        floating = [k for k, v in enumerate(values) if isinstance(v, tuple) or v.dtype.kind == "f"]
        found = linear_groups(entry, params, len(values))
        for group in found:
            if not group & set(floating):
                continue
            one, two = drawn(values, rng), drawn(values, rng)
            two = [b if k in group else a for k, (a, b) in enumerate(zip(one, two, strict=True))]
            both = [
                2.0 * a - b if k in group else a
                for k, (a, b) in enumerate(zip(one, two, strict=True))
            ]
            made = [np.asarray(entry.forward(*xs, **params), float) for xs in (one, two, both)]
            np.testing.assert_allclose(made[2], 2.0 * made[0] - made[1], rtol=1e-9, atol=1e-9)


def test_linear_groups() -> None:
    def of(name: str, count: int, **params: Any) -> list[set[int]]:
        entry = REGISTRY[name]
        return [set(g) for g in linear_groups(entry, {**entry.defaults, **params}, count)]

    assert of("add", 2) == of("subtract", 2) == [{0, 1}]
    assert of("multiply", 2) == of("matmul", 2) == [{0}, {1}]
    assert of("divide", 2) == of("neg", 1) == of("sum", 1) == of("take", 2) == [{0}]
    assert of("where", 3) == [{1, 2}] and of("index_add", 3) == [{0, 2}]
    assert of("concatenate", 3) == [{0, 1, 2}]
    assert of("pad", 1, value=0.0) == [{0}] and of("pad", 1, value=1.0) == []
    for name in ("square", "power", "tanh", "maximum", "max", "softmax", "sign", "floor", "abs"):
        assert of(name, len(REGISTRY[name].inputs)) == []
    assert linear_groups(None, {}, 1) == ()


def test_sums() -> None:
    found = {n: s for n in NAMES if (s := signs(REGISTRY[n])) is not None}
    assert found == {
        "positive": (1,),
        "stop_gradient": (1,),
        "neg": (-1,),
        "add": (1, 1),
        "subtract": (1, -1),
    }
    x, y = np.array([1.5, -2.0]), np.array([0.25, 3.0])
    for name, weights in found.items():
        xs = (x, y)[: len(weights)]
        total = sum(map(operator.mul, weights, xs), np.zeros(2))
        np.testing.assert_array_equal(REGISTRY[name].forward(*xs), total)
    assert signs(None) is None


def test_signs_between_inputs() -> None:
    found = {n: s for n in NAMES if (s := infix(REGISTRY[n])) is not None}
    assert found == {
        "add": "+",
        "subtract": "-",
        "multiply": "*",
        "divide": "/",
        "power": "**",
        "matmul": "@",
        "floor_divide": "//",
        "bitwise_and": "&",
        "bitwise_or": "|",
        "bitwise_xor": "^",
        "left_shift": "<<",
        "right_shift": ">>",
    }
    assert infix(None) is None


def test_kinds_that_follow_from_the_scalar_expression() -> None:
    def those(holds: Callable[[Primitive], bool]) -> list[str]:
        return sorted(n for n in NAMES if holds(REGISTRY[n]))

    assert those(is_logical) == ["logical_and", "logical_not", "logical_or"]
    assert those(is_identity) == ["positive", "stop_gradient"]
    assert those(stops_gradient) == ["stop_gradient"]
    assert those(is_zero) == ["zeros_like"]
    assert not any(f(None) for f in (is_logical, is_identity, stops_gradient, is_zero))


@pytest.mark.parametrize(
    ("scalar", "name"),
    [
        ("x", "FREE"),
        ("0", "FREE"),
        ("-x", "CHEAP"),
        ("a * b", "CHEAP"),
        ("maximum(a, b)", "CHEAP"),
        ("a < b", "CHEAP"),
        ("not x", "CHEAP"),
        ("a / b", "ORDINARY"),
        ("a + b * b", "ORDINARY"),
        ("select(c, a, b)", "ORDINARY"),
        ("floor(x)", "ORDINARY"),
        ("a + exp(b)", "COSTLY"),
        ("power(a, b)", "COSTLY"),
    ],
)
def test_what_a_scalar_expression_costs(scalar: str, name: str) -> None:
    assert cost_of(scalar).name == name


def test_a_stated_cost_hides_no_costly_function() -> None:
    for name in NAMES:
        entry = REGISTRY[name]
        if entry.scalar is not None and cost_of(entry.scalar) is COSTLY:
            assert facts_of(entry).cost is COSTLY, name
        # what is free is read where its source lies
        if facts_of(entry).cost is FREE:
            assert facts_of(entry).view is not None or is_zero(entry), name


# --- words ----------------------------------------------------------------------------------------


INTEGERS = {
    "invert",
    "bitwise_not",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "left_shift",
    "right_shift",
}


def test_formulas_compute_the_operation(rng: np.random.Generator) -> None:
    for name in stating("formula"):
        entry = REGISTRY[name]
        formula = facts_of(entry).formula
        assert formula is not None
        for values, params in given(name):
            xs = drawn(values, rng)
            if name in INTEGERS:
                xs = [(8 * x).astype(int) for x in xs]
                xs = [abs(x) for x in xs] if name.endswith("shift") else xs
            found = eval(formula, {}, {**dict(zip(entry.inputs, xs, strict=True)), **params})
            np.testing.assert_allclose(found, entry.forward(*xs, **params), rtol=1e-12)
    assert [n for n in NAMES if facts_of(REGISTRY[n]).subscript] == ["getitem"]


def test_words_are_sentences() -> None:
    for name in stating("rule_in_words"):
        words = facts_of(REGISTRY[name]).rule_in_words
        assert words and words[0] in words[0].upper() + "g" and words.endswith("."), name
        assert REGISTRY[name].rules, f"'{name}' has no rule to be put into words"
    for name in stating("symbol"):
        assert 0 < len(facts_of(REGISTRY[name]).symbol or "") < 4, name


@pytest.mark.parametrize("name", [n for n in NAMES if REGISTRY[n].add_into is not None])
def test_a_gradient_is_added_in_place(name: str, rng: np.random.Generator) -> None:
    entry = REGISTRY[name]
    for values, params in given(name):
        [x] = drawn(values, rng)
        out = np.asarray(entry.forward(x, **params))
        g = rng.normal(size=out.shape)
        total = rng.normal(size=x.shape)
        node: Any = type("Node", (), {"primitive": entry, "params": params, "inputs": [x]})
        expected = total + np.asarray(entry.rules[0](g, (out, x), node, 0))
        assert entry.add_into is not None
        entry.add_into(total, g, **params)
        np.testing.assert_allclose(total, expected, rtol=1e-12)
