"""Wrappers that make a cell of any cell.

Stacks, residual connections, and regularisers with a defined meaning in time.

A wrapper takes a cell and is one, so wrappers nest: ``Residual(Zoneout(LSTM(8, 8), 0.1))``.
`Bidirectional` runs over whole sequences.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable, Sequence
from typing import Any
from weakref import WeakSet

import numpy as np

from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.record import describe
from ..core.tape import Node, Older, at_step, context
from ..core.tensor import Tensor
from ..core.tree import flatten, leaves, pairs, tree_map, unflatten
from ..module import Module, Parameter
from ..ops.checks import shown
from ..ops.elementwise import where
from ..ops.shaping import concatenate, split
from ..recurrent.cell import Cell, component_names, name_of, no_cell, plain_of
from ..recurrent.context import sequence_context
from ..recurrent.effects import stands_for_others
from ..recurrent.products import Around, Components, UnclearOperand, around, products_of
from ..recurrent.unroll import unroll
from .masks import Masks, probability
from .normalization import BatchNorm, LayerNorm


class Wrapper(Cell):
    """A cell around a cell: sizes, first state and input check are those of the inner one."""

    def __init__(self, cell: Cell) -> None:
        if not isinstance(cell, Cell):
            way = (
                ""
                if isinstance(cell, (type, Module))
                else ". Give a plain function a class: class My(tg.Cell)"
            )
            raise TinygradError(f"{type(self).__name__} wraps a Cell; found {no_cell(cell)}{way}")
        self.cell = cell
        self.input_size = cell.input_size
        for name in ("hidden_size", "output_size"):
            if hasattr(cell, name):
                setattr(self, name, getattr(cell, name))
        self.name = f"{type(self).__name__}({name_of(cell)})"

    def initial_state(self, batch_size: int) -> Any:
        """That of the inner cell."""
        return self.cell.initial_state(batch_size)

    def example_input(self, batch_size: int) -> Any:
        """That of the inner cell."""
        return plain_of(self.cell).example_input(batch_size)

    def mask_places(self, state: Any) -> list[int]:
        """Those of the inner cell."""
        found: list[int] = plain_of(self.cell).mask_places(state)
        return found

    def check(self, x: Any) -> None:
        """As the inner cell does."""
        self.cell.check(x)


class Stacked(Cell):
    """Cells one upon the other within a step: the output of each is the input of the next.

    The state is a tuple with the state of each.

    Parameters
    ----------
    cells : sequence of Cell
        The lowest first.
    dropout : float
        Probability with which an element between two cells is zero, in training; the others are
        scaled. A mask is drawn for each sequence and held for all its steps (Gal and Ghahramani
        2016).
    rng : numpy Generator or int, optional
        Of the masks.
    """

    def __init__(self, cells: Sequence[Cell], *, dropout: float = 0.0, rng: Any = None) -> None:
        if (
            not isinstance(cells, (list, tuple))
            or not cells
            or not all(isinstance(c, Cell) for c in cells)
        ):
            others = (
                [c for c in cells if not isinstance(c, Cell)]
                if isinstance(cells, (list, tuple))
                else [cells]
            )
            found = f"found {no_cell(others[0])}" if others else "the list is empty"
            raise TinygradError(f"Stacked: expected a list of at least one Cell; {found}")
        self.cells = list(cells)
        for below, above in zip(self.cells, self.cells[1:], strict=False):
            size = getattr(below, "output_size", getattr(below, "hidden_size", None))
            if above.input_size is not None and size is not None and above.input_size != size:
                raise ShapeError(
                    f"Stacked: {name_of(below)} has outputs of size {size}, {name_of(above)} above it expects {above.input_size}"
                )
        self.input_size = self.cells[0].input_size
        self.dropout, self.masks = probability(dropout, "Stacked: dropout"), Masks(rng)
        self.name = f"Stacked({', '.join(name_of(c) for c in self.cells)})"

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """The first state of each cell."""
        return tuple(c.initial_state(batch_size) for c in self.cells)

    def example_input(self, batch_size: int) -> Any:
        """That of the lowest cell."""
        return plain_of(self.cells[0]).example_input(batch_size)

    def mask_places(self, state: Any) -> list[int]:
        """Those of all cells, the numbers of each after those of the cell below it."""
        places: list[int] = []
        for cell, s in zip(self.cells, state, strict=True):
            places += [p if p < 0 else p + len(places) for p in plain_of(cell).mask_places(s)]
        return places

    def check(self, x: Any) -> None:
        """As the lowest cell does."""
        self.cells[0].check(x)

    def forward(self, x: Any, state: Any) -> Any:
        """One step through all cells."""
        if not isinstance(state, (tuple, list)) or len(state) != len(self.cells):
            found = len(state) if isinstance(state, (tuple, list)) else f"a {type(state).__name__}"
            raise ShapeError(
                f"Stacked: expected a state for each of {len(self.cells)} cells; found {found}"
            )
        new = []
        for k, (cell, s) in enumerate(zip(self.cells, state, strict=True)):
            if k and self.dropout and self.training:
                x = dropped(
                    floating(x, "Stacked: dropout between two cells"), self.masks, self.dropout, k
                )
            with at_step(context().mark.step, name_of(cell), k):
                x, s = cell(x, s)
            new.append(s)
        return x, tuple(new)


class Residual(Wrapper):
    """y' = y + x: the input added to the output of a cell of the same size (He et al. 2016.

    Wu et al. 2016, GNMT). The state is unchanged.
    """

    def forward(self, x: Any, state: Any) -> Any:
        """One step."""
        if not hasattr(x, "shape"):
            raise ShapeError(
                f"{self.name}: expected one tensor as the input of a step; found a {type(x).__name__}"
            )
        y, state = self.cell(x, state)
        if tuple(getattr(y, "shape", ())) != tuple(x.shape):
            raise ShapeError(
                f"Residual: the cell's output {describe(y)} and its input {describe(x)} must have one shape"
            )
        return y + x, state


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
    p : float, or a nest like the state
        One probability for all memory, or one for each component, 0 for what is no memory:
        ``LSTMState(h=0.05, c=0.5)``.
    rng : numpy Generator or int, optional
        Of the masks.

    Raises
    ------
    TinygradError
        At the first step: if the cell has no memory that could be kept element by element, p has a
        rate for what is no memory, or two rates for parts of one number.
    """

    def __init__(self, cell: Cell, p: Any = 0.1, *, rng: Any = None) -> None:
        super().__init__(cell)
        self.p, self.masks = p, Masks(rng)
        for q in leaves(p) or [p]:
            probability(q, "Zoneout: p")

    def forward(self, x: Any, state: Any) -> Any:
        """One step."""
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
        """The probability of each component."""
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
    """Dropout of the input, the recurrent operand and the output of a cell with masks that are held for a whole sequence.

    Y. Gal and Z. Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural
    Networks, NIPS 2016, arXiv:1512.05287. The masks are drawn once for each sequence (each call of
    `unroll` or `tbptt`) and row, in training; what is kept is scaled by 1 / (1 - p).

    The mask of the state acts on what recurrent weights multiply, the h of ``U h``, and nowhere
    else: what gates carry to the next step, as z * h in a GRU or c in an LSTM, is neither masked
    nor scaled. There is one mask for each component of the state, the same for all gates (Gal and
    Ghahramani's tied weights) and steps; of several cells within the cell each has its own. To
    which component an operand belongs, `Cell.from_state` says.

    Parameters
    ----------
    cell : Cell
        For `state` one whose step names its recurrent products by `Cell.from_state`, as all of
        `cells` do that have any.
    input, state, output : float
        Probabilities. That of the input applies to x wherever the cell uses it.
    rng : numpy Generator or int, optional
        Of the masks.

    Raises
    ------
    TinygradError
        At a step in training, if `state` is set: the cell names no product with recurrent weights,
        or it can be seen that it names only some of them (see `Cell`), or it is not clear to which
        component of the state an operand belongs.
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
        """One step."""
        for_x, for_h, for_y = self.rates if self.training else (0.0, 0.0, 0.0)
        if for_x:
            first, *rest = x if isinstance(x, tuple) else (x,)
            first = dropped(
                floating(first, "VariationalDropout: dropout of the input"), self.masks, for_x, 0
            )
            x = (first, *rest) if isinstance(x, tuple) else first
        if for_h:
            thinned = _Thinned(self.name, self.masks, for_h)
            y, state = looked_at(self, thinned, x, state)
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


class _Looking(Around):
    """Remembers the products of a step that pass through here, so that those which do not can be found."""

    through: set[Node] | None = None

    def acted(self) -> bool:
        """Whether the step named what the wrapper acts on.

        A step that does not is refused as such.
        """
        return True

    def product(self, kind: str, value: Any, cuts: Sequence[int]) -> Any:
        # what is shown is also carried, and made of other products
        if self.through is not None and kind != "output":
            self.through.update(
                t.node for t in leaves(value) if isinstance(t, Tensor) and t.node is not None
            )
        return value


_looked: WeakSet[Wrapper] = WeakSet()  # not attributes, which a recorded step may not change


def looked_at(wrapper: Wrapper, inside: _Looking, x: Any, state: Any) -> Any:
    """A step of the cell of `wrapper` within `inside`.

    The first recorded ones are searched for recurrent products without a name.
    """
    if wrapper in _looked and not context().tracing:
        with around(inside):
            return wrapper.cell(x, state)
    before = [s for s in leaves(state) if isinstance(s, Tensor)]
    for s in before:
        if s.node is None:
            s.leaf()
    older, inside.through = Older(), set[Node]()
    with around(inside):
        y, new = wrapper.cell(x, state)
    nodes, given = (
        {t.node for t in leaves(tree) if isinstance(t, Tensor) and t.node is not None}
        for tree in (new, x)
    )
    found = unnamed_product(nodes, {s.node for s in before}, given, inside.through, older)
    if found is not None and inside.acted():
        raise TinygradError(
            f"{wrapper.name}: the step multiplies a component of the state {tuple(found.inputs[0].shape)} by weights without naming the product, so the wrapper "
            "would act on a part of the recurrent products alone. In all of them write self.from_state(h, self.U) in place of h @ self.U.T (name=None "
            f"there: dropout is not to mask it){found.where.described()}"
        )
    # a constant state has no record of its views
    if any(s.requires_grad for s in before) and not context().tracing:
        _looked.add(wrapper)
    return y, new


def unnamed_product(
    new: Iterable[Any],
    carried: Container[Any],
    inputs: Container[Any],
    through: Container[Any],
    older: Older,
) -> Any:
    """A matrix product of a component of the state with weights on which the new state depends other than by products that were named."""

    def is_carried(node: Any) -> bool:
        """Whether it is a component of the state, a view of one, or a product as r * h."""
        stack, seen = [node], set[Any]()
        while stack:
            n = stack.pop()
            if n in carried:
                return True
            if not isinstance(n, Node) or n in seen or n in older or n in through:
                continue
            seen.add(n)
            if n.op in _VIEWS:
                stack.append(n.inputs[0])
            elif n.op == "multiply":
                stack += n.inputs
        return False

    def is_weight(node: Any) -> bool:
        leaf_nodes, stack, seen = list[Node](), [node], set[Any]()
        while stack:
            n = stack.pop()
            if not isinstance(n, Node) or n in seen:
                continue
            seen.add(n)
            if (
                n in carried
                or n in inputs
                or n in through
                or (n.primitive is not None and n in older)
            ):
                return False
            leaf_nodes += [n] if n.primitive is None else []
            stack += n.inputs
        return any(n.requires_grad for n in leaf_nodes)

    stack, seen = list(new), set[Any]()
    while stack:
        node = stack.pop()
        if (
            not isinstance(node, Node)
            or node in seen
            or node in carried
            or node in inputs
            or node in through
            or node in older
        ):
            continue
        seen.add(node)
        if node.op == "matmul" and any(
            is_carried(a) and is_weight(b) for a, b in (node.inputs, node.inputs[::-1])
        ):
            return node
        stack += node.inputs
    return None


_VIEWS = {"getitem", "reshape", "transpose", "swapaxes", "expand_dims", "squeeze", "broadcast_to"}


class _Thinned(_Looking):
    """Masks recurrent operands.

    One mask for each component of the state of each cell, held here for the products of a step.
    """

    def __init__(self, name: str, masks: Masks, p: float) -> None:
        self.name, self.masks, self.p = name, masks, p
        self.found: dict[Any, Any] = {}
        self.steps: list[tuple[Any, Components]] = []  # those that have begun, the innermost last

    def here(self) -> _Thinned:
        other = copy.copy(self)  # with the same masks
        other.steps, other.through = list(self.steps), None
        return other

    def acted(self) -> bool:
        return bool(self.found)

    def enter(self, owner: Any, state: Any) -> None:
        self.steps.append((owner, Components(state)))

    def leave(self) -> None:
        self.steps.pop()

    def component(self, owner: Any, value: Any) -> tuple[str, str]:
        """The component to which an operand belongs that has no name, and which part of it the operand is."""
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


def dropped(x: Any, masks: Masks, p: float, place: int) -> Any:
    """x under a mask that is held for the sequence."""
    return x * masks.dropout(p, x.shape, x.dtype, per="sequence", place=place)


def floating(x: Any, what: str) -> Any:
    """x, if it has floating numbers, which can be scaled."""
    if np.dtype(x.dtype).kind != "f":
        raise DtypeError(f"{what} needs floating features; found {describe(x)}")
    return x


class WeightDrop(Wrapper):
    """DropConnect on weights of a cell.

    Each element of a weight is zero with probability p, for a whole sequence.

    S. Merity, N. S. Keskar and R. Socher, Regularizing and Optimizing LSTM Language Models, ICLR
    2018, arXiv:1708.02182. One mask is drawn for each sequence (each call of `unroll` or `tbptt`),
    in training, for all rows of the batch; what is kept is scaled by 1 / (1 - p). The cell's own
    parameters stay as they are: a step runs on a copy of the cell that has the thinned weights.

    Parameters
    ----------
    cell : Cell
    p : float
    names : str or sequence of str
        Attributes of the cell that are Parameters.
    rng : numpy Generator or int, optional
        Of the masks.
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
        """One step."""
        if not (self.training and self.p):
            return self.cell(x, state)
        # the thinned weights are made once for all steps that share a tape
        sequence = None if stands_for_others() else sequence_context()
        shared = {} if sequence is None else sequence.shared
        thin = shared.get(self)
        if thin is None:
            thin = shared[self] = copy.copy(self.cell)
            for place, name in enumerate(self.names):
                weight = getattr(self.cell, name)
                vars(thin)[name] = weight * self.masks.dropout(
                    self.p, weight.shape, weight.dtype, per="sequence", place=place
                )
        return thin(x, state)


