"""Names of PyTorch: each gives one sentence with what is written here, and that is right."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops import names

M = tg.nn.Linear(2, 3, rng=0)
KINDS: dict[str, tuple[Any, dict[str, str]]] = {
    "Tensor": (tg.tensor(np.ones((2, 3))), names.TENSOR),
    "Linear": (M, names.MODULE),
    "Adam": (tg.optim.Adam([tg.Parameter([1.0])]), names.OPTIMIZER),
}
EVERY = [(kind, name) for kind, (_, table) in KINDS.items() for name in table]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_name_gives_one_sentence(kind: str, name: str) -> None:
    thing, table = KINDS[kind]
    assert not hasattr(thing, name) and name not in dir(thing)
    with pytest.raises(AttributeError) as caught:
        getattr(thing, name)
    assert str(caught.value) == f"a {kind} has no '{name}': {table[name]}"
    assert table[name][-1] != "." and table[name].isprintable()


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_names_in_a_sentence_are_there(kind: str, name: str) -> None:
    """Of tg, of a tensor t, of a module m and of an optimiser o."""
    thing, table = KINDS[kind]
    sentence = table[name]
    short = {"Tensor": "t", "Linear": "m", "Adam": "o"}[kind]
    space = {"tg": tg, "np": np, short: thing}
    found = re.findall(rf"\b(tg|np|{short})((?:\.\w+)+)", sentence)
    for start, path in found:
        at = space[start]
        words = path[1:].split(".")
        if len(words) == 1 and re.search(rf"\b{start}\.{words[0]} = ", sentence):
            continue  # what is set is not there before
        for word in words:
            at = getattr(at, word)
    says = ("leave it out", "there are no", "it makes no difference", "write t", "write -t", "write 1 /", "write p", "there is no")  # fmt: skip
    assert found or sentence.startswith(says), sentence


WORDS = {"through"}  # which no code here has


def expression(sentence: str) -> Any:
    """The longest beginning after the word "write" that is an expression."""
    if not sentence.startswith("write "):
        return None
    text = sentence.removeprefix("write ")
    for end in [len(text), *(m.start() for m in reversed(list(re.finditer(r"[,;]? ", text))))]:
        try:
            code = compile(text[:end], sentence, "eval")
        except SyntaxError:
            continue
        if not set(code.co_names) & WORDS:
            return code
    return None


def test_what_is_written_in_place_of_it_runs() -> None:
    """The expressions behind "write" that are of a tensor alone."""
    rng = np.random.default_rng(0)
    known = {
        "t": tg.tensor(rng.normal(size=(2, 3))), "tg": tg, "np": np, "other": tg.tensor(rng.normal(size=(2, 3))),
        "mask": np.ones((2, 3), bool), "indices": np.array([[0, 1], [1, 0]]), "v": 1.0,
    }  # fmt: skip
    ran = 0
    for name, sentence in names.TENSOR.items():
        code = expression(sentence)
        if code is None:
            continue
        values = dict(known)
        if " @ " in sentence:
            values["other"] = known["other"].T
        if name in ("index_select", "scatter_add"):
            values |= {"indices": np.array([0, 1]), "values": known["t"]}
        eval(code, values)
        ran += 1
    assert ran >= 40


def test_other_names_are_as_before() -> None:
    t = tg.tensor([1.0])
    for name in ("nonsense", "__array_interface__"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(t, name)
    assert {"reshape", "backward", "numpy"} <= set(dir(t))

    class Own(tg.Module):
        def __init__(self) -> None:
            self.to, self.children = 3, [tg.nn.Linear(1, 1, rng=0)]

        def apply(self, x: Any) -> Any:
            return self.children[0](x) * self.to

    own = Own()
    assert own.to == 3 and len(list(own.parameters())) == 2
    x = tg.tensor([[1.0]])
    assert own.apply(x).item() == tg.jit(own.apply)(x).item() == copy.deepcopy(own).apply(x).item()
    assert pickle.loads(pickle.dumps(M)).weight.tolist() == M.weight.tolist()


def test_names_of_losses_and_activations_exist() -> None:
    with pytest.raises(
        AttributeError, match=r"has no attribute 'relu'; activations, .* as tg\.relu"
    ):
        tg.nn.functional.relu  # noqa: B018
    for name, hint in tg.nn._ELSEWHERE.items():
        with pytest.raises(AttributeError) as caught:
            getattr(tg.nn, name)
        assert hint in str(caught.value)
        for path in re.findall(r"tg((?:\.\w+)+)", hint):
            at: Any = tg
            for word in path[1:].split("."):
                at = getattr(at, word)
    for name, function in names.CALLED.items():
        assert not hasattr(tg, name) and hasattr(tg, function), name


def test_modules_count_and_convert() -> None:
    class Net(tg.Module):
        def __init__(self) -> None:
            self.norm, self.out = tg.nn.BatchNorm(3), tg.nn.Linear(3, 2, rng=0)
            self.again, self.scale = self.out, tg.tensor([2.0])
            self.cell = tg.cells.LSTM(3, 2, rng=0)

        def forward(self, x: Any) -> Any:
            return self.out(self.norm(x)) * self.scale

    net = Net()
    assert net.num_parameters() == 6 + 8 + (8 * 5 + 16)
    net.norm.weight.requires_grad = False
    assert net.num_parameters(trainable=True) == 3 + 8 + 56
    double = net.astype(np.float64)
    assert {p.dtype for p in double.parameters()} == {np.dtype(np.float64)} and double.norm.running_mean.dtype == np.float64  # fmt: skip
    assert double.norm.num_batches_tracked.dtype == np.int64 and double.scale.dtype == np.float64
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float32)} and type(double) is Net
    assert double.out is double.again and not double.norm.weight.requires_grad
    assert [n for n, _ in double.named_parameters()] == [n for n, _ in net.named_parameters()]
    x = np.random.default_rng(0).normal(size=(4, 3))
    y = double(tg.tensor(x))
    np.testing.assert_allclose(y.numpy(), net(tg.tensor(x.astype(np.float32))).numpy(), rtol=1e-5)
    y.sum().backward()
    assert double.out.weight.grad.dtype == np.float64 and net.out.weight.grad is None
    ys, state = tg.unroll(tg.jit(double.cell), tg.tensor(x[:, None]))
    assert ys.dtype == np.float64 and state.c.dtype == np.float64
    assert double.cell.initial_state(2).h.dtype == np.float64
    back = double.astype(np.float32)
    np.testing.assert_array_equal(back.out.weight.numpy(), net.out.weight.numpy())
    with pytest.raises(
        tg.DtypeError, match=r"Net\.astype: dtype must be float32 or float64.*found"
    ):
        net.astype(np.int64)
    with pytest.raises(tg.TinygradError, match=r"num_parameters: trainable must be True or False"):
        net.num_parameters(trainable=1)
