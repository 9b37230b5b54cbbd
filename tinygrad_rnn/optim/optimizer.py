"""The base of training rules: `Optimizer`."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any

import numpy as np

from ..core.errors import DtypeError, GraphError, ShapeError, TinygradError
from ..core.primitive import Array
from ..core.tape import Where, caller
from ..core.tensor import Tensor
from ..kernels import runtime
from ..ops import names
from ..ops.assignment import give
from ..ops.postponed import postponed
from .given import AMOUNT, Number, check_entries, entry, gradient_of, tensors_of
from .groups import Group, Rate, groups_in, made, members, remembering
from .reading import Loops
from .step_code import step_as_code
from .update import KEPT, Update

SMALL = 65_536  # elements up to which parameters are computed together
PLAIN = {float, int}
LARGE = 16_384  # elements from which on one compiled loop does it, even if nothing else is compiled


class Optimizer:
    """The base class of training rules; ``step()`` gives the parameters new arrays.

    Parameters without a gradient are left alone. A graph recorded before the step and walked after
    it is an error, because its saved values are no longer the parameters'. A subclass defines
    `change`, and `buffers` if it keeps arrays between steps.

    A subclass sets `elementwise` if no element of a parameter depends on others of it, as on their
    norm. Its small parameters are then computed as one vector, since a call of NumPy takes about as
    long for a small array as for ten: their new arrays are parts of it. So the size and the shape of
    what `change` is given say nothing about a parameter.

    Parameters
    ----------
    parameters : iterable of Tensor, or list of dict
        Leaf tensors that require gradients, each once. Or groups of them with settings of their own,
        ``[{"params": a.parameters()}, {"params": b.parameters(), "lr": 0.01}]``; what a group does
        not say is as for all.
    lr : float
        The learning rate, at least 0. Where it is set later, the rates of groups that have their own
        follow in proportion. Other settings that are set later count for the groups that have none of
        their own.
    weight_decay : float
        What share of a parameter is added to its gradient, or, in a rule with `decoupled`, what
        share times lr the parameter loses at each step.

    Attributes
    ----------
    parameters : list of Tensor
    state : dict of str to list of array
        The arrays that are kept between steps, by their names; one for each parameter.
    steps : list of int
        How often each parameter was updated.
    groups : list of Group
        The groups, if there are any; the settings of one are its attributes.
    """

    elementwise = False  # whether each element of a parameter is changed by itself
    decoupled = False  # whether weight decay is a step of its own, not a part of the gradient
    lr = Rate(AMOUNT)
    weight_decay = Number(AMOUNT)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let a rule remember its settings, with which the rules of groups are made."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = remembering(cls.__init__)  # type: ignore[method-assign]

    @remembering
    def __init__(self, parameters: Any, lr: float, weight_decay: float = 0.0) -> None:
        call = vars(self).pop("_call")
        if isinstance(parameters, Tensor):
            raise TinygradError(
                f"the optimiser needs parameters, such as module.parameters(); found one {type(parameters).__name__}"
            )
        groups = groups_in(parameters)
        each = [] if groups is None else members(groups)
        self.parameters = (
            tensors_of("the optimiser", parameters)
            if groups is None
            else [p for g in each for p in g]
        )
        self.lr, self.weight_decay = lr, weight_decay
        self.state: dict[str, list[Array]] = {}
        self.steps = [0] * len(self.parameters)  # how often each parameter was updated
        self._vectors: dict[Any, list[Vector]] = {}
        self._updates: dict[Any, Loops] = {}
        for p in self.parameters:
            if not p.is_leaf or not p.requires_grad:
                raise GraphError(
                    f"the optimiser needs leaf tensors that require gradients; found {p!r}"
                )
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise TinygradError(
                "the optimiser was given a parameter twice; it would be changed twice in every step"
            )
        self._groups: list[Group] = [] if groups is None else made(self, groups, each, call)
        self._of = [group.rule for group in self._groups for _ in group.parameters]

    @property
    def groups(self) -> list[Group]:
        """The groups, if there are any."""
        return list(self._groups)

    def buffers(self) -> tuple[str, ...]:
        """Return the names of the arrays that are kept for each parameter between steps."""
        return ()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a setting also for the groups that do not have their own."""
        object.__setattr__(self, name, value)
        for group in vars(self).get("_groups", ()):
            group.share(name, value)

    def _rule(self, place: int) -> Optimizer:
        """Return whose settings count for a parameter."""
        return self._of[place] if self._of else self

    @postponed(lambda self: [*self.parameters, self, *self._of], native=step_as_code)
    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises
        ------
        ShapeError, DtypeError, TinygradError
            If a gradient is no tensor of its parameter's shape and dtype; then nothing is updated.
        """
        what, where = type(self).__name__, Where(*caller())
        groups: dict[Any, dict[int, Array]] = {}
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                g = gradient_of(what, p)
                together = self.elementwise and g.size <= SMALL
                alike = (g.dtype, self.steps[i], id(self._rule(i)))
                groups.setdefault(alike if together else i, {})[i] = g
        for name in self._rule(0).buffers() if groups else ():
            self.state[name] = self._kept(name)
        # all is computed before anything is set
        found = [
            (list(g), *self._rule(next(iter(g)))._changed(list(g), list(g.values())))
            for g in groups.values()
        ]
        for places, values, buffers in found:
            for k, i in enumerate(places):
                self.steps[i] += 1
                give(self.parameters[i], values[k], where)
                for name, parts in buffers.items():
                    self.state[name][i] = parts[k]

    def would_add(self, gradients: Sequence[Any]) -> list[Array | None]:
        """Return what a step with these gradients would add to each parameter; nothing is changed.

        Parameters
        ----------
        gradients : sequence of array or None
            One for each parameter, in the order of `parameters`; None where there is none.
        """
        state = {name: self._kept(name) for name in self._rule(0).buffers()}
        found: list[Array | None] = []
        for i, (p, g) in enumerate(zip(self.parameters, gradients, strict=True)):
            probe = copy.copy(self._rule(i))  # with vectors of its own
            probe.state = state
            values = None if g is None else probe._changed([i], [np.asarray(g, p.dtype)])[0]
            found.append(None if values is None else values[0] - p.array)
        return found

    def _kept(self, name: str) -> list[Array]:
        """Return the arrays that are kept under a name; before the first step, zeros."""
        kept = self.state.get(name)
        return [np.zeros(p.shape, p.dtype) for p in self.parameters] if kept is None else kept

    def _changed(
        self, places: list[int], gradients: list[Array]
    ) -> tuple[list[Array], dict[str, list[Array]]]:
        """Return new values and buffers of some parameters, which are computed as one."""
        names = self.buffers()
        vectors = self._joined(places, 1 + len(names))
        value = vectors[0].of([self.parameters[i].array for i in places])
        held = [
            v.of([self.state[n][i] for i in places])
            for n, v in zip(names, vectors[1:], strict=True)
        ]
        numbers = self._numbers(self.steps[places[0]])
        found: Any = None
        if value.size >= LARGE or runtime.is_in_use():
            update = self._compiled(numbers, 2 + len(held), value.dtype)
            found = None if update is None else update(numbers, value, gradients, held)
        if found is None:
            found = self._update(numbers, value, Vector().of(gradients), *held)
        for x in found:
            if getattr(x, "shape", ()) != value.shape:
                raise ShapeError(
                    f"{type(self).__name__}.change: for a gradient of shape {value.shape} it returned an array of shape {np.shape(x)}"
                )
        parts = [v.cut(np.asarray(x, value.dtype)) for v, x in zip(vectors, found, strict=True)]
        return parts[0], dict(zip(names, parts[1:], strict=True))

    def _joined(self, places: list[int], count: int) -> list[Vector]:
        """Return vectors for the values and buffers of some parameters, with what they had joined."""
        if len(places) == 1:
            return [Vector() for _ in range(count)]
        found = self._vectors.get((count, *places))
        if found is None:
            if len(self._vectors) >= KEPT:  # they hold arrays
                self._vectors.clear()
            found = self._vectors[count, *places] = [Vector() for _ in range(count)]
        return found

    def _update(self, numbers: Sequence[Any], value: Any, g: Any, *buffers: Any) -> list[Any]:
        """Return the new value and the new buffers, of arrays or, in a trace, of numbers."""
        decay = self.weight_decay
        if decay and not self.decoupled:
            g = g + decay * value
        change, *new = self.change(g, numbers[1:], *buffers)
        if decay and self.decoupled:
            change = change - numbers[0] * value
        return [value + change, *new]

    def _numbers(self, count: int) -> tuple[Any, ...]:
        """Return what a parameter loses, and the `rates`, after so many steps."""
        return (self.lr * self.weight_decay, *self.rates(count + 1))

    def _compiled(self, numbers: Sequence[Any], arrays: int, dtype: np.dtype[Any]) -> Update | None:
        """Return the update as one loop, for the settings as they are; None where NumPy does it."""
        # of groups each has a rule of its own; with a number of NumPy's, NumPy computes in its dtype
        plain = PLAIN.issuperset(map(type, numbers))
        if self.groups or not self.elementwise or not plain:
            return None
        if runtime.raising() or not runtime.available():
            return None
        count = len(numbers)
        loops = self._updates.get((count, arrays, dtype))
        if loops is None:
            loops = self._updates[count, arrays, dtype] = Loops(type(self))
        return loops.of(
            self,
            lambda one: Update(
                lambda *xs: one._update(xs[:count], *xs[count:]), count, arrays, dtype
            ),
        )

    def _still(self, update: Update, numbers: Sequence[Any]) -> bool:
        """Whether what `_compiled` gave is what it would give now."""
        loops = self._updates.get((len(numbers), update.arrays, update.dtype))
        plain = self.elementwise and PLAIN.issuperset(map(type, numbers))
        return plain and loops is not None and loops.still(self, update)

    def rates(self, count: int) -> tuple[float, ...]:
        """Return the numbers of `change` that are others at each step; `count` is how many there were.

        By default that is the learning rate.
        """
        return (self.lr,)

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        """Return what is added to the values of parameters, and their new buffers.

        Parameters
        ----------
        g : array
            Their gradient; for a kernel, a traced number.
        rates : sequence of float
            What `rates` gives.
        *buffers : array
            What is kept between steps, in the order of `buffers`; not to be written to.
        """
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_vectors": {}, "_updates": {}}

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the buffers, the numbers of steps and the rates, for a checkpoint.

        A buffer has the key ``name.index``. The key ``lr`` has the learning rate, and after it those
        of the groups.
        """
        arrays = {
            f"{name}.{i}": b.copy()
            for name, buffers in self.state.items()
            for i, b in enumerate(buffers)
        }
        rates = [self.lr, *(group.lr for group in self.groups)]
        return {**arrays, "steps": np.asarray(self.steps), "lr": np.array(rates, np.float64)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave; nothing is changed unless all of it fits this optimiser.

        It has to be of as many parameters, of the same shapes and dtypes, and of the same rule with
        settings that keep the same arrays: one with momentum has a velocity for each parameter.

        Raises
        ------
        ShapeError, DtypeError
            For an array of another shape or dtype than its parameter.
        TinygradError
            For names that are missing or unknown, and numbers of steps that are none.
        """
        what, count = f"{type(self).__name__}.load_state_dict", len(self.parameters)
        begun = isinstance(state, Mapping) and any(n not in ("steps", "lr") for n in state)
        kept = self._rule(0).buffers()
        names = [f"{name}.{i}" for name in kept for i in range(count)] if begun else []
        check_entries(what, state, [*names, "steps", "lr"])
        rates = entry(what, state, "lr").astype(np.float64)
        if rates.shape != (1 + len(self.groups),) or not (np.isfinite(rates) & (rates >= 0)).all():
            raise ShapeError(
                f"{what}: 'lr' must be {1 + len(self.groups)} finite number(s) of at least 0, of all and of each group; found {rates.tolist()}"
            )
        steps = entry(what, state, "steps")
        if steps.shape != (count,):
            raise ShapeError(
                f"{what}: 'steps' has shape {steps.shape}; expected ({count},), a number for each parameter"
            )
        if steps.dtype.kind not in "iu" or (steps < 0).any():
            raise TinygradError(
                f"{what}: 'steps' must be whole numbers of at least 0; found {steps.tolist()}"
            )
        if not begun and steps.any() and kept:
            raise TinygradError(
                f"{what}: after {steps.max()} steps there must be {', '.join(kept)} of each parameter; found none"
            )
        found: dict[str, list[Array]] = {}
        for name in kept if begun else ():
            for i, p in enumerate(self.parameters):
                value = entry(what, state, f"{name}.{i}")
                if value.shape != p.shape:
                    raise ShapeError(
                        f"{what}: '{name}.{i}' has shape {value.shape}; parameter {i} has {p.shape}"
                    )
                if value.dtype.newbyteorder("=") != p.dtype:
                    raise DtypeError(
                        f"{what}: '{name}.{i}' is {value.dtype}; parameter {i} is {p.dtype}"
                    )
                if name in self.squares and (value < 0).any():
                    raise TinygradError(
                        f"{what}: '{name}.{i}' holds sums of squares, of which none is below 0; found {value.min()}"
                    )
                found.setdefault(name, []).append(value.astype(p.dtype))
        self.state.clear()  # the rules of groups have the same
        self.state.update(found)
        self.steps[:] = steps.tolist()
        self.lr = float(rates[0])
        for group, rate in zip(self.groups, rates[1:], strict=True):
            group.lr = float(rate)

    squares: tuple[str, ...] = ()  # which of the buffers cannot be negative

    def __repr__(self) -> str:
        numbers = sum(p.size for p in self.parameters)
        inside = f", {len(self.groups)} groups" if self.groups else ""
        return f"{type(self).__name__}(lr={self.lr:g}, {len(self.parameters)} parameters of {numbers:,} numbers{inside})"


names.give(Optimizer, names.OPTIMIZER)


class Vector:
    """Several arrays as one: those that were cut from a vector are joined without a copy."""

    def __init__(self) -> None:
        self._whole: Any = None
        self._parts: list[Array] = []
        self._places: list[tuple[slice, tuple[int, ...]]] = []  # of each part, and its shape

    def of(self, arrays: list[Array]) -> Array:
        """Return a vector in which the arrays stand one after the other; of one array itself."""
        if len(arrays) == 1:
            return arrays[0]
        if len(arrays) != len(self._parts) or not all(map(is_, arrays, self._parts)):
            self._parts = arrays
            self._whole = np.concatenate([a.ravel() for a in arrays])
            ends = list(itertools.accumulate(a.size for a in arrays))
            self._places = [
                (slice(end - a.size, end), a.shape) for a, end in zip(arrays, ends, strict=True)
            ]
        return np.asarray(self._whole)

    def cut(self, whole: Array) -> list[Array]:
        """Return the parts of a vector that is like the one that `of` gave."""
        if len(self._parts) < 2:
            return [whole]
        self._whole = whole
        self._parts = [whole[place].reshape(shape) for place, shape in self._places]
        return self._parts
