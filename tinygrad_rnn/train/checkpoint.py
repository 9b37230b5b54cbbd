"""Training that survives: `Checkpoint`, the whole state of a run in files that are whole or as before.

A folder holds a file for each of the last saves, named by the step. Each has all that the run needs
to go on bit for bit: what the parts of the run have as their state, the generators of random numbers
that they hold, and what the loop hands over besides. It is a safetensors file, with a checksum over
all of it, so that nothing is unpickled and a damaged file is found.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..compiler.cell import Jitted
from ..core.errors import TinygradError
from ..core.primitive import Array
from ..core.tensor import Tensor
from ..files import sweep
from ..module import Module
from ..nn.masks import Masks
from ..ops import checks
from ..ops.guards.observations import generator_state, set_generator_state
from ..version import __version__
from . import checked_files
from .errors import CheckpointError
from .packed import packed, unpacked

__all__ = ["Checkpoint", "Saved"]

_KIND = "tinygrad_rnn checkpoint, 1"
_NAME = re.compile(r"step-(\d+)\.safetensors")
_UNFINISHED = re.compile(r"\.(step-\d+\.safetensors)\.")
_FAULTS = (KeyError, ValueError, TypeError, IndexError, TinygradError)


class Saved(NamedTuple):
    """What a checkpoint was, after its state went back into the parts.

    Attributes
    ----------
    step : int
        As it was given to `save`.
    values : dict
        What `save` was given by name. Tensors come back as tensors without a tape, and a named
        tuple as a tuple.
    path : Path
        The file.
    versions : dict of str to str
        Of tinygrad_rnn, NumPy and Python when it was written. With others, a run goes on, but
        perhaps not bit for bit.
    """

    step: int
    values: dict[str, Any]
    path: Path
    versions: dict[str, str]


class Checkpoint:
    """The checkpoints of one training run, in a folder.

    A save is written beside its place, brought to the disk, and only then put there; then those
    that are too many are removed, oldest first. So there is a whole one at each moment, whether
    the process is killed, the disk is full, or the power fails.

    Parameters
    ----------
    folder : str or path
        Made at the first save. It belongs to one run.
    keep : int
        How many saves are kept, at least 1. With 2 or more, one that was damaged later costs the
        steps since the one before, and not the run.
    replace : bool
        Whether the checkpoints of another run in the folder may be replaced. They are removed when
        the first one of this run is written.
    **parts
        What the run is made of, by name: modules, optimisers, schedules, and whatever else has
        `state_dict` and `load_state_dict`; NumPy's and Python's generators of random numbers.
        Generators that a part holds (those of dropout, say) are saved with it.

    Raises
    ------
    CheckpointError
        For a part that is none of these.

    Examples
    --------
    >>> checkpoint = tg.Checkpoint("run", model=model, optimizer=optimizer, order=rng)
    >>> saved = checkpoint.latest()
    >>> step, losses = (0, []) if saved is None else (saved.step, saved.values["losses"])
    >>> while step < 1000:
    ...     losses.append(train_step(next(batches)).item())
    ...     step += 1
    ...     if step % 100 == 0:
    ...         checkpoint.save(step, losses=losses)
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, keep: int = 3, replace: bool = False, **parts: Any
    ) -> None:
        if not isinstance(folder, (str, os.PathLike)):
            raise CheckpointError(
                f"Checkpoint: folder is a {type(folder).__name__}; expected the path of a folder"
            )
        self.folder = Path(folder)
        self.keep = checks.size(keep, "Checkpoint: keep")
        self.replace = checks.flag(replace, "Checkpoint: replace")
        for name, part in parts.items():
            if not _has_state(part) and generator_state(part) is None:
                raise CheckpointError(
                    f"Checkpoint: {name} is a {type(part).__name__}; parts are what has state_dict and load_state_dict, and generators of random numbers. "
                    f"What is another value at each save is given to it: save(step, {name}=...)"
                )
        self.parts = parts
        self._begun = False  # whether the files in the folder are this run's

    @property
    def steps(self) -> list[int]:
        """The steps of which there is a file, in order."""
        return sorted(self._files())

    def save(self, step: int, **values: Any) -> Path:
        """Write the state of all parts, and return the file.

        Parameters
        ----------
        step : int
            At least 0; it names the file. One of the same step is replaced.
        **values
            What else the run needs: the position in its data, a carried state, the history.
            Tensors, arrays, numbers, texts, None, and lists, tuples and dicts of them.

        Raises
        ------
        CheckpointError
            If the folder holds checkpoints of another run: `latest` was not called, or the step is
            before the one from which this run goes on. If a value is none of these.
        OSError
            If the file cannot be written (the disk is full, say). What was there is there still,
            and a later save may succeed.
        """
        step = checks.size(step, "Checkpoint.save: step", 0)
        others = [] if self._begun else list(self._files().values())
        if others and not self.replace:
            raise CheckpointError(
                f"Checkpoint.save: {self.folder} holds checkpoints of another run, up to step {self.steps[-1]:,}. Call latest() before the first save to "
                "go on from there, name another folder, or say replace=True"
            )
        arrays: dict[str, Array] = {}
        states = {
            name: packed(_state_of(part), f"parts.{name}", arrays)
            for name, part in self.parts.items()
        }
        draws = {
            name: packed(state, f"generators.{name}", arrays)
            for name, (state, _) in _generators(self.parts).items()
        }
        metadata = {
            "kind": _KIND,
            "step": json.dumps(step),
            "parts": json.dumps(states),
            "generators": json.dumps(draws),
            "values": json.dumps(packed(values, "values", arrays)),
            "versions": json.dumps(_versions()),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:012}.safetensors"
        checked_files.write(path, arrays, metadata)
        self._begun = True
        self._remove_old([other for other in others if other != path])
        return path

    def latest(self) -> Saved | None:
        """Put the newest save that is whole into the parts; None if there is none yet.

        A damaged file is passed over with a RuntimeWarning, and renamed so that it ends in
        ``.damaged``; the one before it counts.

        Raises
        ------
        CheckpointError
            If all files are damaged. If the newest does not fit the parts: they are then as they
            were.
        OSError
            If a file may not be read.
        """
        found = self._newest()
        if found is not None:
            saved, arrays, told = found
            self._put_back(saved.path, arrays, told)
        self._begun = True
        return None if found is None else found[0]

    def peek(self) -> Saved | None:
        """Return what `latest` would, and leave the parts as they are; there need not be any.

        So one can see what a run was before its parts are made.
        """
        found = self._newest()
        return None if found is None else found[0]

    def __repr__(self) -> str:
        return f"<Checkpoint of {', '.join(self.parts) or 'no parts'} in {self.folder}, {len(self._files())} saves>"

    # --- files ------------------------------------------------------------------------------------

    def _files(self) -> dict[int, Path]:
        """Return the files by step."""
        try:
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        found = ((_NAME.fullmatch(name), name) for name in names)
        return {int(m[1]): self.folder / name for m, name in found if m is not None}

    def _newest(self) -> tuple[Saved, dict[str, Array], dict[str, Any]] | None:
        """Return the newest save that is whole, with its arrays and what its metadata tells."""
        files = self._files()
        damaged = []
        for step in sorted(files, reverse=True):
            try:
                arrays, told = self._read(files[step])
                values = unpacked(told["values"], arrays)
            except FileNotFoundError:  # another process has removed it
                continue
            except PermissionError:
                raise
            except (*_FAULTS, OSError) as error:
                damaged.append((files[step], str(error)))
                continue
            for path, why in damaged:
                with contextlib.suppress(OSError):  # a folder in which nothing can be written
                    path.rename(path.with_name(f"{path.name}.damaged"))
                warnings.warn(
                    f"{why}; going on from the save before it, step {step:,}",
                    RuntimeWarning,
                    stacklevel=3,
                )
            return Saved(step, values, files[step], told["versions"]), arrays, told
        if damaged:
            raise CheckpointError(
                f"{self.folder}: none of its {len(damaged)} checkpoints can be read; {damaged[0][1]}. Move them away to begin anew"
            )
        return None

    def _remove_old(self, others: Sequence[Path]) -> None:
        """Remove what is too old, what is another run's, and what killed runs left unfinished."""
        files = self._files()
        for path in (*others, *[files[step] for step in sorted(files)[: -self.keep]]):
            with contextlib.suppress(OSError):  # it is tried again after the next save
                path.unlink()
        found = (_UNFINISHED.match(name) for name in os.listdir(self.folder))
        sweep(self.folder, {m[1] for m in found if m is not None}, age=0.0)

    def _read(self, path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return the arrays of a file, and what its metadata tells."""
        arrays, metadata = checked_files.read(path, _KIND, "a checkpoint of tg.Checkpoint")
        try:
            names = ("parts", "generators", "values", "versions")
            return arrays, {name: json.loads(metadata[name]) for name in names}
        except _FAULTS as error:
            raise CheckpointError(
                f"{path}: the checkpoint is damaged ({type(error).__name__}: {error})"
            ) from error

    def _put_back(self, path: Path, arrays: dict[str, Array], told: dict[str, Any]) -> None:
        """Give the parts what was saved of them, all of it or nothing."""
        undo: list[Callable[[], None]] = []
        try:
            _same("part", path, told["parts"], self.parts)
            generators = _generators(self.parts)
            _same("generator of random numbers", path, told["generators"], generators)
            for name, part in self.parts.items():
                state = unpacked(told["parts"][name], arrays)
                if _has_state(part):
                    undo.append(partial(part.load_state_dict, part.state_dict()))
                    part.load_state_dict(state)
            for name, (before, put) in generators.items():
                undo.append(partial(put, before))
                put(unpacked(told["generators"][name], arrays))
        except BaseException as error:
            for step in reversed(undo):
                step()
            if isinstance(error, _FAULTS) and not isinstance(error, CheckpointError):
                raise CheckpointError(
                    f"{path}: the checkpoint does not fit this run: {error}"
                ) from error
            raise


def _same(what: str, path: Path, saved: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Raise a CheckpointError unless both have the same names."""
    missing, unknown = [n for n in there if n not in saved], [n for n in saved if n not in there]
    if missing or unknown:
        raise CheckpointError(
            f"{path}: the checkpoint does not fit this run: it has no {what} {', '.join(missing) or '(none is missing)'}, and besides "
            f"{', '.join(unknown) or 'nothing'}"
        )


def _has_state(part: Any) -> bool:
    return hasattr(part, "state_dict") and hasattr(part, "load_state_dict")


def _state_of(part: Any) -> Any:
    """Return the state of a part; of a generator, which is saved as one, there is none."""
    return dict(part.state_dict()) if _has_state(part) else None


def _versions() -> dict[str, str]:
    return {
        "tinygrad_rnn": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


# --- generators of random numbers -----------------------------------------------------------------


def _generators(parts: Mapping[str, Any]) -> dict[str, tuple[Any, Callable[[Any], None]]]:
    """Return the generators that parts are or hold, by where they stand.

    Of each there is its state now and what gives it another one. One that stands in several places
    has the name of the first.
    """
    found: dict[str, tuple[Any, Callable[[Any], None]]] = {}
    seen: set[int] = set()
    alive = []  # so that no id is that of two objects
    stack = list(parts.items())[::-1]
    while stack:
        name, value = stack.pop()
        if id(value) in seen or isinstance(value, _PLAIN):
            continue
        seen.add(id(value))
        alive.append(value)
        if isinstance(value, Masks):
            found[name] = value.state, partial(setattr, value, "state")
        elif (state := generator_state(value)) is not None:
            found[name] = state, partial(set_generator_state, value)
        else:
            stack += reversed([(f"{name}.{key}", v) for key, v in _inside(value)])
    return found


# what holds no generator, or is not the user's to look into
_PLAIN = (
    type(None),
    bool,
    int,
    float,
    str,
    bytes,
    Tensor,
    np.ndarray,
    np.generic,
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
)
_PACKAGE = __name__.partition(".")[0]
_LOOKED_INTO = tuple(f"{_PACKAGE}.{name}" for name in ("cells", "nn", "train"))


def _inside(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return what stands in a list, tuple or dict, or in an object as an attribute."""
    if isinstance(value, (list, tuple)):
        return enumerate(value)
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, Jitted):
        return [("plain", value.plain)]
    place = type(value).__module__
    root = place.partition(".")[0]
    own = root != _PACKAGE and root != "numpy" and root not in sys.stdlib_module_names
    if own or isinstance(value, Module) or place.startswith(_LOOKED_INTO) or _has_state(value):
        return getattr(value, "__dict__", {}).items()
    return ()
