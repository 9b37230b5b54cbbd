from __future__ import annotations

import pytest

import tinygrad_rnn as tg

from .mistakes import Mistake


def loop(*moves, note=lambda cost: cost.item()):
    """A training loop that makes these moves of "empty", "derive", "adjust", "note" in this order."""

    def train(network, optimizer, xs, targets, updates):
        costs = []
        for _ in range(updates):
            cost = tg.nn.mse_loss(network(xs), targets)
            for move in moves:
                if move == "empty":
                    optimizer.zero_grad()
                elif move == "derive":
                    cost.backward()
                elif move == "adjust":
                    optimizer.step()
                elif move == "compare":
                    cost = tg.nn.mse_loss(network(xs), targets)
                else:
                    costs.append(note(cost))
        return costs

    return train


def presented_once(network, optimizer, xs, targets, updates):
    cost = tg.nn.mse_loss(network(xs), targets)
    for _ in range(updates):
        optimizer.zero_grad()
        cost.backward()


RIGHT = ("empty", "derive", "adjust", "note")


def unfolded(f, g, state, inputs):
    for a in inputs:
        _, state = f(a, state)
    return g(state)


def of_outputs(f, g, handed, inputs, target):
    for a in inputs:
        handed, _ = f(a, handed)
    return mean_square(g(handed) - target)


def of_pairs(f, g, state, inputs, target):
    for a in inputs:
        state = f(a, state)
    return mean_square(g(state) - target)


def mean_square(error):
    return (error**2).mean()


MISTAKES = [
    Mistake("training-loop", "nothing was adjusted", loop("empty", "derive", "note")),
    Mistake("training-loop", "nothing was adjusted", loop("derive", "empty", "adjust", "note")),
    Mistake("training-loop", "backward adds to what is in .grad", loop("derive", "adjust", "note")),
    Mistake(
        "training-loop",
        "the costs after each update",
        loop("empty", "derive", "adjust", "compare", "note"),
    ),
    Mistake(
        "training-loop",
        "In each round",
        lambda network, optimizer, xs, targets, updates: loop(*RIGHT)(
            network, optimizer, xs * 2, targets, updates
        ),
    ),
    Mistake(
        "training-loop",
        "Return the list",
        lambda network, optimizer, xs, targets, updates: loop(*RIGHT)(
            network, optimizer, xs, targets, updates
        )[-1],
    ),
    Mistake("training-loop", "The list is empty", loop("empty", "derive", "adjust")),
    Mistake(
        "training-loop",
        "Is the return inside",
        lambda network, optimizer, xs, targets, updates: loop(*RIGHT)(
            network, optimizer, xs, targets, 1
        ),
    ),
    Mistake("training-loop", "belong into the loop", presented_once),
    Mistake("training-loop", "a plain number", loop(*RIGHT, note=lambda cost: cost)),
    Mistake("training-loop", "Is there a return", lambda *arguments: None),
    Mistake(
        "cost-of-a-step",
        "Begin at the context",
        lambda f, g, context, inputs, target: mean_square(
            unfolded(f, g, f.initial_state(4), inputs) - target
        ),
    ),
    Mistake(
        "cost-of-a-step",
        "Hand the new state on",
        lambda f, g, context, inputs, target: mean_square(
            unfolded(f, g, context, inputs[2:]) - target
        ),
    ),
    Mistake(
        "cost-of-a-step",
        "Only the first input",
        lambda f, g, context, inputs, target: mean_square(
            unfolded(f, g, context, inputs[:1]) - target
        ),
    ),
    Mistake(
        "cost-of-a-step",
        "from the last to the first",
        lambda f, g, context, inputs, target: mean_square(
            unfolded(f, g, context, inputs[::-1]) - target
        ),
    ),
    Mistake(
        "cost-of-a-step",
        "the sum of three costs",
        lambda f, g, context, inputs, target: sum(
            mean_square(unfolded(f, g, context, inputs[:k]) - target) for k in (1, 2, 3)
        ),
    ),
    Mistake(
        "cost-of-a-step",
        "the average of three costs",
        lambda f, g, context, inputs, target: (
            sum(mean_square(unfolded(f, g, context, inputs[:k]) - target) for k in (1, 2, 3)) / 3
        ),
    ),
    Mistake(
        "cost-of-a-step",
        "the cost is their mean",
        lambda f, g, context, inputs, target: (
            (unfolded(f, g, context, inputs) - target) ** 2
        ).sum(),
    ),
    Mistake("cost-of-a-step", "The outputs of f were handed on", of_outputs),
    Mistake("cost-of-a-step", "f gives a pair", of_pairs),
    Mistake(
        "cost-of-a-step",
        "half of the sum",
        lambda f, g, context, inputs, target: (
            ((unfolded(f, g, context, inputs) - target) ** 2).sum() / 2
        ),
    ),
    Mistake(
        "cost-of-a-step",
        "has to be squared",
        lambda f, g, context, inputs, target: (unfolded(f, g, context, inputs) - target).mean(),
    ),
    Mistake(
        "cost-of-a-step",
        "the mean of the squares of these errors",
        lambda f, g, context, inputs, target: unfolded(f, g, context, inputs) - target,
    ),
    Mistake(
        "cost-of-a-step",
        "Compute with tensors to the end",
        lambda f, g, context, inputs, target: mean_square(
            unfolded(f, g, context, inputs) - target
        ).item(),
    ),
    Mistake(
        "cost-of-a-step",
        "cut from the graph",
        lambda f, g, context, inputs, target: mean_square(
            unfolded(f, g, f(inputs[1], f(inputs[0], context)[1])[1].detach(), inputs[2:]) - target
        ),
    ),
    Mistake(
        "cost-of-a-step",
        "three times",
        lambda f, g, context, inputs, target: mean_square(g(context) - target),
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)
