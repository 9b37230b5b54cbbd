"""No public function or class takes nonsense.

Each parameter in turn is given what it is not (see `bad_settings`).
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import tinygrad_rnn as tg

from .bad_settings import outcomes, public

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files may be written."""
    monkeypatch.chdir(tmp_path)


# which an operation takes in place of a tensor
NUMBERS = {"-1", "0", "nan", "1.5", "[]", "True", "array"}
ANYTHING = {"None", "object", "text", "dict", "class", "1j", *NUMBERS}
ELSEWHERE = {"tg.Cell", "tg.vjp", "tg.draw", "tg.explore", "tg.Drawing", "tg.Window", "tg.load", "tg.save", "tg.register_ufunc", "tg.set_num_threads",
             "tg.cells.PublishedCell", "tg.custom_vjp", "tg.jit", "tg.elementwise", "tg.Tape", "tg.tape"}  # fmt: skip


def each(names: list[str], labels: set[str]) -> dict[str, set[str]]:
    return {name: labels for name in names}  # noqa: C420  (they are only read)


# what is right, though it may be unusual: by the name of the parameter, or with the function's
TAKEN: dict[str, set[str]] = {
    **each(["x", "a", "b", "y", "condition", "value", "indices", "data", "tensors", "operands"], NUMBERS),
    **each(["keepdims", "bias", "affine", "training", "centered", "count_include_pad", "elementwise_affine", "batch_first", "bidirectional",
                     "reset_after", "reverse", "ceil_mode", "is_causal", "decoupled_weight_decay", "return_states", "peepholes", "log_space"], {"True"}),
    **each(["axis", "axis1", "axis2"], {"None", "-1", "0", "[]"}),
    **each(["lr", "weight_decay", "eps", "lr_decay", "max_norm", "max_value", "last", "factor", "first", "then", "threshold", "smallest", "gain", "std",
                     "bound", "length_penalty", "temperature", "rtol", "atol", "scale", "spectral_radius"], {"0", "1.5"}),
    **each(["p", "dropout", "momentum", "input", "output", "patience", "padding", "pad_width", "gate", "forget", "enter",
                     "proj_size", "start", "r_min", "seed"], {"0"}), "output_padding": {"0"}, "tg.init.chrono: enter": {"None", "0"}, "bias": {"None", "True"},
    **each(["lengths", "resets", "hook", "k2", "mask", "attended_size", "top_k", "stride"], {"None"}),
    "state": {"None", "0"}, "rng": {"None", "0", "[]"}, "name": {"None", "text"}, "tg.Parameter: dtype": {"None"}, "tg.nn.Parameter: dtype": {"None"}, "tg.nn.Buffer: dtype": {"None"},
    "argnums": {"-1", "0"}, "stop": {"None", "0"}, "k": {"-1", "0"}, "shift": {"-1", "0", "[]"}, "low": {"None", "-1", "0", "1.5"}, "high": {"None", "-1", "0", "1.5"},
    "negative_slope": {"-1", "0", "1.5"}, "alpha": {"-1", "0", "1.5"}, "correction": {"-1", "0", "1.5"}, "checkpoint": {"None", "True"},
    "tg.nn.BatchNorm: momentum": {"None", "0"}, "tg.init.identity: scale": {"-1", "0", "1.5"}, "tg.init.orthogonal: gain": {"-1", "0", "1.5"},
    "tg.nn.RecurrentBatchNorm: gain": {"-1", "0", "1.5"}, "tg.init.forget_bias: value": {"-1", "0", "1.5", "True"}, "tg.nn.dropout: x": NUMBERS,
    "shape": {"[]"}, "parts": {"[]"}, "index": {"None", "-1", "0", "[]", "True"}, "parameters": {"dict"}, "eps": {"0", "1.5"},
    "tg.pad: value": {"-1", "0", "nan", "1.5", "True"}, "tg.nn.greedy: state": ANYTHING, "tg.nn.sample: state": ANYTHING, "tg.nn.beam: state": {"None", "[]", "dict"},
    **{f"tg.{name}: dtype": {"None"} for name in ("zeros", "ones", "empty", "full", "ones_like", "full_like", "empty_like", "arange", "linspace", "eye")},
    **{f"tg.{path}: shape": {"0", "[]", "array"} - ({"array"} if path != "full" else set()) for path in ("full", "random.normal", "random.uniform", "random.bernoulli", "random.integers")},
    **{f"tg.{name}": {"0"} for name in ("zeros", "ones", "empty")}, "requires_grad": {"True"}, "tg.full: fill_value": {*NUMBERS}, "tg.full_like: fill_value": {*NUMBERS},
    **each(["tg.arange: start", "tg.linspace: start", "tg.linspace: stop", "tg.random.normal: mean"], {"-1", "0", "1.5"}),
    "tg.arange: step": {"-1", "1.5"}, "tg.arange: stop": {"None", "-1", "0", "1.5"}, "num": {"0"}, "n": {"0"}, "m": {"None", "0"}, "endpoint": {"True"},
    "source": {"-1", "0", "[]"}, "destination": {"-1", "0", "[]"}, "repeats": {"0", "[]"}, "reps": {"0", "[]"}, "start_axis": {"-1", "0"}, "end_axis": {"-1", "0"},
    "q": {"0", "[]"}, "descending": {"True"}, "largest": {"True"}, "include_self": {"True"}, "tg.pad_sequences: value": {"-1", "0", "1.5"}, "min": {"None", "-1", "0", "1.5"}, "max": {"None", "-1", "0", "1.5"}, **each(["return_index", "return_inverse", "return_counts"], {"True"}),
    "offset": {"-1", "0"}, "optimize": {"None", "True"}, "axes": {"0"},
    **each(["full", "log_target", "zero_infinity"], {"True"}), **each(["input_lengths", "target_lengths"], {"None"}), "pos_weight": {"None", "0", "1.5", "True"},
    "weight": {"None"}, "ignore_index": {"None", "-1", "0"}, "label_smoothing": {"0"}, "blank": {"0"}, "beta": {"0", "1.5"}, "variance": {"0", "nan", "1.5", "True"}, "delta": {"1.5"},
    "tg.prelu: weight": NUMBERS - {"array", "[]"}, "tg.nn.PReLU: init": {"-1", "0", "1.5"}, "modules": {"None", "[]", "dict"}, **each(["kdim", "vdim"], {"None"}),
    "tg.nn.RMSNorm: eps": {"None", "1.5"}, "tg.nn.scaled_dot_product_attention: mask": {"None", "-1", "0", "nan", "1.5", "True"}, "tg.nn.scaled_dot_product_attention: scale": {"None", "1.5"},
    "dropout_p": {"0"}, "momentum_decay": {"0", "1.5"}, "values": NUMBERS, "tg.meshgrid": NUMBERS - {"array"},
    "B": {"None"}, "activations": {"None"}, "clip": {"None"}, "P": {"None", "[]"}, "layer": {"0"}, "linear_before_reset": {"0"}, "input_forget": {"0"},
    "tg.checkpoint": ANYTHING, "tg.dynamics: x": {"None"}, "tg.transpose": {"-1", "0"}, "tg.reshape": {"-1"}, "tg.gradcheck": {"1.5", "array"}, "tg.einsum": {"array"},
    "folder": {"text"}, "replace": {"True"}, "tg.fit: checkpoint": {"None", "text"}, "tg.fit: loss": {"None"}, "tg.fit: clip": {"None", "0", "1.5"}, "tg.fit: log": {"[]"},
    **each([f"tg.fit: {name}" for name in ("optimizer", "schedule", "every", "validate", "metric", "patience")], {"None"}), "tg.fit: callbacks": {"[]"},
    **each(["tg.fit: epochs", "tg.fit: steps", "tg.fit: seconds"], {"None", "0", "1.5"}), "tg.fit: save_every": {"0", "1.5"}, "tg.fit: progress": {"True"}, "tg.fit: parallel": {"None"}, "tg.fit: compiled": {"None", "True"},
    **each(["tg.fft.rfft: n", "tg.fft.irfft: n", "tg.fft.rfft: norm", "tg.fft.irfft: norm"], {"None"}), "tg.linalg.norm: ord": {"None", "-1"},
    **each(["upper", "lower", "full_matrices", "compute_uv"], {"True"}), "tg.linalg.matrix_power: n": {"0", "-1"},
    "tg.bincount: weights": {"None"}, "tg.bincount: minlength": {"0"}, "tg.searchsorted: v": NUMBERS, "tg.searchsorted: sorter": {"None", "[]", "0", "-1"}, "tg.searchsorted: a": {"[]"},
    "tg.bincount: x": {"[]"}, **each(["tg.histogram: range", "tg.histogram: weights"], {"None"}), "tg.histogram: density": {"True"},
    "tg.grad: argnums": {"-1", "0", "[]"}, "tg.value_and_grad: argnums": {"-1", "0", "[]"}, "tg.hvp: args": ANYTHING,
    "tg.gradient_flow: cell": {"None"}, "tg.diagnose: cell": {"None"}, "tg.diagnose: optimizer": {"None"}, "tg.diagnose: lr": {"None", "0", "1.5"},
}  # fmt: skip


