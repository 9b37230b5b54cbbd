"""Misuse, and what the user is told: the class of the error and the words that matter."""

from __future__ import annotations

import ast
import builtins
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.formats.safetensors import FormatError


class Case(NamedTuple):
    what: str
    misuse: Callable[[], Any]
    kind: type[Exception]
    words: tuple[str, ...]  # regular expressions, each of which must occur


def named(shape: tuple[int, ...], name: str, dtype: Any = np.float32) -> tg.Tensor:
    return tg.tensor(np.ones(shape, dtype), requires_grad=np.dtype(dtype).kind == "f", name=name)


def run(cell: Any, xs: Any, state: Any = None) -> Any:
    return tg.unroll(cell, xs, state)


def zeros(*shape: int) -> tg.Tensor:
    return tg.tensor(np.zeros(shape, np.float32))


class Drifting(tg.Cell):
    """A cell whose state changes at step 2."""

    hidden_size = 3

    def __init__(self, change: Callable[[Any], Any]) -> None:
        self.w = tg.Parameter(np.ones(1, np.float32))
        self.change, self.t = change, -1

    def initial_state(self, batch_size: int) -> Any:
        self.t = -1
        return {"h": self.zeros(batch_size, 3), "c": (self.zeros(batch_size, 3),)}

    def forward(self, x: Any, state: Any) -> Any:
        self.t += 1
        state = {"h": state["h"] + 1, "c": (state["c"][0] * 2,)}
        return state["h"], self.change(state) if self.t == 2 else state


def with_rule(rule: Callable[..., Any]) -> Any:
    op = tg.custom_vjp(lambda x: x * 2)
    op.vjp(rule)
    return op


def walk(rule: Callable[..., Any], **options: Any) -> None:
    with_rule(rule)(named((2, 3), "x")).sum().backward(**options)


def two_rules() -> Any:
    op = tg.custom_vjp(lambda x, y: x * y)
    op.vjp(lambda g, x, y: (g * y,))
    return op


HERE = r"test_errors\.py:\d+"
x23, x4, w45 = named((2, 3), "x"), named((4,), "bias"), named((4, 5), "w")
double = named((2, 3), "d", np.float64)
i3 = tg.tensor([0, 1, 2], name="ids")

