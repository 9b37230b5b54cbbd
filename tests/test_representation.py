"""One recorded step is a program.

Traced, differentiated by the ordinary rules, evaluated with NumPy alone over time.
"""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tape import Leaf, Node
from tinygrad_rnn.core.trace import Program

T, BATCH, INPUT, HIDDEN = 5, 3, 2, 4


class LayerNormCell(tg.Cell):
    """h' = tanh(gain * (a - mean(a)) / sqrt(var(a) + 1e-5) + bias) with a = x W + h U."""

    def __init__(self, input_size, hidden_size, *, rng=None, dtype=np.float32):
        rng = tg.init.generator(rng)
        self.hidden_size = hidden_size
        self.W = tg.Parameter(
            tg.init.xavier_uniform((input_size, hidden_size), rng=rng, dtype=dtype)
        )
        self.U = tg.Parameter(tg.init.orthogonal((hidden_size, hidden_size), rng=rng, dtype=dtype))
        self.gain = tg.Parameter(rng.uniform(0.5, 1.5, hidden_size).astype(dtype))
        self.bias = tg.Parameter(rng.normal(size=hidden_size).astype(dtype))

    def forward(self, x, h):
        a = x @ self.W + h @ self.U
        a = (a - a.mean(-1, True)) / tg.sqrt(tg.var(a, -1, keepdims=True) + 1e-5)
        h = tg.tanh(self.gain * a + self.bias)
        return h, h


CELLS = [tg.cells.LSTM, tg.cells.GRU, LayerNormCell]


def randomised(kind, rng):
    """The cell in float64 with every parameter random (no zeros that could hide a term)."""
    cell = kind(INPUT, HIDDEN, rng=rng, dtype=np.float64)
    for p in cell.parameters():
        p.data = rng.normal(size=p.shape) * 0.5
    return cell


def numpy_run(program, values):
    """Evaluate a node list in a plain loop with the primitives' NumPy functions.

    No tensors, no engine.
    """
    known = dict(values)
    for node in program.nodes:
        arguments = [known[n] if isinstance(n, Node) else n for n in node.inputs]
        known[node] = node.primitive.forward(*arguments, **node.params)
    return known


def value(known, output, like):
    return np.zeros(like.shape) if output is None else np.asarray(known[output])


def step_programs(cell, rng):
    """The forward list of one step and its backward list.

    From (values read, dy, dstate') to (dx, dstate, dparameters).
    """
    state = cell.initial_state(BATCH)
    x = tg.Spec((BATCH, INPUT), np.float64)
    forward = tg.trace(cell, x, state)
    parameters = [p.node for p in cell.parameters()]
    assert set(parameters) == set(forward.constants), (
        "the parameters are the only constants of the step"
    )
    backward = forward.backward([*forward.inputs, *parameters])
    return forward, backward, parameters


def first_order(cell, xs, states, weights, rng):
    """Outputs and gradients by the two lists, looped over time by hand.

    The loss is sum(weights * ys).
    """
    forward, backward, parameters = step_programs(cell, rng)
    x_in, *state_in = forward.inputs
    constants = {leaf: leaf.value for leaf in forward.constants}
    state = [s.numpy() for s in states]
    tape, ys = [], []
    for t in range(T):
        known = numpy_run(
            forward, {x_in: xs[t], **dict(zip(state_in, state, strict=True)), **constants}
        )
        y, *state = [known[o] for o in forward.outputs]
        ys.append(y)
        tape.append(known)
    gradients = [np.zeros(p.shape) for p in parameters]
    carried = [np.zeros(s.shape) for s in state_in]
    dxs = [None] * T
    cotangents = backward.inputs[-len(forward.outputs) :]
    for t in reversed(range(T)):
        given = {n: tape[t][n] for n in backward.inputs[: -len(cotangents)]}
        given |= {leaf: leaf.value for leaf in backward.constants}
        given |= dict(zip(cotangents, [weights[t], *carried], strict=True))
        known = numpy_run(backward, given)
        found = [
            value(known, o, n)
            for o, n in zip(backward.outputs, [*forward.inputs, *parameters], strict=True)
        ]
        dxs[t], carried = found[0], found[1 : 1 + len(state_in)]
        gradients = [g + d for g, d in zip(gradients, found[1 + len(state_in) :], strict=True)]
    return np.stack(ys), np.stack(dxs), carried, gradients