def allowed(path: str, name: str) -> set[str]:
    by_place = TAKEN.get(path, set()) if name.isdigit() else set()
    return TAKEN.get(f"{path}: {name}", TAKEN.get(name, set())) | by_place


PUBLIC = {path: thing for path, thing in public() if path not in ELSEWHERE}


@pytest.mark.parametrize("path", [p for p in PUBLIC if not p.startswith("tg.cells.")])
def test_nonsense_is_refused(path: str) -> None:
    faults = []
    for what, kind, text in outcomes(path, PUBLIC[path]):
        _, _, setting = what.partition(": ")
        name, _, label = setting.partition("=")
        if kind != "refused" and not (kind == "taken" and label in allowed(path, name)):
            faults.append(f"{what}: {kind} {text}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", [p for p in PUBLIC if p.startswith("tg.cells.")])
def test_cells_take_settings_of_their_kind_alone(path: str) -> None:
    """Numbers are numbers, switches switches.

    In which range a number of one cell may be is a matter of its own tests.
    """
    kinds = {
        "int": {"-1", "0"},
        "float": {"-1", "0", "1.5"},
        "bool": {"True"},
        "str": set(),
        "Any": {"None", "0", "[]"},
    }
    annotations = {
        name: str(p.annotation) for name, p in inspect.signature(PUBLIC[path]).parameters.items()
    }
    faults = []
    for what, kind, text in outcomes(path, PUBLIC[path]):
        _, _, setting = what.partition(": ")
        name, _, label = setting.partition("=")
        words = [w.strip() for w in annotations.get(name, "").split("|")]
        fits = (
            set().union(*(kinds.get(w, {"None"} if w == "None" else set()) for w in words))
            if name not in ("input_size", "hidden_size", "dtype")
            else set()
        )
        if kind != "refused" and not (kind == "taken" and label in fits):
            faults.append(f"{what}: {kind} {text}")
    assert not faults, "\n".join(faults)