class _Normalised(Wrapper):
    """What the two normalisations share.

    The products of a step are found once, and each passes through a norm of its own.

    Attributes
    ----------
    products : list of str
        What the norms are for, in the order of the step: "input", "state", "output".
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        found = products_of(cell, name_of(self), self.example_input(2), cell.initial_state(2))
        self._found = [
            product
            for product in found
            if not hasattr(product.value, "ndim") or product.value.ndim > 1
        ]
        if not self._found:
            raise TinygradError(
                f"{self.name}: the cell's step names no product with weights that could be normalised. In a cell of your own write "
                "self.from_input(x, self.W) in place of x @ self.W.T and self.from_state(h, self.U) in place of h @ self.U.T"
            )
        for product in self._found:
            if not hasattr(product.value, "ndim"):
                raise TinygradError(
                    f"{self.name}: the product with the {product.kind} is a {type(product.value).__name__} of several tensors, as of complex numbers, for which the normalisation is not defined"
                )
        self.products = [product.kind for product in self._found]

    def normalise(self, k: int, value: Any) -> Any:
        """Product number k, normalised."""
        raise NotImplementedError

    def forward(self, x: Any, state: Any) -> Any:
        """One step."""
        norms = _Norms(self)
        y, state = looked_at(self, norms, x, state)
        norms.expect(len(self.products))
        return y, state


class _Norms(_Looking):
    """Gives the products of one step to the norms of a wrapper, by their order."""

    def __init__(self, wrapper: _Normalised) -> None:
        self.wrapper, self.kinds = wrapper, list[str]()
        self.step = context().mark.step  # of the wrapper, whose statistics are kept by steps

    def here(self) -> _Norms:
        other = _Norms(self.wrapper)
        other.kinds, other.step = list(self.kinds), self.step
        return other

    def product(self, kind: str, value: Any, cuts: Sequence[int]) -> Any:
        super().product(kind, value, cuts)
        if value.ndim < 2:
            return value
        self.kinds.append(kind)
        self.expect(len(self.kinds))
        cell, layer, _ = context().mark
        with at_step(self.step, cell, layer):
            return self.wrapper.normalise(len(self.kinds) - 1, value)

    def expect(self, count: int) -> None:
        if self.kinds != self.wrapper.products[:count]:
            raise TinygradError(
                f"{self.wrapper.name}: the step has other products than when it was wrapped: expected {self.wrapper.products}; found {self.kinds}"
            )


class RecurrentLayerNorm(_Normalised):
    """Layer normalisation of the products of a cell.

    Of W x and of U h, each with a gain and a shift of its own.

    J. L. Ba, J. R. Kiros and G. E. Hinton, Layer Normalization (2016), arXiv:1607.06450. Each
    product of the step with the input or the state is normalised over its features, in a GRU those
    of the gates together and those of the candidate by themselves; biases are added after. The
    memory of LSTMs is normalised where the output is made of it. What is carried to the next step
    is not changed. Around an `LSTM` this is `cells.LayerNormLSTM`. A product that is a single
    number for each row stays as it is.

    Parameters
    ----------
    cell : Cell
        Whose step names its products by `Cell.from_input` and `Cell.from_state`, as all of `cells`
        do.

    Attributes
    ----------
    norms : list of list of LayerNorm
        For each product, in the order of the step, and each of its parts.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self.norms: list[list[LayerNorm]] = []
        self.cuts: list[tuple[int, ...]] = []
        for kind, value, cuts in self._found:
            ends = (0, *cuts, value.shape[-1])
            if value.ndim > 3 or min(np.diff(ends)) < 2:
                raise ShapeError(
                    f"{self.name}: a product with the {kind} has shape {tuple(value.shape)} for a batch of 2{f', cut at {cuts}' if cuts else ''}; "
                    "layer normalisation needs (batch, features) with at least 2 features in each part, one alone would always become 0"
                )
            self.norms.append([LayerNorm(int(size), dtype=value.dtype) for size in np.diff(ends)])
            self.cuts.append(cuts)
        del self._found

    def normalise(self, k: int, value: Any) -> Any:
        """Each part of product number k brought to mean 0 and variance 1 over its features."""
        norms, cuts = self.norms[k], self.cuts[k]
        if not cuts:
            return norms[0](value)
        return concatenate(
            [
                norm(part)
                for norm, part in zip(norms, split(value, list(cuts), axis=-1), strict=True)
            ],
            -1,
        )


