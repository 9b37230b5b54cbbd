"""What is wrong with the flow of gradients through time, said in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from ..core.errors import TinygradError
from ..core.tape import Node
from ..core.tensor import Tensor
from ..kernels.runtime import without_collection
from ..module import Module
from ..ops.checks import number, shown
from ..optim.optimizer import Optimizer
from ..recurrent.moments import Lane
from .flow import GradientFlow, gradient_flow
from .inputs import LOOKED_AT, Cut, constant_inputs, cuts, ignored_inputs
from .runs import in_step
from .steps import Steps
from .units import Unit

VANISHED = 1e-6  # of the largest norm: about what single precision still adds up
LOST = 0.1  # of the steps, which get no more than that
EXPLODED = 1e3  # times what has come in from the loss
MOST = 0.9  # of a gate that is saturated
DEAD = 0.5  # of the units of a ReLU
FEW = 4  # steps from which on units count as dead
MOVED = 0.01  # change of an element below which a step counts as small, however small the weights


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes
    ----------
    kind : str
        "vanishing", "exploding", "saturated", "dead", "cut", "unused", "ignored input", "constant
        input" or "learning rate".
    says : str
        What is wrong, in a sentence.
    remedy : str
        What helps.
    step : int or None
        The time step.
    operation : str
        The operation; empty where it is none.
    line : str
        The file and the line of that operation; empty where there is none.
    """

    kind: str
    says: str
    remedy: str
    step: int | None = None
    operation: str = ""
    line: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.says} {self.remedy}"


class Diagnosis(Sequence[Finding]):
    """What `diagnose` has found; empty, and so false, if nothing is wrong. It prints as sentences."""

    def __init__(self, findings: Sequence[Finding], steps: int) -> None:
        self.findings, self.steps = list(findings), steps

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> list[Finding]: ...
    def __getitem__(self, index: int | slice) -> Finding | list[Finding]:
        return self.findings[index]

    def __len__(self) -> int:
        return len(self.findings)

    def __str__(self) -> str:
        if not self.findings:
            return f"nothing is wrong with the flow of gradients over {self.steps} steps"
        return "\n".join(map(str, self.findings))

    __repr__ = __str__


def diagnose(
    loss: Tensor | GradientFlow,
    cell: Module | None = None,
    *,
    optimizer: Optimizer | None = None,
    lr: float | None = None,
) -> Diagnosis:
    """Say what is wrong with the flow of gradients through time, where, and what helps.

    Found are gradients that vanish or explode (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063),
    saturated gates, dead ReLUs, states that were cut from the tape (`detach`), parameters without a
    gradient, steps that ignore their input, an input that is constant, and a learning rate that
    changes weights by more than they are large. Nothing is changed: no `.grad`, no graph, no
    generator.

    Parameters
    ----------
    loss : Tensor or GradientFlow
        One number, computed by time steps; or what `gradient_flow` has measured.
    cell : Module, optional
        The cell or the whole model, by which unused parameters are found. A flow has its own.
    optimizer : Optimizer, optional
        The rule that will take the next step; by it the learning rate is judged.
    lr : float, optional
        In place of it: the learning rate of plain gradient descent.

    Returns
    -------
    Diagnosis
        A sequence of findings, each with kind, sentence, remedy, step, operation and source line.

    Raises
    ------
    GraphError
        If the loss was not recorded, is not one number, has no time steps, or a backward has
        released its graph.
    TinygradError
        If an argument is none of these, or there are both `optimizer` and `lr`.
    """
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TinygradError(
            f"diagnose: expected an optimiser of tg.optim; found {shown(optimizer)}"
        )
    if optimizer is not None and lr is not None:
        raise TinygradError("diagnose: the optimiser has a learning rate; leave lr out")
    if isinstance(loss, GradientFlow) and cell is not None:
        raise TinygradError(
            "diagnose: a flow has the cell that it was measured with; give it there: gradient_flow(loss, cell)"
        )
    flow = loss if isinstance(loss, GradientFlow) else gradient_flow(loss, cell)
    rate = None if lr is None else number(lr, "diagnose: lr", "[0, inf)")
    with without_collection():
        looked = flow.runs.shown(LOOKED_AT + 1)
        found = [*_cut(cuts(flow.runs.tape, looked))]
        for lane in flow.runs.times:
            found += [*_exploding(flow, lane), *_vanishing(flow, lane)]
        for unit in flow.units:
            found += [*_saturated(flow, unit)]
        found += [*_unused(flow), *_inputs(looked.steps), *_learning(flow, optimizer, rate)]
    return Diagnosis(found, max(map(len, flow.runs.times.values())))