CASES = [
    # --- shapes and axes
    Case("matmul", lambda: x23 @ w45, tg.ShapeError,
         (r"matmul\(x float32\(2, 3\), w float32\(4, 5\)\)", r"expected a\.shape\[-1\] == b\.shape\[-2\]; found 3 != 4", HERE)),
    Case("matmul of a vector", lambda: x23 @ x4, tg.ShapeError, (r"expected a\.shape\[-1\] == b\.shape\[0\]; found 3 != 4", HERE)),
    Case("matmul of a 0-d tensor", lambda: x23 @ tg.tensor(2.0), tg.ShapeError, (r"at least one dimension", r"use \* for a scalar")),
    Case("broadcasting", lambda: x23 + x4, tg.ShapeError,
         (r"add\(x float32\(2, 3\), bias float32\(4,\)\)", r"axis -1 has sizes 3 and 4; expected equal, or 1", HERE)),
    Case("broadcasting an array", lambda: x23 * np.ones((4,)), tg.ShapeError, (r"multiply\(x float32\(2, 3\), array float", HERE)),
    Case("where", lambda: tg.where(x23 > 0, x23, x4), tg.ShapeError, (r"where\(bool\(2, 3\), x float32", r"bias float32\(4,\)", "axis -1")),
    Case("reshape", lambda: x23.reshape(4, -1), tg.ShapeError, (r"reshape\(x float32\(2, 3\)", r"6 elements and cannot become \(4, -1\)", HERE)),
    Case("two unknown sizes", lambda: x23.reshape(-1, -1), tg.ShapeError, (r"6 elements and cannot become \(-1, -1\)",)),
    Case("transpose", lambda: x23.transpose(0, 0), tg.ShapeError, (r"axes \(0, 0\) are no permutation of the 2 axes", HERE)),
    Case("swapaxes", lambda: x23.swapaxes(0, 2), tg.ShapeError, (r"axis 2 is out of range; expected -2 to 1",)),
    Case("sum over an axis", lambda: x23.sum(axis=2), tg.ShapeError, (r"sum\(x float32\(2, 3\), axis=2", r"axis 2 is out of range", HERE)),
    Case("mean over an axis twice", lambda: x23.mean(axis=(0, -2)), tg.ShapeError, (r"names an axis twice",)),
    Case("softmax axis", lambda: tg.softmax(x23, axis=5), tg.ShapeError, (r"softmax\(x", r"axis 5 is out of range", HERE)),
    Case("cummax axis", lambda: tg.cummax(x23, 3), tg.ShapeError, (r"cummax\(x", r"axis 3 is out of range")),
    Case("cumsum axis", lambda: tg.cumsum(x23, 3), tg.ShapeError, (r"cumsum\(x", r"axis 3 is out of range")),
    Case("max of nothing", lambda: named((0, 3), "e").max(), tg.ShapeError, (r"max\(e float32\(0, 3\)", "empty", "nothing to choose from")),
    Case("argmax of nothing", lambda: tg.argmax(named((0,), "e")), tg.ShapeError, ("argmax", "nothing to choose from")),
    Case("concatenate", lambda: tg.concatenate([x23, w45]), tg.ShapeError, (r"operand 1 has shape \(4, 5\); expected \(2, 3\) except on axis 0",)),
    Case("concatenate nothing", lambda: tg.concatenate([]), tg.ShapeError, (r"concatenate: expected at least one tensor; the list is empty",)),
    Case("stack", lambda: tg.stack([x23, x23, x4]), tg.ShapeError, (r"operand 2 has shape \(4,\); expected \(2, 3\)", HERE)),
    Case("split", lambda: tg.split(x23, 2, axis=1), tg.ShapeError, (r"split: axis 1 of shape \(2, 3\) has size 3, which 2 equal parts",)),
    Case("einsum sizes", lambda: tg.einsum("ij,jk->ik", x23, w45), tg.ShapeError, (r"label 'j' has size 3 in one operand and 4 in another",)),
    Case("einsum operands", lambda: tg.einsum("ij,jk->ik", x23), tg.ShapeError, (r"names 2 operands; found 1",)),
    Case("einsum axes", lambda: tg.einsum("ijk->i", x23), tg.ShapeError, (r"einsum of 'ijk->i': 'ijk' names 3 axes; found shape \(2, 3\)",)),
    Case("outer", lambda: tg.outer(x23, x4), tg.ShapeError, (r"outer: expected two vectors; found shapes \(2, 3\) and \(4,\)",)),
    Case("broadcast_to", lambda: tg.broadcast_to(x4, (2, 3)), tg.ShapeError, (r"broadcast_to\(bias", r"sizes 4 and 3")),
    Case("expand_dims", lambda: tg.expand_dims(x4, 3), tg.ShapeError, (r"axis 3 is out of range",)),
    Case("squeeze", lambda: tg.squeeze(x23, 0), tg.ShapeError, (r"squeeze: expected size 1 on axis 0; found shape \(2, 3\)",)),
    Case("pad", lambda: tg.pad(x4, ((1, 1), (2, 2))), tg.ShapeError, (r"pad\(bias", "pad_width")),
    Case("roll", lambda: tg.roll(x4, 1, 3), tg.ShapeError, (r"roll\(bias", "axis 3 is out of range")),
    # --- indexing
    Case("index out of range", lambda: x23[2], tg.ShapeError, (r"getitem\(x float32\(2, 3\)", r"\[2\] does not fit shape \(2, 3\)", HERE)),
    Case("too many indices", lambda: x4[0, 1], tg.ShapeError, (r"\[0, 1\] does not fit shape \(4,\)", HERE)),
    Case("index by a float", lambda: x4[0.5], tg.ShapeError, (r"index \[0\.5\] does not fit",)),
    Case("index by a string", lambda: x4["a"], tg.ShapeError, (r"index \[a\] does not fit",)),
    Case("index by a float tensor", lambda: x4[x4], tg.DtypeError, (r"an index must be integers or booleans; found a float32 tensor",)),
    Case("mask of another shape", lambda: x23[np.ones((3, 2), bool)], tg.ShapeError, (r"getitem\(x", r"array\(3, 2\)")),
    Case("list index of a float tensor", lambda: [1, 2][x4[0]], tg.DtypeError, (r"a float32 tensor cannot be an index", r"\.astype\(int\)")),
    Case("take out of range", lambda: tg.take(x4, np.array([4])), tg.ShapeError, (r"take\(bias", "4 is out of bounds", HERE)),
    Case("take by floats", lambda: tg.take(x4, np.array([0.5])), tg.DtypeError, (r"take\(bias", "indices must be integers; found float64")),
    Case("take_along_axis", lambda: tg.take_along_axis(x23, np.array([0, 1]), 1), tg.ShapeError, (r"indices of shape \(2, 3\) except on axis 1",)),
    Case("index_add", lambda: tg.index_add(x4, np.array([0]), x23), tg.ShapeError, (r"expected values of shape \(1,\); found \(2, 3\)",)),
    Case("one_hot range", lambda: tg.one_hot(np.array([3]), classes=3), tg.ShapeError, (r"indices from 3 to 3 for 3 classes",)),
    Case("assignment of the wrong shape", lambda: zeros(2, 3).__setitem__(0, x4), tg.ShapeError,
         (r"setitem\(float32\(2, 3\), bias float32\(4,\), index=0\)", r"\(3,\) and \(4,\)", HERE)),
    Case("assignment out of range", lambda: zeros(2, 3).__setitem__(5, 1.0), tg.ShapeError, (r"\[5\] does not fit shape \(2, 3\)", HERE)),
    Case("assignment to a parameter", lambda: tg.Parameter([1.0], name="w").__setitem__(0, 1.0), tg.GraphError,
         (r"assignment to w: its gradient would be lost", r"t = t \+ 0", "no_grad")),
    # --- numbers and dtypes
    Case("mixed precision", lambda: x23 + double, tg.DtypeError,
         (r"add: float32 and float64 do not mix", r"x float32\(2, 3\), d float64\(2, 3\)", r"\.astype", HERE)),
    Case("mixed precision in matmul", lambda: x23 @ double.T, tg.DtypeError, (r"matmul: float32 and float64 do not mix", HERE)),
    Case("mixed precision in concatenate", lambda: tg.concatenate([x23, double]), tg.DtypeError, (r"concatenate: float32 and float64", HERE)),
    Case("a string as operand", lambda: x23 + "a", tg.DtypeError, (r"add\(x float32\(2, 3\), 'a'\)", "found str")),
    Case("None as operand", lambda: tg.tanh(None), tg.DtypeError, (r"tanh\(None\)", "found NoneType")),
    Case("complex array as operand", lambda: x23 * np.ones(3, complex), tg.DtypeError, (r"multiply\(", "found ndarray")),
    Case("complex tensor", lambda: tg.tensor(1j), tg.DtypeError, (r"complex128 is not supported; use float32",)),
    Case("half precision", lambda: tg.tensor(np.ones(2, np.float16)), tg.DtypeError, (r"float16 is not supported; use float32",)),
    Case("strings", lambda: tg.tensor(["a", "b"]), tg.DtypeError, (r"<U1 is not supported",)),
    Case("strings as floats", lambda: tg.tensor("1.5", dtype=np.float32), tg.DtypeError, (r"<U3 is not supported",)),
    Case("None", lambda: tg.tensor(None), tg.DtypeError, (r"object is not supported",)),
    Case("ragged", lambda: tg.tensor([[1.0], [2.0, 3.0]]), tg.ShapeError, (r"tensor: the nested lists are ragged",)),
    Case("unknown dtype", lambda: tg.tensor([1.0], dtype="floot"), tg.DtypeError, (r"no dtype 'floot'; use float32",)),
    Case("integer leaf", lambda: tg.tensor([1, 2], requires_grad=True), tg.DtypeError, (r"gradients need float32 or float64; this tensor is int64",)),
    Case("integer parameter", lambda: tg.Parameter([1, 2]), tg.DtypeError, (r"gradients need float32 or float64; this tensor is int64",)),
    Case("astype", lambda: x23.astype(complex), tg.DtypeError, (r"complex128 is not supported",)),
    Case("a list that holds gradients", lambda: tg.tensor([x23, x23]), tg.GraphError, (r"requires gradients, which would be cut off; use tg\.stack",)),
    # --- values
    Case("truth of many", lambda: bool(x23), tg.ShapeError, (r"bool: a tensor of shape \(2, 3\) is neither true nor false", r"\.any\(\)", r"tg\.where")),
    Case("item of many", lambda: x23.item(), tg.ShapeError, (r"item: expected one element, found shape \(2, 3\)",)),
    Case("float of many", lambda: float(x23), tg.ShapeError, (r"expected one element, found shape \(2, 3\)",)),
    Case("length of a number", lambda: len(tg.tensor(1.0)), tg.ShapeError, (r"len: a 0-d tensor has no length",)),
    Case("bare array", lambda: np.asarray(x23), tg.GraphError, (r"cut the tape", r"t\.detach\(\)")),
    Case("unknown NumPy function", lambda: np.linalg.eig(x23), tg.NotDifferentiableError, (r"np\.linalg\.eig has no derivative here", r"\.numpy\(\)")),
    Case("unknown ufunc", lambda: np.logaddexp2(x23, x23), tg.NotDifferentiableError, (r"np\.logaddexp2 has no derivative", r"tg\.register_ufunc")),
    Case("writing into an array", lambda: np.ones(3).__iadd__(x23[0]), tg.NotDifferentiableError, (r"np\.add was asked to write", r"a = a \+ t")),
    Case("data of another shape", lambda: setattr(zeros(2), "data", np.ones(3)), tg.ShapeError, (r"shape \(2,\), the new array \(3,\)",)),
    Case("data of a computed tensor", lambda: setattr(x23 * 2, "data", np.ones((2, 3))), tg.GraphError, (r"was computed; assign to a leaf", "detach")),
    Case("data that is text", lambda: setattr(zeros(2), "data", ["a", "b"]), tg.DtypeError, (r"data must be numbers; found <U1",)),
    Case("requires_grad of a computed tensor", lambda: setattr(x23 * 2, "requires_grad", False), tg.GraphError, (r"was computed", r"t\.detach\(\)")),
    # --- walking
    Case("backward without gradients", lambda: (zeros(2) * 2).sum().backward(), tg.GraphError, (r"does not require gradients", "requires_grad=True")),
    Case("backward of many", lambda: (x23 * 2).backward(), tg.GraphError, (r"shape \(2, 3\) is not one number; sum it, or pass backward\(gradient\)",)),
    Case("gradient of another shape", lambda: (x23 * 2).backward(np.ones(3)), tg.ShapeError, (r"has shape \(3,\); expected \(2, 3\)",)),
    Case("gradient of another dtype", lambda: (x23 * 2).backward(double), tg.DtypeError, (r"is float64; expected float32", r"\.astype")),
    Case("tape of a constant", lambda: tg.tape(zeros(2) * 2), tg.GraphError, (r"was not recorded", "requires_grad=True")),
    # --- rules
    Case("rule of the wrong shape", lambda: walk(lambda g: g.sum(axis=0)), tg.RuleError,
         (r"rule of .*\(x float32\(2, 3\)\) for 'x' returned shape \(3,\); expected \(2, 3\)", HERE)),
    Case("rule of a broadcasting shape", lambda: walk(lambda g: g.reshape(1, 2, 3)), tg.RuleError, (r"returned shape \(1, 2, 3\); expected \(2, 3\)",)),
    Case("rule of the wrong dtype", lambda: walk(lambda g: g.astype(np.float64)), tg.RuleError, (r"returned float64; expected float32", HERE)),
    Case("rule that returns a number", lambda: walk(lambda g: 1.0), tg.RuleError, (r"returned a float; expected an array of shape \(2, 3\)", HERE)),
    Case("rule that returns a tuple", lambda: walk(lambda g: (g,)), tg.RuleError, (r"returned a tuple; expected an array of shape \(2, 3\)", HERE)),
    Case("rule that fails", lambda: walk(lambda g, x: g / {}["x"]), tg.RuleError, (r"rule of .* for 'x' raised KeyError: 'x'", HERE)),
    Case("rule that fails when recorded", lambda: walk(lambda g: g @ g, create_graph=True), tg.RuleError, (r"raised ShapeError: matmul\(", HERE)),
    Case("rule that asks for what there is not", lambda: with_rule(lambda g, speed: g), tg.RuleError,
         (r"asks for \['g', 'speed'\]; it may ask for g, then any of \['out', 'x'",)),
    Case("rule without g", lambda: with_rule(lambda x: x), tg.RuleError, (r"asks for \['x'\]; it may ask for g",)),
    Case("rule with *args", lambda: with_rule(lambda *args: args[0]), tg.RuleError, (r"it may ask for g, then any of",)),
    Case("rule that is no Python function", lambda: with_rule(np.cos), tg.RuleError, (r"found <ufunc 'cos'>\. Wrap it: lambda",)),
    Case("too few gradients", lambda: two_rules()(x23, x23).sum().backward(), tg.RuleError,
         (r"expected a tuple of 2 gradients, one for each of \['x', 'y'\]; found a tuple of 1",)),
    Case("custom_vjp without a derivative", lambda: tg.custom_vjp(_bare)(x23), tg.RuleError, (r"'_bare' has no derivative yet: state it with @_bare\.vjp",)),
    Case("custom_vjp of a ufunc", lambda: tg.custom_vjp(np.sign), tg.RuleError, (r"expected a Python function.*found <ufunc 'sign'>",)),
    Case("register_ufunc", lambda: tg.register_ufunc(np.arctan2, lambda g, x: g), tg.RuleError, (r"'arctan2' has 2 inputs; found 1 rules",)),
    # --- elementwise functions
    Case("elementwise with a sum", lambda: tg.elementwise(lambda x: x / x.sum())(x23), tg.RuleError, (r"it uses sum, which is not elementwise",)),
    Case("elementwise with matmul", lambda: tg.elementwise(_with_matmul)(x4), tg.TinygradError, (r"_with_matmul|matmul",)),
    Case("elementwise with an array from outside", lambda: tg.elementwise(lambda x: x * np.ones(3, np.float32))(x23), tg.TinygradError,
         (r"its arguments and Python numbers only",)),
    Case("elementwise with a parameter from outside", lambda: tg.elementwise(lambda x: x * x4)(x4), tg.TinygradError,
         (r"its arguments and Python numbers only",)),
    Case("elementwise with if", lambda: tg.elementwise(_with_if)(x4), tg.TraceError, (r"is being traced", r"tg\.where in place of `if`", HERE)),
    Case("elementwise of two values", lambda: tg.elementwise(lambda x: (x, x))(x4), tg.RuleError, (r"it must return one value",)),
    # --- tracing
    Case("trace with if", lambda: tg.trace(_with_if, tg.Spec(())), tg.TraceError, (r"Spec\(\(\), bool\)", r"tg\.where", HERE)),
    Case("trace with item", lambda: tg.trace(lambda x: x * x.sum().item(), tg.Spec((2,))), tg.TraceError, (r"may not look at numbers", HERE)),
    Case("trace with numpy", lambda: tg.trace(lambda x: x.numpy(), tg.Spec((2,))), tg.TraceError, (r"is not known", HERE)),
    Case("trace with range", lambda: tg.trace(lambda x: [x for _ in range(tg.argmax(x))], tg.Spec((2,))), tg.TraceError, (r"is not known", HERE)),
    Case("trace with a wrong shape", lambda: tg.trace(lambda x: x @ w45, tg.Spec((2, 3))), tg.ShapeError, (r"matmul\(x\[0\] float32\(2, 3\), w", HERE)),
    # --- unroll
    Case("empty sequence", lambda: run(tg.cells.LSTM(2, 3), np.ones((0, 4, 2))), tg.ShapeError, (r"the sequence is empty", r"\(0, 4, 2\)", "T >= 1")),
    Case("no time axis", lambda: run(tg.cells.LSTM(2, 3), np.ones(4)), tg.ShapeError, (r"xs has shape \(4,\); expected \(T, batch, \.\.\.\)",)),
    Case("a number as sequence", lambda: run(tg.cells.LSTM(2, 3), 1.0), tg.ShapeError, (r"xs must have time as their first axis", r"\[\(\)\]")),
    Case("sequences of different length", lambda: run(lambda x, s: (x[0], s), (np.ones((3, 2)), np.ones((4, 2))), zeros(1)), tg.ShapeError,
         (r"all of one length; found shapes \[\(3, 2\), \(4, 2\)\]",)),
    Case("a list of recorded tensors", lambda: run(tg.cells.Elman(3, 2), [x23, x23]), tg.GraphError, (r"use tg\.stack",)),
    Case("function without state", lambda: run(lambda x, s: (x, s), np.ones((3, 1, 2))), tg.ShapeError, (r"is a plain function", r"pass state=")),
    Case("cell that returns one thing", lambda: run(lambda x, s: x, np.ones((3, 1, 2)), zeros(1)), tg.ShapeError,
         (r"must return \(output, new_state\); at step t=0 it returned Tensor",)),
    Case("cell that returns three things", lambda: run(lambda x, s: (x, s, s), np.ones((3, 1, 2)), zeros(1)), tg.ShapeError, (r"a tuple of 3",)),
    Case("shape of the state", lambda: run(Drifting(lambda s: {**s, "h": s["h"][:, :2]}), np.ones((5, 2, 1))), tg.ShapeError,
         (r"state of cell 'Drifting' changed over step t=2: state\['h'\] had shape \(2, 3\), now \(2, 2\)",)),
    Case("shape inside the state", lambda: run(Drifting(lambda s: {**s, "c": (s["c"][0][:1],)}), np.ones((5, 2, 1))), tg.ShapeError,
         (r"step t=2: state\['c'\]\[0\] had shape \(2, 3\), now \(1, 3\)",)),
    Case("dtype of the state", lambda: run(Drifting(lambda s: {**s, "h": s["h"].astype(np.float64)}), np.ones((5, 2, 1))), tg.DtypeError,
         (r"step t=2: state\['h'\] was float32, now float64", r"\.astype\(float32\)")),
    Case("missing component", lambda: run(Drifting(lambda s: {"h": s["h"]}), np.ones((5, 2, 1))), tg.ShapeError,
         (r"step t=2: expected the components \[\"state\['h'\]\", \"state\['c'\]\[0\]\"\]; found \[\"state\['h'\]\"\]",)),
    Case("renamed component", lambda: run(Drifting(lambda s: {"h": s["h"], "d": s["c"]}), np.ones((5, 2, 1))), tg.ShapeError, (r"state\['d'\]",)),
    Case("state that grows by broadcasting", lambda: run(lambda x, h: (x, h + x), np.ones((3, 4, 2)), zeros(2)), tg.ShapeError,
         (r"cell '<lambda>' changed over step t=0: h had shape \(2,\), now \(4, 2\)", "broadcasting a first state is not enough")),
    Case("output that changes its keys", lambda: run(lambda x, s: ({"a": x} if s[0] < 2 else {"b": x}, s + 1), np.ones((5, 1, 1)), zeros(1)),
         tg.ShapeError, (r"output of cell '<lambda>' changed at step t=2", r"\['a'\].*found.*\['b'\]")),
    Case("input size", lambda: run(tg.cells.LSTM(2, 3), np.ones((3, 1, 5))), tg.ShapeError,
         (r"LSTM", r"\b2\b.*found .*5\b")),
    Case("state size", lambda: run(tg.cells.GRU(2, 3), np.ones((3, 1, 2)), zeros(1, 4)), tg.ShapeError,
         (r"does not fit cell 'GRU': h has shape \(1, 4\); expected \(1, 3\)",)),
    Case("batch size", lambda: run(tg.cells.Elman(2, 3), np.ones((3, 4, 2)), zeros(2, 3)), tg.ShapeError,
         (r"does not fit cell 'Elman': h has shape \(2, 3\); expected \(4, 3\)",)),
    Case("one tensor as state of an LSTM", lambda: run(tg.cells.LSTM(2, 3), np.ones((3, 2, 2)), zeros(2, 3)), tg.ShapeError,
         (r"does not fit cell 'LSTM': expected the components \['state.h', 'state.c'\]; found \['state'\]",)),
    Case("float64 weights, float32 tensor", lambda: run(tg.cells.Elman(2, 3, dtype=np.float64), zeros(3, 1, 2)), tg.DtypeError,
         (r"float32 and float64 do not mix", r"in cell 'Elman', step t=0")),
    Case("cell without hidden size", lambda: tg.Cell().initial_state(2), tg.TinygradError, (r"Cell has no hidden_size; set it, or define initial_state",)),
    # --- modules and losses
    Case("cell of size zero", lambda: tg.cells.GRU(2, 0), tg.ShapeError, (r"GRU: sizes must be at least 1; found input_size=2, hidden_size=0",)),
    Case("linear of size zero", lambda: tg.nn.Linear(0, 3), tg.ShapeError, (r"Linear: sizes must be at least 1; found in_features=0",)),
    Case("embedding of size zero", lambda: tg.nn.Embedding(3, 0), tg.ShapeError, (r"Embedding: sizes must be at least 1",)),
    Case("integer cell", lambda: tg.cells.LSTM(2, 3, dtype=int), tg.DtypeError, (r"LSTM: dtype must be float32 or float64",)),
    Case("linear input", lambda: tg.nn.Linear(3, 2)(named((5, 4), "input")), tg.ShapeError, (r"matmul\(input float32\(5, 4\)", r"found 4 != 3")),
    Case("embedding by floats", lambda: tg.nn.Embedding(3, 2)(np.array([0.5])), tg.DtypeError, (r"Embedding: ids must be integers; found float64",)),
    Case("embedding out of range", lambda: tg.nn.Embedding(3, 2)(np.array([3])), tg.ShapeError, (r"Embedding: ids from 3 to 3; expected 0 to 2, one of the 3 rows",)),
    Case("module without forward", lambda: tg.Module()(1), NotImplementedError, (r"Module defines no forward",)),
    Case("targets of the wrong shape", lambda: tg.nn.cross_entropy(x23, np.array([0, 1, 2])), tg.ShapeError, (r"logits have shape \(2, 3\)", r"found \(3,\)")),
    Case("targets that are no integers", lambda: tg.nn.cross_entropy(x23, np.array([0.0, 1.0])), tg.DtypeError, (r"targets must be integers; found float64",)),
    Case("target too large", lambda: tg.nn.cross_entropy(x23, [0, 3]), tg.ShapeError, (r"targets from 0 to 3; expected 0 to 2",)),
    Case("negative target", lambda: tg.nn.cross_entropy(x23, tg.tensor([-1, 0])), tg.ShapeError, (r"targets from -1 to 0; expected 0 to 2",)),
    Case("shapes of mse", lambda: tg.nn.mse_loss(x23, np.ones((2, 1))), tg.ShapeError, (r"prediction has shape \(2, 3\), target \(2, 1\)",)),
    Case("dropout", lambda: tg.nn.dropout(x23, 1.0), tg.TinygradError, (r"p must be in \[0, 1\); found 1\.0",)),
    Case("dropout of whole numbers", lambda: tg.nn.dropout(i3, 0.5), tg.DtypeError, (r"dropout needs floating features; found ids int64\(3,\)",)),
    Case("orthogonal", lambda: tg.init.orthogonal((2, 3, 4)), tg.ShapeError, (r"orthogonal: expected a matrix shape",)),
    Case("forget_bias", lambda: tg.init.forget_bias(np.zeros(9), 3), tg.ShapeError, (r"expected a bias of shape \(12,\); found \(9,\)",)),
    Case("state_dict names", lambda: tg.nn.Linear(2, 2).load_state_dict({"weight": np.ones((2, 2)), "wait": 1}), tg.TinygradError,
         (r"missing \['bias'\], unknown \['wait'\]; this module has \['weight', 'bias'\]",)),
    Case("state_dict shapes", lambda: tg.nn.Linear(2, 3).load_state_dict({"weight": np.ones((2, 3)), "bias": np.ones(3)}), tg.ShapeError,
         (r"'weight' has shape \(3, 2\); found \(2, 3\)",)),
    Case("state_dict of text", lambda: tg.nn.Linear(1, 1).load_state_dict({"weight": [["a"]], "bias": [1.0]}), tg.DtypeError, (r"must be numbers; found <U1",)),
    # --- optimisers
    Case("no parameters", lambda: tg.optim.SGD([]), tg.TinygradError, (r"given no parameters",)),
    Case("one tensor", lambda: tg.optim.SGD(tg.Parameter([1.0])), tg.TinygradError, (r"such as module\.parameters\(\); found one Parameter",)),
    Case("a module", lambda: tg.optim.Adam(tg.nn.Linear(1, 1)), tg.TinygradError, (r"such as module\.parameters\(\); found one Linear",)),
    Case("a parameter twice", lambda: tg.optim.SGD([x23, x23]), tg.TinygradError, (r"given a parameter twice",)),
    Case("a computed tensor", lambda: tg.optim.SGD([x23 * 2]), tg.GraphError, (r"needs leaf tensors that require gradients; found",)),
    Case("a constant", lambda: tg.optim.SGD([zeros(2)]), tg.GraphError, (r"needs leaf tensors that require gradients; found",)),
]  # fmt: skip


