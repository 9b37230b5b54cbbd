"""Operations of one's own.

A scalar expression, a surrogate derivative, and a function compiled with numba.
"""

import numba
import numpy as np

import tinygrad_rnn as tg


@tg.elementwise
def swish(x):
    """One node on the tape, one loop in a kernel, differentiable to any order."""
    return x / (1 + tg.exp(-x))


@tg.custom_vjp
def spike(x):
    """A step: its true derivative is 0, so a surrogate is stated instead."""
    return x > 0


@spike.vjp
def _(g, out, x):
    return g / (1 + abs(x)) ** 2


@numba.vectorize
def cube(x):
    """A function that NumPy and numba know and the tape does not."""
    return x * x * x


tg.register_ufunc(cube, lambda g, x: g * 3.0 * x * x)


def main():
    """Show each with its gradient."""
    x = tg.tensor([-2.0, -0.5, 0.5, 2.0], requires_grad=True)
    for name, f in {"swish": swish, "spike": spike, "cube": cube}.items():
        x.grad = None
        y = f(x)
        y.sum().backward()
        print(f"{name:6} value {np.round(y.numpy(), 4)}  gradient {np.round(x.grad.numpy(), 4)}")
    second = tg.hessian(lambda x: swish(x).sum())(x)
    print("second derivatives of swish:", np.round(np.diagonal(second.numpy()), 4))
    assert tg.gradcheck(swish, x.numpy(), order=2)


if __name__ == "__main__":
    main()