def _at(node: Node) -> tuple[int | None, str, str]:
    """Return the step, the operation and the line of a node, the last fields of a finding."""
    return node.where.mark.step, node.op, str(node.where)


def _maker(flow: GradientFlow, lane: Lane, step: int) -> Node:
    """Return the operation that makes a state in a step."""
    makers = [s.makers for s in flow.runs.steps.states if s.lane == lane]
    first = next(iter(makers[0].values()))  # of a compiled sequence, whose steps are all alike
    return next((found[step] for found in makers if step in found), None) or in_step(first, step)


def _exploding(flow: GradientFlow, lane: Lane) -> Iterator[Finding]:
    """Compare the gradient by the state with all that has come in after it."""
    norms, entering = flow.of(lane), flow.entering[lane]
    entered = 0.0
    for t in reversed(flow.runs.times[lane]):
        entered += entering.get(t, 0.0)
        v = norms.get(t)
        if v is None or (np.isfinite(v) and v <= EXPLODED * entered):
            continue
        node = _maker(flow, lane, t)
        much = f"{v / entered:.0f} times" if np.isfinite(v) else "no finite number, beside"
        top = max((x for x in norms.values() if np.isfinite(x)), default=v)
        yield Finding(
            "exploding",
            f"from t = {t} backwards the gradient by the state of {lane.described()} grows: at t = {t} it is {much} what has come in from the loss, "
            f"and {top:.2g} at its largest; the state is made by {node.op}{node.where.described()}.",
            "Clip gradients (tg.clip_grad_norm), make the recurrent weights smaller or orthogonal (tg.init.orthogonal), or take a gated cell.",
            *_at(node),
        )
        return


def _vanishing(flow: GradientFlow, lane: Lane) -> Iterator[Finding]:
    """Find the latest step from which on backwards next to nothing arrives."""
    norms = flow.of(lane)
    order = [t for t in flow.runs.times[lane] if t in norms]
    top = max((v for v in norms.values() if np.isfinite(v)), default=0.0)
    lost = -1
    for k, t in enumerate(order):
        if not norms[t] < VANISHED * top:
            break
        lost = k
    if lost + 1 < LOST * len(order) or not 0 <= lost < len(order) - 1:
        return
    t, after = order[lost], norms[order[lost + 1]]
    node = _maker(flow, lane, t)
    if norms[t] == 0 and after > 1e3 * VANISHED * top and not _all_dead(flow, lane):
        return  # rows that begin anew pass nothing on, as they should
    rate = (after / top) ** (1 / max(_distance(order, norms, top, lost + 1), 1))
    yield Finding(
        "vanishing",
        f"up to t = {t} the gradient by the state of {lane.described()} is less than {VANISHED:.0e} of its largest: these {lost + 1} of {len(norms)} steps learn nothing; "
        f"one step back changes it by a factor of {rate:.2g}; the state is made by {node.op}{node.where.described()}.",
        "A cell whose forget gate begins open (tg.init.forget_bias, tg.init.chrono), orthogonal recurrent weights (tg.init.orthogonal), or a loss that "
        "also reads earlier steps carries it further.",
        *_at(node),
    )


def _distance(order: list[int], norms: Mapping[int, float], top: float, k: int) -> int:
    """Return how many steps lie between a step and that with the largest gradient."""
    return next(j for j, t in enumerate(order) if norms[t] == top) - k


def _all_dead(flow: GradientFlow, lane: Lane) -> bool:
    return any(u.lane == lane and max(u.saturated.values()) == 1 for u in flow.units)


