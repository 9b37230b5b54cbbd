"""JAX's side: `jax.jit` of `jax.value_and_grad` of a `jax.lax.scan`, the input's product taken out of it by hand.

A cell here is two functions of its parameters p, which are named as in `tg.cells`, with matrices
transposed to (in, out), as JAX's libraries have them, so that no step of the scan transposes one:
`inputs`, what depends on the sequence alone, for all steps at once; and `step`, from one step of
that and the states to the new states, the first of which is the output.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jax.nn import log_sigmoid, relu, sigmoid


class Cell(NamedTuple):
    inputs: Any
    step: Any
    states: int


def torch_inputs(p, xs):
    return xs @ p["weight_ih"] + (p["bias_ih"] + p["bias_hh"])


def lstm_step(p, a, state):
    h, c = state
    i, f, g, o = jnp.split(a + h @ p["weight_hh"], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def gru_inputs(p, xs):
    return xs @ p["weight_ih"] + p["bias_ih"]


def gru_step(p, a, state):
    (h,) = state
    a_r, a_z, a_n = jnp.split(a, 3, axis=-1)
    h_r, h_z, h_n = jnp.split(h @ p["weight_hh"] + p["bias_hh"], 3, axis=-1)
    r, z = sigmoid(a_r + h_r), sigmoid(a_z + h_z)
    n = jnp.tanh(a_n + r * h_n)
    return (n + z * (h - n),)


def elman_step(p, a, state):
    (h,) = state
    return (jnp.tanh(a + h @ p["weight_hh"]),)


def norm(z, eps=1e-5):
    return (z - jnp.mean(z, -1, keepdims=True)) / jnp.sqrt(jnp.var(z, -1, keepdims=True) + eps)


def layer_norm_inputs(p, xs):
    return norm(xs @ p["W"]) * p["alpha_2"] + (p["beta_1"] + p["beta_2"] + p["b"])


def layer_norm_step(p, a, state):
    h, c = state
    i, f, g, o = jnp.split(norm(h @ p["U"]) * p["alpha_1"] + a, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(norm(c) * p["alpha_3"] + p["beta_3"]), c


def plain_inputs(p, xs):
    return xs @ p["W"] + p["b"]


def peephole_step(p, a, state):
    h, c = state
    i, f, g, o = jnp.split(a + h @ p["U"], 4, axis=-1)
    p_i, p_f, p_o = jnp.split(p["p"], 3)
    c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * jnp.tanh(g)
    return sigmoid(o + p_o * c) * jnp.tanh(c), c


def mgu_step(p, a, state):
    (h,) = state
    a_f, a_h = jnp.split(a, 2, axis=-1)
    f = sigmoid(a_f + h @ p["U_f"])
    n = jnp.tanh(a_h + (f * h) @ p["U_h"])
    return (h + f * (n - h),)


def slstm_step(p, a, state):
    h, c, n, m = state
    i, f, z, o = jnp.split(a + h @ p["U"], 4, axis=-1)
    log_f = log_sigmoid(f) + m
    m = jnp.maximum(log_f, i)
    i, f = jnp.exp(i - m), jnp.exp(log_f - m)
    c, n = f * c + i * jnp.tanh(z), f * n + i
    return sigmoid(o) * c / n, c, n, m


def nas_inputs(p, xs):
    return xs @ p["W"]


def nas_step(p, a, state):
    h, c = state
    a1, a2, a3, a4, a5, a6, a7, a8 = jnp.split(a, 8, axis=-1)
    b1, b2, b3, b4, b5, b6, b7, b8 = jnp.split(h @ p["U"] + p["b"], 8, axis=-1)
    l1 = jnp.tanh(c + jnp.tanh(sigmoid(a1 + b1) * relu(a2 + b2)))
    l2 = jnp.tanh(sigmoid(a3 + b3) + relu(a4 * b4))
    l3 = jnp.tanh(jnp.tanh(a5 + b5) * sigmoid(a6 + b6))
    l4 = sigmoid(jnp.tanh(a7 + b7) + sigmoid(a8 + b8))
    c = l1 * l2
    return jnp.tanh(c * jnp.tanh(l3 + l4)), c


def cornn_inputs(p, xs):
    return xs @ p["V"] + p["b"]


def cornn_step(p, a, state, dt=0.042, gamma=2.7, epsilon=4.7):
    y, z = state
    force = jnp.tanh(a + y @ p["W"] + z @ p["W_z"])
    z = z + dt * (force - gamma * y - epsilon * z)
    return y + dt * z, z


CELLS = {
    "LSTM": Cell(torch_inputs, lstm_step, 2),
    "GRU": Cell(gru_inputs, gru_step, 1),
    "Elman": Cell(torch_inputs, elman_step, 1),
    "LayerNormLSTM": Cell(layer_norm_inputs, layer_norm_step, 2),
    "PeepholeLSTM": Cell(plain_inputs, peephole_step, 2),
    "MGU": Cell(plain_inputs, mgu_step, 1),
    "SLSTM": Cell(plain_inputs, slstm_step, 4),
    "NAS": Cell(nas_inputs, nas_step, 2),
    "CoRNN": Cell(cornn_inputs, cornn_step, 2),
}


def use_threads(count):
    """Nothing to set.

    JAX starts as many threads as its process may use cores, when it is imported.
    """


def training(kind, problem):
    """A training step, which returns the outputs, and the same step with its outputs and gradients as arrays."""
    cell, size, xs = CELLS[problem.cell], problem.size, jnp.asarray(problem.xs)
    p = {name: jnp.asarray(w.T) for name, w in problem.weights.items()}

    @jax.jit
    def train(p, xs):
        def loss(p):
            def one(state, a):
                state = cell.step(p, a, state)
                return state, state[0]

            state = (jnp.zeros((size.batch, size.units), jnp.float32),) * cell.states
            _, ys = jax.lax.scan(one, state, cell.inputs(p, xs))
            return jnp.mean(ys * ys), ys

        return jax.value_and_grad(loss, has_aux=True)(p)

    def step():
        return jax.block_until_ready(train(p, xs))

    def read():
        (_, ys), gradients = step()
        found = {"the outputs": ys} | {
            f"the gradient of {name}": g.T for name, g in gradients.items()
        }
        return {name: np.asarray(a) for name, a in found.items()}

    return step, read
