"""`tg.jit` of an ordinary function: it is recorded for given shapes, and a call is one node.

A recording (`recorded.py`) is made for each combination of structure, shapes, dtypes, needed
gradients, and whatever else the function depends on (`ops/guards/`).
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from typing import Any

from ..core.errors import TinygradError, TraceError
from ..core.tape import context, setting
from ..core.tensor import Tensor
from ..core.tree import leaves
from ..kernels.runtime import available, complain, raising, without_collection
from ..ops.guards import Asked, Asking, Changes, Guard, Guards
from ..ops.postponed import Effects
from ..recurrent.cell import name_of
from .arguments import is_buffer, looked_at, tensors_of
from .cell import Jitted
from .copies import warn_of_copies
from .host import NoCode
from .recorded import Recording
from .recordings import KEPT
from .value import CompileError, own_faults


class JittedFunction(Jitted):
    """A function of tensors that runs fused; made by `jit`.

    Handed to `unroll` it is a compiled cell, as any `Jitted`.
    """

    __slots__ = ("_guards", "_programs")

    _programs: dict[Any, Recording]
    _guards: Guards

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        object.__setattr__(self, "_programs", {})
        object.__setattr__(
            self, "_guards", Guards(function, gradients=False, asks=Asking(is_buffer))
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives, computed by the recording for these shapes."""
        now = context()
        # inside another recording it is a part of that
        if now.tracing or now.eager or not available() or raising():
            return self.plain(*args, **kwargs)
        recording, tensors = self._found(args, kwargs)
        if recording is None:
            return self.plain(*args, **kwargs)
        if recording.pure and now.watch is None:
            return self._called(recording, tensors, args, kwargs)
        recording.check(tensors)
        alone = now.watch is None and now.effects is None  # else the noted steps are looked at
        if alone and (found := recording.at_once(tensors)) is not None:
            return found[0]
        restore = recording.snapshot(tensors)
        try:
            return self._called(recording, tensors, args, kwargs, restore)
        except BaseException:
            restore()
            raise

    def compile(self, *args: Any, **kwargs: Any) -> JittedFunction:
        """Record the function for such arguments and compile it now, and return this object.

        Otherwise that is done at the first call. Nothing is computed, and what the function changes
        stays as it is. (A function that is a cell is compiled for sequences when it is unrolled.)

        Parameters
        ----------
        *args, **kwargs
            As the function takes them. It is recorded anew for other shapes.
        """
        if available() and not raising():
            recording, _ = self._found(args, kwargs)
            if recording is not None:
                recording.compile_loops()
        return self

    def _found(self, args: Any, kwargs: Any) -> tuple[Recording | None, list[Tensor]]:
        """Return the recording for these arguments, and their tensors; None if there are too many."""
        structure, found, others = looked_at(args, kwargs)
        guard = self._guards.now(others)
        tensors = tensors_of(found, guard)
        grad = context().grad_enabled
        key = (
            structure,
            grad,
            tuple([(t.array.shape, t.array.dtype, grad and t.requires_grad) for t in tensors]),
        )
        recording = self._programs.get((key, guard.key))
        if recording is None:
            if len(self._programs) >= KEPT:
                self._full()
            else:
                recording = self._record(key, guard, args, kwargs, tensors, grad)
        return recording, tensors

    def _called(
        self,
        recording: Recording,
        tensors: list[Tensor],
        args: Any,
        kwargs: Any,
        restore: Callable[[], None] | None = None,
    ) -> Any:
        try:
            found = recording.computed(tensors)
        except NoCode as failed:
            complain(failed.reason)
            return self.plain(*args, **kwargs)
        except Exception as error:
            self.plain(*args, **kwargs)  # which says what is wrong with these values
            if isinstance(error, (TinygradError, MemoryError, Warning)):
                raise
            raise CompileError(
                f"tg.jit: the code for '{name_of(self)}' fails ({type(error).__name__}: {error}), which the function itself does not. The fault is the "
                "compiler's; within tg.eager() the function runs as if it were not compiled."
            ) from error
        if (watch := context().watch) is not None and restore is not None:
            arrays = [t.array for t in found if t is not None]
            again = lambda: self._tried(recording, tensors, args, kwargs, restore)  # noqa: E731
            watch.ran(arrays, again, name_of(self))
        return recording.finished(tensors, found)

    def _tried(
        self,
        recording: Recording,
        tensors: list[Tensor],
        args: Any,
        kwargs: Any,
        restore: Callable[[], None],
    ) -> list[Any]:
        """Run the function itself from where the call began, so with the same masks.

        What that changes is put back.
        """
        after = recording.snapshot(tensors)
        restore()
        try:
            with Effects(grad=context().grad_enabled).trial():
                return [y for y in leaves(self.plain(*args, **kwargs)) if isinstance(y, Tensor)]
        finally:
            after()

    def _record(
        self, key: Any, guard: Guard, args: Any, kwargs: Any, tensors: list[Tensor], grad: bool
    ) -> Recording:
        asked = Asked(guard.asked)
        changes = Changes(self._guards, guard, f"tg.jit: '{name_of(self)}'")
        try:
            with asked.noting(), changes, setting(asked=asked):
                made = Recording(self.plain, (args, kwargs), tensors, grad, guard.computed, changes)
            if asked.read:
                guard = self._guards.with_read(asked, guard.more)
                return self._record(key, guard, args, kwargs, tensors, grad)
            if made.looked and not self._guards.reads.gradients:
                guard = self._guards.with_gradients(guard.more)
                return self._record(key, guard, args, kwargs, tensors, grad)
            warn_of_copies(made.traced, name_of(self), made.effects.one_by_one)
            with changes, own_faults(name_of(self)), without_collection():
                made.compile()
        except TinygradError as error:
            if not isinstance(error, TraceError):
                with Effects().trial():
                    self.plain(*args, **kwargs)  # fails as well, and names the operands as they are
            raise
        self._programs[key, changes.kept().key] = made
        return made

    def _full(self) -> None:
        if "full" not in self._programs:
            self._programs["full"] = next(iter(self._programs.values()))
            warnings.warn(
                f"tg.jit: '{name_of(self)}' was recorded {KEPT} times, for different shapes, numbers or values from outside; other calls run as "
                "if it were not compiled. A number that changes from call to call is better handed over as a tensor, tg.tensor(number).",
                RuntimeWarning,
                stacklevel=4,
            )

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> Any:
        return JittedFunction, (self.plain,)

    def source(self, xs: Any = None, state: Any = None) -> str:
        """What was generated for the latest recording, as readable Python.

        Each line with the line of the function that it comes from.

        Parameters
        ----------
        xs, state : optional
            Of a function that is a cell, a sequence and its first state, as for `Jitted.source`.

        Raises
        ------
        CompileError
            If the function was not called yet (nor unrolled, as a cell).
        """
        if self._programs and xs is None:
            return [r for k, r in self._programs.items() if k != "full"][-1].source()
        if self._code.runners or xs is not None:
            return super().source(xs, state)
        self._needs_a_compiler()
        raise CompileError(f"tg.jit: '{name_of(self)}' was not called yet, so nothing is compiled")