def _bare(x: Any) -> Any:
    return x


def _with_if(x: Any) -> Any:
    return x if x > 0 else -x


def _with_matmul(x: Any) -> Any:
    return x @ x


def test_the_table_is_long_enough_and_has_no_double() -> None:
    assert len(CASES) >= 60 and len({c.what for c in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.what.replace(" ", "-"))
def test_message(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Exception) as caught:
            case.misuse()
    error = caught.value
    assert isinstance(error, case.kind), f"{type(error).__name__}: {error}"
    for words in case.words:
        assert re.search(words, str(error)), f"expected {words!r} in: {error}"
    assert not isinstance(error, AssertionError)
    assert len(str(error)) < 700, "a message is read by a person"


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if issubclass(c.kind, tg.TinygradError)],
    ids=lambda c: c.what.replace(" ", "-"),
)
def test_every_error_is_of_the_package(case: Case) -> None:
    with pytest.raises(tg.TinygradError):
        case.misuse()


def test_recording_works_after_every_misuse() -> None:
    for case in CASES:
        with pytest.raises(case.kind):
            case.misuse()
        x = tg.tensor([1.0, 2.0], requires_grad=True)
        (x * x).sum().backward()
        assert x.grad.tolist() == [2, 4], case.what


def test_the_line_is_the_one_that_failed() -> None:
    with pytest.raises(tg.ShapeError) as caught:
        (x23 + x4)
    assert f"test_errors.py:{sys._getframe().f_lineno - 1}" in str(caught.value)


