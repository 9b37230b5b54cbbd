"""A gradient of zeros is none in the plain run, and the numbers of the others have to be the same."""

from tests.fuzz._program import Input, check, np, op, tg

inputs = {
    "x0": Input(np.array([[[0.0], [1.0]]]), grad=False),
    "s0": Input(np.array([[0.0], [1.0]]), role="state"),
    "s1": Input(np.array([[0.5]]), role="state"),
}


def f(x, s):
    (x0,) = x
    (s0, s1) = s
    v0 = op("erfc", s1)
    return (x0,), (v0, s1)


check(f, inputs, options={"resets": np.array([[True, True]])})
