"""Our side: a training step under `tg.jit`, one of a cell that is compiled alone, or step by step."""

import tinygrad_rnn as tg

use_threads = tg.set_num_threads


def training(kind, problem):
    """A training step, which returns the outputs, and the same step with its outputs and gradients as arrays."""
    cell = getattr(tg.cells, problem.cell)(problem.size.inputs, problem.size.units, rng=0)
    for name, p in cell.named_parameters():
        p.data = problem.weights[name]
    unrolled, x = tg.jit(cell) if kind == "cell" else cell, tg.tensor(problem.xs)

    def train(x):
        cell.zero_grad()
        ys, _ = tg.unroll(unrolled, x)
        (ys * ys).mean().backward()
        return ys

    run = tg.jit(train) if kind == "jit" else train

    def step():
        return run(x)

    def read():
        ys = step().numpy()
        return {"the outputs": ys} | {
            f"the gradient of {name}": p.grad.numpy() for name, p in cell.named_parameters()
        }

    return step, read