def test_the_step_is_the_one_that_failed() -> None:
    def cell(x: Any, state: Any) -> Any:
        h = state if x[0, 0] < 3 else state[:, :1]
        return h @ np.ones((2, 2), np.float32), state

    xs = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    with pytest.raises(
        tg.ShapeError, match=r"found 1 != 2.*\(in cell 'cell', step t=3, at test_errors\.py:\d+\)"
    ):
        tg.unroll(cell, xs, zeros(1, 2))


def test_an_error_in_the_cell_comes_through_as_it_is() -> None:
    def cell(x: Any, state: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tg.unroll(cell, np.ones((2, 1, 1)), zeros(1))


def test_nothing_is_loaded_unless_everything_fits() -> None:
    linear = tg.nn.Linear(2, 2, rng=0)
    before = linear.state_dict()
    for bad in (
        {"bias": np.array(["a", "b"])},
        {"bias": np.ones(3)},
        {"bias": [[1.0], [2.0, 3.0]]},
        {"bias": np.ones(2), "more": np.ones(1)},
    ):
        with pytest.raises(tg.TinygradError):
            linear.load_state_dict({"weight": np.zeros((2, 2)), **bad})
        for name, value in linear.state_dict().items():
            np.testing.assert_array_equal(value, before[name])


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "linear.safetensors"
    tg.save(path, tg.nn.Linear(3, 2, rng=0))
    other = tg.nn.Embedding(2, 3, rng=0)
    before = other.weight.numpy()
    with pytest.raises(tg.TinygradError, match=r"unknown \['bias'\]; this module has \['weight'\]"):
        tg.load(path, other)
    with pytest.raises(tg.ShapeError, match=r"'weight' has shape \(4, 3\); found \(2, 3\)"):
        tg.load(path, tg.nn.Linear(3, 4))
    np.testing.assert_array_equal(other.weight.numpy(), before)
    (tmp_path / "bad").write_bytes(b"hello")
    with pytest.raises(FormatError, match=r"bad.*expected an 8-byte header length, found 5 bytes"):
        tg.load(tmp_path / "bad")
    with pytest.raises(tg.DtypeError, match=r"save: 'a' must be numbers; found <U4"):
        tg.save(tmp_path / "text", {"a": "text"})
    assert not (tmp_path / "text").exists()
    with pytest.raises(FileNotFoundError):
        tg.load(tmp_path / "nothing")


def test_the_cause_is_kept() -> None:
    with pytest.raises(tg.RuleError) as caught:
        walk(lambda g, x: g / {}["x"])
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(tg.ShapeError) as caught_shape:
        x23[5]
    assert isinstance(caught_shape.value.__cause__, IndexError)


def test_errors_are_also_of_the_usual_classes() -> None:
    assert issubclass(tg.ShapeError, ValueError) and issubclass(tg.DtypeError, TypeError)
    assert issubclass(tg.GraphError, RuntimeError) and issubclass(
        tg.NotDifferentiableError, TypeError
    )


MORE: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("matmul by a number", lambda: x23 @ 2.0, tg.ShapeError, r"use \* for a scalar"),
    ("astype of an unknown dtype", lambda: x23.astype("floot"), tg.DtypeError, "no dtype 'floot'"),
    (
        "assignment of recorded tensors in a list",
        lambda: zeros(2).__setitem__(slice(None), [x4[0], 2.0]),
        tg.GraphError,
        r"tg\.stack",
    ),
    (
        "a tensor that cannot be stored",
        lambda: tg.save("nowhere", {"a": "text"}),
        tg.TinygradError,
        "save: 'a' must be numbers",
    ),
    (
        "threads",
        lambda: tg.set_num_threads(0),
        tg.TinygradError,
        "a number from 1 to 1024, found 0",
    ),
    ("sum over a text", lambda: x23.sum(axis="rows"), tg.ShapeError, r"expected .*(int|tuple)"),
]


