"""With lengths a state may come through where the plain run has no gradient of it at all."""

from tests.fuzz._program import Input, check, np, op, tg

inputs = {
    "x0": Input(np.array([[[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]), grad=False),
    "s0": Input(np.array([[0.0, 1.0]]), role="state"),
}


def f(x, s):
    (x0,) = x
    return (x0,), (x0,)


check(f, inputs, options={"lengths": np.array([1, 2])})
