"""A training loop for those who do not want to write one: `fit`, and what it is told.

The loop itself is in `loop.py`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..data.passes import Passes
from ..module import Module
from ..ops import checks
from ..optim import Adam, ReduceOnPlateau, Schedule
from ..parallel import DataParallel
from .checkpoint import Checkpoint
from .logs import logs_of
from .loop import Fit

__all__ = ["Fit", "fit"]


def fit(
    model: Module,
    data: Iterable[Any],
    *,
    loss: Callable[..., Any] | None = None,
    optimizer: Any = None,
    schedule: Any = None,
    clip: float | None = 1.0,
    epochs: int | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    every: int | None = None,
    validate: Iterable[Any] | None = None,
    metric: Callable[..., Any] | None = None,
    patience: int | None = None,
    carry: bool = False,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    save_every: float = 60.0,
    log: Any = (),
    callbacks: Sequence[Callable[[Fit], Any]] = (),
    progress: bool = True,
    parallel: DataParallel | None = None,
    compiled: bool | None = None,
) -> Fit:
    """Train a model: loss, backward, clipping, update, until it has seen enough.

    Parameters
    ----------
    model : Module
        It is in training mode for the steps, and in evaluation for `validate`.
    data : iterable
        Gives batches, and is gone over again and again: `tg.data.Batches`, `tg.data.Windows`, a
        list. A batch is a tuple. Where it has `state_dict` and `load_state_dict`, as the first two
        have, a run that is resumed goes on in the middle of a pass.
    loss : callable, optional
        ``loss(model, *batch)`` returns a tensor of one number. By default ``model(inputs)`` is
        compared with targets: cross entropy if these are whole numbers, else the mean square. With
        `carry` it is ``loss(model, *batch, state)`` and returns (loss, state).
    optimizer : Optimizer, optional
        By default Adam with its own rate.
    schedule : callable, Schedule or ReduceOnPlateau, optional
        A function from the number of steps to a learning rate, such as `tg.optim.cosine` returns.
    clip : float, optional
        The largest norm of the gradient; None for none.
    epochs, steps, seconds
        When to end: passes over `data`, steps, seconds of training; at least one of them. The
        first that is reached counts.
    every : int, optional
        Steps between two rows of the history, with a validation each. By default a pass.
    validate : iterable, optional
        Batches on which the loss is taken, in evaluation mode, without gradients.
    metric : callable, optional
        ``metric(model, *batch)`` returns the number by which a model is judged, the smaller the
        better, in place of the loss; its mean over `validate` is taken.
    patience : int, optional
        So many validations in a row without a new best are borne; the next one ends the training.
        The model then gets the parameters of the best one.
    carry : bool
        Whether each batch goes on where the one before ended (truncated backpropagation through
        time), so that the state is carried, cut from the tape. It begins anew with each pass.
    checkpoint : Checkpoint, str or path, optional
        A folder. A run that is in it already is resumed, bit for bit. A `Checkpoint` that is given
        gets the parts that it does not have: model, optimizer, schedule and data; one that may
        replace another run begins anew.
    save_every : float
        Seconds between two saves; there is one at the end too.
    log : path or sequence of paths
        Where the history is written, row by row: a file ``.csv`` or ``.jsonl``, or a folder for
        TensorBoard (with the package tensorboardX).
    callbacks : sequence of callable
        Each is called with the `Fit` after each row; `Fit.stop` ends the training.
    progress : bool
        Show a bar, or lines where there is no terminal.
    parallel : tg.parallel.DataParallel, optional
        Of this model, for a script that mpiexec runs: each rank trains on its rows of a batch, and
        what `Fit` tells is of the whole batch. The first rank writes and shows all; a folder of
        checkpoints has to be where all ranks can read it.
    compiled : bool, optional
        Whether a step is compiled for the shapes of a batch. By default it is, except where `data`
        has sequences of different lengths, since each length would be compiled.

    Returns
    -------
    Fit

    Raises
    ------
    DivergedError
        If loss or gradient are no longer finite. The parameters are as they were before that step.
    KeyboardInterrupt
        For Ctrl-C, after the step and a save; the same call goes on from there.

    Examples
    --------
    >>> data = tg.data.Batches(xs, labels, batch_size=32, rng=0)
    >>> run = tg.fit(model, data, epochs=10, checkpoint="runs/first", log="runs/first/log.csv")
    >>> run.history[-1]["loss"]
    """
    run = _run(model, data, loss, optimizer, schedule, clip, carry, compiled)
    if validate is None and (metric is not None or patience is not None):
        raise TinygradError("fit: metric and patience need validate, batches that are held out")
    run.limits = _limits(epochs, steps, seconds)
    run.every = None if every is None else checks.size(every, "fit: every")
    run.validation = None if validate is None else _batches(validate, "validate")
    run.metric = _function(metric, "metric")
    run.patience = None if patience is None else checks.size(patience, "fit: patience", 0)
    run.logs = logs_of(log)
    if parallel is not None:
        run.share(_parallel(parallel, data))
    run.callbacks = [_function(c, "a callback") for c in _batches(callbacks, "callbacks")]
    save_every = checks.number(save_every, "fit: save_every", "[0, inf]")
    progress = checks.flag(progress, "fit: progress")
    if checkpoint is not None:
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        run.keep_in(checkpoint, save_every)
    run.train(progress)
    return run


def _run(
    model: Any,
    data: Any,
    loss: Any,
    optimizer: Any,
    schedule: Any,
    clip: Any,
    carry: Any,
    compiled: Any,
) -> Fit:
    """Return a run that knows its model, its data, and how a step is made."""
    if not isinstance(model, Module):
        raise TinygradError(f"fit: expected a module; found a {type(model).__name__}")
    if checks.flag(carry, "fit: carry") and loss is None:
        raise TinygradError(
            "fit: with carry=True, give loss(model, *batch, state), which returns (loss, state)"
        )
    optimizer = Adam(model.parameters()) if optimizer is None else _optimizer(optimizer)
    ragged = getattr(data, "ragged", False)
    return Fit(
        model,
        _batches(data, "data"),
        _function(loss, "loss"),
        optimizer,
        _schedule(schedule, optimizer),
        math.inf if clip is None else checks.number(clip, "fit: clip", "[0, inf]"),
        carry,
        not ragged if compiled is None else checks.flag(compiled, "fit: compiled"),
    )


def _batches(given: Any, what: str) -> Any:
    """Return what can be gone over again and again."""
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes, np.ndarray, dict)):
        raise TinygradError(
            f"fit: {what} is a {type(given).__name__}; expected a list, or what else can be gone over again and again, such as tg.data.Batches"
        )
    return given


def _function(given: Any, what: str) -> Any:
    if given is not None and (not callable(given) or isinstance(given, type)):
        raise TinygradError(f"fit: {what} is a {type(given).__name__}; expected a function")
    return given


def _optimizer(given: Any) -> Any:
    if not hasattr(given, "step") or isinstance(given, type):
        raise TinygradError(
            f"fit: optimizer is a {type(given).__name__}; expected one such as tg.optim.Adam(model.parameters())"
        )
    return given


def _parallel(given: Any, data: Any) -> DataParallel:
    if not isinstance(given, DataParallel):
        raise TinygradError(
            f"fit: parallel is a {type(given).__name__}; expected tg.parallel.DataParallel(model)"
        )
    if not isinstance(data, Passes):
        raise TinygradError(
            "fit: with parallel, data has to be tg.data.Batches or tg.data.Windows, of which each rank takes its rows"
        )
    return given


def _schedule(given: Any, optimizer: Any) -> Any:
    """Return what sets the rate of an optimiser, or None."""
    if given is None or isinstance(given, (Schedule, ReduceOnPlateau)):
        return given
    return Schedule(optimizer, _function(given, "schedule"))


def _limits(epochs: Any, steps: Any, seconds: Any) -> dict[str, float]:
    given = {"epochs": epochs, "steps": steps, "seconds": seconds}
    found = {
        name: checks.number(value, f"fit: {name}", "[0, inf]")
        for name, value in given.items()
        if value is not None
    }
    if not found:
        raise TinygradError(
            "fit: say when to end, by epochs=, steps= or seconds=, or several of them"
        )
    return found