class RecurrentBatchNorm(_Normalised):
    """Batch normalisation of the products of a cell.

    Of W x and of U h apart, with statistics of their own for each step.

    T. Cooijmans, N. Ballas, C. Laurent, C. Gulcehre and A. Courville, Recurrent Batch
    Normalization, ICLR 2017, arXiv:1603.09025. Each product of the step with the input or the state
    has a gain, which starts at 0.1, and no shift, which would repeat the cell's bias. The memory of
    LSTMs is normalised where the output is made of it, with a gain and a shift; the memory that is
    carried is not changed. Running statistics are kept for each of the first `steps` steps, and
    later steps use those of the last; gain and shift are shared by all steps. The statistics are
    over all rows of the batch, with `lengths` also over those that have ended, which repeat their
    last input.

    Parameters
    ----------
    cell : Cell
        Whose step names its products by `Cell.from_input` and `Cell.from_state`, as all of `cells`
        do.
    steps : int
        For how many steps statistics are kept.
    gain : float
        First value of the gains.

    Attributes
    ----------
    norms : list of list of BatchNorm
        For each product, in the order of the step, and each of the `steps`.
    """

    def __init__(self, cell: Cell, steps: int, *, gain: float = 0.1) -> None:
        super().__init__(cell)
        if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or steps < 1:
            raise TinygradError(
                f"RecurrentBatchNorm: steps must be a whole number, at least 1; found {steps!r}"
            )
        self.norms: list[list[BatchNorm]] = []
        for kind, value, _ in self._found:
            if value.ndim == 3:
                raise ShapeError(
                    f"{self.name}: a product with the {kind} has shape {tuple(value.shape)} for a batch of 2; expected (batch, features)"
                )
            features = value.shape[1]
            norms = [BatchNorm(features, dtype=value.dtype) for _ in range(steps)]
            norms[0].weight = Parameter(np.full(features, gain, value.dtype))
            for other in norms:
                other.weight, other.bias = (
                    norms[0].weight,
                    norms[0].bias if kind == "output" else None,
                )
            self.norms.append(norms)
        del self._found

    def normalise(self, k: int, value: Any) -> Any:
        """Product number k, normalised with the statistics of the step."""
        norms = self.norms[k]
        return norms[0].normalised(
            value, lambda: norms[min(context().mark.step or 0, len(norms) - 1)]
        )


