"""What the runs of a function change, while it is recorded, in what it reads."""

from __future__ import annotations

from ...core.errors import TraceError
from ...core.tape import context
from .guard import Guard, Guards


class Changes:
    """What the runs of a function that is recorded change in what it reads.

    Nothing may change: the assignment would be made in the recording and never again, and would
    leave a tensor without values. Only the first run may make what is kept for all, such as an
    entry of a cache. The runs stand in a `with` block: if one fails, all is as it was before.

    Parameters
    ----------
    guards : Guards
        The guards of the function.
    guard : Guard
        The guard of the moment before the runs.
    what : str
        What the function is called in messages.
    runs : int
        How often it was run before.

    Attributes
    ----------
    restore : callable
        Puts everything back as it was before the runs.

    Raises
    ------
    TraceError
        If the function reads a tensor without values.
    """

    def __init__(self, guards: Guards, guard: Guard, what: str, runs: int = 0) -> None:
        self.guards, self.what, self.guard, self.runs = guards, what, guard, runs
        if name := guard.traced():
            raise TraceError(
                f"{what} reads {name}, a tensor that an earlier recording (tg.trace) has left: it has no values"
            )
        self.restore = guard.snapshot()
        self.states = guard.states()

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.restore()

    def kept(self) -> Guard:
        """Return the guard of the recording that was made, and keep it."""
        if self.guard not in self.guards.known:
            self.guards.keep(self.guard)
        return self.guard

    def after_run(self) -> None:
        """Compare what there is with what was there before the run that has just ended.

        Raises
        ------
        TraceError
            If the run left a tensor without values; or, for any run but the first, if it changed
            something or drew random numbers.
        """
        self.runs += 1
        if context().asked:
            context().asked.check()
        before = self.guard
        if not before.holds():
            self.guard = self.guards.fresh(before.more)
            name = self.guard.traced() or (before.difference(self.guard) if self.runs > 1 else "")
            if name:
                raise TraceError(
                    f"{self.what} changes {name}. A recording runs it once for all calls, so it cannot change what is outside of it: hand the value "
                    "back as a part of the result (for a cell, of the output or the state), or run it in tg.eager()."
                )
        now = self.guard.states()
        if self.runs > 1:
            for (_, name, state), (_, _, other) in zip(self.states, now, strict=False):
                if state != other:
                    raise TraceError(
                        f"{self.what} draws random numbers from {name}: a recording would repeat those of its first run. Hand them over as an "
                        "argument, or use tg.nn's masks in a cell."
                    )
        self.states = now
