"""Regularisers of cells with a meaning in time: zoneout, variational dropout, DropConnect."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ..core.errors import TinygradError
from ..core.record import describe
from ..core.tape import context
from ..core.tree import flatten, leaves, pairs, unflatten
from ..module import Parameter
from ..ops.checks import shown
from ..ops.elementwise import where
from ..recurrent.cell import Cell, component_names, name_of
from ..recurrent.context import sequence_context
from ..recurrent.effects import stands_for_others
from ..recurrent.products import Components, UnclearOperand
from .masks import Masks, dropped, floating, probability
from .named_products import NamedProducts, checked_step
from .wrappers import Wrapper


class Zoneout(Wrapper):
    """Each element of the memory keeps its old value with probability p, drawn anew at each step.

    D. Krueger et al., Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations, ICLR
    2017, arXiv:1606.01305. In training s' = m * s + (1 - m) * cell(s) with m drawn for each
    element, step and sequence; in evaluation s' = p * s + (1 - p) * cell(s). An output that is one
    of the new state's components is that component after zoneout.

    What of a state is memory is a fact of the cell (`Cell.bookkeeping`): counters, windows of past
    values, normalisers, stabilisers and what is counted in their units stay as the cell makes them,
    and so do integers and booleans. A user's cell without a declaration has memory in all floating
    components. Parts of one complex number have one mask.

    Parameters
    ----------
    cell : Cell
        The inner cell.
    p : float, or a tree like the state
        One probability for all memory, or one for each component, 0 for what is no memory:
        ``LSTMState(h=0.05, c=0.5)``.
    rng : numpy Generator or int, optional
        For the masks.

    Raises
    ------
    TinygradError
        At the first step, if the cell has no memory that could be kept element by element, or p has
        a rate for what is no memory, or two rates for parts of one number.
    """

    def __init__(self, cell: Cell, p: Any = 0.1, *, rng: Any = None) -> None:
        super().__init__(cell)
        self.p, self.masks = p, Masks(rng)
        for q in leaves(p) or [p]:
            probability(q, "Zoneout: p")

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step."""
        places = self.mask_places(state)
        if all(place < 0 for place in places):
            raise TinygradError(
                f"{self.name}: the state of the cell has no memory that zoneout could keep: it is all bookkeeping (Cell.bookkeeping)"
            )
        y, new = self.cell(x, state)
        mixed, masks = [], dict[int, Any]()
        numbers = [
            place
            for _, place in pairs(new, unflatten(state, places), "Zoneout: the state", "state")
        ]
        for (fresh, old), place, p in zip(
            pairs(new, state, "Zoneout: the state", "state"),
            numbers,
            self._rates(new, numbers),
            strict=True,
        ):
            if not p or place < 0:
                mixed.append(fresh)
            elif self.training:
                if place not in masks:
                    masks[place] = self.masks.keep(
                        1 - p, fresh.shape, bool, per="step", place=place
                    )
                mixed.append(where(masks[place], old, fresh))
            else:
                mixed.append(fresh + p * (old - fresh))
        y = next((m for f, m in zip(leaves(new), mixed, strict=True) if f is y), y)
        return y, unflatten(new, mixed)

    def _rates(self, new: Any, places: list[int]) -> list[float]:
        """Return the probability of each component."""
        if not isinstance(self.p, (tuple, list, dict)):
            return [self.p] * len(places)
        rates = [p for _, p in pairs(new, self.p, "Zoneout: p for a state", "state")]
        names = [path for path, _ in flatten(new, "state")]
        for name, p, place in zip(names, rates, places, strict=True):
            if p and place < 0:
                raise TinygradError(
                    f"{self.name}: p has the rate {p} for {name}, which is no memory of the cell but bookkeeping; expected 0"
                )
            if place >= 0 and p != rates[places.index(place)]:
                raise TinygradError(
                    f"{self.name}: {name} is part of the same numbers as {names[places.index(place)]}; expected one rate for both"
                )
        return rates


