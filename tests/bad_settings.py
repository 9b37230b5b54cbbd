"""Every public function and class with each of its parameters replaced by what it is not, found by their signatures."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.formats import keras, onnx

NONSENSE: dict[str, Any] = {
    "None": None, "-1": -1, "0": 0, "nan": float("nan"), "1.5": 1.5, "1j": 1j, "text": "x", "[]": [], "object": object(), "True": True,
    "array": np.ones((7, 5), np.float32), "class": tg.cells.LSTM, "dict": {},
}  # fmt: skip


class Outcome(NamedTuple):
    """What came of a call with nonsense."""

    what: str  # "tg.nn.Linear: bias=1j"
    kind: str  # "refused", "taken", or the name of a foreign error
    text: str


def tensor(*shape: int) -> tg.Tensor:
    return tg.tensor(np.random.default_rng(0).uniform(0.3, 0.7, shape).astype(np.float32))


def unrolled_loss() -> tg.Tensor:
    return tg.unroll(tg.cells.GRU(3, 3, rng=0), tensor(4, 2, 3))[0].sum()


def given(name: str) -> Any:
    """A value that fits a parameter without a default, by its name."""
    makers: dict[str, Any] = {
        "x": lambda: tensor(2, 3), "a": lambda: tensor(2, 3), "b": lambda: tensor(2, 3), "y": lambda: tensor(2, 3), "condition": lambda: tensor(2, 3) > 0.5,
        "input_size": lambda: 3, "hidden_size": lambda: 4, "in_features": lambda: 3, "out_features": lambda: 2, "p": lambda: 0.5, "shape": lambda: (2, 3),
        "parameters": lambda: [tg.Parameter([1.0])], "lr": lambda: 0.1, "factor": lambda: 0.5, "steps": lambda: 3, "size": lambda: 3, "cell": lambda: tg.cells.GRU(3, 3, rng=0),
        "axis": lambda: 0, "tensors": lambda: [tensor(2, 3), tensor(2, 3)], "data": lambda: [1.0, 2.0], "axis1": lambda: 0, "axis2": lambda: 1,
        "num_features": lambda: 3, "num_embeddings": lambda: 3, "embedding_dim": lambda: 2, "in_channels": lambda: 2, "out_channels": lambda: 3, "kernel_size": lambda: 2,
        "normalized_shape": lambda: 3, "query_size": lambda: 3, "memory_size": lambda: 3, "attention_size": lambda: 2, "f": lambda: (lambda x: (x * x).sum()),
        "bound": lambda: 0.5, "k1": lambda: 2, "xs": lambda: tensor(4, 2, 3), "logits": lambda: tensor(2, 3), "parts": lambda: 1, "shift": lambda: 1,
        "pad_width": lambda: 1, "indices": lambda: np.array([0, 1]), "classes": lambda: 3, "then": lambda: 0.1, "max_norm": lambda: 1.0, "max_value": lambda: 1.0,
        "cells": lambda: [tg.cells.GRU(3, 3, rng=0), tg.cells.GRU(3, 3, rng=1)], "forward": lambda: tg.cells.GRU(3, 3, rng=0), "backward": lambda: tg.cells.GRU(3, 3, rng=1),
        "attention": lambda: tg.nn.LuongAttention(3, 2, "general", rng=0), "optimizer": lambda: tg.optim.SGD([tg.Parameter([1.0])]), "function": lambda: (lambda t: 0.1),
        "proj_size": lambda: 2, "bias": lambda: np.zeros(12, np.float32), "longest": lambda: 10.0, "prediction": lambda: tensor(2, 3), "target": lambda: tensor(2, 3),
        "fill_value": lambda: 2.0, "start": lambda: 0, "stop": lambda: 3, "n": lambda: 3, "low": lambda: 2,
        "dtype": lambda: np.float32, "weight": lambda: tensor(3, 2, 2), "index": lambda: (0,), "value": lambda: tensor(2, 3),
    }  # fmt: skip
    return makers[name]()


SQUARE = np.eye(3) + 0.1 * np.arange(9).reshape(3, 3)
SPECIAL: dict[str, dict[str, Any]] = {  # where the name alone does not say it
    **{f"tg.linalg.{name}": {"x": lambda: tg.tensor(SQUARE), "a": lambda: tg.tensor(SQUARE), "b": lambda: tg.tensor(SQUARE)} for name in (
        "cholesky", "det", "eigh", "eigvalsh", "expm", "inv", "matrix_power", "slogdet", "solve", "solve_triangular", "svd")},
    "tg.linalg.matrix_power": {"x": lambda: tg.tensor(SQUARE), "n": lambda: 2}, "tg.fft.irfft": {"pair": lambda: (tensor(2, 3), tensor(2, 3))},
    "tg.moveaxis": {"source": lambda: 0, "destination": lambda: 1}, "tg.repeat": {"repeats": lambda: 2}, "tg.tile": {"reps": lambda: 2}, "tg.append": {"values": lambda: tensor(2, 3)},
    "tg.meshgrid": {"tensors": lambda: (tensor(2), tensor(3))},
    **{f"tg.{name}": {"a": lambda: np.array([[3, 1, 2]]), "b": lambda: np.array([[1, 0, 2]])}
       for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift")}, "tg.bitwise_not": {"x": lambda: np.array([[3, 1, 2]])},
    "tg.matmul": {"b": lambda: tensor(3, 2)}, "tg.dot": {"b": lambda: tensor(3, 2)}, "tg.vecmat": {"x": lambda: tensor(2), "a": lambda: tensor(2, 3)}, "tg.outer": {"a": lambda: tensor(3), "b": lambda: tensor(2)}, "tg.reshape": {"shape": lambda: (3, 2)},
    "tg.transpose": {"axes": lambda: (1, 0)}, "tg.squeeze": {"x": lambda: tensor(1, 3)}, "tg.take_along_axis": {"indices": lambda: np.array([[0], [1]])},
    "tg.put_along_axis": {"indices": lambda: np.array([[0], [1]]), "values": lambda: tensor(2, 1), "axis": lambda: 1}, "tg.quantile": {"q": lambda: 0.5}, "tg.topk": {"k": lambda: 2},
    "tg.pad_sequences": {"sequences": lambda: [[1.0, 2.0], [3.0]]},
    "tg.bincount": {"x": lambda: np.array([0, 2])}, "tg.searchsorted": {"a": lambda: np.array([0.0, 1.0]), "v": lambda: tensor(3)},
    "tg.scatter_reduce": {"indices": lambda: np.array([[0], [1]]), "values": lambda: tensor(2, 1)},
    "tg.index_add": {"value": lambda: tensor(2, 3)}, "tg.scatter": {"x": lambda: tensor(3), "shape": lambda: (2, 3)}, "tg.one_hot": {},
    "tg.einsum": {"subscripts": lambda: "ij->i", "operands": lambda: (tensor(2, 3),)}, "tg.conv1d": {"x": lambda: tensor(1, 2, 5), "bias": lambda: tensor(3)},
    "tg.conv2d": {"x": lambda: tensor(1, 2, 5, 5), "weight": lambda: tensor(3, 2, 2, 2), "bias": lambda: tensor(3)},
    "tg.max_pool1d": {"x": lambda: tensor(1, 2, 6)}, "tg.avg_pool1d": {"x": lambda: tensor(1, 2, 6)}, "tg.max_pool2d": {"x": lambda: tensor(1, 2, 6, 6)},
    "tg.avg_pool2d": {"x": lambda: tensor(1, 2, 6, 6)}, "tg.nn.cross_entropy": {"targets": lambda: np.array([0, 2])}, "tg.nn.bce_with_logits": {"targets": lambda: tensor(2, 3)},
    "tg.prelu": {"weight": lambda: tensor(3)}, "tg.glu": {"x": lambda: tensor(2, 4)}, "tg.conv_transpose1d": {"x": lambda: tensor(1, 3, 5), "bias": lambda: tensor(2)},
    "tg.conv_transpose2d": {"x": lambda: tensor(1, 3, 5, 5), "weight": lambda: tensor(3, 2, 2, 2), "bias": lambda: tensor(2)},
    **{f"tg.adaptive_{kind}_pool{k}d": {"x": lambda k=k: tensor(1, 2, *[6] * k)} for kind in ("avg", "max") for k in (1, 2)},
    **{f"tg.nn.Adaptive{kind}Pool{k}d": {"output_size": lambda: 3} for kind in ("Avg", "Max") for k in (1, 2)},
    "tg.nn.GroupNorm": {"num_groups": lambda: 2, "num_channels": lambda: 4}, "tg.nn.MultiheadAttention": {"embed_dim": lambda: 4, "num_heads": lambda: 2},
    "tg.nn.scaled_dot_product_attention": {"query": lambda: tensor(2, 3), "key": lambda: tensor(4, 3), "value": lambda: tensor(4, 5), "dropout_p": lambda: 0.5},
    "tg.nn.gaussian_nll_loss": {"mean": lambda: tensor(2, 3), "variance": lambda: tensor(2, 3)}, "tg.nn.kl_div": {"log_probabilities": lambda: tensor(2, 3)},
    "tg.nn.nll_loss": {"log_probabilities": lambda: tensor(2, 3), "targets": lambda: np.array([0, 2])},
    "tg.nn.ctc_loss": {"logits": lambda: tensor(4, 2, 3), "targets": lambda: np.array([[1, 2], [2, 1]])},
    "tg.hvp": {"x": lambda: tensor(3), "v": lambda: tensor(3)}, "tg.jvp": {"xs": lambda: (tensor(3),), "vs": lambda: (tensor(3),)}, "tg.vjp": {"xs": lambda: (tensor(3),)},
    "tg.checkpoint": {"args": lambda: (tensor(3),)}, "tg.gradcheck": {"inputs": lambda: (np.ones(2),)}, "tg.trace": {"examples": lambda: (tensor(3),)},
    "tg.gradient_flow": {"loss": unrolled_loss}, "tg.diagnose": {"loss": unrolled_loss},
    "tg.nn.AttentionCell": {"cell": lambda: tg.cells.GRU(6, 3, rng=0)}, "tg.nn.BatchNorm": {}, "tg.expand_dims": {"axis": lambda: 0}, "tg.broadcast_to": {"shape": lambda: (4, 2, 3)},
    "tg.optim.ReduceOnPlateau": {}, "tg.init.forget_bias": {"hidden_size": lambda: 3}, "tg.init.chrono": {"hidden_size": lambda: 3},
    "tg.nn.RecurrentBatchNorm": {"steps": lambda: 4}, "tg.nn.CNNLSTM": {"channels": lambda: 1, "height": lambda: 4, "width": lambda: 4, "filters": lambda: 2, "output_size": lambda: 2},
    "tg.nn.Bidirectional": {"forward_cell": lambda: tg.cells.GRU(3, 3, rng=0), "backward_cell": lambda: tg.cells.GRU(3, 3, rng=1)},
    **{f"tg.nn.{name}": {"output_size": lambda: 2} for name in ("VanillaLSTM", "StackedLSTM", "BidirectionalLSTM")},
    "tg.nn.EncoderDecoderLSTM": {"source_vocabulary": lambda: 5, "target_vocabulary": lambda: 6, "embedding_size": lambda: 3},
    "tg.nn.GenerativeLSTM": {"vocabulary": lambda: 5, "embedding_size": lambda: 3}, "tg.nn.LinearAutoregression": {"order": lambda: 2},
    "tg.nn.WindowMLP": {"window": lambda: 3, "hidden": lambda: 4},
    **{f"tg.nn.{name}": {
        "step": lambda: (lambda ids, state: (tensor(len(ids), 5), state)), "state": lambda: tensor(2, 3), "start": lambda: np.array([0, 1]),
        "stop": lambda: 4, "max_length": lambda: 3, "width": lambda: 2}
        for name in ("greedy", "sample", "beam")},
    "tg.Checkpoint": {"folder": lambda: "/dev/null/none", "parts": lambda: {}}, "tg.fit": {"model": lambda: tg.nn.Linear(3, 2, rng=0), "data": lambda: [(tensor(2, 3), tensor(2, 2))], "steps": lambda: 1, "progress": lambda: False},
    "tg.save": {"path": lambda: "/dev/null/none", "module": lambda: tg.nn.Linear(1, 1)}, "tg.functional_call": {
        "module": lambda: tg.nn.Linear(3, 2, rng=0), "parameters": lambda: {}, "args": lambda: (tensor(2, 3),)},
    "tg.cells.ConvLSTM": {"_x": lambda: tensor(2, 3, 8, 8)}, "tg.cells.PhasedLSTM": {"_x": lambda: (tensor(2, 3), tensor(2, 1))},
}  # fmt: skip


def random(*shape: int) -> Any:
    return lambda: np.random.default_rng(1).standard_normal(shape).astype(np.float32)


for name, gates, layer in (("simple_rnn", 1, "RNN"), ("lstm", 4, "LSTM"), ("gru", 3, "GRU")):
    SPECIAL[f"keras.from_keras_{name}"] = {
        "kernel": random(3, 4 * gates),
        "recurrent_kernel": random(4, 4 * gates),
    }
    SPECIAL[f"keras.to_keras_{name}"] = {
        "state": lambda layer=layer: getattr(tg.nn, layer)(3, 4, rng=0).state_dict()
    }
    SPECIAL[f"onnx.from_onnx_{name.removeprefix('simple_')}"] = {
        "W": random(1, 4 * gates, 3),
        "R": random(1, 4 * gates, 4),
        "linear_before_reset": lambda: 1,
    }
    SPECIAL[f"onnx.to_onnx_{name.removeprefix('simple_')}"] = {
        **SPECIAL[f"keras.to_keras_{name}"],
        "linear_before_reset": lambda: 1,
    }
SPECIAL["onnx.from_onnx_peephole_lstm"] = {
    "W": random(1, 16, 3),
    "R": random(1, 16, 4),
    "B": random(1, 32),
    "P": random(1, 12),
}
SPECIAL["onnx.to_onnx_peephole_lstm"] = {
    "state": lambda: tg.cells.PeepholeLSTM(3, 4, rng=0).state_dict()
}


def arguments(path: str, function: Any) -> tuple[list[Any], dict[str, Any], list[str]] | None:
    """A call that is right.

    Positional and named arguments, and the names of all, or None where a value is not known.
    """
    signature = inspect.signature(function)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    names: list[str] = []
    for p in signature.parameters.values():
        special = SPECIAL.get(path, {})
        if p.kind is p.VAR_KEYWORD:
            continue
        if p.name not in special and p.default is p.empty:
            if p.kind is p.VAR_POSITIONAL:
                continue
            try:
                value = given(p.name)
            except KeyError:
                return None
        else:
            value = special[p.name]() if p.name in special else p.default
        if p.kind is p.VAR_POSITIONAL:
            positional += list(value)
            names += [f"{len(names)}"] * len(value)
        elif p.kind is p.KEYWORD_ONLY:
            named[p.name] = value
            names.append(p.name)
        else:
            positional.append(value)
            names.append(p.name)
    return positional, named, names


def use(path: str, made: Any) -> None:
    """Look at what a call gave, so that nothing waits for its first use."""
    if path == "tg.tbptt":
        for window in made:
            window.ys.numpy()
    elif isinstance(made, tg.Cell) and not path.endswith("AttentionCell"):
        made(SPECIAL.get(path, {}).get("_x", lambda: tensor(2, made.input_size or 3))())
    elif callable(made) and path.startswith("tg.optim."):
        made(1)


def outcomes(path: str, function: Any) -> Iterator[Outcome]:
    """Each parameter in turn replaced by each piece of nonsense."""
    call = arguments(path, function)
    if call is None:
        yield Outcome(path, "unknown", "no right call is known")
        return
    positional, named, names = call
    try:
        use(path, function(*positional, **named))
    except Exception as error:
        yield Outcome(path, "wrong", f"{type(error).__name__}: {error}")
        return
    for k, name in enumerate(names):
        for label, nonsense in NONSENSE.items():
            positional, named, _ = arguments(path, function)  # type: ignore[misc]
            if k < len(positional):
                positional[k] = nonsense
            else:
                named[name] = nonsense
            what = f"{path}: {name}={label}"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    use(path, function(*positional, **named))
            except tg.TinygradError as error:
                yield Outcome(what, "refused", str(error))
            except Exception as error:
                yield Outcome(what, type(error).__name__, str(error))
            else:
                yield Outcome(what, "taken", "")


def public() -> Iterator[tuple[str, Any]]:
    """What is offered, by its path."""
    for space in (keras, onnx):
        for name, thing in vars(space).items():
            if (
                inspect.isfunction(thing)
                and not name.startswith("_")
                and thing.__module__ == space.__name__
            ):
                yield f"{space.__name__.rpartition('.')[2]}.{name}", thing
    for path, space, names in (("tg", tg, tg.__all__), ("tg.nn", tg.nn, tg.nn.__all__), ("tg.optim", tg.optim, tg.optim.__all__),
                               ("tg.init", tg.init, list(vars(tg.init))), ("tg.random", tg.random, tg.random.__all__), ("tg.linalg", tg.linalg, tg.linalg.__all__), ("tg.fft", tg.fft, tg.fft.__all__),
                               ("tg.cells", tg.cells, tg.cells.__all__)):  # fmt: skip
        for name in names:
            thing = getattr(space, name)
            own = getattr(thing, "__module__", "").startswith(
                "tinygrad_rnn"
            ) and not thing.__module__.startswith("tinygrad_rnn.core.")
            if (
                name.startswith("_")
                or not callable(thing)
                or not own
                or (path == "tg.init" and thing.__module__ != space.__name__)
            ):
                continue
            if isinstance(thing, type) and issubclass(thing, (Exception, tuple)):
                continue
            yield f"{path}.{name}", thing