class Bidirectional(Module):
    """Two cells over a sequence, one from each end.

    Called like a recurrent layer, with whole sequences.

    M. Schuster and K. K. Paliwal, Bidirectional Recurrent Neural Networks, IEEE Transactions on
    Signal Processing 45 (1997).

    Parameters
    ----------
    forward_cell, backward_cell : Cell
    merge : {"concatenate", "sum"}
        How the outputs of the two are joined.
    """

    def __init__(
        self, forward_cell: Cell, backward_cell: Cell, *, merge: str = "concatenate"
    ) -> None:
        if merge not in ("concatenate", "sum"):
            raise TinygradError(
                f"Bidirectional: merge must be 'concatenate' or 'sum'; found {merge!r}"
            )
        for cell in (forward_cell, backward_cell):
            if isinstance(cell, type) or not callable(cell):
                raise TinygradError(f"Bidirectional: expected two cells; found {no_cell(cell)}")
        if forward_cell is backward_cell:
            raise TinygradError(
                "Bidirectional: the two directions need cells of their own; found the same cell twice"
            )
        self.forward_cell, self.backward_cell, self.merge = forward_cell, backward_cell, merge

    def forward(
        self, xs: Any, state: Any = None, lengths: Any = None
    ) -> tuple[Any, tuple[Any, Any]]:
        """Outputs (T, batch, features) and the pair of last states; `state` is such a pair."""
        if state is not None and (not isinstance(state, (tuple, list)) or len(state) != 2):
            found = (
                f"{len(state)} states"
                if isinstance(state, (tuple, list))
                else f"a {type(state).__name__}"
            )
            raise ShapeError(
                f"Bidirectional: expected a pair of states, (of the forward cell, of the backward cell); found {found}"
            )
        first, second = (None, None) if state is None else state
        ys, last = unroll(self.forward_cell, xs, first, lengths)
        back, last_back = unroll(self.backward_cell, xs, second, lengths, reverse=True)
        if self.merge == "sum":
            return tree_map(lambda a, b: a + b, ys, back), (last, last_back)
        return tree_map(lambda a, b: concatenate([a, b], -1), ys, back), (last, last_back)