@pytest.mark.parametrize("kind", CELLS)
def test_first_order_through_time(kind, rng):
    cell = randomised(kind, rng)
    xs, weights = rng.normal(size=(T, BATCH, INPUT)), rng.normal(size=(T, BATCH, HIDDEN))
    states = [
        tg.tensor(rng.normal(size=s.shape), requires_grad=True)
        for s in tg.core.tree.leaves(cell.initial_state(BATCH))
    ]
    ys, dxs, dstates, gradients = first_order(cell, xs, states, weights, rng)

    eager_xs = tg.tensor(xs, requires_grad=True)
    eager_ys, _ = tg.unroll(cell, eager_xs, tuple(states) if len(states) > 1 else states[0])
    (eager_ys * weights).sum().backward()
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(ys, eager_ys.numpy(), **close)
    np.testing.assert_allclose(dxs, eager_xs.grad.numpy(), **close)
    for s, d in zip(states, dstates, strict=True):
        np.testing.assert_allclose(d, s.grad.numpy(), **close)
    for p, g in zip(cell.parameters(), gradients, strict=True):
        np.testing.assert_allclose(g, p.grad.numpy(), err_msg=p.name, **close)


@pytest.mark.parametrize("kind", CELLS)
def test_second_order_of_the_unrolled_program(kind, rng):
    """The whole sequence as one node list, differentiated twice as lists.

    The gradient of sum(v * gradient).
    """
    cell = randomised(kind, rng)
    xs, weights = rng.normal(size=(T, BATCH, INPUT)), rng.normal(size=(T, BATCH, HIDDEN))
    parameters = list(cell.parameters())
    directions = [rng.normal(size=p.shape) for p in parameters]

    def loss(xs):
        ys, _ = tg.unroll(
            cell, xs, tg.core.tree.tree_map(lambda s: s + 0.1, cell.initial_state(BATCH))
        )
        return (ys * weights).sum()

    forward = tg.trace(loss, tg.Spec(xs.shape, np.float64))
    nodes = [p.node for p in parameters]
    first = forward.backward(nodes)
    # gradients straight from xs and the cotangent
    joint = Program([*forward.inputs, first.inputs[-1]], first.outputs)
    second = joint.backward(nodes)
    assert all(n.primitive is not None or isinstance(n, Leaf) for n in second.nodes)

    constants = {leaf: leaf.value for leaf in {*joint.constants, *second.constants}}
    known = numpy_run(joint, {joint.inputs[0]: xs, joint.inputs[1]: np.ones(()), **constants})
    count = len(joint.outputs)
    given = {n: known[n] for n in second.inputs[:-count]} | constants
    given |= dict(zip(second.inputs[-count:], directions, strict=True))
    listed = numpy_run(second, given)

    loss(tg.tensor(xs)).backward(create_graph=True)
    eager = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    product = sum(
        ((g * v).sum() for g, v in zip(eager, directions, strict=True)), tg.tensor(np.zeros(()))
    )
    product.backward()
    for p, o, g in zip(parameters, second.outputs, eager, strict=True):
        np.testing.assert_allclose(
            known[joint.outputs[nodes.index(p.node)]],
            g.numpy(),
            rtol=1e-12,
            atol=1e-12,
            err_msg=p.name,
        )
        np.testing.assert_allclose(
            value(listed, o, p), p.grad.numpy(), rtol=1e-12, atol=1e-11, err_msg=p.name
        )


def test_a_program_prints_as_a_table(rng):
    forward, backward, _ = step_programs(randomised(tg.cells.LSTM, rng), rng)
    assert [n.op for n in forward.nodes].count("matmul") == 2
    assert [n.op for n in backward.nodes].count("matmul") == 4
    assert "matmul" in str(forward) and str(backward).splitlines()[-1].startswith("return")


def test_a_function_that_looks_at_numbers_cannot_be_traced():
    with pytest.raises(tg.TraceError, match=r"tg\.where.*test_representation\.py"):
        tg.trace(lambda x: x if x.sum() > 0 else -x, tg.Spec((2,)))
