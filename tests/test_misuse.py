"""Misuse of cells, of time, of layers, wrappers and attention.

The class of the error and what it says.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg

pytestmark = pytest.mark.usefixtures("eager")


class Case(NamedTuple):
    what: str
    misuse: Callable[[], Any]
    kind: type[Exception]
    words: tuple[str, ...]  # regular expressions: what was expected, what was found, the way out


def zeros(*shape: int, dtype: Any = np.float32) -> tg.Tensor:
    return tg.tensor(np.zeros(shape, dtype))


T, BATCH = 4, 2
X = np.ones((T, BATCH, 2), np.float32)
elman, lstm, gru = (getattr(tg.cells, name)(2, 3, rng=0) for name in ("Elman", "LSTM", "GRU"))
wide = tg.cells.Elman(3, 3, rng=0)
layer = tg.nn.LSTM(2, 3, rng=0)
first = tg.nn.LSTM(2, 3, batch_first=True, rng=0)
attention = tg.nn.LuongAttention(3, 3)
memory = np.ones((2, 5, 3), np.float32)


def at(step: int, change: Callable[[Any, Any], Any], state: Any = None, **options: Any) -> Any:
    """Unroll a plain function that behaves until `step`, where it returns `change(x, state)`."""
    count = iter(range(100))

    def cell(x: Any, state: Any) -> Any:
        return change(x, state) if next(count) == step else (x, state)

    return tg.unroll(cell, X, zeros(2, 3) if state is None else state, **options)


def pair(step: int, change: Callable[[Any], Any]) -> Any:
    """The same with a state that is unpacked into h and c."""
    count = iter(range(100))

    def cell(x: Any, state: Any) -> Any:
        h, c = state
        return h, (h, change(c)) if next(count) == step else (h, c)

    return tg.unroll(cell, X, (zeros(2, 3), zeros(2, 3)))


class Objects(tg.Cell):
    def initial_state(self, batch_size: int) -> Any:
        return slice(batch_size)

    def forward(self, x: Any, state: Any) -> Any:
        return x, state


def shorter(x: Any, state: Any) -> Any:
    h, c = state
    return c, (h,)


class Sizeless(tg.Cell):
    def forward(self, x: Any, state: Any) -> Any:
        return x, state


class One(tg.Cell):
    hidden_size = 3

    def forward(self, x: Any, h: Any) -> Any:
        return h


class Reading(tg.Cell):
    """Uses its input without a check."""

    hidden_size = 3

    def forward(self, x: Any, h: Any) -> Any:
        return x, h


class Unnamed(tg.Cell):
    """Multiplies by its weights in its own way."""

    input_size = hidden_size = 2

    def __init__(self) -> None:
        self.U = tg.Parameter(np.eye(2, dtype=np.float32))

    def forward(self, x: Any, h: Any) -> Any:
        h = tg.tanh(x + h @ self.U.T)
        return h, h


class Counted(Unnamed):
    """Its output is a number of whole units."""

    def forward(self, x: Any, h: Any) -> Any:
        return tg.tensor(np.ones((x.shape[0], 2), int)), h


HERE = r"at test_misuse\.py:\d+"
CASES = [
    # --- a cell called by hand
    Case("cell, a whole sequence", lambda: elman(X), tg.ShapeError, (r"Elman: expected one step of shape \(batch, 2\)", r"found array float32\(4, 2, 2\)", HERE)),
    Case("cell, one vector", lambda: lstm(X[0, 0]), tg.ShapeError, (r"LSTM: expected one step of shape \(batch, 2\)", r"found array float32\(2,\)", r"xs\[:, None\]")),
    Case("cell, features", lambda: gru(np.ones((2, 5), np.float32)), tg.ShapeError, (r"GRU: expected one step of shape \(batch, 2\); found array float32\(2, 5\)",)),
    Case("cell, None", lambda: elman(None), tg.ShapeError, (r"found None",)),
    Case("cell, a list", lambda: elman([[1.0, 2.0]]), tg.ShapeError, (r"found \[\[1\.0, 2\.0\]\]",)),
    Case("cell, a string", lambda: elman("ab"), tg.ShapeError, (r"found 'ab'",)),
    Case("cell, an empty tuple", lambda: elman(()), tg.ShapeError, (r"found \(\)",)),
    Case("cell of any input, None", lambda: Reading()(None), tg.ShapeError, (r"Reading: expected one step of input, a tensor of shape \(batch, \.\.\.\); found None",)),
    Case("cell of any input, a number", lambda: Reading()(1.0), tg.ShapeError, (r"found 1\.0",)),
    Case("cell, state of another batch", lambda: elman(X[0], zeros(3, 3)), tg.ShapeError, (r"the state does not fit: h has shape \(3, 3\); expected \(2, 3\)",)),
    Case("cell, state of another size", lambda: gru(X[0], zeros(2, 4)), tg.ShapeError, (r"h has shape \(2, 4\); expected \(2, 3\)",)),
    Case("cell, one tensor for h and c", lambda: lstm(X[0], zeros(2, 3)), tg.ShapeError, (r"expected the components \['state\.h', 'state\.c'\]; found \['state'\]",)),
    Case("cell, None for c", lambda: lstm(X[0], (zeros(2, 3), None)), tg.ShapeError, (r"expected the components \['state\.h', 'state\.c'\]; found \['state\[0\]'\]",)),
    Case("cell, a number as state", lambda: elman(X[0], 0.0), tg.ShapeError, (r"h is a float; expected a tensor of shape \(2, 3\)",)),
    Case("cell, a string as state", lambda: lstm(X[0], "ab"), tg.ShapeError, (r"expected the components .*; found \['state'\]",)),
    Case("cell, float64 state", lambda: elman(X[0], zeros(2, 3, dtype=np.float64)), tg.DtypeError, (r"h is float64; expected float32", r"\.astype\(float32\)")),
    Case("cell, float64 input", lambda: elman(tg.tensor(np.ones((2, 2)))), tg.DtypeError, (r"float32 and float64 do not mix", r"in cell 'Elman', step t=0")),
    Case("cell, one value by hand", lambda: One()(X[0]), tg.ShapeError, (r"One: forward must return \(output, new_state\); it returned Tensor",)),
    Case("cell without first state", lambda: Sizeless()(X[0]), tg.TinygradError, (r"Sizeless has no hidden_size; set it, or define initial_state",)),
    # --- what unroll is given
    Case("None as cell", lambda: tg.unroll(None, X), tg.TinygradError, (r"expected a cell, \(x, state\) -> \(output, state\); found a NoneType",)),  # type: ignore[arg-type]
    Case("a class as cell", lambda: tg.unroll(tg.cells.LSTM, X), tg.TinygradError, (r"found the class LSTM; make one: LSTM\(\.\.\.\)",)),  # type: ignore[arg-type]
    Case("a layer as cell", lambda: tg.unroll(layer, X), tg.ShapeError, (r"is no cell but a LSTM module", r"tg\.cells\.LSTM", r"call the module with xs")),
    Case("cell and sequence exchanged", lambda: tg.unroll(X, elman), tg.TinygradError, (r"expected a cell.*found a ndarray",)),  # type: ignore[arg-type]
    Case("xs None", lambda: tg.unroll(elman, None), tg.DtypeError, (r"xs must be a tensor or an array of numbers of shape \(T, batch, \.\.\.\)", r"found a NoneType")),
    Case("xs a string", lambda: tg.unroll(elman, "text"), tg.DtypeError, (r"xs must be .*; found a str",)),
    Case("xs a generator", lambda: tg.unroll(elman, (x for x in X)), tg.DtypeError, (r"xs must be .*; found a generator",)),
    Case("xs a dict", lambda: tg.unroll(elman, {"x": X}), tg.DtypeError, (r"xs must be .*; found a dict",)),
    Case("xs complex", lambda: tg.unroll(elman, X * 1j), tg.DtypeError, (r"found an array of complex",)),
    Case("xs ragged", lambda: tg.unroll(elman, [X[:2, 0], X[:1, 0]]), tg.ShapeError, (r"ragged",)),
    Case("xs an empty tuple", lambda: tg.unroll(elman, ()), tg.ShapeError, (r"time as their first axis", r"found shapes \[\]")),
    Case("xs an empty list", lambda: tg.unroll(elman, []), tg.ShapeError, (r"the sequence is empty",)),
    Case("xs with a None", lambda: tg.unroll(elman, (X, None)), tg.DtypeError, (r"xs must be .*; found a NoneType",)),
    Case("no batch axis", lambda: tg.unroll(elman, X[:, 0]), tg.ShapeError, (r"expected one step of shape \(batch, 2\)", r"xs\[:, None\]", HERE)),
    Case("one axis", lambda: tg.unroll(elman, X[:, 0, 0]), tg.ShapeError, (r"xs has shape \(4,\); expected \(T, batch, \.\.\.\)",)),
    Case("too many features", lambda: tg.unroll(elman, np.ones((T, BATCH, 5), np.float32)), tg.ShapeError, (r"expected one step of shape \(batch, 2\)", "step t=0", HERE)),
    Case("no steps", lambda: tg.unroll(elman, X[:0]), tg.ShapeError, (r"the sequence is empty \(xs has shape \(0, 2, 2\); expected .* T >= 1\)",)),
    Case("no rows", lambda: tg.unroll(elman, X[:, :0]), tg.ShapeError, (r"the batch is empty \(xs has shape \(4, 0, 2\); expected .* batch >= 1\)",)),
    Case("float64 tensor", lambda: tg.unroll(elman, tg.tensor(X.astype(np.float64))), tg.DtypeError, (r"float32 and float64 do not mix", "step t=0")),
    Case("sequences of unequal length", lambda: tg.unroll(elman, (X, X[:2])), tg.ShapeError, (r"all of one length; found shapes",)),
    Case("parts of another batch with lengths", lambda: tg.unroll(lambda x, s: (x[0], s), (X, X[:, :1]), zeros(2, 3), [2, 4]), tg.ShapeError,
         (r"with lengths all of xs must have shape \(T, batch, \.\.\.\) = \(4, 2\)",)),
    # --- first states
    Case("state of another batch", lambda: tg.unroll(elman, X, zeros(5, 3)), tg.ShapeError, (r"does not fit cell 'Elman': h has shape \(5, 3\); expected \(2, 3\)",)),
    Case("state of another size", lambda: tg.unroll(lstm, X, (zeros(2, 3), zeros(2, 4))), tg.ShapeError, (r"state\.c has shape \(2, 4\); expected \(2, 3\)",)),
    Case("state without batch", lambda: tg.unroll(elman, X, zeros(3)), tg.ShapeError, (r"h has shape \(3,\); expected \(2, 3\)",)),
    Case("state a dict for a tuple", lambda: tg.unroll(lstm, X, {"h": zeros(2, 3), "c": zeros(2, 3)}), tg.ShapeError,
         (r"expected the components \['state\.h', 'state\.c'\]; found \[\"state\['h'\]\", \"state\['c'\]\"\]",)),
    Case("state of three parts", lambda: tg.unroll(lstm, X, (zeros(2, 3),) * 3), tg.ShapeError, (r"expected the components .*found .*state\[2\]",)),
    Case("state of a layer", lambda: tg.unroll(lstm, X, (zeros(1, 2, 3), zeros(1, 2, 3))), tg.ShapeError, (r"state\.h has shape \(1, 2, 3\); expected \(2, 3\)\. .* pass state\.h\[i\] of level i",)),
    Case("ragged sequences", lambda: tg.unroll(lstm, [np.ones((3, 2)), np.ones((4, 2))]), tg.ShapeError, (r"unroll: xs must have one shape \(T, batch, \.\.\.\)\. Pad .* pass lengths=",)),
    Case("a first state of objects", lambda: tg.unroll(Objects(), X), tg.ShapeError, (r"initial_state of cell 'Objects' gave as state a slice; expected a tensor, or a tuple",)),
    Case("state of one part", lambda: tg.unroll(lstm, X, zeros(2, 3)), tg.ShapeError, (r"found \['state'\]",)),
    Case("state a string", lambda: tg.unroll(elman, X, "zeros"), tg.ShapeError, (r"component state is a str; expected a tensor or an array",)),
    Case("state a number", lambda: tg.unroll(elman, X, 0), tg.ShapeError, (r"component state is a int; expected a tensor or an array",)),
    Case("state of lists", lambda: tg.unroll(elman, X, [[0.0] * 3] * 2), tg.ShapeError, (r"component state\[0\]\[0\] is a float",)),
    Case("float64 state", lambda: tg.unroll(lstm, X, (zeros(2, 3), zeros(2, 3, dtype=np.float64))), tg.DtypeError, (r"state\.c is float64; expected float32", r"\.astype\(float32\)")),
    Case("integer state", lambda: tg.unroll(elman, X, np.zeros((2, 3), int)), tg.DtypeError, (r"h is int64; expected float32",)),
    Case("function without state", lambda: tg.unroll(lambda x, h: (h, h), X), tg.ShapeError, (r"is a plain function", r"pass state=")),
    Case("cell class without first state", lambda: tg.unroll(Sizeless(), X), tg.TinygradError, (r"Sizeless has no hidden_size",)),
    # --- lengths and resets
    Case("lengths beyond T", lambda: tg.unroll(elman, X, lengths=[4, 9]), tg.ShapeError, (r"row 1 has length 9, but xs has only T=4 steps",)),
    Case("length zero", lambda: tg.unroll(elman, X, lengths=[4, 0]), tg.ShapeError, (r"row 1 has length 0; expected 1 to T=4", "Leave empty rows out")),
    Case("length below zero", lambda: tg.unroll(elman, X, lengths=[-2, 4]), tg.ShapeError, (r"row 0 has length -2",)),
    Case("float lengths", lambda: tg.unroll(elman, X, lengths=np.array([1.0, 2.0])), tg.DtypeError, (r"lengths must be integers; found float64 \[1\.0, 2\.0\]",)),
    Case("nan lengths", lambda: tg.unroll(elman, X, lengths=[np.nan, 2]), tg.DtypeError, (r"lengths must be integers; found float64 \[nan, 2\.0\]",)),
    Case("boolean lengths", lambda: tg.unroll(elman, X, lengths=[True, True]), tg.DtypeError, (r"lengths must be integers; found bool",)),
    Case("too few lengths", lambda: tg.unroll(elman, X, lengths=[3]), tg.ShapeError, (r"lengths must have shape \(2,\), one for each row of xs \(4, 2, 2\); found \(1,\)",)),
    Case("lengths for each step", lambda: tg.unroll(elman, X, lengths=np.ones((4, 2), int)), tg.ShapeError, (r"found \(4, 2\)",)),
    Case("one length", lambda: tg.unroll(elman, X, lengths=3), tg.ShapeError, (r"one for each row .*; found \(\)",)),
    Case("ragged lengths", lambda: tg.unroll(elman, X, lengths=[[1], [2, 3]]), tg.DtypeError, (r"lengths must be integers of shape \(2,\); found ragged lists",)),
    Case("lengths with None", lambda: tg.unroll(elman, X, lengths=[None, 2]), tg.DtypeError, (r"lengths must be integers; found object",)),
    Case("lengths as text", lambda: tg.unroll(elman, X, lengths="34"), tg.DtypeError, (r"lengths must be integers; found <U2 34",)),
    Case("lengths, a state without batch", lambda: at(9, lambda x, s: s, zeros(3), lengths=[2, 4]), tg.ShapeError,
         (r"first axis of states and outputs must be the batch of 2; a component of the state of cell 'cell' has shape \(3,\) at step t=2",)),
    Case("lengths, an output without batch", lambda: tg.unroll(lambda x, h: (x.sum(), h), X, zeros(2, 3), [2, 4]), tg.ShapeError, (r"an output of cell '<lambda>' has shape \(\)",)),
    Case("resets of the wrong shape", lambda: tg.unroll(elman, X, resets=np.zeros((2, 4), bool)), tg.ShapeError,
         (r"resets must be booleans of shape \(T, batch\) = \(4, 2\); found bool \(2, 4\)",)),
    Case("resets of integers", lambda: tg.unroll(elman, X, resets=np.zeros((4, 2), int)), tg.ShapeError, (r"must be booleans .*; found int64 \(4, 2\)",)),
    Case("one reset", lambda: tg.unroll(elman, X, resets=True), tg.ShapeError, (r"found bool \(\)",)),
    Case("ragged resets", lambda: tg.unroll(elman, X, resets=[[True], [True, False]]), tg.ShapeError, (r"found ragged lists",)),
    # --- options
    Case("checkpoint zero", lambda: tg.unroll(elman, X, checkpoint=0), tg.TinygradError, (r"checkpoint must be True or a number of steps, at least 1, or a size of memory such as '200 MB'; found 0",)),
    Case("checkpoint below zero", lambda: tg.unroll(elman, X, checkpoint=-3), tg.TinygradError, (r"found -3",)),
    Case("checkpoint a float", lambda: tg.unroll(elman, X, checkpoint=2.0), tg.TinygradError, (r"found 2\.0",)),  # type: ignore[arg-type]
    Case("checkpoint a word", lambda: tg.unroll(elman, X, checkpoint="sqrt"), tg.TinygradError, (r"a number above 0 and a unit .*, such as '200 MB'; found 'sqrt'",)),
    Case("checkpoint with a hook", lambda: tg.unroll(elman, X, checkpoint=2, hook=print), tg.TinygradError, (r"a hook sees tensors that checkpoint throws away; use one of the two",)),
    Case("a hook that is no function", lambda: tg.unroll(elman, X, hook=3), tg.TinygradError, (r"hook must be a function \(t, output, state\); found a int",)),  # type: ignore[arg-type]
    Case("an unknown option", lambda: tg.unroll(elman, X, reversed=True), TypeError, (r"unexpected keyword argument 'reversed'",)),  # type: ignore[call-arg]
    Case("k1 zero", lambda: tg.tbptt(elman, X, 0), tg.TinygradError, (r"k1 must be a whole number of steps, at least 1; found 0",)),
    Case("k1 a float", lambda: tg.tbptt(elman, X, 2.0), tg.TinygradError, (r"k1 .*found 2\.0",)),  # type: ignore[arg-type]
    Case("k1 a boolean", lambda: tg.tbptt(elman, X, True), tg.TinygradError, (r"k1 .*found True",)),
    Case("k2 zero", lambda: tg.tbptt(elman, X, 2, 0), tg.TinygradError, (r"k2 .*found 0",)),
    Case("tbptt over a generator", lambda: tg.tbptt(elman, (x for x in X), 2), tg.DtypeError, (r"xs must be .*; found a generator",)),
    Case("tbptt over nothing", lambda: tg.tbptt(elman, X[:0], 2), tg.ShapeError, (r"the sequence is empty",)),
    Case("tbptt with a wrong state", lambda: tg.tbptt(elman, X, 2, state=zeros(1, 9)), tg.ShapeError, (r"h has shape \(1, 9\); expected \(2, 3\)",)),
    Case("tbptt with wrong lengths", lambda: tg.tbptt(elman, X, 2, lengths=[9, 1]), tg.ShapeError, (r"row 0 has length 9",)),
    Case("tbptt without a state", lambda: tg.tbptt(lambda x, h: (h, h), X, 2), tg.ShapeError, (r"plain function", r"pass state=")),
    # --- what a cell returns
    Case("one value", lambda: at(1, lambda x, s: x), tg.ShapeError, (r"cell 'cell' must return \(output, new_state\); at step t=1 it returned Tensor",)),
    Case("three values", lambda: at(1, lambda x, s: (x, s, s)), tg.ShapeError, (r"at step t=1 it returned a tuple of 3",)),
    Case("a list", lambda: at(0, lambda x, s: [x, s]), tg.ShapeError, (r"at step t=0 it returned list",)),
    Case("nothing", lambda: at(2, lambda x, s: None), tg.ShapeError, (r"at step t=2 it returned NoneType",)),
    Case("a cell class of one value", lambda: tg.unroll(One(), X), tg.ShapeError, (r"cell 'One' must return \(output, new_state\); at step t=0 it returned Tensor",)),
    Case("a state that is lost", lambda: at(2, lambda x, s: (x, None)), tg.ShapeError, (r"state of cell 'cell' changed over step t=2: expected the components \['state'\]; found \[\]",)),
    Case("a state that becomes a number", lambda: at(1, lambda x, s: (x, 0.0)), tg.ShapeError, (r"step t=1: state is now a float; expected a tensor of shape \(2, 3\)",)),
    Case("a state that becomes a word", lambda: at(1, lambda x, s: (x, "state")), tg.ShapeError, (r"state is now a str",)),
    Case("a state that becomes another structure", lambda: at(1, lambda x, s: (x, (s, s))), tg.ShapeError, (r"expected the components \['state'\]; found \['state\[0\]', 'state\[1\]'\]",)),
    Case("shape of c", lambda: pair(2, lambda c: c[:, :2]), tg.ShapeError, (r"cell 'cell' changed over step t=2: c had shape \(2, 3\), now \(2, 2\)", "A state keeps its shape")),
    Case("dtype of c", lambda: pair(1, lambda c: c.astype(np.float64)), tg.DtypeError, (r"step t=1: c was float32, now float64", r"\.astype\(float32\)")),
    Case("integers in c", lambda: pair(1, lambda c: c.astype(int)), tg.DtypeError, (r"c was float32, now int64",)),
    Case("structure of c", lambda: pair(1, lambda c: {"c": c}), tg.ShapeError, (r"expected the components \['h', 'c'\]; found \['h', \"c\['c'\]\"\]",)),
    Case("c is missing", lambda: tg.unroll(shorter, X, (zeros(2, 3), zeros(2, 3))), tg.ShapeError, (r"changed over step t=0: expected the components \['h', 'c'\]; found \['h'\]",)),
    Case("shape of the output", lambda: at(2, lambda x, s: (x[:, :1], s)), tg.ShapeError, (r"output of cell 'cell' changed at step t=2: output had shape \(2, 2\), now \(2, 1\)", "one shape")),
    Case("shape of the output in a checkpoint", lambda: at(1, lambda x, s: (x[:, :1], s), checkpoint=2), tg.ShapeError, (r"changed at step t=1: output had shape",)),
    Case("shape in a nest of outputs", lambda: at(3, lambda x, s: (x.sum(), s)), tg.ShapeError, (r"step t=3: output had shape \(2, 2\), now \(\)",)),
    Case("dtype of the output", lambda: at(2, lambda x, s: (x.astype(np.float64), s)), tg.DtypeError, (r"changed at step t=2: output was float32, now float64",)),
    Case("structure of the output", lambda: at(2, lambda x, s: ((x, x), s)), tg.ShapeError, (r"step t=2: expected the components \['output'\]; found \['output\[0\]', 'output\[1\]'\]",)),
    Case("an output that is lost", lambda: at(2, lambda x, s: (None, s)), tg.ShapeError, (r"step t=2: expected the components \['output'\]; found \[\]",)),
    Case("an output that appears", lambda: at(0, lambda x, s: (None, s)), tg.ShapeError, (r"step t=1: expected the components \[\]; found \['output'\]",)),
    Case("an output of words", lambda: at(0, lambda x, s: ("y", s)), tg.ShapeError, (r"at step t=0: output is a str; expected a tensor",)),
    # --- layers
    Case("layer, features", lambda: layer(np.ones((4, 2, 5), np.float32)), tg.ShapeError, (r"LSTM: expected a sequence of shape \(time, batch, 2\); found",)),
    Case("layer, no batch", lambda: layer(X[:, 0]), tg.ShapeError, (r"expected a sequence of shape \(time, batch, 2\)", r"xs\[:, None\]")),
    Case("batch first, no batch", lambda: first(X[:, 0]), tg.ShapeError, (r"expected a sequence of shape \(batch, time, 2\)", r"xs\[None\]")),
    Case("batch first, lengths of the other axis", lambda: first(X, lengths=[1, 2]), tg.ShapeError, (r"lengths must have shape \(4,\)",)),
    Case("batch first, state of the other axis", lambda: first(X, (zeros(1, 2, 3), zeros(1, 2, 3))), tg.ShapeError, (r"h has shape \(1, 2, 3\); expected shape \(1, 4, 3\)", "batch_first")),
    Case("layer, state of a cell", lambda: layer(X, (zeros(2, 3), zeros(2, 3))), tg.ShapeError, (r"LSTM: the state does not fit: h has shape \(2, 3\); expected shape \(1, 2, 3\)",)),
    Case("layer, one tensor for h and c", lambda: layer(X, zeros(1, 2, 3)), tg.ShapeError, (r"expected the components",)),
    Case("layer, no steps", lambda: layer(X[:0]), tg.ShapeError, (r"empty",)),
    Case("layer, no rows", lambda: tg.nn.GRU(2, 3)(X[:, :0]), tg.ShapeError, (r"batch is empty",)),
    Case("layer, lengths beyond T", lambda: tg.nn.RNN(2, 3)(X, lengths=[9, 1]), tg.ShapeError, (r"row 0 has length 9",)),
    Case("layer, float64 tensor", lambda: layer(tg.tensor(X.astype(np.float64))), tg.DtypeError, (r"float32 and float64 do not mix|expected float32",)),
    Case("layer, size zero", lambda: tg.nn.GRU(2, 0), tg.ShapeError, (r"GRU: sizes must be at least 1; found input_size=2, hidden_size=0",)),
    Case("layer, dropout", lambda: tg.nn.LSTM(2, 3, 2, dropout=1.0), tg.TinygradError, (r"dropout is a probability in \[0, 1\); found 1\.0",)),
    Case("layer, dropout between nothing", lambda: tg.nn.LSTM(2, 3, dropout=0.5), tg.TinygradError, (r"num_layers=1 has nothing between",)),
    Case("layer, projection", lambda: tg.nn.LSTM(2, 3, proj_size=3), tg.ShapeError, (r"proj_size must be 0 \(no projection\) or from 1 to hidden_size - 1 = 2; found 3",)),
    Case("layer, nonlinearity", lambda: tg.nn.RNN(2, 3, nonlinearity="gelu"), tg.TinygradError, (r"nonlinearity must be 'tanh' or 'relu'; found 'gelu'",)),
    # --- wrappers
    Case("array for a parameter", lambda: setattr(tg.cells.LSTM(2, 3), "weight_hh", np.zeros((12, 3))), tg.TinygradError, (r"LSTM\.weight_hh is a parameter and would become an array, .* weight_hh\.data = ",)),
    Case("weights of a larger module", lambda: layer.load_state_dict({f"net.rnn.{n}": v for n, v in layer.state_dict().items()}), tg.TinygradError, (r"missing \['weight_ih_l0', .*With 'net\.rnn\.' before each name they are there: pass \{name\.removeprefix\('net\.rnn\.'\)",)),
    Case("weights of very many", lambda: lstm.load_state_dict({f"w{i}": 0 for i in range(20)}), tg.TinygradError, (r"unknown \['w0', .*'w7'\] and 12 more; this module has",)),
    Case("drawing of a class", lambda: tg.draw(tg.cells.LSTM), tg.TinygradError, (r"draw: LSTM is a class; make one of it, such as LSTM\(3, 4\)",)),
    Case("gradcheck of a new cell each time", lambda: tg.gradcheck(lambda v: tg.cells.LSTM(2, 3, dtype=np.float64)(v)[0], X[0]), tg.TinygradError, (r"two calls of f with the same inputs gave different results.* Make cells and other modules outside of f",)),
    Case("a layer by its name alone", lambda: tg.LSTM(2, 3), AttributeError, (r"'tinygrad_rnn' has no attribute 'LSTM'; a layer is tg\.nn\.LSTM; one step, for tg\.unroll, is in tg\.cells",)),
    Case("a dtype", lambda: tg.float32, AttributeError, (r"those of NumPy: np\.float32",)),
    Case("PyTorch's clipping", lambda: tg.clip_grad_norm_, AttributeError, (r"it is called tg\.clip_grad_norm here",)),
    Case("an activation as a module", lambda: tg.nn.ReLU(), AttributeError, (r"activations are functions: tg\.relu",)),  # type: ignore[attr-defined]
    Case("a schedule under PyTorch's name", lambda: tg.optim.lr_scheduler, AttributeError, (r"a schedule is tg\.optim\.Schedule",)),  # type: ignore[attr-defined]
    Case("randn", lambda: tg.randn(2, 3), AttributeError, (r"random numbers are in tg\.random: normal",)),
    Case("zeros, a size below 0", lambda: tg.zeros(2, -1), tg.ShapeError, (r"zeros: sizes must be at least 0; found \(2, -1\)",)),
    Case("zeros, a dtype by place", lambda: tg.zeros((2, 3), np.float64), tg.ShapeError, (r"zeros: shape must be whole numbers",)),
    Case("full_like, a value that does not fit", lambda: tg.full_like(np.arange(3), 0.5), tg.DtypeError, (r"full_like is int64, which cannot hold the value 0\.5",)),
    Case("full, a value of another shape", lambda: tg.full((2,), [1.0, 2.0, 3.0]), tg.ShapeError, (r"full: a value of shape \(3,\) cannot be spread to \(2,\)",)),
    Case("arange by 0", lambda: tg.arange(0, 3, 0), tg.ShapeError, (r"arange: step must not be 0",)),
    Case("random, bounds crossed", lambda: tg.random.uniform(3, 1.0, 0.0), tg.TinygradError, (r"random\.uniform: high must be at least low",)),
    Case("a cell under PyTorch's name", lambda: tg.nn.LSTMCell(2, 3), AttributeError, (r"one step is tg\.cells\.LSTM",)),  # type: ignore[attr-defined]
    Case("wrapper of a function", lambda: tg.nn.Zoneout(lambda x, h: (h, h)), tg.TinygradError, (r"Zoneout wraps a Cell; found a function", r"class My\(tg\.Cell\)")),  # type: ignore[arg-type]
    Case("wrapper of a class", lambda: tg.nn.Residual(tg.cells.LSTM), tg.TinygradError, (r"Residual wraps a Cell; found the class LSTM; make one: LSTM\(\.\.\.\)",)),  # type: ignore[arg-type]
    Case("wrapper of a layer", lambda: tg.nn.WeightDrop(layer), tg.TinygradError, (r"WeightDrop wraps a Cell; found the layer LSTM, .*tg\.cells\.LSTM\(\.\.\.\), or that of the layer, layer\.cell\(\)$",)),  # type: ignore[arg-type]
    Case("zoneout of one", lambda: tg.nn.Zoneout(lstm, 1.0), tg.TinygradError, (r"Zoneout: p must be a probability in \[0, 1\); found 1\.0",)),
    Case("zoneout below zero", lambda: tg.nn.Zoneout(lstm, (0.1, -0.1)), tg.TinygradError, (r"Zoneout: p .*found -0\.1",)),
    Case("zoneout of True", lambda: tg.nn.Zoneout(lstm, True), tg.TinygradError, (r"Zoneout: p .*found True",)),
    Case("zoneout of None", lambda: tg.nn.Zoneout(lstm, None), tg.TinygradError, (r"Zoneout: p .*found None",)),
    Case("zoneout of nothing", lambda: tg.nn.Zoneout(lstm, ()), tg.TinygradError, (r"Zoneout: p .*found \(\)",)),
    Case("zoneout of nan", lambda: tg.nn.Zoneout(lstm, float("nan")), tg.TinygradError, (r"Zoneout: p .*found nan",)),
    Case("zoneout rates for another state", lambda: tg.unroll(tg.nn.Zoneout(lstm, (0.1, 0.2, 0.3)), X), tg.ShapeError,
         (r"Zoneout: p for a state: expected the components \['state\.h', 'state\.c'\]",)),
    Case("zoneout rates by other names", lambda: tg.unroll(tg.nn.Zoneout(lstm, {"h": 0.1, "m": 0.2}), X), tg.ShapeError, (r"Zoneout: p for a state: expected",)),
    Case("input dropout of one", lambda: tg.nn.VariationalDropout(lstm, input=1), tg.TinygradError, (r"VariationalDropout: input must be a probability in \[0, 1\); found 1",)),
    Case("state dropout a word", lambda: tg.nn.VariationalDropout(lstm, state="half"), tg.TinygradError, (r"VariationalDropout: state .*found 'half'",)),  # type: ignore[arg-type]
    Case("input dropout of integers", lambda: tg.unroll(tg.nn.VariationalDropout(Reading(), input=0.5), np.ones((4, 2), int)), tg.DtypeError,
         (r"dropout of the input needs floating features; found .*int64",)),
    Case("weight drop of an unknown name", lambda: tg.nn.WeightDrop(lstm, 0.5, ["weight_hx"]), tg.TinygradError, (r"LSTM has no parameter \['weight_hx'\]; it has \['weight_ih', 'weight_hh'",)),
    Case("weight drop of nothing", lambda: tg.nn.WeightDrop(lstm, 0.5, []), tg.TinygradError, (r"has no parameter without a name",)),
    Case("weight drop of a size", lambda: tg.nn.WeightDrop(lstm, 0.5, ["hidden_size"]), tg.TinygradError, (r"no parameter \['hidden_size'\]",)),
    Case("weight drop of one", lambda: tg.nn.WeightDrop(lstm, 1.5), tg.TinygradError, (r"WeightDrop: p must be a probability in \[0, 1\); found 1\.5",)),
    Case("stack of nothing", lambda: tg.nn.Stacked([]), tg.TinygradError, (r"expected a list of at least one Cell; the list is empty",)),
    Case("stack of one cell without a list", lambda: tg.nn.Stacked(lstm), tg.TinygradError, (r"expected a list of at least one Cell; found a LSTM",)),
    Case("stack with a layer", lambda: tg.nn.Stacked([lstm, tg.nn.Linear(3, 3)]), tg.TinygradError, (r"at least one Cell; found the layer Linear, which is no cell",)),  # type: ignore[list-item]
    Case("stack of sizes that do not fit", lambda: tg.nn.Stacked([lstm, gru]), tg.ShapeError, (r"LSTM has outputs of size 3, GRU above it expects 2",)),
    Case("stack with dropout of one", lambda: tg.nn.Stacked([lstm, wide], dropout=1.0), tg.TinygradError, (r"Stacked: dropout must be a probability",)),
    Case("state for a stack", lambda: tg.unroll(tg.nn.Stacked([elman, wide]), X, (zeros(2, 3),)), tg.ShapeError, (r"does not fit cell 'Stacked\(Elman, Elman\)': expected the components",)),
    Case("state for a stack by hand", lambda: tg.nn.Stacked([elman, wide])(X[0], (zeros(2, 3),)), tg.ShapeError, (r"expected the components .*found",)),
    Case("rows as states of a stack", lambda: tg.nn.Stacked([elman, wide])(X[0], zeros(2, 3)), tg.ShapeError, (r"expected the components .*found",)),
    Case("features for a stack", lambda: tg.unroll(tg.nn.Stacked([elman, wide]), X[:, :, :1]), tg.ShapeError, (r"expected one step of shape \(batch, 2\)",)),
    Case("residual of other sizes", lambda: tg.unroll(tg.nn.Residual(elman), X), tg.ShapeError, (r"the cell's output .*\(2, 3\) and its input .*\(2, 2\) must have one shape",)),
    Case("residual of a tuple", lambda: tg.nn.Residual(Reading())((X[0], X[0])), tg.ShapeError, (r"expected one tensor as the input of a step; found a tuple",)),
    Case("layer norm without sizes", lambda: tg.nn.RecurrentLayerNorm(Reading()), tg.TinygradError, (r"Reading has no input_size; set it, or define example_input",)),
    Case("layer norm of products without a name", lambda: tg.nn.RecurrentLayerNorm(Unnamed()), tg.TinygradError,
         (r"names no product with weights that could be normalised", r"self\.from_input\(x, self\.W\) in place of x @ self\.W\.T")),
    Case("state dropout of products without a name", lambda: tg.unroll(tg.nn.VariationalDropout(Unnamed(), state=0.5), X), tg.TinygradError,
         (r"state=0\.5 masks what recurrent weights multiply", r"self\.from_state\(h, self\.U\) in place of h @ self\.U\.T")),
    Case("output dropout of integers", lambda: tg.unroll(tg.nn.VariationalDropout(Counted(), output=0.5), X), tg.DtypeError,
         (r"dropout of the output needs floating features; found int",)),
    Case("batch norm of no steps", lambda: tg.nn.RecurrentBatchNorm(lstm, 0), tg.TinygradError, (r"steps must be a whole number, at least 1; found 0",)),
    Case("batch norm of half a step", lambda: tg.nn.RecurrentBatchNorm(lstm, 2.5), tg.TinygradError, (r"RecurrentBatchNorm: steps must be a whole number; found 2\.5",)),  # type: ignore[arg-type]
    Case("batch norm of one row", lambda: tg.unroll(tg.nn.RecurrentBatchNorm(lstm, 2), X[:, :1]), tg.ShapeError, (r"at least 2 values; found 1", r"module\.eval\(\)")),
    Case("both directions with one cell", lambda: tg.nn.Bidirectional(lstm, lstm), tg.TinygradError, (r"need cells of their own; found the same cell twice",)),
    Case("merge", lambda: tg.nn.Bidirectional(lstm, gru, merge="mean"), tg.TinygradError, (r"merge must be 'concatenate' or 'sum'; found 'mean'",)),
    Case("one state for both directions", lambda: tg.nn.Bidirectional(elman, gru)(X, zeros(2, 3)), tg.ShapeError, (r"expected a pair of states, .*; found a Tensor",)),
    Case("three states for both directions", lambda: tg.nn.Bidirectional(elman, gru)(X, (zeros(2, 3),) * 3), tg.ShapeError, (r"expected a pair of states, .*; found 3 states",)),
    Case("both directions, lengths", lambda: tg.nn.Bidirectional(elman, gru)(X, None, [9, 1]), tg.ShapeError, (r"row 0 has length 9",)),
    # --- attention
    Case("memory with time first", lambda: attention(zeros(2, 3), np.ones((5, 2, 3), np.float32)), tg.ShapeError, (r"expected a query of shape \(5, 3\), for a memory of shape \(5, 2, 3\)",)),
    Case("memory of other features", lambda: attention(zeros(2, 3), memory[:, :, :2]), tg.ShapeError, (r"expected a memory of shape \(batch, S, 3\)", "swapaxes")),
    Case("memory of no places", lambda: attention(zeros(2, 3), memory[:, :0]), tg.ShapeError, (r"S at least 1",)),
    Case("mask of other places", lambda: attention(zeros(2, 3), memory, np.ones((2, 4), bool)), tg.ShapeError, (r"expected a mask of shape \(2, 5\); found \(2, 4\)",)),
    Case("mask of floats", lambda: attention(zeros(2, 3), memory, np.ones((2, 5))), tg.DtypeError, (r"expected a bool mask of shape \(2, 5\) or integer lengths",)),
    Case("mask that hides everything", lambda: attention(zeros(2, 3), memory, np.zeros((2, 5), bool)), tg.ShapeError, (r"leaves sequence 0 of the batch no place",)),
    Case("attention lengths", lambda: attention(zeros(2, 3), memory, [9, 1]), tg.ShapeError, (r"lengths from 1 to 9; expected 1 to 5",)),
    Case("attention without memory", lambda: tg.unroll(tg.nn.AttentionCell(tg.cells.GRU(5, 3), attention), X), tg.TinygradError, (r"no memory to attend to; use the cell that cell\.attending",)),
    Case("attention of another batch", lambda: tg.unroll(tg.nn.AttentionCell(tg.cells.GRU(5, 3), attention).attending(memory), X[:, :1]), tg.ShapeError,
         (r"the memory has a batch of 2, the sequence one of 1",)),
    # --- checkpoints
    Case("results of two dtypes", lambda: tg.checkpoint(lambda w: (w * 1, w.astype(np.float64)), tg.Parameter([1.0])), tg.DtypeError, (r"checkpoint: the results are .*; expected one dtype",)),
    Case("checkpoint of a function that is none", lambda: tg.checkpoint(3, tg.Parameter([1.0])), tg.TinygradError, (r"checkpoint: expected a function and its arguments; found a int",)),  # type: ignore[arg-type]
]  # fmt: skip


def test_the_table_is_long_enough_and_has_no_double() -> None:
    assert len(CASES) >= 150 and len({c.what for c in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.what.replace(" ", "-"))
def test_message(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Exception) as caught:
            case.misuse()
    error = caught.value
    assert isinstance(error, case.kind), f"{type(error).__name__}: {error}"
    assert case.kind in (TypeError, AttributeError) or isinstance(error, tg.TinygradError), type(
        error
    )
    for words in case.words:
        assert re.search(words, str(error)), f"expected {words!r} in: {error}"
    assert len(str(error)) < 700, "a message is read by a person"


def test_time_goes_on_after_every_misuse() -> None:
    """No mark, no recording switch and no sequence stays behind."""
    for case in CASES:
        with pytest.raises(case.kind):
            case.misuse()
        context = tg.core.tape.context()
        assert (context.mark, context.sequence, context.grad_enabled, context.tracing) == (
            ("", None, None),
            None,
            True,
            False,
        ), case.what


def test_an_error_of_the_users_own_comes_through() -> None:
    class Broken(tg.Cell):
        hidden_size = 3

        def forward(self, x: Any, h: Any) -> Any:
            raise KeyError("mine")

    for run in (
        lambda c: tg.unroll(c, X),
        lambda c: c(X[0]),
        lambda c: tg.unroll(c, X, checkpoint=2),
        lambda c: list(tg.tbptt(c, X, 2)),
    ):
        with pytest.raises(KeyError, match="mine"):
            run(Broken())


def test_a_cell_without_size_works_with_a_given_state() -> None:
    ys, last = tg.unroll(Sizeless(), X, zeros(2, 3))
    assert ys.shape == (4, 2, 2) and last.shape == (2, 3)
    assert Sizeless()(X[0], zeros(2, 3))[1].shape == (2, 3)


@pytest.mark.parametrize(("name", "value"), [
    ("check", tg.Parameter([1.0])), ("zeros", 3), ("forward", np.ones(2)), ("parameters", [1]), ("initial_state", tg.tensor([1.0])),
    ("state_dict", {}), ("eval", True), ("train", tg.nn.Linear(1, 1, rng=0)),
])  # fmt: skip
def test_attributes_that_would_hide_a_method_are_refused(name: str, value: Any) -> None:
    cell = tg.Cell()
    with pytest.raises(
        tg.TinygradError, match=rf"{name}\(\.\.\.\) is a method that every (Cell|Module) has"
    ):
        setattr(cell, name, value)
    cell.forward = lambda x, h: (x, h)  # type: ignore[method-assign]  (another method may take its place)
