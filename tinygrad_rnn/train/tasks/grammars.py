"""Grammars: which symbols may come next is predicted from the symbols so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...cells import LSTM, PeepholeLSTM
from ...core.primitive import Array
from ...core.tape import no_grad
from ...core.tensor import Tensor
from ...core.tree import detach, leaves
from ...init import forget_bias
from ...module import Module
from ...nn.layers import Linear
from ...ops.elementwise import softplus
from ...optim import Adam, clip_grad_norm
from ...recurrent import unroll
from .fit import long_memory
from .strings import (
    REBER,
    Batch,
    accepted,
    counting,
    most_active,
    reber_stream,
    reber_string,
    strings_right,
    together,
)
from .task import Arm, Result, Run, Task, make_cell

__all__ = ["TASKS", "Reader", "largest"]

NETWORKS = 20  # that a run of a counting task trains at most


class Reader(Module):
    """A cell that reads symbols, and a linear layer that gives each a logit to come next."""

    def __init__(self, cell: Any, symbols: int, *, rng: Any = None) -> None:
        self.cell = cell
        self.output = Linear(cell.hidden_size, symbols, rng=rng)

    def forward(self, xs: Any, state: Any = None) -> tuple[Any, Any]:
        """Read symbols of shape (T, batch, symbols) from a state.

        Returns
        -------
        logits : Tensor, shape (T, batch, symbols)
        state : object
            The last state.
        """
        ys, state = unroll(self.cell, xs, state)
        return self.output(ys), state


def _loss(logits: Tensor, batch: Batch) -> Any:
    """Return the cross entropy of independent yes-or-no outputs.

    It is the sum over symbols and the mean over real steps.
    """
    weight = (batch.real / batch.real.sum())[..., None].astype(np.float32)
    return ((softplus(logits) - logits * batch.targets) * weight).sum()


def _update(model: Reader, optimizer: Adam, batch: Batch, state: Any = None) -> Any:
    """Do one training step, and return the last state, cut off from the tape."""
    logits, state = model(batch.inputs, state)
    optimizer.zero_grad()
    _loss(logits, batch).backward()
    clip_grad_norm(optimizer.parameters, 1.0)
    optimizer.step()
    return detach(state)


# --- the tasks ------------------------------------------------------------------------------------


def _reber(run: Run, name: str, hidden_size: int, lr: float, most: int = 20_000) -> Result:
    """Train on strings that are drawn anew.

    Training ends when all of 256 test strings are right, or `most` strings are used up.
    """
    rng = np.random.default_rng(run.seed)
    model = Reader(make_cell(name, len(REBER), hidden_size, rng=rng), len(REBER), rng=rng)
    long_memory(model.cell, 20, rng=rng)
    optimizer = Adam(model.parameters(), lr)
    test, further = (
        together([reber_string(rng) for _ in range(n)], REBER, train_on="next") for n in (256, 1000)
    )
    strings = steps = 0
    right = 0.0
    while (
        right < 1
        and strings < most
        and run.go_on(f"{right:.3f} of the test strings right after {strings}")
    ):
        for _ in range(25):
            batch = together([reber_string(rng) for _ in range(8)], REBER, train_on="next")
            _update(model, optimizer, batch)
            strings, steps = strings + 8, steps + int(batch.real.sum())
        right = _share(model, test)
    seconds = run.seconds
    return Result(
        right,
        right == 1,
        strings,
        steps,
        seconds,
        f"{_share(model, further):.3f} of 1000 further strings right",
    )


def _share(model: Reader, batch: Batch) -> float:
    """Return the share of strings that are right at every step."""
    with no_grad():
        logits, _ = model(batch.inputs)
    return float((most_active(logits.numpy(), batch.legal) | ~batch.real).all(0).mean())


def _continual(
    run: Run,
    name: str,
    hidden_size: int,
    lr: float,
    windows: int = 2500,
    beside: int = 8,
    window: int = 40,
) -> Result:
    """Train on `beside` endless streams, `window` steps at a time with the state carried over.

    Then test on other streams, without resets.
    """
    rng = np.random.default_rng(run.seed)
    model = Reader(make_cell(name, len(REBER), hidden_size, rng=rng), len(REBER), rng=rng)
    long_memory(model.cell, 20, rng=rng)
    optimizer = Adam(model.parameters(), lr)
    streams = [reber_stream(rng, windows * window + 1) for _ in range(beside)]
    whole = together([(symbols, legal) for symbols, legal, _ in streams], REBER, train_on="next")
    state, k = None, 0
    while k < windows and run.go_on(f"window {k} of {windows}"):
        state = _update(
            model, optimizer, Batch(*[part[k * window : (k + 1) * window] for part in whole]), state
        )
        optimizer.lr = lr * (1 - k / windows)
        k += 1
    seconds, strings = (
        run.seconds,
        sum(start < k * window for _, _, starts in streams for start in starts),
    )
    right, norm = _continual_share(model, [reber_stream(rng, 4000) for _ in range(32)])
    return Result(
        right,
        right > 0.95,
        strings,
        k * window * beside,
        seconds,
        f"norm of the cell state at the end {norm:.0f}",
    )


def _continual_share(
    model: Reader, streams: Sequence[tuple[str, list[str], list[int]]]
) -> tuple[float, float]:
    """Test on streams.

    Returns
    -------
    right : float
        The share of the strings that are right at every step.
    norm : float
        The norm of the state at the ends of the streams.
    """
    test = together([(symbols, legal) for symbols, legal, _ in streams], REBER, train_on="legal")
    with no_grad():
        logits, state = model(test.inputs)
    steps = most_active(logits.numpy(), test.legal)
    right = np.concatenate(
        [strings_right(steps[:, b], starts) for b, (_, _, starts) in enumerate(streams)]
    )
    memory = leaves(state)[-1].numpy()  # of an LSTM the cell state c
    return float(right.mean()), float(np.linalg.norm(memory, axis=-1).mean())


def _count(
    run: Run,
    name: str,
    letters: str,
    goal: int,
    updates: int = 1500,
    check: int = 50,
    networks: int = NETWORKS,
) -> Result:
    """Train on n = 1 to 10, all at once, until a network is right up to n = `goal`.

    A new network is made after every `updates` updates, up to `networks`.
    """
    rng = np.random.default_rng(run.seed)
    alphabet = f"S{letters}T"
    batch = together([counting(letters, n) for n in range(1, 11)], alphabet, train_on="legal")
    reached: list[int] = []  # by each network, at best
    kept: tuple[int, Any, dict[str, Array]] | None = None
    total = 0
    while (kept is None or kept[0] < goal) and len(reached) < networks and run.go_on():
        model = Reader(make_cell(name, len(alphabet), 8, rng=rng), len(alphabet), rng=rng)
        _remember(model.cell)
        optimizer = Adam(model.parameters(), 0.05)
        reached.append(0)
        for k in range(1, updates + 1):
            _update(model, optimizer, batch)
            total += 1
            if k % check == 0:
                reach = largest(model, letters, goal)
                reached[-1] = max(reached[-1], reach)
                if kept is None or reach > kept[0]:
                    kept = reach, model, model.state_dict()
                if reach >= goal or not run.go_on(
                    f"network {len(reached)}, update {k}, right up to n = {max(reached)}"
                ):
                    break
    seconds = run.seconds
    if kept is None:
        return Result(0.0, False, 10 * total, total * int(batch.real.sum()), seconds, "no network")
    reach, model, weights = kept
    model.load_state_dict(weights)
    reach = largest(model, letters)
    note = f"network {len(reached)}; the first reached n = {reached[0]}"
    return Result(
        float(reach), reach >= goal, 10 * total, total * int(batch.real.sum()), seconds, note
    )


def _remember(cell: Any) -> None:
    """Start the forget gates of an LSTM all but open, with a bias of 10.

    To count is to forget nothing. Other cells stay as they are.
    """
    bias = {LSTM: "bias_ih", PeepholeLSTM: "b"}.get(type(cell))
    if bias:
        parameter = getattr(cell, bias)
        parameter.data = forget_bias(parameter.numpy(), cell.hidden_size, 10.0)


def largest(model: Callable[..., Any], letters: str, cap: int = 1000, block: int = 50) -> int:
    """Return the largest n such that a model accepts the strings of 1, 2, ..., n at every step.

    It is 0 if not even that of 1 is accepted, and at most `cap`.
    """
    for first in range(1, cap + 1, block):
        ns = range(first, min(first + block, cap + 1))
        batch = together([counting(letters, n) for n in ns], f"S{letters}T", train_on="legal")
        with no_grad():
            logits, _ = model(batch.inputs)
        right = (accepted(logits.numpy(), batch.legal) | ~batch.real).all(0)
        if not right.all():
            return first - 1 + int(np.argmin(right))
    return cap


def _counters(letters: str, goal: int, cell: str | None) -> list[Arm]:
    """Return the arms of a counting task."""
    names = (cell, "GRU") if cell else ("PeepholeLSTM", "LSTM", "LSTM1997", "GRU")
    return [Arm(name, partial(_count, name=name, letters=letters, goal=goal)) for name in names]


# Published figures by the cell that they are of, with what they were measured on.
_REBER = {
    "LSTM1997": "8,440 strings at best (3 blocks of 2 cells), of fixed sets of 256",
    "Elman": "0 % of the networks, in more than 200,000 strings",
}
_CONTINUAL = {
    "LSTM": "18 % of the networks perfect, 62 % with a decaying rate (a million symbols without an error)",
    "LSTM1997": "fails",
}

TASKS = [
    Task(
        "reber",
        "Embedded Reber grammar",
        "Strings B (T or P) Reber string (the same T or P) E over seven symbols, read one by one; training shows the symbol that came "
        "next. A test string is right if at each of its steps every symbol that may come next is more active than every other. "
        "Solved: all of 256 test strings are right; training goes on until then, or to 20,000 strings. The networks have 48 units. Those of the "
        "paper are small (of its five rows for LSTM, with 3 blocks of 2 cells or 4 of one, the figures go from 8,440 to 39,740 strings), learn string by "
        "string from a fixed set of 256, and have to be right on another such set.",
        "S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9 (1997), experiment 1",
        "share of 256 test strings that are right at every step",
        lambda cell: [
            Arm(
                name,
                partial(_reber, name=name, hidden_size=48, lr=0.003 if name == "Elman" else 0.015),
                _REBER.get(name, ""),
            )
            for name in dict.fromkeys([*([cell] if cell else ["LSTM", "LSTM1997"]), "Elman"])
        ],
        seeds=5,
        budget=60.0,
        decimals=3,
    ),
    Task(
        "continual-reber",
        "Continual embedded Reber grammar",
        "Embedded Reber strings one after the other without an end; the state is never reset, in training nor in the test. Truncated BPTT "
        "over 40 steps with the state carried over. The test is 32 streams of 4000 symbols each, about 11,000 strings; a string is right if at each "
        "of its steps every symbol that may come next is more active than every other. Solved: more than 95 % of them. The paper's criterion is "
        "another: a network is perfect if it predicts a stream of a million symbols without an error.",
        "F. A. Gers, J. Schmidhuber and F. Cummins, Learning to Forget: Continual Prediction with LSTM, Neural Computation 12 (2000)",
        "share of the strings of a stream without resets that are right at every step",
        lambda cell: [
            Arm(
                name,
                partial(_continual, name=name, hidden_size=48, lr=0.01),
                _CONTINUAL.get(name, ""),
            )
            for name in dict.fromkeys([cell or "LSTM", "LSTM1997"])
        ],
        budget=120.0,
        decimals=3,
    ),
    *[
        Task(
            name,
            f"Counting: {title}",
            f"Strings S {title}, read one by one; at each step the set of the symbols that may come next is to be named, T for the end. "
            "Gradients come from n = 1 to 10 only. A string is right if at every step the outputs above 1/2 are exactly that set. "
            f"Networks are trained one after the other, {NETWORKS} at most, until one is right for all n up to {goal} (the strings from 11 on choose "
            "the network; the note says how far the first came): solved. The score is tested up to 1000.",
            "F. A. Gers and J. Schmidhuber, LSTM Recurrent Networks Learn Simple Context-Free and Context-Sensitive Languages, IEEE "
            "Transactions on Neural Networks 12 (2001)",
            "the largest n up to which all strings are right",
            partial(_counters, letters, goal),
            budget=120.0,
            decimals=0,
        )
        for name, letters, title, goal in (
            ("anbn", "ab", "a^n b^n", 100),
            ("anbncn", "abc", "a^n b^n c^n", 30),
        )
    ],
]
