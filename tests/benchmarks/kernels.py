"""Kernels against NumPy.

Single functions on a million float32, and the pointwise part of an LSTM step.
"""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.core.trace import Program
from tinygrad_rnn.loops.elementwise import ElementwiseKernel as Chain

from .timing import interleaved, table

SIZE = 1_000_000


def lstm_update(i, f, g, o, c):
    """The pointwise part of an LSTM step, from pre-activations to the new state."""
    c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
    return tg.sigmoid(o) * tg.tanh(c), c


def lstm_chains():
    """The forward chain, and the backward chain by the ordinary rules.

    From c, what the forward saved, dh and dc to five gradients.
    """
    forward = tg.trace(lstm_update, *[tg.Spec(())] * 5)
    i, f, g, o, c = forward.inputs
    saved = [next(n for n in forward.nodes if n.inputs[0] is source) for source in (i, f, g, o)]
    tanh_c = next(n for n in forward.nodes if n.op == "tanh" and n.inputs[0] is not g)
    back = forward.backward()
    return Chain(forward), Chain(Program([c, *saved, tanh_c, *back.inputs[-2:]], back.outputs))


def numpy_forward(i, f, g, o, c):
    i, f, g, o = 1 / (1 + np.exp(-i)), 1 / (1 + np.exp(-f)), np.tanh(g), 1 / (1 + np.exp(-o))
    c = f * c + i * g
    return o * np.tanh(c), c


def numpy_backward(c, i, f, g, o, t, dh, dc):
    dc = dc + dh * o * (1 - t * t)
    return (
        dc * g * i * (1 - i),
        dc * c * f * (1 - f),
        dc * i * (1 - g * g),
        dh * t * o * (1 - o),
        dc * f,
    )


def ulp(found, exact):
    spacing = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    return float(np.max(np.abs(found.astype(np.float64) - exact) / spacing))


def main():
    rng = np.random.default_rng(0)
    x = (3 * rng.standard_normal(SIZE)).astype(np.float32)
    positive = np.abs(x) + np.float32(1e-3)
    references = {
        "tanh": (x, np.tanh, lambda a: np.tanh(a)),
        "sigmoid": (
            x,
            lambda a, out: np.divide(1, 1 + np.exp(-a), out=out),
            lambda a: 1 / (1 + np.exp(-a)),
        ),
        "exp": (x, np.exp, lambda a: np.exp(a)),
        "log": (positive, np.log, lambda a: np.log(a)),
    }
    rows = [
        (
            "1,000,000 float32",
            "NumPy us",
            "1 thread us",
            "of NumPy",
            "2 threads us",
            "of NumPy",
            "max ulp",
        )
    ]
    for name, (data, peer, exact) in references.items():
        chain = Chain(tg.trace(getattr(tg, name), tg.Spec(())))
        out, other = np.empty_like(data), np.empty_like(data)
        times = interleaved(
            {
                "numpy": lambda peer=peer, data=data, other=other: peer(data, out=other),
                "one": lambda chain=chain, data=data, out=out: chain.run(
                    data, out=[out], threads=1
                ),
                "two": lambda chain=chain, data=data, out=out: chain.run(
                    data, out=[out], threads=2
                ),
            },
            rounds=101,
        )
        error = ulp(chain.run(data, threads=1)[0], exact(data.astype(np.float64)))
        base = times["numpy"]
        rows.append((name, f"{1e6 * base:.0f}", f"{1e6 * times['one']:.0f}", f"{times['one'] / base:.2f}", f"{1e6 * times['two']:.0f}",
                     f"{times['two'] / base:.2f}", f"{error:.2f}"))  # fmt: skip
    table("kernels (sigmoid's peer is 1 / (1 + np.exp(-x)); the others' are NumPy's ufuncs)", rows)

    forward, backward = lstm_chains()
    rows = [("LSTM pointwise update", "NumPy us", "fused us", "times as fast")]
    for batch, hidden in ((32, 128), (64, 256), (64, 512)):
        gates = rng.standard_normal((4, batch, hidden)).astype(np.float32)
        c, dh, dc = (rng.standard_normal((batch, hidden)).astype(np.float32) for _ in range(3))
        i, f, o = (1 / (1 + np.exp(-gates[k])) for k in (0, 1, 3))
        g = np.tanh(gates[2])
        saved = (c, i, f, g, o, np.tanh(f * c + i * g))
        for label, chain, reference, args in (
            ("forward", forward, numpy_forward, (*gates, c)),
            ("backward", backward, numpy_backward, (*saved, dh, dc)),
        ):
            for ours, theirs in zip(chain.run(*args, threads=1), reference(*args), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)
            times = interleaved(
                {
                    "numpy": lambda r=reference, a=args: r(*a),
                    "fused": lambda k=chain, a=args: k.run(*a, threads=1),
                },
                rounds=201,
            )
            rows.append((f"{label}, {batch} x {hidden}", f"{1e6 * times['numpy']:.0f}", f"{1e6 * times['fused']:.0f}",
                         f"{times['numpy'] / times['fused']:.1f}"))  # fmt: skip
    table("fused chains, one thread", rows)

    rows = [("elements", "NumPy tanh us", "kernel us", "of NumPy")]
    chain = Chain(tg.trace(tg.tanh, tg.Spec(())))
    for n in (1_024, 2_048, 4_096, 8_192, 16_384, 65_536):
        data = x[:n].copy()
        times = interleaved(
            {"numpy": lambda d=data: np.tanh(d), "kernel": lambda d=data: chain.run(d, threads=1)},
            rounds=201,
            inner=5,
        )
        rows.append(
            (
                f"{n:,}",
                f"{1e6 * times['numpy']:.1f}",
                f"{1e6 * times['kernel']:.1f}",
                f"{times['kernel'] / times['numpy']:.2f}",
            )
        )
    table("from which size on a kernel pays (the threshold LARGE in core/primitive.py)", rows)
