"""What `tinygrad-rnn demo` and `train text` are to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes
    ----------
    out
        Folder of the results.
    command
        "demo": with baselines, pictures and a report; "train text": only the model and its loss.
    text
        File to learn from, or None for the reference text of Python, or for that of the run which
        is resumed.
    units
        What the text is made of: "characters", "words" or "bytes"; or None for characters, or for what
        the run which is resumed, or a converted text, has.
    encoding
        Of the file, or None for UTF-8, or for that of the run which is resumed.
    budget
        Seconds of training, or None for the default, or for that of the run which is resumed.
    steps
        Number of training steps, in place of a budget.
    resume
        Whether to go on from the checkpoint in `out`.
    overwrite
        Whether to replace the run in `out`. Without `resume` or `overwrite` a folder with a run in
        it is refused: no run replaces what another made.
    settings
        Fields of `Settings` that differ from the defaults.
    temperature, length
        Temperature and number of characters of the sample.
    threads
        Threads for matrix products, or None for one, or for what the environment says.
    """

    out: Path = Path("demo-run")
    command: str = "demo"
    text: Path | None = None
    units: str | None = None
    encoding: str | None = None
    budget: float | None = None
    steps: int | None = None
    resume: bool = False
    overwrite: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    temperature: float = 0.7
    length: int = 600
    threads: int | None = None
