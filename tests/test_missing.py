"""What happens where a package is not installed: importing works, and what needs it says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDDEN = '''
import sys, warnings

class Without:
    """A finder that does not see some packages."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in {names}
        return None if hidden else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn.cli import main

def refused(call, kind, *words):
    try:
        call()
    except kind as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError("nothing was raised")
'''
NUMBA = """
x = np.linspace(-1, 1, 30).reshape(5, 2, 3)
cell = tg.cells.LSTM(3, 4, rng=0, dtype=np.float64)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ys = tg.unroll(tg.jit(cell), x)[0]
    ys.sum().backward()
    double = tg.jit(lambda a: tg.tanh(a) * 2)
    assert np.allclose(double(tg.tensor(x)).numpy(), np.tanh(x) * 2)
    tg.sigmoid(tg.tensor(np.ones(100_000))), tg.jit(cell), tg.nn.LSTM(3, 4)(x.astype("f"))
with tg.eager():
    assert np.allclose(tg.unroll(cell, x)[0].numpy(), ys.numpy())
(one,) = [str(w.message) for w in caught]
assert "numba cannot be used here" in one and "run through NumPy" in one, one
for look in (lambda: tg.jit(cell).source(x), lambda: tg.jit(cell).explain(x), double.source, double.explain):
    refused(look, tg.CompileError, "tg.jit: there is no code of", "runs through NumPy: numba cannot be used here")
"""
SCIPY = """
x = tg.tensor(np.linspace(-0.5, 0.5, 4), requires_grad=True)
for function in (tg.erf, tg.erfc, tg.lgamma, tg.digamma, tg.erfinv, tg.gelu):
    refused(lambda: function(x), ImportError, "No module named 'scipy'", "pip install scipy")
refused(lambda: tg.linalg.expm(np.eye(3)), ImportError, "expm", "pip install scipy")
refused(lambda: tg.cells.LMU(3, 4), ImportError, "expm", "pip install scipy")
tg.unroll(tg.cells.LSTM(3, 4), np.ones((5, 2, 3), "f"))[0].sum().backward()
"""
GRAPHVIZ = """
picture = tg.draw(tg.tanh(tg.tensor(np.ones(3), requires_grad=True)).sum())
assert picture.svg().startswith("<svg")
refused(lambda: picture.dot, tg.TinygradError, "DOT, PNG and PDF need graphviz", "pip install tinygrad-rnn[draw]")
refused(lambda: picture.save("a.png"), tg.TinygradError, "pip install tinygrad-rnn[draw]")
refused(lambda: picture.graphviz, tg.TinygradError, "pip install tinygrad-rnn[draw]")
assert main(["draw", "LSTM", "--out", "a.svg"]) == 0
"""
RICH = """
assert main(["draw", "LSTM", "--out", "a.svg"]) == 0
assert main(["demo", "--budget", "1", "--out", "demo"]) == 2
assert main(["tasks", "list"]) == 2
"""
CASES = {
    "numba": ("numba, llvmlite", NUMBA, ""),
    "llvmlite": ("llvmlite", NUMBA, ""),
    "scipy": ("scipy", SCIPY, ""),
    "graphviz": ("graphviz, pygraphviz", GRAPHVIZ, ""),
    "rich": ("rich", RICH, "this needs rich, which is not installed: pip install rich"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_installed_is_missed_only_where_it_is_needed(case: str, tmp_path: Path) -> None:
    names, program, said = CASES[case]
    text = HIDDEN.replace("{names}", repr(names.split(", "))) + program
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stderr and "a fault of this program" not in done.stderr, done.stderr
