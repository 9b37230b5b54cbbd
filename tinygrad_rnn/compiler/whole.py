"""A recorded step together with what it changes as one call.

What a recorded function does besides computing is noted, and done when the compiled part has run
(`ops/replay.py`). Where all of it is of a simple kind (gradients are put into `.grad`, and then
calls that say what they are as machine code, see `ops/as_code.py`), these calls stand in the table
of the program itself, and what they have made is put where it belongs at the end.

The noted steps stay what is true. They are done wherever something is not as it was when the table
was made, or where code says that something is unusual: until then nothing was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ..core.primitive import Array, Spec
from ..core.tape import Where
from ..core.tensor import Tensor
from ..kernels import runtime
from ..kernels.table import Call as NativeCall
from ..loops.elementwise import SHARED
from ..ops.as_code import AsCode
from ..ops.postponed import Emit, Fill
from ..ops.replay import Done
from .host import MACHINE, HostProgram, NoCode, line_of
from .natives import Memory, Native, Unfit
from .straight import Straight
from .straightened import Program
from .value import Given, Value

KEPT = 4  # attempts to make one for other settings of the optimisers


class Made(NamedTuple):
    """A gradient that a call has made: the number of the call, and which of what it made."""

    call: int
    place: int


class Plan:
    """What the steps of a recorded function come to, where all of them can be in one call.

    Attributes
    ----------
    codes : list of AsCode
        The calls, in order.
    takes : list of list of (int or Made)
        The gradients that each takes: an int counts the values that the steps take.
    filled : list of (Tensor, int or Made or None)
        What stands in `.grad` at the end, of the tensors for which that is something else.
    empty : list of Tensor
        Those whose `.grad` has to be None at the beginning.

    Raises
    ------
    Unfit
        If they cannot.
    """

    def __init__(self, done: Done) -> None:
        self.codes: list[AsCode] = []
        self.takes: list[list[int | Made]] = []
        self._grads: dict[int, int | Made | None] = {}
        self._filled: dict[int, Tensor] = {}
        self._empty: dict[int, Tensor] = {}
        changed: set[int] = set()
        value = 0
        for s in done.steps:
            if isinstance(s, Emit) or (isinstance(s, Fill) and done.is_argument(s.tensor)):
                raise Unfit("it hands values over, or fills the gradient of an argument")
            if isinstance(s, Fill):
                self._fill(s, value)
                value += s.gradient is not None
                continue
            code = None
            if s.function.native is not None:
                code = s.function.native(self._has, *s.args, **s.kwargs)
            if code is None:
                raise Unfit(f"{s.function.__name__} is no machine code")
            changes = {id(x) for x in s.function.changes(*s.args, **s.kwargs)}
            if s.function.values and not changed.isdisjoint(changes):
                raise Unfit("one call reads what another one changes")
            changed |= changes if s.function.values else set()
            self._call(code)
        self.filled = [(t, self._grads[key]) for key, t in self._filled.items()]
        self.empty = list(self._empty.values())

    def _fill(self, s: Fill, value: int) -> None:
        key = id(s.tensor)
        if s.adds and self._has(s.tensor):
            raise Unfit("a gradient is added to another one")
        self._grads[key] = None if s.gradient is None else value
        self._filled[key] = s.tensor

    def _has(self, t: Tensor) -> bool:
        if id(t) not in self._grads:
            self._empty[id(t)], self._grads[id(t)] = t, None
        return self._grads[id(t)] is not None

    def _call(self, code: AsCode) -> None:
        taken = [self._grads[id(t)] for t in code.tensors]
        self.takes.append([g for g in taken if g is not None])
        assert len(self.takes[-1]) == len(taken)
        for k, t in enumerate(code.tensors if code.clips else ()):
            self._grads[id(t)] = Made(len(self.codes), k)
            self._filled[id(t)] = t
        self.codes.append(code)

    @property
    def key(self) -> Any:
        """What the code was made for."""
        return tuple([code.key for code in self.codes])

    def given(self) -> list[Array] | None:
        """Return the arrays that the calls read; None if something is not as it was."""
        for t in self.empty:
            if t._grad is not None:
                return None
        found: list[Array] = []
        for code in self.codes:
            arrays = code.given()
            if arrays is None:
                return None
            found += arrays
        return found


class _Called(Native):
    """The calls of an `AsCode`."""

    def __init__(self, code: AsCode, gradients: list[Value], reads: list[Value], like: Any) -> None:
        made = [
            Value(None, [], {}, s.shape, like, dtype=s.dtype, given=Given.RESIDUAL)
            for s in code.makes
        ]
        super().__init__([*gradients, *reads], made)
        self.code, self.gradients = code, gradients

    def calls(self, memory: Memory) -> list[NativeCall]:
        """See `Native`."""
        return [call for phase in self.phases(memory) for part in phase for call in part]

    def phases(self, memory: Memory) -> list[list[list[NativeCall]]]:
        """See `Native`."""
        places, count = [memory.at(v) for v in self.reads], len(self.gradients)
        makes = [memory.at(v) for v in self.makes]
        large = sum(v.size for v in self.gradients) >= SHARED
        threads = runtime.threads() if large else 1
        first, then = self.code.calls(places[:count], places[count:], makes, memory, threads)
        return [[first], then]

    def described(self, line_of: Callable[[Value], str]) -> str:
        """See `Native`."""
        return self.code.described()


class Whole:
    """A recorded step, with what it changes, as one call.

    Parameters
    ----------
    plan : Plan
    program : HostProgram
        What the recording computes.
    results : sequence of int
        The outputs that are results of the function.
    gradients : sequence of int
        The outputs that the steps take, in order.

    Raises
    ------
    Unfit
        If it cannot be that.
    """

    def __init__(
        self, plan: Plan, program: HostProgram, results: Sequence[int], gradients: Sequence[int]
    ) -> None:
        self.plan = plan
        self._results, self._gradients = results, gradients
        self.straight = Straight(program.values, program.inputs, program.outputs, self._extend)

    def _extend(self, program: Program) -> None:
        """Append the calls to a program; its outputs are then the results and what is set."""
        plan = self.plan
        found = [program.outputs[k] for k in self._gradients]
        made: list[list[Value]] = []

        def gradient(g: int | Made) -> Value:
            return made[g.call][g.place] if isinstance(g, Made) else found[g]

        for code, takes in zip(plan.codes, plan.takes, strict=True):
            taken = [gradient(g) for g in takes]
            for t, g in zip(code.tensors, taken, strict=True):
                if g.shape != t.shape or g.dtype != t.dtype:
                    raise Unfit("a gradient of another shape or dtype")
            taken = [program.whole(g) for g in taken]
            like = taken[0].node
            reads = [_given(spec, like) for spec in code.reads]
            program.inputs += reads
            program.taken += [None] * len(reads)
            called = _Called(code, taken, reads, like)
            program.order.append(called)
            made.append(called.makes)
        outputs = [program.outputs[k] for k in self._results]
        self._places: list[int | None] = []  # of each gradient among the outputs
        for _, filled in plan.filled:
            self._places.append(None if filled is None else len(outputs))
            if filled is not None:
                outputs.append(gradient(filled))
        self._ranges: list[tuple[int, int]] = []  # of what each call has made, but for gradients
        for code, several in zip(plan.codes, made, strict=True):
            rest = several[len(code.tensors) :] if code.clips else several
            self._ranges.append((len(outputs), len(outputs) + len(rest)))
            outputs += rest
        program.outputs[:] = outputs
        program.leaves[:] = [None] * len(outputs)

    def change(self, found: Sequence[Array], where: Where) -> list[Any]:
        """Set all that the steps set, and return what the calls return."""
        grads = [None if k is None else Tensor(found[k]) for k in self._places]
        returned, changes = [], []
        for code, (begin, end) in zip(self.plan.codes, self._ranges, strict=True):
            change, result = code.finished(found[begin:end], where)
            changes.append(change)
            returned.append(result)
        try:
            self._set(grads, changes)
        except BaseException:  # an interrupt: nothing is left half done
            self._set(grads, changes)
            raise
        return returned

    def _set(self, grads: Iterable[Tensor | None], changes: Iterable[Callable[[], None]]) -> None:
        for (t, _), g in zip(self.plan.filled, grads, strict=True):
            t._grad = g
        for change in changes:
            change()


class Wholes:
    """The ways in which a recorded step is one call: for settings of optimisers as they are.

    Parameters
    ----------
    done : Done
        What the function does besides computing.
    program, results, gradients
        See `Whole`.
    """

    def __init__(
        self, done: Done, program: HostProgram, results: Sequence[int], gradients: Sequence[int]
    ) -> None:
        self._done, self._program = done, (program, results, gradients)
        self._known: list[Whole] = []
        self._left, self._threads = KEPT, runtime.threads()
        self.unfit = ""  # why the latest one could not be made

    def ready(self) -> tuple[Whole, list[Array]] | None:
        """Return one that is right for what there is now, and what its calls read."""
        if self._threads != runtime.threads():
            self._known, self._left, self._threads = [], KEPT, runtime.threads()
        for whole in self._known:
            given = whole.plan.given()
            if given is not None:
                return whole, given
        if not self._left:
            return None
        self._left -= 1
        try:
            plan = Plan(self._done)
            given = plan.given()
            if given is None or any(whole.plan.key == plan.key for whole in self._known):
                return None
            self._known.append(Whole(plan, *self._program))
        except Unfit as why:
            self.unfit = str(why)
            return None
        except MACHINE as error:
            raise NoCode(error) from error
        except Exception as error:  # a fault of ours; the noted steps do not have it
            self.unfit = f"a fault of the compiler ({type(error).__name__}: {error})"
            return None
        return self._known[-1], given

    def source(self) -> str:
        """Return the text of the first one; an empty one where there is none."""
        return self._known[0].straight.source("forward", line_of) if self._known else ""


def _given(spec: Spec, like: Any) -> Value:
    return Value(None, [], {}, spec.shape, like, dtype=spec.dtype, given=Given.INPUT)
