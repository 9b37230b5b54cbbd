"""What steps that run twice find again: masks of sequences within steps and segments, generators, numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tape import at_step, setting
from tinygrad_rnn.recurrent.context import SequenceContext, begin_sequence, sequence_context


class Dropping(tg.Cell):
    """A cell whose masks come from a generator, not from a function of the step."""

    input_size, hidden_size = 1, 2

    def __init__(self) -> None:
        rng = np.random.default_rng(2)
        self.W = tg.Parameter(rng.normal(size=(2, 1)))
        self.drop = tg.nn.Dropout(0.5, rng=9)

    def forward(self, x: Any, h: Any) -> Any:
        h = self.drop(tg.tanh(x @ self.W.T + h))
        return h, h


def zoneout() -> tg.Cell:
    return tg.nn.Zoneout(tg.cells.Elman(1, 2, rng=0, dtype=np.float64), 0.5, rng=8)


class Outer(tg.Cell):
    """Unrolls a cell three times in each step, some of the times as a checkpoint."""

    input_size = hidden_size = 3

    def __init__(self, inner: tg.Cell, checkpointed: tuple[bool, ...]) -> None:
        self.inner, self.checkpointed = inner, checkpointed

    def forward(self, x: Any, h: Any) -> Any:
        h = tg.tanh(x + h)
        for k, wanted in enumerate(self.checkpointed):

            def run(h: Any, k: int = k) -> Any:
                return tg.unroll(self.inner, h.T[:, :, None] * (k + 1))[0].sum()

            h = h + (tg.checkpoint(run, h) if wanted else run(h))
        return h, h


@pytest.mark.parametrize(
    "checkpointed", [(True, False, False), (False, True, True), (True, True, False)], ids=str
)
@pytest.mark.parametrize("segment", [None, 2])
@pytest.mark.parametrize("inner", [zoneout, Dropping])
def test_sequences_within_a_step_keep_their_masks(
    inner: Callable[[], tg.Cell],
    checkpointed: tuple[bool, ...],
    segment: int | None,
    rng: np.random.Generator,
) -> None:
    xs = rng.normal(size=(4, 2, 3))
    found = []
    for wanted, option in (((False,) * 3, None), (checkpointed, segment)):
        cell, x = Outer(inner(), wanted), tg.tensor(xs, requires_grad=True)
        ys, _ = tg.unroll(cell, x, np.zeros((2, 3)), checkpoint=option)
        (ys * ys).sum().backward()
        assert x.grad is not None
        found.append([ys.numpy(), x.grad.numpy(), *(p.grad.numpy() for p in cell.parameters())])  # type: ignore[union-attr]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_sequences_are_found_again_by_their_place() -> None:
    outer = SequenceContext()
    with setting(sequence=outer):
        with at_step(0):
            first, second = begin_sequence(), begin_sequence()
        outer.begun = 0
        with at_step(1):
            third = begin_sequence()
        outer.begun, outer.rerun = 0, True
        with at_step(0):
            again = begin_sequence(), begin_sequence()
    assert len({id(s) for s in (first, second, third)}) == 3
    assert again[0] is first and again[1] is second
    assert all(s.outer is outer for s in again)
    assert (first.rerun, second.rerun, third.rerun) == (True, True, False)
    assert sequence_context() is None and begin_sequence() is not begin_sequence()


def test_a_segment_leaves_the_context_as_it_was() -> None:
    scope = SequenceContext(begun=3, shared={"wrapper": 1})
    with pytest.raises(ZeroDivisionError), scope.segment(1, lambda rng: rng, again=True):
        assert (scope.begun, scope.rerun, scope.shared) == (1, True, {})
        assert scope.running_generators() is not None
        scope.begun += 4
        1 / 0  # noqa: B018
    assert (scope.begun, scope.rerun, scope.shared) == (3, False, {"wrapper": 1})
    with scope.segment(3, lambda rng: rng, again=False):
        scope.begun += 4
    assert (scope.begun, scope.rerun, scope.running_generators()) == (7, False, None)
    scope.rerun = True  # what begins within a second run is a second run
    with scope.segment(0, lambda rng: rng, again=False):
        assert scope.rerun


def test_steps_that_are_served_leave_no_mask_in_the_sequence() -> None:
    class Served:
        def draw(self, make: Any, shape: Any, dtype: Any, per: str) -> Any:
            return np.zeros(shape, dtype)

        def emit(self, receive: Any, values: Any, batch: int) -> None:
            pass

    scope = SequenceContext(masks={("source", 0, (2,)): np.ones(2)}, numbers={"source": 4})
    served = scope.with_effects(Served())
    assert served.masks == scope.masks and served.numbers == scope.numbers
    assert scope.effects is None and served.effects is not None
    served.masks["source", 1, (2,)] = np.ones(2)
    served.numbers["other"] = 1
    with setting(sequence=served):
        begin_sequence()
    assert (len(scope.masks), len(scope.numbers), len(scope.inner)) == (1, 1, 0)
