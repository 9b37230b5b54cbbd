"""The flow of gradients through time, measured by one reverse walk on the side."""

from __future__ import annotations

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
from ..recurrent.ledger import check_walkable
from ..recurrent.moments import Lane
from ..recurrent.opened import opened
from .curve import Collected, Curve, together
from .measuring import Measuring, norm, states_by_node, title_of
from .runs import Passed, Runs, Walk
from .seeds import Contributions, Seeds
from .spectrum import Spectrum, spectrum_of
from .steps import Steps
from .table import picture, table
from .units import Unit, units_of

SAMPLES = 16  # losses of single steps that a matrix has if nobody says otherwise
ROUNDED = 1e6  # times the smallest normal number: below it norms lose digits
FORGOTTEN = 0.01  # of the largest norm: below it a gradient counts as gone


def gradient_flow(loss: Tensor, cell: Module | None = None) -> GradientFlow:
    """Measure how the gradient of a loss flows back through time.

    One reverse walk is made on the side: it fills no `.grad`, calls no hook and frees nothing, so
    the graph can still be walked by ``loss.backward()``. A compiled sequence is walked by compiled
    code that leaves what each step finds; only a few of its first steps are run once more, one by
    one, for the names of its states. Where there is no such code, as with ``resets``, it is opened:
    all of its steps are run once more. So are checkpointed segments and compiled functions. What
    takes longer than a walk (the matrix of loss steps and state steps, singular values) is computed
    when it is asked for, and needs the graph until then.

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
    runs : Runs
        Runs, steps and states, with compiled sequences as they are.
    states : dict of str to Curve
        For each component of the state, the norm of the gradient by it, by step; it includes what
        reaches it through later steps. Steps that no gradient reaches are left out. A `Curve` is a
        mapping of int to float.
    entering : dict of Lane to Curve
        For each run, the norm of what comes into a step from outside of the run: from the loss, or
        from a layer above.
    parameters : dict of str to Leaf
        What gets a gradient.
    shares : dict of str to Curve
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
        self._whole = tape(loss)
        check_walkable(self._whole, "gradient_flow")
        self.runs = Runs(self._whole, "gradient_flow")
        if not self.runs.times:
            raise GraphError(
                "gradient_flow: the loss has no time steps; compute it by tg.unroll or by a layer of tg.nn, or mark the steps of a loop of your own: "
                "with tg.at_step(t)"
            )
        self._names = _names(cell, self.runs.tape.nodes)
        found = Measuring(self.runs, self._names, self._seed())
        self.states, self.entering = found.states, found.entering
        self.parameters, self.shares = found.parameters, found.shares
        self.gradients, self.totals = found.gradients, found.totals
        self._into = found.walk.into
        self.unused = [] if cell is None else self._unused(cell)

    def _seed(self) -> Array:
        """Return the gradient of the loss by itself."""
        root = self.runs.tape.root
        return np.ones(root.shape, root.dtype)

    def _unused(self, cell: Module) -> list[str]:
        reached = {id(leaf) for leaf in self.parameters.values()}
        return [
            name
            for name, p in cell.named_parameters()
            if p.requires_grad and (id(p.node) not in reached or not self.totals[name])
        ]

    def _opened(self) -> Steps:
        """Return all that was recorded, in single steps."""
        return Steps(opened(self._whole, measured=True, segments=True).nodes)

    # --- of all states together -------------------------------------------------------------------

    @cached_property
    def norms(self) -> Curve:
        """The norm of the gradient by all states of a step, in rising order of steps."""
        return together(list(self.states.values()))

    def __getitem__(self, step: int) -> float:
        return self.norms[step]

    def __iter__(self) -> Iterator[int]:
        return iter(self.norms)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.norms)

    def of(self, lane: Lane) -> Curve:
        """Return the norm of the gradient by the whole state of one run, in the order of its steps."""
        states = (s for s in self.runs.steps.states if s.lane == lane)
        found = [self.states[title_of(self.runs, s)] for s in states]
        return together(found, self.runs.falls(lane))

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
        walk, found = Contributions(self.runs, leaf), dict[int | None, Array]()
        with without_collection(), np.errstate(all="ignore"):
            for t, share in walk.shares_of({self.runs.tape.root: self._seed()}):
                found[t] = found[t] + share if t in found else share
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
        check_walkable(self.runs.tape, "gradient_flow")

    def matrix(self, loss_steps: Any = None) -> dict[int, Curve]:
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
        dict of int to mapping of int to float
            By loss step, by step of the state.

        Raises
        ------
        GraphError
            If no loss enters at one of the steps, or the graph was released since.
        """
        self._check()
        steps = self._seeds.steps.tolist()
        if loss_steps is None:
            places = np.unique(np.linspace(0, len(steps) - 1, SAMPLES).round().astype(int))
            loss_steps = [steps[k] for k in places] if steps else []
        rows = {}
        for s in loss_steps:
            if s not in steps:
                raise GraphError(
                    f"gradient_flow: no loss enters at step {s}; it enters at {_range(steps)}"
                )
            rows[int(s)] = self._row(int(s))
        return rows

    @cached_property
    def _seeds(self) -> Seeds:
        """What comes from the loss itself into the steps."""
        return Seeds(self.runs, self._seed(), self._into)

    def _row(self, step: int, lane: Lane | None = None) -> Curve:
        """Return the norms of the gradient by all states, or those of a run, of what enters at a step."""
        gradients = self._seeds.at(step, lane)
        walk = Walk(self.runs, lane=lane, begun=(step, dict(gradients)))
        wanted = states_by_node(self.runs, lane)
        found = Collected()
        last = max(n.index for n in gradients)
        nodes = (n for n in reversed(self.runs.tape.nodes) if n.index <= last)
        with without_collection(), np.errstate(all="ignore"):
            for visit in walk.visits(gradients, nodes):
                if isinstance(visit, Passed):
                    for _, steps, norms in visit.states():
                        found.add_all(steps, norms)
                elif visit.node in wanted:
                    found.add(wanted[visit.node][1], norm(visit.gradient))
        return found.curve(lane is not None and self.runs.falls(lane))

    @cached_property
    def decay(self) -> Curve:
        """How the gradient decays that enters last, by step, in the order in which these ran.

        It is that of the first run which the loss reads: where the loss enters its last step, the
        norms of the gradient by its whole state, if no other loss entered.
        """
        seeds = self._seeds
        for lane in self.runs.times:
            if lane in seeds.lanes:
                if len(seeds.steps) == 1:
                    return self.of(lane)  # it is all there is
                return self._row(seeds.last(lane), lane)
        return Collected().curve()

    @property
    def rate(self) -> float | None:
        """By what factor the norm of a gradient changes from one step to the one before.

        It is measured on the older half of `decay`, as far as that has all its digits; None if
        that leaves fewer than three steps.
        """
        least = ROUNDED * np.finfo(self.runs.tape.root.dtype).tiny
        norms = self.decay.numbers
        found = norms[(norms > least) & np.isfinite(norms)]
        found = found[: max(len(found) // 2, min(len(found), 3))]
        if len(found) < 3:
            return None
        return float((found[0] / found[-1]) ** (1 / (len(found) - 1)))

    @property
    def memory(self) -> tuple[int, bool]:
        """How many steps back a gradient stays above 1 % of its largest norm, and whether it falls below.

        It is measured on `decay`. If it does not fall below, the first number is that of all steps.
        """
        norms = self.decay.numbers
        least = FORGOTTEN * norms.max(initial=0.0)
        above = np.flatnonzero(~(norms < least))
        first = int(above[0]) if len(above) else len(norms)
        return len(norms) - first, first > 0

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
        return spectrum_of(self.runs, self._opened, start, stop, lane)

    @cached_property
    def units(self) -> list[Unit]:
        """The shares of saturated gates and dead units, of each bounded operation in the steps."""
        self._check()
        return units_of(self.runs)

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
