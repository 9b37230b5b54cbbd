"""Published cells: with numbers of 100 to 10,000 as inputs and weights everything stays finite.

Under random wrappers compiled is plain.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tests.cell_checks import CASES, Case
from tests.interpreted import interpreting
from tinygrad_rnn.core.tree import leaves

nn = tg.nn
T, BATCH = 4, 3
ROUNDING = 1e-15  # of a few additions in float64

# Parameters that are logarithms of what the cell works with: e to the power of 100 is no float32,
# so they keep their own first values.
LOGARITHMS = {("LRU", "nu_log"), ("LRU", "theta_log"), ("LRU", "gamma_log")}


def extreme(case: Case, seed: int, *, compiled: bool | None = None) -> None:
    """Large weights, large inputs or both, in float32: outputs, states and gradients are finite.

    `compiled`: None, plain steps only.
    """
    rng = np.random.default_rng(seed)
    cell = case.cell(*case.sizes, **case.options, rng=rng, dtype=np.float32)
    large, scale = 10 ** rng.uniform(2, 4, 2)
    which = rng.choice(["weights", "inputs", "both"])
    for name, p in cell.named_parameters():
        if which != "inputs" and (case.cell.__name__, name) not in LOGARITHMS:
            values = (
                large
                * rng.uniform(0.5, 1, size=p.shape)
                * (1 if name in case.positive else rng.choice([-1, 1], size=p.shape))
            )
            p.data = values.astype(np.float32)
    drawn = case.inputs(rng)
    parts = [
        (scale if which != "weights" else 1) * x
        for x in (drawn if isinstance(drawn, tuple) else (drawn,))
    ]
    for way in (False, True) if compiled is not None else (False,):
        xs = [tg.tensor(x.astype(np.float32), requires_grad=True) for x in parts]
        with np.errstate(all="ignore"), _running(way, compiled):
            ys, state = tg.unroll(
                tg.jit(cell) if way else cell, tuple(xs) if isinstance(drawn, tuple) else xs[0]
            )
            ys.sum().backward()
        found = {"output": ys, **{f"state {k}": s for k, s in enumerate(leaves(state))}}
        found |= {
            f"gradient by {n}": p.grad for n, p in cell.named_parameters() if p.grad is not None
        }
        found |= {f"gradient by x{k}": x.grad for k, x in enumerate(xs) if x.grad is not None}
        wrong = [name for name, t in found.items() if not np.isfinite(t.numpy()).all()]
        if wrong:
            how = "compiled" if way else "plain"
            raise AssertionError(
                f"{case}, seed {seed}, {how}, large {which} (weights {large:.0f}, inputs {scale:.0f}): not finite: {wrong}"
            )
        cell.zero_grad()


def wrapped(rng: np.random.Generator, case: Case) -> tuple[str, Any]:
    """A cell in one to three random wrappers, as text and as a function that makes it."""
    seed = int(rng.integers(1000))
    layers: list[tuple[str, Any]] = []
    for _ in range(rng.integers(1, 4)):
        p, q = rng.uniform(0.1, 0.6, 2).round(2)
        layers.append(
            [
                (f"Zoneout({p})", lambda c, p=p: nn.Zoneout(c, p, rng=seed)),
                (f"Zoneout({p}).eval()", lambda c, p=p: nn.Zoneout(c, p, rng=seed).eval()),
                (
                    f"VariationalDropout(state={p})",
                    lambda c, p=p: nn.VariationalDropout(c, state=p, rng=seed),
                ),
                (
                    f"VariationalDropout(input={p}, output={q})",
                    lambda c, p=p, q=q: nn.VariationalDropout(c, input=p, output=q, rng=seed),
                ),
                ("RecurrentLayerNorm", nn.RecurrentLayerNorm),
                (
                    "RecurrentBatchNorm(2, gain=0.7)",
                    lambda c: nn.RecurrentBatchNorm(c, 2, gain=0.7),
                ),
                # of two roundings of a normalised number one may be a spike
            ][rng.integers(6 if case.smooth else 4)]
        )

    def make() -> Any:
        cell = case.make()
        for _, wrap in layers:
            cell = wrap(cell)
        return cell

    return " of ".join([*(text for text, _ in reversed(layers)), str(case), f"rng={seed}"]), make


def agree(seed: int, rng: np.random.Generator, case: Case, compiled: bool) -> str:
    """A cell in random wrappers.

    Outputs, last state and gradients of compiled sequences are those of plain steps.
    """
    text, make = wrapped(rng, case)
    how: dict[str, Any] = {}
    if rng.random() < 0.5:
        how["lengths"] = rng.integers(1, T + 1, BATCH)
    if rng.random() < 0.3:
        how["resets"] = rng.random((T, BATCH)) < 0.3
    if rng.random() < 0.3:
        how["reverse"] = True
    drawn = [case.inputs(rng) for _ in range(2 * T * BATCH)]  # of T and BATCH of their own
    parts = [np.concatenate([np.concatenate([d[k] if isinstance(d, tuple) else d for d in drawn[i::2]], 1)[:, :BATCH] for i in range(2)])[:T]
             for k in range(len(drawn[0]) if isinstance(drawn[0], tuple) else 1)]  # fmt: skip

    def run(way: bool, moved: float = 0.0) -> Any:
        """The error, or what was found; with `moved` inputs and parameters are a little larger."""
        xs = [tg.tensor(x * (1 + moved), requires_grad=True) for x in parts]
        try:
            cell = make()
            for p in cell.parameters():
                p.data = p.numpy() * (1 + moved)
            with np.errstate(all="ignore"), _running(way, compiled):
                ys, state = tg.unroll(
                    tg.jit(cell) if way else cell,
                    tuple(xs) if isinstance(drawn[0], tuple) else xs[0],
                    **how,
                )
                total = sum(
                    (
                        (y * np.cos(np.arange(y.numpy().size)).reshape(y.shape)).sum()
                        for y in (ys, *leaves(state))
                    ),
                    tg.tensor(0.0, dtype=np.float64),
                )
                total.backward()
        except tg.TinygradError as error:
            return type(error), {}
        found = {
            "output": ys.numpy(),
            **{f"state {k}": s.numpy() for k, s in enumerate(leaves(state))},
        }
        found |= {
            f"gradient by x{k}": x.grad.numpy() for k, x in enumerate(xs) if x.grad is not None
        }
        found |= {
            f"gradient by {n}": p.grad.numpy()
            for n, p in cell.named_parameters()
            if p.grad is not None
        }
        return None, found | {n: b.numpy() for n, b in cell.named_buffers()}

    (error, plain), (other_error, fast) = run(False), run(True)
    if error or other_error:
        assert error is other_error, (
            f"seed {seed}: {text}, {how}: plain {error}, compiled {other_error}"
        )
        return "refused"
    assert set(plain) == set(fast), f"seed {seed}: {text}, {how}: {set(plain) ^ set(fast)}"
    largest = max(
        np.abs(value).max(initial=0) for name, value in plain.items() if value.dtype.kind == "f"
    )
    for name, value in plain.items():
        scale, worst = np.abs(value).max(initial=0), np.abs(fast[name] - value).max(initial=0)
        if worst > 1e-7 * scale + ROUNDING * largest:
            # A sum of large terms that is 0 (a shift before a normalisation, which divides by 0.003
            # where all is 0) consists of their rounding. How large that is, plain steps show
            # themselves, with inputs and parameters that differ in the last digits.
            noise = max(
                np.abs(run(False, k * ROUNDING)[1][name] - value).max(initial=0)
                for k in (-3, -2, -1, 1, 2, 3)
            )
            assert worst < 10 * noise, (
                f"seed {seed}: {text}, {how}: {name} differs by {worst:.1e} of {scale:.1e}, plain steps by {noise:.1e}"
            )
    return "equal"


@contextlib.contextmanager
def _running(way: bool, compiled: bool | None) -> Any:
    with (
        interpreting() if way and not compiled else contextlib.nullcontext(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def case(seed: int, *, compiled: bool) -> str:
    """One case: of every fourth seed extreme numbers, else random wrappers."""
    rng = np.random.default_rng(seed)
    chosen = CASES[int(rng.integers(len(CASES)))]
    if seed % 4 == 0:
        extreme(chosen, seed, compiled=compiled)
        return "finite"
    return agree(seed, rng, chosen, compiled)