def _saturated(flow: GradientFlow, unit: Unit) -> Iterator[Finding]:
    node, where = unit.node, unit.node.where.described()
    if node.op == "relu":
        if unit.dead > DEAD and unit.steps >= FEW:
            yield Finding(
                "dead",
                f"{unit.dead:.0%} of the units of {unit.name}, relu{where}, are zero in all rows and steps, so nothing behind them is trained.",
                "Make the bias or the learning rate smaller in size, begin with other weights (tg.init.he_uniform), or take tg.leaky_relu.",
                *_at(node),
            )
    elif unit.share > MOST:
        end = "upper" if unit.high > unit.low else "lower"
        yield Finding(
            "saturated",
            f"{unit.share:.0%} of {unit.name}, {node.op}{where}, is saturated, mostly at the {end} end, so next to no gradient passes it.",
            "Make its weights and bias smaller, or normalise what comes in (tg.nn.RecurrentLayerNorm, or the scale of the data).",
            *_at(node),
        )


def _cut(found: list[Cut]) -> Iterator[Finding]:
    for cut in found:
        node, count = cut.reader, len(cut.steps)
        often = f"and at {count - 1} other steps that were looked at" if count > 1 else ""
        yield Finding(
            "cut",
            f"the gradient ends at t = {cut.steps[0]} {often}".rstrip()
            + f": what {node.op}{node.where.described()} reads is the state of the step before, but a constant (detach, stop_gradient, numpy or no_grad).",
            "Hand the state on as it is; to cut it on purpose, between windows, use tg.tbptt.",
            *_at(node),
        )


def _unused(flow: GradientFlow) -> Iterator[Finding]:
    if flow.unused:
        several = len(flow.unused) > 1
        yield Finding(
            "unused",
            f"no gradient arrives at {', '.join(flow.unused)}: the loss does not depend on {'them' if several else 'it'}.",
            "Use what it belongs to on the way to the loss, or take it out of what is trained.",
        )


def _inputs(steps: Steps) -> Iterator[Finding]:
    for node in ignored_inputs(steps):
        lane = steps.moments[node].lane
        yield Finding(
            "ignored input",
            f"the state of {lane.described()} does not depend on its input: no operation of a step, such as {node.op}{node.where.described()}, reads it, "
            "or it is multiplied by zeros.",
            "Let the step read x, and begin with input weights that are not zero (tg.init.xavier_uniform).",
            *_at(node),
        )
    for node in constant_inputs(steps):
        lane = steps.moments[node].lane
        yield Finding(
            "constant input",
            f"the input of {lane.described()} is the same in all steps and rows, where {node.op}{node.where.described()} reads it, so it says nothing.",
            "Look at what is fed in: whether it was scaled to zero, or one step repeated in place of a sequence.",
            *_at(node),
        )


def _learning(
    flow: GradientFlow, optimizer: Optimizer | None, lr: float | None
) -> Iterator[Finding]:
    """Compare the next step with the weights, of parameters of two axes or more."""
    changes: dict[str, Any] = {}
    if lr is not None:
        changes = {name: lr * g for name, g in flow.gradients.items()}
    elif optimizer is not None:
        names = {id(leaf): name for name, leaf in flow.parameters.items()}
        own = [names.get(id(p.node)) for p in optimizer.parameters]
        found = optimizer.would_add([None if n is None else flow.gradients[n] for n in own])
        changes = {n: c for n, c in zip(own, found, strict=True) if n is not None}
    rate = float(optimizer.lr if lr is None and optimizer is not None else lr or 0.0)
    for name, change in changes.items():
        value = flow.parameters[name].value
        moved, size = float(np.linalg.norm(change)), float(np.linalg.norm(value))
        if value.ndim > 1 and moved > size > 0 and moved > MOVED * np.sqrt(value.size):
            yield Finding(
                "learning rate",
                f"a step with lr = {rate:g} changes {name} by {moved:.2g}, and its norm is {size:.2g}: it moves by {moved / size:.2g} times what it is large.",
                f"Take a learning rate of {rate * 0.01 * size / moved:.1g} or less, or clip gradients (tg.clip_grad_norm).",
            )
            return
