"""What `tinygrad-rnn draw` draws: a cell or module that is named by its place, or a saved model."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.tensor import Tensor
from ..core.tree import leaves
from ..drawing import Drawing, draw
from ..module import Module
from ..nn.functional import cross_entropy
from ..recurrent.cell import Cell, name_of
from ..recurrent.unroll import unroll
from .characters import load_model
from .demo import UserError

STEPS = 6  # of a picture of a module or a model


def drawing(given: Namespace) -> Drawing:
    """The picture that the arguments of the command ask for."""
    options = {name: getattr(given, name) for name in ("backward", "ledger", "memory", "values", "direction", "theme")}
    options["show"] = "all" if given.show == ["all"] else given.show
    options["title"] = given.title
    measured = given.heat or given.ledger or given.backward or given.values
    if given.what.endswith(".safetensors"):
        model, vocabulary, context = load_model(Path(given.what))
        text = (context * (given.steps or STEPS))[: (given.steps or STEPS) + 1]  # the context is at least one character
        ids = np.asarray(vocabulary.encode(text))[:, None]
        logits, _ = model(ids[:-1])
        return draw(cross_entropy(logits, ids[1:]), heat="grad" if given.heat else None, **options)
    x = find(given.what, given.args)
    if isinstance(x, Cell) and given.steps is None and not measured and given.show is None:
        return draw(x, **options)
    title = name_of(x) if given.title is None else given.title
    return draw(_loss(_outputs(x, given)), heat="grad" if given.heat else None, **{**options, "title": title})


def find(what: str, arguments: list[int]) -> Any:
    """The object named `what`; a class is called with the arguments."""
    place, colon, name = what.rpartition(":")
    if not colon:
        place, name = "tinygrad_rnn.cells", what
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except ImportError as error:
        raise UserError(f"draw: {place} cannot be imported: {error}") from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [n for n in dir(found) if isinstance(getattr(found, n), type) and issubclass(getattr(found, n), Module) and not n.startswith("_")]
            raise UserError(f"draw: {place} has no {part}; it has {', '.join(known[:12]) or 'no modules'}{' ...' if len(known) > 12 else ''}")
        found = getattr(found, part)
    if isinstance(found, type):
        try:
            found = found(*arguments)
        except (TypeError, ValueError, TinygradError) as error:
            shown = " ".join(map(str, arguments))
            raise UserError(f"draw: {name}({', '.join(map(str, arguments))}) failed: {error}. Other numbers: --args {shown} ...") from error
    return found


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"draw: there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"draw: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _outputs(x: Any, given: Namespace) -> Any:
    """What a cell or module gives on random input."""
    steps = given.steps or STEPS
    size = getattr(x, "input_size", None)
    if not isinstance(size, int):
        raise UserError(f"draw: {name_of(x)} does not say its input_size, so no input can be made for it; use tg.draw in Python")
    dtype = next((p.dtype for p in x.parameters()), np.dtype(np.float32)) if isinstance(x, Module) else np.float32
    xs = np.random.default_rng(0).standard_normal((steps, given.batch, size)).astype(dtype)
    result = unroll(x, xs) if isinstance(x, Cell) else x(xs)
    return result[0] if isinstance(result, tuple) else result


def _loss(outputs: Any) -> Tensor:
    """The mean square of the floating outputs."""
    found = [y for y in leaves(outputs) if isinstance(y, Tensor) and y.dtype.kind == "f" and y.requires_grad]
    if not found:
        raise UserError("draw: nothing of what it gives requires gradients, so nothing was recorded")
    losses = [(y * y).mean() for y in found]
    total: Tensor = sum(losses[1:], losses[0])
    return total