def test_what_a_message_names() -> None:
    """The class or function, and the parameter."""
    for call, words in [
        (lambda: tg.nn.Linear(2.0, 3), "Linear: in_features must be a whole number; found 2.0"),
        (
            lambda: tg.nn.GRU(2, 3, bidirectional="yes"),
            "GRU: bidirectional must be True or False; found 'yes'",
        ),
        (lambda: tg.cells.LSTM(2, True), "LSTM: hidden_size must be a whole number; found True"),
        (lambda: tg.cells.LSTM(2, 3, dtype=None), "LSTM: dtype must be float32 or float64"),
        (
            lambda: tg.nn.LSTM(2, 3, rng=-1),
            r"rng must be a seed \(a whole number of at least 0\).*found -1",
        ),
        (
            lambda: tg.leaky_relu(tg.tensor([1.0]), negative_slope=1j),
            "leaky_relu: negative_slope must be a number; found 1j",
        ),
        (lambda: tg.elu(tg.tensor([1.0]), alpha=None), "elu: alpha must be a number; found None"),
        (lambda: tg.clip(tg.tensor([1.0]), 1j), "clip: low must be a number or None; found 1j"),
        (
            lambda: tg.tensor([1.0]).sum(keepdims="x"),
            "sum: keepdims must be True or False; found 'x'",
        ),
        (
            lambda: tg.init.normal((2, 3), std=float("nan")),
            "normal: std must be a finite number of at least 0; found nan",
        ),
    ]:
        with pytest.raises(tg.TinygradError, match=words):
            call()


def test_a_class_of_the_users_own_is_not_checked() -> None:
    class Own(tg.Module):
        def __init__(self, size: int, name: str = "x") -> None:
            self.size, self.title = size, name

    made: Any = Own(1.5, 3)  # type: ignore[arg-type]
    assert (made.size, made.title) == (1.5, 3)
