"""Forecasts of series: an LSTM that says what comes next, its training on a file, and its files."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import nn
from ..core.tape import no_grad
from ..core.tensor import tensor
from ..data import DataError, Series, Windows, split
from ..optim import Adam, cosine
from . import checked_files
from .characters import evaluating
from .checkpoint import Checkpoint
from .fit import fit

__all__ = [
    "ForecastSettings",
    "Forecaster",
    "load_forecaster",
    "save_forecaster",
    "scores",
    "train",
]

_KIND = "tinygrad_rnn forecaster"
_MAY_CHANGE = ("steps", "lr", "clip")  # when a run goes on
SAVE_EVERY = 15.0  # seconds between two checkpoints
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ForecastSettings:
    """What the training of a forecaster depends on, besides its series.

    Attributes
    ----------
    hidden
        Units of the LSTM.
    batch, window
        Streams side by side, and steps through which gradients flow.
    held_out
        The share of the series at its end that is scored and not trained on.
    steps
        Training steps.
    lr, clip
        Learning rate at first, and the largest norm of the gradient.
    seed
        Of weights and windows.
    """

    hidden: int = 32
    batch: int = 8
    window: int = 24
    held_out: float = 0.2
    steps: int = 1500
    lr: float = 1e-2
    clip: float = 1.0
    seed: int = 0


class Forecaster(nn.Module):
    """An LSTM that gives the change to the next moment, of quantities with mean 0 and deviation 1.

    Parameters
    ----------
    quantities, hidden
        How many there are, and units of the LSTM.
    rng
        Generator or seed of the first weights.
    """

    def __init__(self, quantities: int, hidden: int, *, rng: Any = None) -> None:
        rng = np.random.default_rng(rng)
        self.lstm = nn.LSTM(quantities, hidden, rng=rng)
        self.out = nn.Linear(hidden, quantities, rng=rng)
        self.mean, self.scale = np.zeros(quantities), np.ones(quantities)

    def forward(self, xs: Any, state: Any = None) -> tuple[Any, Any]:
        """Return what comes after each moment, shape (T, B, quantities), and the last state."""
        ys, state = self.lstm(xs, state)
        return xs + self.out(ys), state

    def loss(self, xs: Any, targets: Any, state: Any) -> tuple[Any, Any]:
        """Return the mean square of the errors of a window, and the state after it."""
        found, state = self(xs, state)
        return nn.mse_loss(found, targets), state

    def scaled(self, values: FloatArray) -> npt.NDArray[np.float32]:
        """Return values with mean 0 and deviation 1, as the training part has them."""
        return ((values - self.mean) / self.scale).astype(np.float32)

    def one_ahead(self, values: FloatArray) -> FloatArray:
        """Return for each moment but the first what was said of it at the one before."""
        with evaluating(self), no_grad():
            found, _ = self(tensor(self.scaled(values)[:-1, None]))
        return np.asarray(found.numpy()[:, 0] * self.scale + self.mean)

    def ahead(self, values: FloatArray, steps: int) -> FloatArray:
        """Return what comes after the last moment, step by step: each from those said before."""
        with evaluating(self), no_grad():
            found, state = self(tensor(self.scaled(values)[:, None]))
            said = [found[-1:]]
            while len(said) < steps:
                found, state = self(said[-1], state)
                said.append(found)
        return np.concatenate([s.numpy()[:, 0] for s in said]) * self.scale + self.mean


class Origin:
    """What a run is of: a part of its checkpoints, which go back into a run of the same alone."""

    def __init__(self, series: Series, settings: ForecastSettings) -> None:
        check = hashlib.sha256(json.dumps(series.names).encode())
        if series.times is not None:
            check.update(series.times.astype(np.int64).tobytes())
        check.update(series.values.tobytes())
        kept = {k: v for k, v in asdict(settings).items() if k not in _MAY_CHANGE}
        self.facts = {**kept, "series": check.hexdigest()}

    def state_dict(self) -> dict[str, Any]:
        """Return the settings that must not change, and the SHA-256 of the series."""
        return dict(self.facts)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise a DataError if this was another run."""
        for name, value in self.facts.items():
            if state.get(name) == value:
                continue
            if name == "series":
                raise DataError("it is of another series; name that, or begin anew")
            raise DataError(f"{name} is {state.get(name)} in it and cannot become {value}")


