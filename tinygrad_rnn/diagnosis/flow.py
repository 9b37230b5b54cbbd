"""The flow of gradients through time, measured by one reverse walk on the side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ..core.errors import GraphError, TinygradError
from ..core.primitive import Array
from ..core.tape import Leaf, Node
from ..core.tensor import Tensor
from ..kernels.runtime import without_collection
from ..module import Module
from ..ops.checks import shown
from ..ops.table import tape
from ..recurrent.ledger import check_walkable, reverse, walk_back
from ..recurrent.moments import Lane, Moment
from ..recurrent.opened import opened
from ..recurrent.pieces import is_piece
from .spectrum import Spectrum, spectrum_of
from .steps import State, Steps
from .table import picture, table
from .units import Unit, units_of

Norms = dict[int, float]
SAMPLES = 16  # losses of single steps that a matrix has if nobody says otherwise
ROUNDED = 1e6  # times the smallest normal number: below it norms lose digits
FORGOTTEN = 0.01  # of the largest norm: below it a gradient counts as gone


def gradient_flow(loss: Tensor, cell: Module | None = None) -> GradientFlow:
    """Measure how the gradient of a loss flows back through time.

    One reverse walk is made on the side: it fills no `.grad`, calls no hook and frees nothing, so
    the graph can still be walked by ``loss.backward()``. What ran compiled is opened: its steps are
    run once more, one by one. So is a checkpointed segment. What takes longer than a walk (the matrix of loss steps and state
    steps, singular values) is computed when it is asked for, and needs the graph until then.

    The terms are those of Pascanu, Mikolov and Bengio (2013, arXiv:1211.5063): the gradient of a
    later loss by an earlier state is a product of Jacobians, whose largest singular value says how
    fast it vanishes or explodes.

    Parameters
    ----------
    loss : Tensor
        One number, computed by time steps: by `unroll`, by layers of `nn`, plain or compiled, or by
        a loop of one's own, whose steps are the same or made in `at_step`.
    cell : Module, optional
        The cell or the whole model: its parameters are called by their names there, and those that
        get no gradient are found.

    Returns
    -------
    GradientFlow
        It prints as a table; ``plot`` draws it; it is a mapping from each step to the norm of the
        gradient by the whole state after it, so that ``tg.draw(loss, heat=flow)`` shows it.

    Raises
    ------
    GraphError
        If the loss was not recorded, is not one number, has no time steps, or a backward has
        released its graph.
    TinygradError
        If `loss` is no tensor or `cell` no module.
    """
    if not isinstance(loss, Tensor):
        raise TinygradError(f"gradient_flow: expected a loss, a tensor; found {shown(loss)}")
    if cell is not None and not isinstance(cell, Module):
        raise TinygradError(
            f"gradient_flow: cell must be a cell or another module; found {shown(cell)}"
        )
    if loss.node is None or not loss.requires_grad:
        raise GraphError(
            "gradient_flow: this tensor was not recorded: nothing it was made from requires gradients"
        )
    if loss.size != 1:
        raise GraphError(
            f"gradient_flow: expected one number, such as a loss; found a tensor of shape {loss.shape}. Sum it: gradient_flow(y.sum())"
        )
    with without_collection():
        return GradientFlow(loss, cell)


class GradientFlow(Mapping[int, float]):
    """How a gradient flows back through time; made by `gradient_flow`.

    As a mapping it gives for each step the norm of the gradient by all components of the state that
    the step hands on, in all runs.

    Attributes
    ----------
    steps : Steps
        Runs, steps and states on the tape.
    states : dict of str to dict of int to float
        For each component of the state, the norm of the gradient by it, by step; it includes what
        reaches it through later steps. Steps that no gradient reaches are left out.
    entering : dict of Lane to dict of int to float
        For each run, the norm of what comes into a step from outside of the run: from the loss, or
        from a layer above.
    parameters : dict of str to Leaf
        What gets a gradient.
    shares : dict of str to dict of int or None to float
        For each parameter, the norm of what each step adds to its gradient. None stands for what
        is added outside of the steps. Of several runs of a cell over one step it is the root of the
        sum of the squares.
    gradients : dict of str to array
        The gradient of each parameter.
    totals : dict of str to float
        The norm of each.
    unused : list of str
        The parameters of `cell` that get no gradient.
    """

    def __init__(self, loss: Tensor, cell: Module | None) -> None:
        whole = tape(loss)
        check_walkable(whole, "gradient_flow")
        self.tape = opened(whole, measured=True, segments=True)
        closed = next(filter(is_piece, self.tape.nodes), None)
        if closed is not None:
            raise GraphError(
                f"gradient_flow: the steps inside of {closed.op}{closed.where.described()} cannot be run once more, as a change of what they use, such as an attribute of "
                "the cell, has come in between. Call it before the cell is changed, or unroll again."
            )
        self.steps = Steps(self.tape.nodes)
        if not self.steps.lanes:
            raise GraphError(
                "gradient_flow: the loss has no time steps; compute it by tg.unroll or by a layer of tg.nn, or mark the steps of a loop of your own: "
                "with tg.at_step(t)"
            )
        self._names = _names(cell, self.tape.nodes)
        self._measure()
        self.unused = [] if cell is None else self._unused(cell)

    # --- the walk ---------------------------------------------------------------------------------

    def _measure(self) -> None:
        """Walk back, and note what arrives at states and leaves."""
        states = self.steps.states
        self.states: dict[str, Norms] = {self._title(s): {} for s in states}
        wanted = {n: (self._title(s), t) for s in states for t, n in s.makers.items()}
        self.entering: dict[Lane, Norms] = {lane: {} for lane in self.steps.lanes}
        self.parameters: dict[str, Leaf] = {}
        self.shares: dict[str, dict[int | None, float]] = {}
        self.gradients: dict[str, Array] = {}
        self.totals: dict[str, float] = {}
        adding = _Adding()
        moments = self.steps.moments
        with np.errstate(all="ignore"):
            for visit in reverse(self.tape, self._seed()):
                node = visit.node
                if node in wanted:
                    title, t = wanted[node]
                    self.states[title][t] = _norm(visit.gradient)
                here = moments.get(node)
                for share in visit.shares:
                    source = share.source
                    there = moments.get(source)
                    if source.primitive is None:
                        if there is None:  # no input of a step
                            adding.add(source, here, share.share)
                    elif there is not here and there is not None:
                        self._enter(there, here, share.share)
                if isinstance(node, Leaf) and node not in moments:
                    name = self._names[node]
                    self.parameters[name], self.gradients[name] = node, visit.gradient
                    self.totals[name] = _norm(visit.gradient)
            for leaf, norms in adding.norms().items():
                self.shares[self._names[leaf]] = norms

    def _seed(self) -> Array:
        """Return the gradient of the loss by itself."""
        return np.ones(self.tape.root.shape, self.tape.root.dtype)

    def _enter(self, there: Moment, here: Moment | None, share: Array) -> None:
        """Note what comes into a run from outside of it."""
        if here is None or here.lane != there.lane:
            norms = self.entering[there.lane]
            norms[there.step] = float(np.hypot(norms.get(there.step, 0.0), _norm(share)))

    def _title(self, state: State) -> str:
        return self.steps.title(state.lane, state.name)

    def _unused(self, cell: Module) -> list[str]:
        reached = {id(leaf) for leaf in self.parameters.values()}
        return [
            name
            for name, p in cell.named_parameters()
            if p.requires_grad and (id(p.node) not in reached or not self.totals[name])
        ]

    # --- of all states together -------------------------------------------------------------------

    @cached_property
    def norms(self) -> Norms:
        """The norm of the gradient by all states of a step, in rising order of steps."""
        found: dict[int, list[float]] = {}
        for steps in self.states.values():
            for t, v in steps.items():
                found.setdefault(t, []).append(v)
        return {t: float(np.linalg.norm(found[t])) for t in sorted(found)}

    def __getitem__(self, step: int) -> float:
        return self.norms[step]

    def __iter__(self) -> Iterator[int]:
        return iter(self.norms)

    def __len__(self) -> int:
        return len(self.norms)

    def of(self, lane: Lane) -> Norms:
        """Return the norm of the gradient by the whole state of one run, in the order of its steps."""
        found = [self.states[self._title(s)] for s in self.steps.states if s.lane == lane]
        return {
            t: float(np.linalg.norm(values))
            for t in self.steps.lanes[lane]
            if (values := [norms[t] for norms in found if t in norms])
        }

    # --- what takes a walk of its own -------------------------------------------------------------

    def contributions(self, parameter: str | Tensor) -> dict[int | None, Array]:
        """Return what each step adds to the gradient of a parameter; their sum is its `.grad`.

        Parameters
        ----------
        parameter : str or Tensor
            The parameter, or its name in `parameters`.

        Returns
        -------
        dict of int or None to array
            By step; None stands for what is added outside of the steps.

        Raises
        ------
        GraphError
            If no gradient arrives at the parameter, or the graph was released since.
        """
        leaf = self._leaf(parameter)
        self._check()
        found: dict[int | None, Array] = {}
        with without_collection(), np.errstate(all="ignore"):
            for visit in reverse(self.tape, self._seed()):
                for share in visit.shares:
                    if share.source is leaf:
                        here = self.steps.moments.get(visit.node)
                        t = None if here is None else here.step
                        found[t] = found[t] + share.share if t in found else share.share
        return found

    def _leaf(self, parameter: str | Tensor) -> Leaf:
        if isinstance(parameter, Tensor):
            leaf = next((n for n in self.parameters.values() if n is parameter.node), None)
        else:
            leaf = self.parameters.get(parameter)
        if leaf is None:
            raise GraphError(
                f"gradient_flow: no gradient arrives at {shown(parameter)}; it arrives at {', '.join(self.parameters) or 'no parameter'}"
            )
        return leaf

    def _check(self) -> None:
        check_walkable(self.tape, "gradient_flow")

    def matrix(self, loss_steps: Any = None) -> dict[int, Norms]:
        """Return how strongly the loss of each step depends on each state before it.

        If the loss is a sum of terms that read the output of one step each, row s is the norm of
        the gradient of the term of step s by the state after each step; otherwise it is the part of
        the whole gradient that comes into the states at step s. The rows of all steps add up, as
        vectors, to the gradients whose norms are in `states`.

        Parameters
        ----------
        loss_steps : iterable of int, optional
            Which steps s; each takes a walk back from there. Default: at most 16, evenly spaced.

        Returns
        -------
        dict of int to dict of int to float
            By loss step, by step of the state.

        Raises
        ------
        GraphError
            If no loss enters at one of the steps, or the graph was released since.
        """
        self._check()
        seeds = self._seeds()
        steps = sorted(seeds)
        if loss_steps is None:
            places = np.unique(np.linspace(0, len(steps) - 1, SAMPLES).round().astype(int))
            loss_steps = [steps[k] for k in places] if steps else []
        rows = {}
        for s in loss_steps:
            if s not in seeds:
                raise GraphError(
                    f"gradient_flow: no loss enters at step {s}; it enters at {_range(steps)}"
                )
            rows[int(s)] = self._row(dict(seeds[s]))
        return rows

    def _seeds(self) -> dict[int, dict[Node, Array]]:
        """Return what comes from the loss itself into the steps, by step."""
        moments = self.steps.moments
        gradients: dict[Node, Array] = {self.tape.root: self._seed()}
        outside = (n for n in reversed(self.tape.nodes) if n not in moments)
        with np.errstate(all="ignore"):
            for _ in walk_back(outside, gradients):
                pass
        found: dict[int, dict[Node, Array]] = {}
        for n, g in gradients.items():
            if n in moments and n.primitive is not None and g.any():
                found.setdefault(moments[n].step, {})[n] = g
        return found

    def _row(self, gradients: dict[Node, Array], lane: Lane | None = None) -> Norms:
        """Return the norms of the gradient by all states, or those of a run, where these enter."""
        states = [s for s in self.steps.states if lane is None or s.lane == lane]
        wanted = {n: t for s in states for t, n in s.makers.items()}
        found: dict[int, list[float]] = {}
        last = max(n.index for n in gradients)
        nodes = (n for n in reversed(self.tape.nodes) if n.index <= last)
        with without_collection(), np.errstate(all="ignore"):
            for visit in walk_back(nodes, gradients):
                if visit.node in wanted:
                    found.setdefault(wanted[visit.node], []).append(_norm(visit.gradient))
        return {t: float(np.linalg.norm(found[t])) for t in sorted(found)}

    @cached_property
    def decay(self) -> Norms:
        """How the gradient decays that enters last, by step, in the order in which these ran.

        It is that of the first run which the loss reads: where the loss enters its last step, the
        norms of the gradient by its whole state, if no other loss entered.
        """
        seeds = self._seeds()
        read = {self.steps.moments[n].lane for found in seeds.values() for n in found}
        for lane, steps in self.steps.lanes.items():
            if lane in read:
                last = [t for t in steps if any(self._in(n, lane) for n in seeds.get(t, ()))][-1]
                if len(seeds) == 1:
                    return self.of(lane)  # it is all there is
                row = self._row({n: g for n, g in seeds[last].items() if self._in(n, lane)}, lane)
                return {t: row[t] for t in steps if t in row}
        return {}

    def _in(self, node: Node, lane: Lane) -> bool:
        return self.steps.moments[node].lane == lane

    @property
    def rate(self) -> float | None:
        """By what factor the norm of a gradient changes from one step to the one before.

        It is measured on the older half of `decay`, as far as that has all its digits; None if
        that leaves fewer than three steps.
        """
        least = ROUNDED * np.finfo(self.tape.root.dtype).tiny
        found = [v for v in self.decay.values() if v > least and np.isfinite(v)]
        found = found[: max(len(found) // 2, min(len(found), 3))]
        if len(found) < 3:
            return None
        return float((found[0] / found[-1]) ** (1 / (len(found) - 1)))

    @property
    def memory(self) -> tuple[int, bool]:
        """How many steps back a gradient stays above 1 % of its largest norm, and whether it falls below.

        It is measured on `decay`. If it does not fall below, the first number is that of all steps.
        """
        steps = [*self.decay.items()][::-1]
        top = max((v for _, v in steps), default=0.0)
        for k, (_, v) in enumerate(steps):
            if v < FORGOTTEN * top and all(w < FORGOTTEN * top for _, w in steps[k:]):
                return k, True
        return len(steps), False

    def spectrum(self, start: int, stop: int, lane: Lane | None = None) -> Spectrum:
        """Return the singular values of the Jacobian of the state after a step by an earlier one.

        It is the product of the Jacobians of the steps between them, each row of the batch by
        itself, and is computed by a walk through these steps for each element of the state.

        Parameters
        ----------
        start, stop : int
            The earlier and the later step.
        lane : Lane, optional
            Of which run. Default: the first one.

        Returns
        -------
        Spectrum
            It has the singular values, and the factor per step that the largest one implies.

        Raises
        ------
        GraphError
            If there are no such steps, or the graph was released since.
        """
        self._check()
        return spectrum_of(self.steps, start, stop, lane)

    @cached_property
    def units(self) -> list[Unit]:
        """The shares of saturated gates and dead units, of each bounded operation in the steps."""
        self._check()
        return units_of(self.tape, self.steps)

    # --- to look at -------------------------------------------------------------------------------

    def table(self) -> str:
        """Return the figures as text."""
        return table(self)

    __str__ = table
    __repr__ = table

    def plot(self, path: Any) -> None:
        """Write a picture of the norms over time, on a logarithmic axis, as an SVG file.

        Parameters
        ----------
        path : str or path
            The file, with the suffix ``.svg``.

        Raises
        ------
        TinygradError
            For another suffix.
        """
        picture(self, path)


class _Adding:
    """Collects what each step adds to leaves, of which only the norms are kept."""

    def __init__(self) -> None:
        self.open: dict[Node, tuple[Moment | None, Array]] = {}
        self.outside: dict[Node, Array] = {}
        self.found: dict[Node, dict[int | None, float]] = {}

    def add(self, leaf: Node, here: Moment | None, share: Array) -> None:
        """Add what one operation gives to a leaf."""
        if here is None:
            before = self.outside.get(leaf)
            self.outside[leaf] = share if before is None else before + share
            return
        last = self.open.get(leaf)
        if last is not None and (last[0] is here or last[0] == here):
            self.open[leaf] = (here, last[1] + share)
            return
        if last is not None:
            self._close(leaf, *last)
        self.open[leaf] = (here, share)

    def _close(self, leaf: Node, here: Moment | None, total: Array) -> None:
        norms, t = self.found.setdefault(leaf, {}), None if here is None else here.step
        norms[t] = float(np.hypot(norms.get(t, 0.0), _norm(total)))

    def norms(self) -> dict[Node, dict[int | None, float]]:
        """Return the norm of what each step has added to each leaf."""
        for leaf, last in self.open.items():
            self._close(leaf, *last)
        for leaf, total in self.outside.items():
            self._close(leaf, None, total)
        return self.found


def _norm(array: Any) -> float:
    """Return the Euclidean norm, computed in double precision."""
    flat = array.ravel().astype(np.float64, copy=False)
    return math.sqrt(flat.dot(flat))


def _names(cell: Module | None, nodes: Any) -> dict[Node, str]:
    """Return a name of its own for each leaf."""
    own = {id(p.node): name for name, p in cell.named_parameters()} if cell is not None else {}
    found: dict[Node, str] = {}
    taken: set[str] = set()
    for n in nodes:
        if isinstance(n, Leaf) and n.requires_grad:
            name = base = own.get(id(n)) or n.name or "leaf"
            k = 2
            while name in taken:
                name, k = f"{base} ({k})", k + 1
            taken.add(name)
            found[n] = name
    return found


def _range(steps: list[int]) -> str:
    return f"{steps[0]} to {steps[-1]}" if len(steps) > 1 else str(steps[0]) if steps else "none"