class VariationalDropout(Wrapper):
    """Dropout whose masks are held for a sequence: of a cell's input, recurrent operand and output.

    Y. Gal and Z. Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural
    Networks, NIPS 2016, arXiv:1512.05287. The masks are drawn once for each sequence (each call of
    `unroll` or `tbptt`) and row, in training; what is kept is scaled by 1 / (1 - p).

    The mask of the state acts on what recurrent weights multiply, the h of ``U h``, and nowhere
    else: what gates carry to the next step, as z * h in a GRU or c in an LSTM, is neither masked
    nor scaled. There is one mask for each component of the state, the same for all gates (Gal and
    Ghahramani's tied weights) and steps; where there are several cells within the cell, each has
    its own. `Cell.from_state` says to which component an operand belongs.

    Parameters
    ----------
    cell : Cell
        The inner cell. For `state` its step must name its recurrent products by `Cell.from_state`,
        as all of `cells` do that have any.
    input, state, output : float
        Probabilities. That of the input applies to x wherever the cell uses it.
    rng : numpy Generator or int, optional
        For the masks.

    Raises
    ------
    TinygradError
        At a step in training, if `state` is set and the cell names no product with recurrent
        weights, or it can be seen that it names only some of them (see `Cell`), or it is not clear
        to which component of the state an operand belongs.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        input: float = 0.0,
        state: float = 0.0,
        output: float = 0.0,
        rng: Any = None,
    ) -> None:
        super().__init__(cell)
        self.rates = [
            probability(p, f"VariationalDropout: {n}")
            for n, p in (("input", input), ("state", state), ("output", output))
        ]
        self.masks = Masks(rng)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step."""
        for_x, for_h, for_y = self.rates if self.training else (0.0, 0.0, 0.0)
        if for_x:
            first, *rest = x if isinstance(x, tuple) else (x,)
            first = dropped(
                floating(first, "VariationalDropout: dropout of the input"), self.masks, for_x, 0
            )
            x = (first, *rest) if isinstance(x, tuple) else first
        if for_h:
            thinned = _Thinned(self.name, self.masks, for_h)
            y, state = checked_step(self, thinned, x, state)
            if not thinned.found:
                raise TinygradError(
                    f"{self.name}: state={for_h} masks what recurrent weights multiply, and the cell's step names no such product. "
                    "In a cell of your own write self.from_state(h, self.U) in place of h @ self.U.T; a cell without recurrent weights has "
                    "nothing to mask: leave state out"
                )
        else:
            y, state = self.cell(x, state)
        if for_y:
            parts = [
                floating(part, "VariationalDropout: dropout of the output") for part in leaves(y)
            ]
            y = unflatten(
                y, [dropped(part, self.masks, for_y, 2 + 2 * i) for i, part in enumerate(parts)]
            )
        return y, state