def train(
    series: Series,
    settings: ForecastSettings,
    *,
    checkpoint: Checkpoint | Path | None = None,
    progress: bool = True,
) -> tuple[Forecaster, Any]:
    """Train a forecaster on the first part of a series; the rest, which comes later, is held out.

    Mean and deviation are those of the first part, so nothing of the rest is known before.

    Returns
    -------
    model : Forecaster
    run : Fit

    Raises
    ------
    DataError
        If the series is too short, or a quantity never changes.
    """
    if len(series.values) * (1 - settings.held_out) < 3:
        raise DataError(
            f"{series.source}: {len(series.values)} moments are too few to train on some and hold out others"
        )
    first = split(series, settings.held_out)[0].values
    length = len(first)
    model = Forecaster(len(series.names), settings.hidden, rng=[settings.seed, 0])
    model.mean, model.scale = first.mean(0), first.std(0)
    if (model.scale == 0).any():
        name = series.names[int((model.scale == 0).argmax())]
        raise DataError(
            f"{series.source}, column {name!r}: the part that is trained on has one value only"
        )
    if checkpoint is not None:
        checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
        checkpoint.parts = {"origin": Origin(series, settings), **checkpoint.parts}
    window = min(settings.window, length - 1)
    batch = max(1, min(settings.batch, (length - 1) // window))
    data = Windows(
        model.scaled(first), batch, window, rng=np.random.default_rng([settings.seed, 1])
    )
    run = fit(
        model,
        data,
        loss=Forecaster.loss,
        carry=True,
        optimizer=Adam(model.parameters(), lr=settings.lr),
        schedule=cosine(settings.lr, settings.steps, settings.lr / 50),
        clip=settings.clip,
        steps=settings.steps,
        every=max(1, settings.steps // 20),
        checkpoint=checkpoint,
        save_every=SAVE_EVERY,
        progress=progress,
    )
    return model, run


def scores(model: Forecaster, series: Series, held_out: float) -> dict[str, dict[str, float]]:
    """Return for each quantity the root mean square error one moment ahead, on the held-out part.

    Beside it stands that of the last value, which is what a forecast has to beat.
    """
    begin = len(split(series, held_out)[0].values)
    said = model.one_ahead(series.values)[begin - 1 :]
    true, before = series.values[begin:], series.values[begin - 1 : -1]
    return {
        name: {
            "model": math.sqrt(float(np.mean((said[:, k] - true[:, k]) ** 2))),
            "last value": math.sqrt(float(np.mean((before[:, k] - true[:, k]) ** 2))),
        }
        for k, name in enumerate(series.names)
    }


def save_forecaster(
    path: str | os.PathLike[str], model: Forecaster, series: Series, settings: ForecastSettings
) -> None:
    """Write a forecaster as a safetensors file, atomically, with the names of its quantities."""
    arrays = {**model.state_dict(), "mean": model.mean, "scale": model.scale}
    metadata = {
        "kind": _KIND,
        "names": json.dumps(list(series.names)),
        "settings": json.dumps(asdict(settings)),
    }
    checked_files.write(path, arrays, metadata)


def load_forecaster(
    path: str | os.PathLike[str],
) -> tuple[Forecaster, tuple[str, ...], ForecastSettings]:
    """Read what `save_forecaster` wrote: the model, the names of its quantities, the settings.

    Raises
    ------
    CheckpointError
        If the file holds something else.
    FormatError, OSError
        If it is no valid safetensors file, or cannot be read.
    """
    arrays, metadata = checked_files.read(path, _KIND, "a model written by train csv")
    with checked_files.damage_named(path):
        names = tuple(map(str, json.loads(metadata["names"])))
        settings = ForecastSettings(**json.loads(metadata["settings"]))
        model = Forecaster(len(names), settings.hidden, rng=0)
        model.mean, model.scale = arrays.pop("mean"), arrays.pop("scale")
        model.load_state_dict(arrays)
    return model, names, settings
