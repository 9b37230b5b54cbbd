"""Our side: a cell of `tg.cells` compiled with `tg.jit`, or run step by step."""

import tinygrad_rnn as tg

use_threads = tg.set_num_threads


def training(kind, problem):
    """A training step, which returns the outputs, and the same step with its outputs and gradients as arrays."""
    cell = getattr(tg.cells, problem.cell)(problem.size.inputs, problem.size.units, rng=0)
    for name, p in cell.named_parameters():
        p.data = problem.weights[name]
    unrolled, x = tg.jit(cell) if kind == "jit" else cell, tg.tensor(problem.xs)

    def step():
        cell.zero_grad()
        ys, _ = tg.unroll(unrolled, x)
        (ys * ys).mean().backward()
        return ys

    def read():
        ys = step().numpy()
        return {"the outputs": ys} | {
            f"the gradient of {name}": p.grad.numpy() for name, p in cell.named_parameters()
        }

    return step, read
