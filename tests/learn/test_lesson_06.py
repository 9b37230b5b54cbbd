from __future__ import annotations

import pytest

import tinygrad_rnn as tg

from .mistakes import Mistake


def windows_of(
    length=None,
    hand_on=True,
    empty=True,
    step=True,
    last=True,
    cell=lambda f: f,
    note=lambda cost: cost.item(),
):
    """Training in windows of k steps, or of another length, with one thing left out."""

    def train(f, g, optimizer, xs, targets, k):
        costs, zero = [], f.initial_state(xs.shape[1])
        state = zero
        for start in range(0, len(xs) if last else len(xs) // k * k, length or k):
            stop = start + (length or k)
            outputs, state = tg.unroll(cell(f), xs[start:stop], state if hand_on else zero)
            state = tg.detach(state)
            cost = tg.nn.mse_loss(g(outputs), targets[start:stop])
            if empty:
                optimizer.zero_grad()
            cost.backward()
            if step:
                optimizer.step()
            costs.append(note(cost))
        return costs

    return train


def by_tbptt(f, g, optimizer, xs, targets, k):
    costs = []
    for window in tg.tbptt(f, xs, k):
        cost = tg.nn.mse_loss(g(window.ys), targets[window.start : window.stop])
        optimizer.zero_grad()
        window.backward(cost)
        optimizer.step()
        costs.append(cost.item())
    return costs


def all_but_the_last_update(f, g, optimizer, xs, targets, k):
    kept = f.weight_hh.data
    costs = windows_of()(f, g, optimizer, xs, targets, k)
    f.weight_hh.data = kept
    return costs


def windows(reach=lambda start, stop, k2: max(0, stop - k2), end=0, cut=True, short=True):
    """The windows of a sequence, with a mistake in one of their three numbers."""

    def answer(T, k1, k2):
        found = []
        for start in range(0, T, k1):
            stop = min(start + k1, T) if cut else start + k1
            if short or stop - start == k1:
                found.append((reach(start, stop, k2), start, stop + end))
        return found

    return answer


MISTAKES = [
    Mistake("train-in-windows", "begins at a state of zeros", windows_of(hand_on=False)),
    Mistake(
        "train-in-windows",
        "cut at every step",
        windows_of(cell=lambda f: lambda x, h: f(x, h.detach())),
    ),
    Mistake("train-in-windows", "Make an update in each window", windows_of(step=False)),
    Mistake("train-in-windows", "backward adds to them", windows_of(empty=False)),
    Mistake("train-in-windows", "The last window is missing", windows_of(last=False)),
    Mistake(
        "train-in-windows",
        "Is the return inside of the loop",
        lambda f, g, optimizer, xs, targets, k: windows_of()(f, g, optimizer, xs, targets, k)[:1],
    ),
    Mistake("train-in-windows", "a cost for every step", windows_of(length=1)),
    Mistake(
        "train-in-windows",
        "In each window: unroll",
        lambda f, g, optimizer, xs, targets, k: windows_of()(f, g, optimizer, xs, -targets, k),
    ),
    Mistake("train-in-windows", "in the last window too", all_but_the_last_update),
    Mistake("train-in-windows", "a plain number", windows_of(note=lambda cost: cost)),
    Mistake("train-in-windows", "The list is empty", lambda *arguments: []),
    Mistake("train-in-windows", "reaches k steps back all the same", by_tbptt),
    Mistake("train-in-windows", "Is there a return", lambda *arguments: None),
    Mistake(
        "which-steps", "cannot begin before step 0", windows(lambda start, stop, k2: stop - k2)
    ),
    Mistake(
        "which-steps",
        "counts from the end of the window",
        windows(lambda start, stop, k2: max(0, start - k2)),
    ),
    Mistake("which-steps", "one more than the last step", windows(end=-1)),
    Mistake("which-steps", "The last window ends at T", windows(cut=False)),
    Mistake("which-steps", "but it is there", windows(short=False)),
    Mistake("which-steps", "not at start", windows(lambda start, stop, k2: start)),
    Mistake("which-steps", "no + 1", windows(lambda start, stop, k2: max(0, stop - k2 + 1))),
    Mistake(
        "which-steps",
        "in another order",
        lambda T, k1, k2: [(start, stop, reach) for reach, start, stop in windows()(T, k1, k2)],
    ),
    Mistake("which-steps", "start goes from 0", lambda T, k1, k2: [(0, 0, T)]),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)


def test_a_state_that_is_not_cut_is_named_with_the_way_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answer(f, g, optimizer, xs, targets, k):
        state = None
        for start in range(0, len(xs), k):
            outputs, state = tg.unroll(f, xs[start : start + k], state)
            tg.nn.mse_loss(g(outputs), targets[start : start + k]).backward()

    assert tg.learn.check("train-in-windows", answer) is False
    said = capsys.readouterr().out
    assert "tg.detach(state)" in said and "line" in said and "test_lesson_06.py" in said
