"""What type checkers know of a tensor: what it is given at run time, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinygrad_rnn as tg
from tests import declarations

CORE = Path(declarations.FILE).parent
RIGHT = """
import tinygrad_rnn as tg

x = tg.tensor([[1.0, 2.0]], requires_grad=True)
y: tg.Tensor = (2 * x.T @ x + 1).tanh().sum(axis=0, keepdims=True).clip(0.0, 1.0)
positive: tg.Tensor = (x > 0) & (x == 1)
pieces: list[tg.Tensor] = x.split(2, axis=1)
number: float = float(x.mean().detach())
y[0] += 1
y.sum().backward(create_graph=True)
x.data = x.numpy() * 2
"""
WRONG = {
    "x.tahn()": '"Tensor" has no attribute "tahn"',
    "x.gradient": '"Tensor" has no attribute "gradient"',
    "x.require_grad = True": '"Tensor" has no attribute "require_grad"',
    "x.sum(axes=0)": 'Unexpected keyword argument "axes" for "sum"',
    "x.T()": '"Tensor" not callable',
    "z: int = x * 2": "Incompatible types in assignment",
}


def test_the_declarations_are_those_of_what_is_attached() -> None:
    assert declarations.FILE.read_text(encoding="utf-8") == declarations.text(), (
        f"what Tensor is given has changed: {declarations.COMMAND} writes {declarations.FILE.name} anew"
    )


def test_what_is_attached_is_found() -> None:
    found = declarations.attached()
    assert {
        "__add__",
        "__array_ufunc__",
        "__deepcopy__",
        "T",
        "backward",
        "data",
        "grad",
        "softmax",
    } <= found.keys()
    # these stand in the class itself, and are slots or what Python makes
    assert not {"numpy", "shape", "array", "node", "__init__", "__hash__", "__doc__"} & found.keys()


def test_a_tensor_has_what_is_declared_and_works_as_declared() -> None:
    space: dict[str, object] = {}
    exec(RIGHT, space)
    assert isinstance(space["y"], tg.Tensor) and isinstance(space["pieces"], list)
    assert isinstance(space["positive"], tg.Tensor) and isinstance(space["number"], float)


def test_right_attributes_pass_and_misspelt_ones_do_not(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    (tmp_path / "right.py").write_text(RIGHT)
    lines = [f"def f{i}(x: tg.Tensor) -> None:\n    {text}\n" for i, text in enumerate(WRONG)]
    (tmp_path / "wrong.py").write_text("import tinygrad_rnn as tg\n" + "".join(lines))
    # the core and the face of the package are all that these need
    files = [tmp_path / "right.py", tmp_path / "wrong.py", CORE, CORE.parent / "__init__.py"]
    options = ["--strict", "--follow-imports=skip", f"--cache-dir={tmp_path / 'cache'}"]
    out, _, _ = api.run([*options, "--no-error-summary", *map(str, files)])
    said = [line for line in out.splitlines() if "right.py" in line or "wrong.py" in line]
    said = [line for line in said if ": error:" in line]
    assert not [line for line in said if "right.py" in line], out
    for i, message in enumerate(WRONG.values()):
        (line,) = [line for line in said if f"wrong.py:{2 * i + 3}:" in line]
        assert message in line