@pytest.mark.parametrize(
    "what, misuse, kind, words", MORE, ids=[left[0].replace(" ", "-") for left in MORE]
)
def test_more_messages(
    what: str, misuse: Callable[[], Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        misuse()


ALLOWED = {  # builtin errors with a meaning for Python, and what is caught again
    "__init__.py": {"AttributeError"},
    "nn/__init__.py": {"AttributeError"},
    "nn/functional.py": {"AttributeError"},
    "compiler/cell.py": {"AttributeError"},
    "ops/names.py": {"AttributeError"},
    "optim/groups.py": {"AttributeError"},
    "kernels/scalar.py": {"AttributeError"},
    "module.py": {"NotImplementedError"},  # a method that the user has not written
    "nn/attention.py": {"NotImplementedError"},
    "optim/__init__.py": {"AttributeError"},  # a name that is not there
    "files.py": {"OSError", "IsADirectoryError"},
    "kernels/ownership.py": {"OSError", "NotADirectoryError"},
    "train/tasks/runner.py": {"OSError"},
    "data/tables.py": {"ValueError"},  # of one cell, caught where its line and column are known
    "ops/keywords.py": {"TypeError"},  # as of a function that has not the keyword
    "ops/define.py": {"TypeError"},  # a call with other arguments than a function has
    "cli/arguments.py": {"argparse.ArgumentTypeError"},
}


def test_what_is_raised_on_purpose_is_an_error_of_the_package() -> None:
    package = Path(tg.__file__).parent
    found: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = ast.unparse(node.exc.func)
                if name == "argparse.ArgumentTypeError" or (
                    isinstance(kind := getattr(builtins, name, None), type)
                    and issubclass(kind, BaseException)
                ):
                    found.setdefault(path.relative_to(package).as_posix(), set()).add(name)
    assert found == ALLOWED
