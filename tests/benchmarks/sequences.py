"""A training step of compiled cells: forward, and backward to all weights, of the mean square of all outputs; float32, one thread."""

import numpy as np

import tinygrad_rnn as tg

from .timing import interleaved, optional, table

SIZES = {  # steps, batch, inputs, units, rounds
    "tiny": (64, 1, 16, 32, 60),
    "small": (100, 32, 64, 64, 20),
    "long": (1000, 16, 32, 64, 7),
    "medium": (100, 32, 128, 256, 7),
    "large": (64, 64, 512, 512, 3),
}
BUILT_IN = {"LSTM": "LSTM", "GRU": "GRU", "Elman": "RNN"}  # what the peer calls them
CUSTOM = ("PeepholeLSTM", "MGU", "SLSTM", "NAS", "CoRNN")
EAGER = ("tiny", "small", "long")  # where the steps one by one are timed too


def ours(cell, x):
    def run():
        cell.zero_grad()
        ys, _ = tg.unroll(cell, x)
        (ys * ys).mean().backward()

    return run


def torch_layer(torch, name, xs, hidden):
    layer, x = getattr(torch.nn, name)(xs.shape[-1], hidden), torch.from_numpy(xs)

    def run():
        layer.zero_grad()
        ys, _ = layer(x)
        (ys * ys).mean().backward()

    return run


def main():
    torch = optional("torch")
    if torch is not None:
        torch.set_num_threads(1)
    tg.set_num_threads(1)
    rows = [("", "tg.jit, ms", "plain / tg.jit", *(["torch / tg.jit"] if torch else []))]
    for name in (*BUILT_IN, *CUSTOM):
        for size, (T, batch, inputs, hidden, rounds) in SIZES.items():
            if name in CUSTOM and size not in EAGER:
                continue
            xs = np.random.default_rng(0).standard_normal((T, batch, inputs), dtype=np.float32)
            cell, x = getattr(tg.cells, name)(inputs, hidden, rng=0), tg.tensor(xs)
            contenders = {"jit": ours(tg.jit(cell), x)}
            if torch is not None and name in BUILT_IN:
                contenders["torch"] = torch_layer(torch, BUILT_IN[name], xs, hidden)
            if size in EAGER:
                contenders["plain"] = ours(cell, x)
            found = interleaved(contenders, rounds=rounds)
            ratios = {peer: f"{t / found['jit']:.2f}" for peer, t in found.items()}
            shown = [ratios.get("plain", ""), *([ratios.get("torch", "")] if torch else [])]
            rows.append((f"{name}, {size}", f"{found['jit'] * 1e3:.2f}", *shown))
    table("training step of a sequence", rows)
