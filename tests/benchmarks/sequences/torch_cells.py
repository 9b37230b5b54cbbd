"""PyTorch's side.

Its own layers, and the formulas of the custom cells in a loop, the input's product taken out of it.

A cell here is two functions of its parameters p, which are named as in `tg.cells`: `inputs`, what
depends on the sequence alone, for all steps at once; and `step`, from one step of that and the
states to the new states, the first of which is the output.
"""

from typing import Any, NamedTuple

import torch
from torch.nn.functional import linear, logsigmoid

LAYERS = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "Elman": torch.nn.RNN}


class Cell(NamedTuple):
    inputs: Any
    step: Any
    states: int


def norm(z, eps=1e-5):
    return (z - z.mean(-1, keepdim=True)) / torch.sqrt(
        z.var(-1, keepdim=True, unbiased=False) + eps
    )


def layer_norm_inputs(p, xs):
    return norm(linear(xs, p["W"])) * p["alpha_2"] + (p["beta_1"] + p["beta_2"] + p["b"])


def layer_norm_step(p, a, state):
    h, c = state
    i, f, g, o = (norm(linear(h, p["U"])) * p["alpha_1"] + a).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(norm(c) * p["alpha_3"] + p["beta_3"]), c


def plain_inputs(p, xs):
    return linear(xs, p["W"], p["b"])


def peephole_step(p, a, state):
    h, c = state
    i, f, g, o = (a + linear(h, p["U"])).chunk(4, -1)
    p_i, p_f, p_o = p["p"].chunk(3)
    c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
    return torch.sigmoid(o + p_o * c) * torch.tanh(c), c


def mgu_step(p, a, state):
    (h,) = state
    a_f, a_h = a.chunk(2, -1)
    f = torch.sigmoid(a_f + linear(h, p["U_f"]))
    n = torch.tanh(a_h + linear(f * h, p["U_h"]))
    return (h + f * (n - h),)


def slstm_step(p, a, state):
    h, c, n, m = state
    i, f, z, o = (a + linear(h, p["U"])).chunk(4, -1)
    log_f = logsigmoid(f) + m
    m = torch.maximum(log_f, i)
    i, f = torch.exp(i - m), torch.exp(log_f - m)
    c, n = f * c + i * torch.tanh(z), f * n + i
    return torch.sigmoid(o) * c / n, c, n, m


def nas_inputs(p, xs):
    return linear(xs, p["W"])


def nas_step(p, a, state):
    h, c = state
    a1, a2, a3, a4, a5, a6, a7, a8 = a.chunk(8, -1)
    b1, b2, b3, b4, b5, b6, b7, b8 = linear(h, p["U"], p["b"]).chunk(8, -1)
    l1 = torch.tanh(c + torch.tanh(torch.sigmoid(a1 + b1) * torch.relu(a2 + b2)))
    l2 = torch.tanh(torch.sigmoid(a3 + b3) + torch.relu(a4 * b4))
    l3 = torch.tanh(torch.tanh(a5 + b5) * torch.sigmoid(a6 + b6))
    l4 = torch.sigmoid(torch.tanh(a7 + b7) + torch.sigmoid(a8 + b8))
    c = l1 * l2
    return torch.tanh(c * torch.tanh(l3 + l4)), c


def cornn_inputs(p, xs):
    return linear(xs, p["V"], p["b"])


def cornn_step(p, a, state, dt=0.042, gamma=2.7, epsilon=4.7):
    y, z = state
    force = torch.tanh(a + linear(y, p["W"]) + linear(z, p["W_z"]))
    z = z + dt * (force - gamma * y - epsilon * z)
    return y + dt * z, z


CELLS = {
    "LayerNormLSTM": Cell(layer_norm_inputs, layer_norm_step, 2),
    "PeepholeLSTM": Cell(plain_inputs, peephole_step, 2),
    "MGU": Cell(plain_inputs, mgu_step, 1),
    "SLSTM": Cell(plain_inputs, slstm_step, 4),
    "NAS": Cell(nas_inputs, nas_step, 2),
    "CoRNN": Cell(cornn_inputs, cornn_step, 2),
}
use_threads = torch.set_num_threads


def training(kind, problem):
    """A training step, which returns the outputs, and the same step with its outputs and gradients as arrays."""
    size, xs = problem.size, torch.from_numpy(problem.xs)
    if kind == "layer":
        layer = LAYERS[problem.cell](size.inputs, size.units)
        p = {name.removesuffix("_l0"): w for name, w in layer.named_parameters()}
        with torch.no_grad():
            for name, w in p.items():
                w.copy_(torch.from_numpy(problem.weights[name]))

        def forward():
            return layer(xs)[0]
    else:
        cell = CELLS[problem.cell]
        p = {name: torch.tensor(w, requires_grad=True) for name, w in problem.weights.items()}

        def forward():
            state, ys = (torch.zeros(size.batch, size.units),) * cell.states, []
            for a in cell.inputs(p, xs).unbind():
                state = cell.step(p, a, state)
                ys.append(state[0])
            return torch.stack(ys)

    def step():
        for w in p.values():
            w.grad = None
        ys = forward()
        (ys * ys).mean().backward()
        return ys

    def read():
        ys = step().detach().numpy()
        return {"the outputs": ys} | {
            f"the gradient of {name}": w.grad.numpy() for name, w in p.items()
        }

    return step, read
