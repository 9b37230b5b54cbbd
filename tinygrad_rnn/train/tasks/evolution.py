"""Backpropagation through time against evolution strategies and random guessing.

All have an equal budget of forward steps. The unit of cost is one time step of one sequence through
one network, forward. A training step by gradient counts three times its forward steps: the walk
back costs about two passes more.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ...core.primitive import Array
from ...core.tape import no_grad
from ...core.tensor import Tensor
from ...module import Module, Parameter
from ...nn.losses import mse_loss
from ...ops.elementwise import sigmoid
from ...ops.shaping import concatenate
from ...optim import Adam, clip_grad_norm
from .adding import adding_unit
from .fit import Batch, Reader, streams
from .task import Arm, Result, Run, Task

__all__ = [
    "TASKS",
    "EvolutionStrategy",
    "Sequences",
    "assign",
    "flat",
    "guess",
    "outputs",
    "parameters_of",
    "ranks",
    "right",
    "two_sequences",
]

PASSES = 3  # of a training step by gradient: one forward, and a walk back that costs about two


# --- search without gradients ---------------------------------------------------------------------


class EvolutionStrategy:
    """An evolution strategy with a normal distribution of fixed width around a mean that climbs.

    The source is Salimans et al. (2017). Every deviation is tried with both signs, costs count by
    their rank only, and the estimated gradient of the mean goes through Adam.

    Parameters
    ----------
    start : array, shape (parameters,)
        The first mean.
    pairs : int
        Half the number of candidates in a generation.
    sigma : float
        Standard deviation of the candidates around the mean.
    lr : float
        The rate of Adam.
    rng : numpy Generator
        What the deviations are drawn from.
    """

    def __init__(
        self, start: Array, *, pairs: int, sigma: float, lr: float, rng: np.random.Generator
    ) -> None:
        self.mean = Parameter(start)
        self.pairs, self.sigma, self._rng = pairs, sigma, rng
        self._optimizer = Adam([self.mean], lr)
        self._deviations = np.zeros((0, start.size), start.dtype)

    def ask(self) -> Array:
        """Return the candidates of the next generation, shape (2 * pairs, parameters).

        Row k + pairs mirrors row k.
        """
        drawn = self._rng.standard_normal((self.pairs, self.mean.size)).astype(self.mean.dtype)
        self._deviations = np.concatenate([drawn, -drawn])
        candidates: Array = self.mean.numpy() + self._deviations * self.mean.dtype.type(self.sigma)
        return candidates

    def tell(self, costs: Array) -> None:
        """Move the mean by the candidates' costs, shape (2 * pairs,); less is better."""
        slope = (ranks(costs) @ self._deviations / (costs.size * self.sigma)).astype(
            self.mean.dtype
        )
        self.mean.grad = Tensor(slope)
        self._optimizer.step()