class _Thinned(NamedProducts):
    """What masks the recurrent operands of a step.

    There is one mask for each component of the state of each cell; it is held here for all products
    of the step.
    """

    def __init__(self, name: str, masks: Masks, p: float) -> None:
        self.name, self.masks, self.p = name, masks, p
        self.found: dict[Any, Any] = {}
        self.steps: list[tuple[Any, Components]] = []  # those that have begun, the innermost last

    def here(self) -> _Thinned:
        other = copy.copy(self)  # with the same masks
        other.steps, other.named = list(self.steps), None
        return other

    def acted(self) -> bool:
        return bool(self.found)

    def enter(self, owner: Any, state: Any) -> None:
        self.steps.append((owner, Components(state)))

    def leave(self) -> None:
        self.steps.pop()

    def component(self, owner: Any, value: Any) -> tuple[str, str]:
        """Return the component to which an operand without a name belongs, and which part of it."""
        components = next((c for cell, c in reversed(self.steps) if cell is owner), None)
        if components is None:
            raise UnclearOperand(
                f"{self.name}: the state from which {name_of(owner)} makes its step is not known, since its forward was called: call the cell itself, "
                "cell(x, state), or name the component, self.from_state(h, self.U, name='h')"
            )
        state = components.state
        full, places = component_names(owner, state), owner.mask_places(state)
        names = [
            short if full.short.count(short) == 1 else name
            for name, short in zip(full, full.short, strict=True)
        ]
        # bookkeeping that is multiplied counts by itself
        places = [k if place < 0 else place for k, place in enumerate(places)]
        parts = [components.part(t) for t in leaves(value)]
        found = {(places[part[0]], part[1]) for part in parts if part is not None}
        if len(found) == 1 and None not in parts:
            place, which = found.pop()
            return names[place], which
        shape = tuple(leaves(value)[0].shape)
        of_shape = {
            place
            for place, s in zip(owner.mask_places(state), leaves(state), strict=True)
            if place >= 0 and tuple(s.shape) == shape
        }
        if not found and len(of_shape) == 1:
            return names[of_shape.pop()], ""
        raise UnclearOperand(
            f"{self.name}: the operand {describe(leaves(value)[0])} of self.from_state in {name_of(owner)} is no component of the state {names}, "
            "and which of them it is made of cannot be seen. Say it, as in self.from_state(r * h, self.U, name='h'): products of one name have "
            "one mask"
        )

    def operand(self, owner: Any, name: str, value: Any, original: Any) -> Any:
        parts = leaves(value)
        shape, dtype = (
            tuple(parts[0].shape),
            floating(parts[0], "VariationalDropout: dropout of the state").dtype,
        )
        key = (
            id(owner),
            context().mark.layer,
            *((name, "") if name else self.component(owner, original)),
            shape,
        )
        if key not in self.found:
            self.found[key] = self.masks.dropout(
                self.p, shape, dtype, per="sequence", place=1 + 2 * len(self.found)
            )
        return unflatten(value, [part * self.found[key] for part in parts])


class WeightDrop(Wrapper):
    """DropConnect: each element of a weight is zero with probability p, for a whole sequence.

    S. Merity, N. S. Keskar and R. Socher, Regularizing and Optimizing LSTM Language Models, ICLR
    2018, arXiv:1708.02182. One mask is drawn for each sequence (each call of `unroll` or `tbptt`),
    in training, for all rows of the batch; what is kept is scaled by 1 / (1 - p). The cell's own
    parameters stay as they are: a step runs on a copy of the cell that has the thinned weights.

    Parameters
    ----------
    cell : Cell
        The inner cell.
    p : float
        The probability, in [0, 1).
    names : str or sequence of str
        Attributes of the cell that are Parameters.
    rng : numpy Generator or int, optional
        For the masks.
    """

    def __init__(
        self,
        cell: Cell,
        p: float = 0.5,
        names: str | Sequence[str] = ("weight_hh",),
        *,
        rng: Any = None,
    ) -> None:
        super().__init__(cell)
        self.p, self.masks = probability(p, "WeightDrop: p"), Masks(rng)
        if not isinstance(names, (str, list, tuple)) or not all(isinstance(n, str) for n in names):
            raise TinygradError(
                f"WeightDrop: names must be names of parameters of the cell; found {shown(names)}"
            )
        self.names = (names,) if isinstance(names, str) else tuple(names)
        wrong = [n for n in self.names if not isinstance(getattr(cell, n, None), Parameter)]
        if wrong or not self.names:
            known = [n for n, v in vars(cell).items() if isinstance(v, Parameter)]
            raise TinygradError(
                f"WeightDrop: {name_of(cell)} has no parameter {wrong or 'without a name'}; it has {known}"
            )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step."""
        if not (self.training and self.p):
            return self.cell(x, state)
        # the thinned weights are made once for all steps that share a tape
        sequence = None if stands_for_others() else sequence_context()
        shared = {} if sequence is None else sequence.shared
        thin = shared.get(self)
        if thin is None:
            weights = {}
            for place, name in enumerate(self.names):
                weight = getattr(self.cell, name)
                weights[name] = weight * self.masks.dropout(
                    self.p, weight.shape, weight.dtype, per="sequence", place=place
                )
            thin = shared[self] = self.cell.with_parameters(weights)
        return thin(x, state)
