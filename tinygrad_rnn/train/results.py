"""What a finished training run shows: its chart, its table, and the facts of the run."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..version import __version__
from .baselines import Score
from .chart import Series, line_chart, moving_average
from .console import printable, say
from .report import Row, headline
from .text import Material
from .trainer import Trainer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["STREAMS", "WARM_UP", "Results"]

STREAMS, WARM_UP = 32, 256  # of `evaluate`

_KNOWS = {
    "uniform": "the alphabet",
    "unigram": "how often each character comes",
    "bigram": "the character before",
    "trigram": "the two characters before",
    "5-gram": "the four characters before",
}


@dataclass(frozen=True)
class Results:
    """A finished run.

    Attributes
    ----------
    trainer, material
        What was trained, and on what.
    baselines
        The scores of the models that count; empty if none was asked for.
    bits
        Bits of the network per held-out character, word or byte.
    drawn
        The sample.
    temperature
        The temperature of the sample.
    seconds
        How long each part took.
    """

    trainer: Trainer
    material: Material
    baselines: list[Score]
    bits: float
    drawn: str
    temperature: float
    seconds: Mapping[str, float]

    @property
    def units(self) -> str:
        """What the text is made of."""
        return self.material.vocabulary.units

    def rows(self) -> list[Row]:
        """Return the table of scores, the network last."""
        rows = [Row(s.name, s.bits, note=_KNOWS.get(s.name, "")) for s in self.baselines]
        return [*rows, Row("LSTM", self.bits, ours=True, note=f"all the {self.units} before")]

    def chart(self, width: float) -> str:
        """Return the chart as SVG of this width.

        It shows the loss by characters read, the held-out scores, and the baselines as dashed
        lines. The loss is that of training, so with what is dropped there.
        """
        trainer = self.trainer
        dropped = trainer.settings.dropout or trainer.settings.embedding_dropout
        axis = f"million {self.units} read"
        read = np.arange(1, trainer.steps + 1) * trainer.characters_per_step / 1e6
        losses = np.array(trainer.losses)
        smooth = moving_average(losses, max(5, trainer.steps // 40))
        scores = [(0, math.nan), *trainer.scores, (trainer.steps, self.bits)]
        places = [n * trainer.characters_per_step / 1e6 for n, _ in scores]
        return line_chart(
            [
                Series("training", read, smooth),
                Series("training", read, losses, faint=True),
                Series("held out", places, [b for _, b in scores], markers=True),
            ],
            x_label=f"{axis}; training with dropout, held out without" if dropped else axis,
            y_label=f"bits per {self.material.vocabulary.unit}",
            title="",
            references=[(s.name, s.bits) for s in self.baselines if s.name != "uniform"],
            width=width,
        )

    def facts(self) -> dict[str, object]:
        """Return what is worth knowing of the run, by name, in the order of the report."""
        t, s, held = self.trainer, self.trainer.settings, self.material.held
        unit, units, length = self.material.vocabulary.unit, self.units, len(self.material.train)
        parts = {
            "kernels": "compiling",
            "scoring": "scoring",
            "drawing": "drawing",
            "all": "in all",
        }
        return {
            "Text": self.material.whole.source,
            units.capitalize(): f"{length:,} to train on, {len(held):,} held out",
            "Symbols": len(t.vocabulary),
            "Network": f"embedding {s.embedding}, LSTM {s.hidden}, linear; {t.model.size:,} parameters",
            "Dropout": f"{s.embedding_dropout:g} of the {units}' vectors, {s.dropout:g} of the LSTM's outputs; none when it is scored",
            "Windows": f"{s.batch} streams x {s.window} steps",
            "Optimiser": f"Adam, learning rate {s.lr:g} with cosine decay, gradient norm at most {s.clip:g}",
            "Training": f"{t.steps:,} steps, {t.characters:,} {units} ({t.characters / length:.1f} passes), {t.seconds:.1f} s",
            "Speed": f"{t.speed:,.0f} {units} per second",
            "Held out": f"{self.bits:.4f} bits per {unit} over {len(held) - 1:,} {units}",
            "How scored": self._how_scored(),
            "Seconds": ", ".join(
                f"{word} {self.seconds[name]:.1f}"
                for name, word in parts.items()
                if name in self.seconds
            ),
            "Sample": f"goes on from the end of the training text; temperature {self.temperature:g}, seed {s.seed}",
            "Versions": f"tinygrad_rnn {__version__}, Python {platform.python_version()}, NumPy {np.__version__}",
        }

    def _how_scored(self) -> str:
        """Return in words how the held-out characters were run through the network."""
        count = len(self.material.held) - 1
        streams = max(1, min(STREAMS, count // WARM_UP))
        if streams == 1:
            return "in one stream, with the state carried throughout"
        return f"each {self.material.vocabulary.unit} once, in {streams} parts side by side; each part first reads the {WARM_UP} {self.units} before it"

    def show(self, screen: Console, facts: Mapping[str, object], files: Mapping[Path, str]) -> None:
        """Print the scores, the sample, the facts, and the files with what is in each."""
        from rich.table import Table
        from rich.text import Text

        rows = self.rows()
        screen.print()
        if len(rows) > 1:
            _show_table(screen, rows)
        say(screen, headline(rows, self.material.vocabulary.unit))
        if self.drawn:
            screen.print(f"\n[bold]A sample[/] (temperature {self.temperature:g})\n")
            say(screen, printable(self.drawn).strip("\n"))
        screen.print("\n[bold]The run[/]\n")
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bright_black", no_wrap=True)
        grid.add_column()
        for name, value in facts.items():
            grid.add_row(name, Text(str(value)))
        screen.print(grid)
        screen.print("\n[bold]Files[/]\n")
        width = max(len(str(path)) for path in files)
        for path, about in files.items():
            say(screen, f"{path!s:<{width}}  {about}")


def _show_table(screen: Console, rows: list[Row]) -> None:
    """Print the scores with a bar for each, the worst first."""
    from rich import box
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Model")
    table.add_column("Knows")
    table.add_column("Bits/char", justify="right", no_wrap=True)
    table.add_column("")
    longest = max(row.bits for row in rows)
    for row in sorted(rows, key=lambda row: -row.bits):
        ink = "blue" if row.ours else "bright_black"
        bar = ProgressBar(
            total=longest, completed=row.bits, width=16, complete_style=ink, finished_style=ink
        )
        style = "bold blue" if row.ours else ""
        table.add_row(row.name, row.note, f"{row.bits:.3f}", bar, style=style)
    screen.print(table)
    screen.print()
