"""Ctrl-C at a moment that suits: it is noted at once, and acted on between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "Interrupts"]

_PATIENCE = 3  # so many signals end the program at once, for the case that a step hangs


class Interrupted(KeyboardInterrupt):
    """The user asked to stop.

    Attributes
    ----------
    number
        The signal.
    between
        Whether this is between two steps. If not, the user insisted, and what is being computed may
        be half changed.
    """

    def __init__(self, number: int, *, between: bool = True) -> None:
        super().__init__(f"signal {number}")
        self.number, self.between = number, between


class Interrupts:
    """Context manager: note signals, of which `check` raises what came.

    The signals are SIGINT, SIGTERM and SIGHUP (unless that is ignored, as nohup has it). Inside
    ``with interrupts.deferred():``, for writing files, even repeated signals wait; elsewhere the
    third one raises at once. In a thread other than the main one signals cannot be caught, and
    nothing is changed.
    """

    def __init__(self) -> None:
        self.noted = 0
        self.count = 0
        self.waiting = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                if number is not None and not (
                    name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN
                ):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; raise `Interrupted` if the user insists."""
        self.noted = number
        self.count += 1
        if self.count >= _PATIENCE and not self.waiting:
            raise Interrupted(number, between=False)

    def check(self) -> None:
        """Raise `Interrupted` if a signal came."""
        if self.noted and not self.waiting:
            raise Interrupted(self.noted)

    def deferred(self) -> _Deferred:
        """Context in which no signal interrupts."""
        return _Deferred(self)


class _Deferred:
    """Context manager in which no signal interrupts."""

    def __init__(self, interrupts: Interrupts) -> None:
        self.interrupts = interrupts

    def __enter__(self) -> None:
        self.interrupts.waiting += 1

    def __exit__(self, *error: object) -> None:
        self.interrupts.waiting -= 1