def ranks(costs: Array) -> Array:
    """Return the ranks of costs, scaled to -1/2 (least) ... 1/2 (greatest).

    Equal costs share their mean rank.
    """
    values, places, counts = np.unique(costs, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    if len(values) == 1:
        return np.zeros(costs.size)
    shared: Array = middle[places] / (costs.size - 1) - 0.5
    return shared


def flat(model: Module) -> Array:
    """Return all parameters of a model in one vector."""
    return np.concatenate([p.numpy().ravel() for p in model.parameters()])


def assign(model: Module, vector: Array) -> None:
    """Set all parameters of a model from one vector."""
    place = 0
    for p in model.parameters():
        p.data = vector[place : place + p.size].reshape(p.shape)
        place += p.size


# --- where the gradient wins: the adding problem --------------------------------------------------

LENGTH, BATCH, HIDDEN, ADDING_BUDGET = 50, 32, 8, 7_200_000
ADDING_GOAL = 0.01  # mean squared error that counts as solved; 1/6 is that of a constant
PAIRS = 16  # of an evolution strategy's generation


def _costs(model: Reader, candidates: Iterable[Array], batch: Batch) -> Array:
    """Return the cost of each candidate on a batch."""
    costs = []
    for candidate in candidates:
        assign(model, candidate)
        costs.append(model.evaluate([batch]))
    return np.array(costs)


def _adding(run: Run, cell: str, how: str) -> Result:
    """Run an arm of the adding problem: by gradient, evolution or guessing."""
    weights, training, search, test = streams(run.seed)
    model = Reader(cell, 2, HIDDEN, 1, memory=LENGTH, rng=weights)
    gradient = Adam(model.parameters(), 0.02)
    strategy = EvolutionStrategy(flat(model), pairs=PAIRS, sigma=0.1, lr=0.05, rng=search)
    held, best, least, spent = adding_unit(training, BATCH, LENGTH), flat(model), np.inf, 0
    while spent < ADDING_BUDGET and run.go_on(f"{spent} of {ADDING_BUDGET} steps"):
        if how == "gradient":
            gradient.zero_grad()
            model.loss(adding_unit(training, BATCH, LENGTH)).backward()
            clip_grad_norm(gradient.parameters, 1.0)
            gradient.step()
            gradient.lr = 0.02 * (1 - spent / ADDING_BUDGET)
            spent += PASSES * BATCH * LENGTH
            continue
        if how == "evolution":
            strategy.tell(_costs(model, strategy.ask(), adding_unit(training, BATCH, LENGTH)))
        else:  # the same sequences for every guess, so that the best is the best
            guesses = search.uniform(-1, 1, (2 * PAIRS, best.size)).astype(best.dtype)
            costs = _costs(model, guesses, held)
            if costs.min() < least:
                least, best = costs.min(), guesses[costs.argmin()]
        spent += 2 * PAIRS * BATCH * LENGTH
    seconds = run.seconds
    if how != "gradient":
        assign(model, strategy.mean.numpy() if how == "evolution" else best)
    score = model.evaluate([adding_unit(test, 1000, LENGTH)])
    passes = PASSES if how == "gradient" else 1
    return Result(
        score,
        score < ADDING_GOAL,
        spent // (passes * LENGTH),
        spent,
        seconds,
        f"{best.size} parameters",
    )


# --- where guessing wins: the two-sequence problem ------------------------------------------------

HIDDEN_UNITS = 1  # besides the output unit
GUESSING_BUDGET = 6_000_000
STAGES = (0, 2, 10, None)  # a guess sees the sequences of a stage if it got those before right
WEIGHT = 100.0  # guesses are uniform on [-100, 100]


class Sequences(NamedTuple):
    """Sequences of one number at a time that end together: the earlier ones start later.

    Attributes
    ----------
    xs : array, shape (T, batch)
    lengths : integer array, shape (batch,)
        The last `lengths` steps of a row are its sequence.
    targets : array, shape (batch,)
        0 or 1.
    """

    xs: Array
    lengths: Array
    targets: Array

    def part(self, rows: slice | Array) -> Sequences:
        """Return some of the sequences."""
        return Sequences(self.xs[:, rows], self.lengths[rows], self.targets[rows])


def two_sequences(
    rng: np.random.Generator, count: int, shortest: int = 500, longest: int = 600
) -> Sequences:
    """Draw sequences of which half begin with 1 (target 1) and half with -1 (target 0), in turn.

    All that follows is noise of variance 0.2.
    """
    lengths = rng.integers(shortest, longest + 1, count)
    targets = (np.arange(count) % 2 == 0).astype(np.float32)
    xs = rng.normal(0, 0.2**0.5, (longest, count)).astype(np.float32)
    start = longest - lengths
    xs[np.arange(longest)[:, None] < start] = 0
    xs[start, np.arange(count)] = 2 * targets - 1
    return Sequences(xs, lengths, targets)


def parameters_of(hidden: int) -> int:
    """Return the number of weights of `outputs`."""
    return (hidden + 1) * (hidden + 2) + hidden


def outputs(weights: Any, sequences: Sequences, hidden: int = HIDDEN_UNITS) -> Any:
    """Return the last outputs of several networks on several sequences.

    The networks are fully connected logistic units. Every unit hears the input and all units of the
    step before; the hidden ones have a bias. All activations start at zero.

    Parameters
    ----------
    weights : Tensor, shape (networks, parameters)
        The weights of the input, those of the units (from, to), and the biases; the last unit is
        the output.
    sequences : Sequences
        What they read.
    hidden : int
        The number of hidden units.

    Returns
    -------
    Tensor, shape (networks, batch)
    """
    units, networks = hidden + 1, weights.shape[0]
    from_input = weights[:, None, :units]
    from_units = weights[:, units : units * (units + 1)].reshape(networks, units, units)
    bias = concatenate(
        [weights[:, units * (units + 1) :], np.zeros((networks, 1), np.float32)], axis=-1
    )[:, None]
    length, batch = sequences.xs.shape
    started = np.arange(length)[:, None] >= length - sequences.lengths
    h: Any = Tensor(np.zeros((networks, batch, units), np.float32))
    for x, on in zip(sequences.xs, started, strict=True):
        h = sigmoid(x[:, None] * from_input + h @ from_units + bias)
        if not on.all():
            h = h * on[:, None].astype(np.float32)
    return h[..., -1]


def right(answers: Array, targets: Array) -> Array:
    """Return whether the error at the end is below 0.1, as in the source."""
    good: Array = np.abs(answers - targets) < 0.1
    return good


def guess(
    training: Sequences, rng: np.random.Generator, networks: int = 100
) -> tuple[Array | None, int, int]:
    """Draw networks until one gets all training sequences right.

    The networks are drawn at once. All are run on two sequences, those that got them right on eight
    more, and those on the rest.

    Returns
    -------
    weights : ndarray or None
        The first network that gets all right; None if there is none.
    drawn : int
        How many were drawn up to it.
    steps : int
        The time steps that this took.
    """
    weights = rng.uniform(-WEIGHT, WEIGHT, (networks, parameters_of(HIDDEN_UNITS))).astype(
        np.float32
    )
    left, steps = np.arange(networks), 0
    for first, stop in pairwise(STAGES):
        part = training.part(slice(first, stop))
        steps += left.size * int(part.lengths.sum())
        with no_grad():
            left = left[right(outputs(Tensor(weights[left]), part).numpy(), part.targets).all(1)]
        if not left.size:
            return None, networks, steps
    return weights[left[0]], int(left[0]) + 1, steps


def _latching(run: Run, how: str) -> Result:
    """Run an arm of the two-sequence problem: by gradient, evolution or guessing."""
    draw, search, _, test = streams(run.seed)
    training = two_sequences(draw, 100)
    count = parameters_of(HIDDEN_UNITS)
    start = search.uniform(-1, 1, (1, count)).astype(np.float32)
    weights = Parameter(start)
    gradient = Adam([weights], 0.05)
    strategy = EvolutionStrategy(start[0], pairs=PAIRS, sigma=1.0, lr=0.5, rng=search)
    spent = seen = tried = 0
    found: Array | None = None
    while (
        found is None
        and spent < GUESSING_BUDGET
        and run.go_on(f"{spent} of {GUESSING_BUDGET} steps")
    ):
        if how == "guessing":
            found, drawn, steps = guess(training, search)
            tried, spent = tried + drawn, spent + steps
            continue
        batch = training.part(search.permutation(100)[:20])
        steps = int(batch.lengths.sum())
        if how == "gradient":
            gradient.zero_grad()
            mse_loss(outputs(weights, batch)[0], batch.targets).backward()
            clip_grad_norm([weights], 1.0)
            gradient.step()
            spent += PASSES * steps
        else:
            with no_grad():
                answers = outputs(Tensor(strategy.ask()), batch).numpy()
            strategy.tell(((answers - batch.targets) ** 2).mean(1))
            spent += 2 * PAIRS * steps
    seconds = run.seconds
    final = {
        "gradient": weights.numpy()[0],
        "evolution": strategy.mean.numpy(),
        "guessing": start[0] if found is None else found,
    }[how]
    unseen = two_sequences(test, 100)
    with no_grad():
        learnt, answers = (
            outputs(Tensor(final[None]), part).numpy()[0] for part in (training, unseen)
        )
    before, after = right(learnt, training.targets), right(answers, unseen.targets)
    seen = spent // (550 * (PASSES if how == "gradient" else 1))
    note = (
        f"{tried} guesses"
        if how == "guessing"
        else f"{((answers > 0.5) == unseen.targets).mean():.2f} on the right side of 1/2"
    )
    return Result(float(after.mean()), bool(before.all()), seen, spent, seconds, note)


TASKS = [
    Task(
        "evolution-gradient",
        "BPTT, evolution and guessing: adding two of 50 numbers",
        f"The adding problem at length {LENGTH} (values and markers on [0, 1], mean squared error; a constant has 0.1667) with {HIDDEN} units. "
        f"All arms have {ADDING_BUDGET:,} time steps: a training step by gradient counts {PASSES} times its forward steps. Evolution is a "
        "strategy with mirrored candidates and ranks; guessing keeps the best of weights that are uniform on [-1, 1].",
        "Q. V. Le, N. Jaitly and G. E. Hinton, A Simple Way to Initialize Recurrent Networks of Rectified Linear Units (2015), for the problem; "
        "T. Salimans et al., Evolution Strategies as a Scalable Alternative to Reinforcement Learning (2017), for the strategy",
        "mean squared error on 1000 fresh sequences",
        lambda cell: [
            Arm(
                f"{cell or 'LSTM'}, {label}",
                lambda run, how=how: _adding(run, cell or "LSTM", how),  # type: ignore[misc]
            )
            for label, how in (
                ("BPTT", "gradient"),
                ("evolution", "evolution"),
                ("guessing", "guessing"),
            )
        ],
        budget=120.0,
    ),
    Task(
        "evolution-guessing",
        "BPTT, evolution and guessing: one bit over 500 steps",
        "The two-sequence problem: the first number, 1 or -1, is the class, and 499 to 599 numbers of noise follow. The network is fully "
        f"connected, {HIDDEN_UNITS + 1} logistic units of which one is the output, {parameters_of(HIDDEN_UNITS)} weights. Guessing draws weights "
        f"uniformly from [-100, 100]. All arms have {GUESSING_BUDGET:,} time steps at most, a training step by gradient counting {PASSES} "
        "times its forward steps. A sequence is right if the error at its end is below 0.1. Solved: all of 100 training sequences are right.",
        "S. Hochreiter and J. Schmidhuber, Bridging Long Time Lags by Weight Guessing and Long Short-Term Memory (1996)",
        "share of 100 fresh sequences that are right",
        lambda cell: [
            Arm("guessing", lambda run: _latching(run, "guessing"), "about 718 guesses"),
            Arm("evolution", lambda run: _latching(run, "evolution")),
            Arm("BPTT", lambda run: _latching(run, "gradient")),
        ],
        seeds=5,
        budget=120.0,
        decimals=2,
    ),
]
