"""The exercises of lesson 5, the training loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cells import Elman
from ..core.errors import GraphError, ShapeError
from ..core.tensor import Tensor
from ..module import Module
from ..nn import Linear, mse_loss
from ..optim import SGD
from ..recurrent import unroll
from .exercise import Function, Wrong, exercise, expect, explaining

_UPDATES = 4


class _Network(Module):
    """A recurrent layer f, and a feedforward layer g on top of it."""

    def __init__(self) -> None:
        self.f = Elman(2, 3, rng=0, dtype=np.float64)
        self.g = Linear(3, 1, rng=1, dtype=np.float64)

    def forward(self, xs: Any) -> Tensor:
        states, _ = unroll(self.f, xs)
        outputs: Tensor = self.g(states)
        return outputs


def _problem() -> tuple[_Network, SGD, Any, Any]:
    rng = np.random.default_rng(2)
    network = _Network()
    xs, targets = rng.normal(size=(5, 3, 2)), rng.normal(size=(5, 3, 1))
    return network, SGD(network.parameters(), lr=0.2), xs, targets


def _trained(mistake: str = "") -> list[float]:
    """Return the costs of a training loop, with a mistake in it if one is named."""
    network, optimizer, xs, targets = _problem()
    costs = []
    for _ in range(_UPDATES):
        cost = mse_loss(network(xs), targets)
        if mistake == "summed":
            cost = cost * float(targets.size)
        if mistake != "never emptied":
            optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(mse_loss(network(xs), targets).item() if mistake == "after" else cost.item())
    return costs


@exercise(
    "training-loop", f"{_UPDATES} updates of a network with a layer f and a layer g, cost by cost"
)
def training_loop(answer: Function) -> None:
    """Compare the costs of a few updates."""
    network, optimizer, xs, targets = _problem()
    with explaining(
        GraphError,
        "were released by",
        "Each update needs outputs and a cost of its own: present and compare belong into the loop too.",
    ):
        found = answer(network, optimizer, xs, targets, _UPDATES)
    case = f"{_UPDATES} updates"
    expect(
        found,
        _trained(),
        case,
        (
            _trained()[:1] * _UPDATES,
            "The cost stays as it is, so nothing was adjusted. In each round cost.backward() comes "
            "first and optimizer.step() after it, and .grad is not emptied between the two.",
        ),
        (
            _trained("never emptied"),
            "The first costs are right, and then they go another way: backward adds to what is in "
            ".grad already, so each update goes along the gradients of all before it. Empty .grad "
            "(optimizer.zero_grad()) before each backward.",
        ),
        (
            _trained("after"),
            "These are the costs after each update. Note the cost that you have derived, before the "
            "parameters change.",
        ),
        (_trained("summed"), "This is the sum of the squared errors; the cost is their mean."),
        (
            lambda found: isinstance(found, float | Tensor),
            "This is one number. Return the list of the costs of all updates.",
        ),
        (
            lambda found: isinstance(found, list) and not found,
            "The list is empty: append cost.item() in each round.",
        ),
        (
            lambda found: isinstance(found, list) and len(found) == 1,
            "There is one cost. Is the return inside of the loop?",
        ),
        hint="In each round: outputs = network(xs), their cost, zero_grad, backward, step.",
    )
    if not isinstance(found, list) or any(isinstance(cost, Tensor) for cost in found):
        raise Wrong(
            "the costs are tensors, and each of them keeps the graph of its update alive.",
            "Append cost.item(), a plain number.",
        )


class Layer(Elman):
    """A cell whose output is not its state."""

    def forward(self, x: Any, h: Any) -> Any:
        """Take a step of Elman, and give an output that is not its state."""
        _, h = super().forward(x, h)
        return 0.5 * h - 0.1, h


def _said(network: _Network, state: Any, inputs: Any) -> Any:
    """Return what g says after f has read the inputs, beginning at a state."""
    for a in inputs:
        _, state = network.f(a, state)
    return network.g(state)


def _by_outputs(network: _Network, handed: Any, inputs: Any, target: Any) -> Any:
    """Return the error if each f is given the output of the one before as its state."""
    for a in inputs:
        handed, _ = network.f(a, handed)
    return network.g(handed) - target


@exercise(
    "cost-of-a-step", "the cost for 3 contexts, and that every instance of f gets its gradient"
)
def cost_of_a_step(answer: Function) -> None:
    """Compare the cost, and the gradient of the recurrent weight."""
    network = _Network()
    network.f = Layer(2, 3, rng=0, dtype=np.float64)
    rng = np.random.default_rng(3)
    for _ in range(3):
        context, inputs, target = (rng.normal(size=shape) for shape in ((4, 3), (3, 4, 2), (4, 1)))
        with explaining(
            ShapeError,
            "the state does not fit",
            "f gives a pair, its output and the new state: _, state = f(input, state).",
        ):
            found = answer(network.f, network.g, Tensor(context), inputs, target)
        right, zero, one, last, turned, *every = (
            _said(network, Tensor(state), read) - target
            for state, read in (
                (context, inputs),
                (np.zeros((4, 3)), inputs),
                (context, inputs[:1]),
                (context, inputs[2:]),
                (context, inputs[::-1]),
                *((context, inputs[:k]) for k in (1, 2, 3)),
            )
        )
        total = sum((error**2).mean() for error in every)
        once = "g and the comparison come once, after the last f."
        expect(
            found,
            (right**2).mean(),
            "a context and three inputs",
            ((zero**2).mean(), "This begins at a state of zeros. Begin at the context."),
            (
                (last**2).mean(),
                "Every f was given the context. Hand the new state on: it is what the next f reads.",
            ),
            (
                (one**2).mean(),
                "Only the first input was read. Unfold f once for each of the three.",
            ),
            ((turned**2).mean(), "The inputs were read from the last to the first."),
            (
                (_by_outputs(network, Tensor(context), inputs, target) ** 2).mean(),
                "The outputs of f were handed on. Its pair is the output and then the new state: "
                "_, state = f(input, state).",
            ),
            (
                (right**2).sum() / 2,
                "This is half of the sum of the squared errors; the cost is their mean.",
            ),
            (total, f"This is the sum of three costs. {once}"),
            (total / 3, f"This is the average of three costs. {once}"),
            ((right**2).sum(), "This is the sum of the squared errors; the cost is their mean."),
            (right.mean(), "The error has to be squared."),
            (right, "The cost is one number: the mean of the squares of these errors."),
            hint="state = context; three times: _, state = f(input, state); then g(state), compared.",
        )
        _compare_gradients(network.f, found, (right**2).mean())


def _compare_gradients(f: Any, found: Any, right: Tensor) -> None:
    """Raise `Wrong` if the cost that was found has not the gradient of the right one."""
    if not isinstance(found, Tensor) or not found.requires_grad:
        raise Wrong(
            "the cost is right, but no gradient can flow back from it.",
            "Compute with tensors to the end, without .numpy(), .item() or .detach().",
        )
    gradients = []
    for cost in (right, found):
        f.weight_hh.grad = None
        cost.backward()
        gradients.append(f.weight_hh.grad)
    expect(
        gradients[1],
        gradients[0],
        "the gradient of f's recurrent weight",
        hint="The cost is right, but a state was cut from the graph on its way (detach, numpy), so "
        "the earlier instances of f get no gradient.",
    )
