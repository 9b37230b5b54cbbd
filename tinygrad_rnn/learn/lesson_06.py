"""The exercises of lesson 6, what an update costs, and truncation."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .exercise import Function, Wrong, exercise, expect

_STEPS, _WINDOW = 8, 3


class _Forgetful(tg.cells.Elman):
    """A cell whose state is cut at every step."""

    def forward(self, x: Any, h: Any) -> Any:
        return super().forward(x, h.detach())


def _problem(cell: type[tg.cells.Elman] = tg.cells.Elman) -> tuple[Any, ...]:
    rng = np.random.default_rng(6)
    f = cell(2, 3, rng=0, dtype=np.float64)
    g = tg.nn.Linear(3, 1, rng=1, dtype=np.float64)
    optimizer = tg.optim.SGD([*f.parameters(), *g.parameters()], lr=0.3)
    xs, targets = rng.normal(size=(_STEPS, 4, 2)), rng.normal(size=(_STEPS, 4, 1))
    return f, g, optimizer, xs, targets


def _trained(mistake: str = "") -> list[float]:
    """Return the costs of the windows, with a mistake in the training if one is named."""
    f, g, optimizer, xs, targets = _problem(
        _Forgetful if mistake == "cut at each step" else tg.cells.Elman
    )
    costs, state = [], None
    for start in range(0, _STEPS, _WINDOW):
        stop = start + (1 if mistake == "one step" else _WINDOW)
        outputs, state = tg.unroll(f, xs[start:stop], None if mistake == "from zero" else state)
        state = tg.detach(state)
        cost = tg.nn.mse_loss(g(outputs), targets[start:stop])
        if mistake != "never emptied":
            optimizer.zero_grad()
        cost.backward()
        if mistake != "no step":
            optimizer.step()
        costs.append(cost.item())
    return costs


def _trained_by_tbptt() -> list[float]:
    """Return the costs of the windows of `tg.tbptt`, the last of which reaches into the one before."""
    f, g, optimizer, xs, targets = _problem()
    costs = []
    for window in tg.tbptt(f, xs, _WINDOW):
        cost = tg.nn.mse_loss(g(window.ys), targets[window.start : window.stop])
        optimizer.zero_grad()
        window.backward(cost)
        optimizer.step()
        costs.append(cost.item())
    return costs


@exercise(
    "train-in-windows", f"{_STEPS} steps in windows of {_WINDOW}: the costs and the last parameters"
)
def train_in_windows(answer: Function) -> None:
    problem = _problem()
    found = answer(*problem, _WINDOW)
    right = _trained()
    expect(
        found,
        right,
        f"{_STEPS} steps in windows of {_WINDOW}",
        (
            _trained("from zero"),
            "Each window begins at a state of zeros, so the network has no memory across windows. Hand "
            "the state on: tg.unroll(f, ..., state).",
        ),
        (
            _trained("cut at each step"),
            "The state was cut at every step, so no gradient goes back in time at all. Cut it once in "
            "each window, at its end.",
        ),
        (
            _trained("no step"),
            "The parameters stay as they are. Make an update in each window: zero_grad, backward, step.",
        ),
        (
            _trained("never emptied"),
            "The gradients of the windows before are still in .grad, and backward adds to them: "
            "optimizer.zero_grad() in each window.",
        ),
        (
            right[:-1],
            f"The last window is missing: {_STEPS} steps are two windows of {_WINDOW} and one of two.",
        ),
        (
            lambda found: isinstance(found, list) and len(found) == 1,
            "There is one cost. Is the return inside of the loop?",
        ),
        (
            lambda found: isinstance(found, list) and len(found) == _STEPS,
            "There is a cost for every step. Unroll over the steps start to start + k at once.",
        ),
        (
            _trained_by_tbptt(),
            "So it is with tg.tbptt(f, xs, k), whose last, shorter window reaches k steps back all the "
            "same. Here every window begins where the last one has ended.",
        ),
        (
            lambda found: isinstance(found, list) and not found,
            "The list is empty: append cost.item() in each window.",
        ),
        hint="In each window: unroll from the last state, the cost of g(outputs), an update, and then "
        "state = tg.detach(state).",
    )
    if any(isinstance(cost, tg.Tensor) for cost in found):
        raise Wrong(
            "the costs are tensors, and each of them keeps the graph of its window alive.",
            "Append cost.item(), a plain number.",
        )
    _compare_parameters(problem)


def _compare_parameters(problem: tuple[Any, ...]) -> None:
    """Raise `Wrong` if the last update was not made, which no cost shows."""
    f, g, optimizer, xs, targets = _problem()
    state = None
    for start in range(0, _STEPS, _WINDOW):
        outputs, state = tg.unroll(
            f, xs[start : start + _WINDOW], tg.detach(state) if start else None
        )
        optimizer.zero_grad()
        tg.nn.mse_loss(g(outputs), targets[start : start + _WINDOW]).backward()
        optimizer.step()
    for (name, right), found in zip(f.named_parameters(), problem[0].parameters(), strict=True):
        if not np.allclose(found.numpy(), right.numpy()):
            raise Wrong(
                f"all costs are right, but {name} of f is not at the end.",
                "Is the update made in the last window too, and once in each?",
            )


_CASES = ((8, 4, 4), (8, 2, 4), (7, 3, 5), (6, 1, 3), (5, 2, 9), (7, 3, 3))


@exercise("which-steps", f"the windows of {len(_CASES)} sequences, as tg.tbptt has them")
def which_steps(answer: Function) -> None:
    for T, k1, k2 in _CASES:
        cell = tg.cells.Elman(1, 1, rng=0)
        xs = np.zeros((T, 1, 1), np.float32)
        right = [(w.reach, w.start, w.stop) for w in tg.tbptt(cell, xs, k1, k2)]
        starts = range(0, T, k1)
        expect(
            answer(T, k1, k2),
            right,
            f"T = {T}, k1 = {k1}, k2 = {k2}",
            (
                [(stop - k2, start, stop) for _, start, stop in right],
                "A graph cannot begin before step 0: max(0, ...).",
            ),
            (
                [(max(0, start - k2), start, stop) for _, start, stop in right],
                "k2 counts from the end of the window: the newest steps are among the k2.",
            ),
            (
                [(reach, start, stop - 1) for reach, start, stop in right],
                "stop is one more than the last step, as in range(start, stop).",
            ),
            (
                [(max(0, s + k1 - k2), s, s + k1) for s in starts],
                "The last window ends at T at the latest: min(start + k1, T).",
            ),
            (
                [window for window in right if window[2] - window[1] == k1],
                "The last window may be shorter than k1, but it is there.",
            ),
            (
                [(start, start, stop) for _, start, stop in right],
                "The graph begins k2 steps before stop, not at start.",
            ),
            (
                [(max(0, stop - k2 + 1), start, stop) for _, start, stop in right],
                "The steps reach to stop - 1 are stop - reach, and they should be k2: no + 1.",
            ),
            (
                [(start, stop, reach) for reach, start, stop in right],
                "The numbers are right, in another order: (reach, start, stop).",
            ),
            hint="start goes from 0 in steps of k1; stop = min(start + k1, T); reach = max(0, stop - k2).",
        )
