"""What a run shows while it works: on a terminal a progress bar, elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["Meter", "clock", "console", "mute", "phase", "printable", "say", "thousands", "times"]

# Columns beside the bar and its words, and some for the ^C that a terminal writes, which would break a full line.
_WORDS = 60


def console(**options: Any) -> Console:
    """Return a rich console for standard output.

    It writes plain text where there is no terminal, or with NO_COLOR, and text such as ":x:" stays
    as it is. What cannot be written (the reader of a pipe has gone, the disk is full, the terminal
    was closed) is left out: the files of a run matter more.
    """
    from rich.console import Console

    return Console(
        highlight=False, emoji=False, file=cast("IO[str]", _Lasting(sys.stdout)), **options
    )


class _Lasting:
    """A stream that is silent once writing to it has failed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._silent():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._silent():
            self._stream.flush()

    @contextmanager
    def _silent(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: it was closed
            mute(self._stream)
            # It stays open until the program ends.
            self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def mute(stream: Any) -> None:
    """Let a stream that cannot be written to lead nowhere.

    So what is left in it is no error when the program ends.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def say(screen: Console, words: str) -> None:
    """Print a sentence as it is, on a terminal with line breaks of its own."""
    screen.print(words, markup=False, soft_wrap=not screen.is_terminal)


def printable(text: str) -> str:
    """Return text for a terminal: what would control it becomes U+FFFD.

    Joiners and spaces of all kinds stay.
    """
    hidden = ("Cc", "Cs")
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in hidden and c not in "\n\t" else c
        for c in text
    )


def clock(seconds: float) -> str:
    """Return a duration as text: minutes and seconds, or hours too."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def thousands(number: float) -> str:
    """Return a number as text such as 950, 9.4k or 12.3k."""
    return f"{number / 1000:.1f}k" if number >= 1000 else f"{number:.0f}"


@contextmanager
def phase(screen: Console, text: str) -> Iterator[None]:
    """Context: say what is being done, with a spinner while it lasts if there is a terminal."""
    if _animated(screen):
        with screen.status(text, spinner_style="default"):
            yield
    else:
        screen.print(f"{text} ...")
        yield


def _animated(screen: Console) -> bool:
    """Whether lines of a console can be written anew."""
    return screen.is_terminal and not screen.is_dumb_terminal


class Meter:
    """Context manager: how far long work is, with the figure that matters.

    It is a bar on a terminal, and elsewhere a line now and then.

    Parameters
    ----------
    screen
        Where it is shown.
    words
        What is being done.
    share
        What the work may use, such as "70 s": a line begins with the share of it that is used.
    every
        Seconds between two lines where there is no terminal.
    stays
        Whether the bar is still there at the end.
    """

    def __init__(
        self, screen: Console, words: str, share: str = "", *, every: float, stays: bool = True
    ) -> None:
        self.screen, self.words, self.share, self.every, self.stays = (
            screen,
            words,
            share,
            every,
            stays,
        )
        self.bar: Progress | None = None
        self.said = time.monotonic()

    def __enter__(self) -> Meter:
        if _animated(self.screen):
            from rich.progress import BarColumn, Progress, TextColumn

            columns = max(8, min(40, self.screen.width - _WORDS - len(self.words)))
            self.bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=columns, complete_style="blue", finished_style="blue"),
                TextColumn("[bold]{task.fields[figure]}[/]"),
                TextColumn("{task.fields[time]}"),
                console=self.screen,
                transient=not self.stays,
            )
            self.bar.start()
            self.task = self.bar.add_task(self.words.strip(), total=1.0, figure="-", time="")
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(self, fraction: float, figure: str, times: str, *, last: bool = False) -> None:
        """Show where the work is.

        Parameters
        ----------
        fraction
            How much of it is done.
        figure
            The figure that matters, in words.
        times
            What time it has taken, in words.
        last
            Whether it has ended.
        """
        fraction = min(fraction, 1.0)
        if self.bar is not None:
            self.bar.update(self.task, completed=fraction, figure=figure, time=times)
        elif last or time.monotonic() - self.said >= self.every:
            self.said = time.monotonic()
            share = f" {fraction:4.0%} of {self.share}" if self.share else ""
            self.screen.print(
                f"{self.words}{share}: {', '.join(filter(None, [figure, times]))}",
                markup=False,
                soft_wrap=True,
            )


def times(seconds: float, fraction: float, *, last: bool = False) -> str:
    """Return in words how long work has taken, and how long the rest will take."""
    left = max(seconds * (1 - fraction) / fraction, 0.0) if fraction > 0 else 0.0
    return f"{clock(seconds)} gone" if last else f"{clock(seconds)} gone, {clock(left)} left"
