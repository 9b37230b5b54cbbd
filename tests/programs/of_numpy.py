"""Programs for HIPS autograd, JAX, MyGrad and plain NumPy: functions of arrays, and their gradients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import grad, hessian, jacobian, value_and_grad


def tanh_and_its_derivatives() -> None:
    """The hyperbolic tangent, written out, and its first six derivatives.

    Written for: autograd, examples/tanh.py. Changed: `elementwise_grad(f)` is the gradient of the
    sum; a result is a tensor.
    """

    def tanh(x: Any) -> Any:
        return (1.0 - np.exp(-2 * x)) / (1.0 + np.exp(-2 * x))

    def elementwise_grad(f: Any) -> Any:
        return grad(lambda x: np.sum(f(x)))

    x, y = np.linspace(-3, 3, 25), np.tanh(np.linspace(-3, 3, 25))
    f, slopes = tanh, []
    for _ in range(6):
        f = elementwise_grad(f)
        slopes.append(f(x).numpy())
    expected = [1 - y**2, -2 * y * (1 - y**2), (1 - y**2) * (6 * y**2 - 2)]
    for found, e in zip(slopes, expected, strict=False):
        np.testing.assert_allclose(found, e, atol=1e-10)
    assert np.isfinite(slopes[-1]).all()


def logistic_regression() -> None:
    """Logistic regression by gradient descent, on four points.

    Written for: autograd, examples/logistic_regression.py. Changed: nothing beside the import; the
    weights become tensors with the first step.
    """

    def sigmoid(x: Any) -> Any:
        return 0.5 * (np.tanh(x / 2.0) + 1)

    inputs = np.array(
        [[0.52, 1.12, 0.77], [0.88, -1.08, 0.15], [0.52, 0.06, -1.30], [0.74, -2.49, 1.39]]
    )
    targets = np.array([True, True, False, True])

    def loss(weights: Any) -> Any:
        predictions = sigmoid(np.dot(inputs, weights))
        label_probabilities = predictions * targets + (1 - predictions) * (1 - targets)
        return -np.sum(np.log(label_probabilities))

    gradient, weights = grad(loss), np.array([0.0, 0.0, 0.0])
    before = loss(weights)
    for _ in range(100):
        weights = weights - gradient(weights) * 0.1
    after = loss(weights)
    assert after.item() < 0.4 * before  # type: ignore[attr-defined]
    tg.gradcheck(loss, np.array([0.1, -0.2, 0.3]), order=2)


def square_root_by_a_fixed_point() -> None:
    """The derivative of a fixed point: the Babylonian square root, differentiated through its steps.

    Written for: autograd, examples/fixed_points.py. Changed: the loop is walked through, in place of
    a primitive of fixed points.
    """

    def newton(a: Any) -> Any:
        x, before = a, None
        while before is None or abs((x - before).item()) > 1e-12:
            x, before = 0.5 * (x + a / x), x
        return x

    np.testing.assert_allclose(newton(tg.tensor(np.float64(2.0))).item(), np.sqrt(2.0))
    np.testing.assert_allclose(grad(newton)(2.0 * np.ones(())).item(), 0.5 / np.sqrt(2.0))
    np.testing.assert_allclose(grad(grad(newton))(2.0 * np.ones(())).item(), -0.25 / 2.0**1.5)


def regression_with_a_net() -> None:
    """A net with a list of weights and biases, fitted to a cosine by Adam.

    Written for: autograd, examples/neural_net_regression.py. Changed: the norm of the parameters is
    summed over the nested list by a loop, and Adam on it is a loop too (`flatten` is not here).
    """
    rng = np.random.default_rng(0)
    x = np.concatenate([np.linspace(0, 2, 20), np.linspace(6, 8, 20)])[:, None]
    x, targets = (x - 4.0) / 4.0, np.cos(x) + 0.02 * rng.normal(size=x.shape)

    def predict(params: Any, inputs: Any) -> Any:
        for w, b in params:
            outputs = np.dot(inputs, w) + b
            inputs = np.tanh(outputs)
        return outputs

    def objective(params: Any) -> Any:
        penalty = sum(np.sum(p**2) for layer in params for p in layer)
        return np.sum((predict(params, x) - targets) ** 2) / 0.01 + penalty

    sizes = [1, 4, 4, 1]
    params: Any = [
        (rng.normal(size=(m, n)), rng.normal(size=n)) for m, n in itertools.pairwise(sizes)
    ]
    moments = [[[0.0, 0.0] for _ in layer] for layer in params]
    both = tg.jit(value_and_grad(objective))
    first = None
    for t in range(1, 401):
        value, slopes = both(params)
        first = value.item() if first is None else first
        for i, layer in enumerate(params):
            new = []
            for j, (p, g) in enumerate(zip(layer, slopes[i], strict=True)):
                m, v = moments[i][j]
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
                moments[i][j] = [m, v]
                new.append(p - 0.02 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8))
            params[i] = tuple(new)
    assert objective(params).item() < 0.2 * first  # type: ignore[operator]


def rosenbrock_by_newton() -> None:
    """The minimum of Rosenbrock's function by Newton's method.

    Written for: autograd, examples/rosenbrock.py, and JAX's documentation of hessian. Changed:
    nothing beside the import; the linear system is solved by `np.linalg.solve` as it was.
    """

    def rosenbrock(x: Any) -> Any:
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2

    x: Any = np.array([-1.2, 1.0])
    for _ in range(20):
        x = x - np.linalg.solve(hessian(rosenbrock)(x), grad(rosenbrock)(x))
    np.testing.assert_allclose(x.numpy(), [1.0, 1.0], atol=1e-8)


def derivatives_of_a_prediction() -> None:
    """A logistic model: gradients by two arguments, of a dict, Jacobians and products with a Hessian.

    Written for: JAX, the autodiff cookbook. Changed: `jacfwd` and `jacrev` are one `jacobian`;
    `hvp` is there, in place of `jvp` of `grad`.
    """
    inputs = np.array(
        [[0.52, 1.12, 0.77], [0.88, -1.08, 0.15], [0.52, 0.06, -1.30], [0.74, -2.49, 1.39]]
    )
    targets = np.array([True, True, False, True])

    def predict(w: Any, b: Any, inputs: Any) -> Any:
        return 0.5 * (tg.tanh((np.dot(inputs, w) + b) / 2) + 1)

    def loss(w: Any, b: Any) -> Any:
        p = predict(w, b, inputs)
        return -tg.sum(tg.log(p * targets + (1 - p) * (1 - targets)))

    w, b = np.array([-0.7, 0.9, 0.1]), np.array(0.3)
    by_w, by_b = grad(loss, (0, 1))(w, b)
    found = grad(lambda params: loss(params["w"], params["b"]))({"w": w, "b": b})
    np.testing.assert_allclose(found["w"].numpy(), by_w.numpy())
    np.testing.assert_allclose(found["b"].numpy(), by_b.numpy())
    rows = jacobian(lambda w: predict(w, b, inputs))(w).numpy()
    p = predict(w, b, inputs)
    np.testing.assert_allclose(rows, (p * (1 - p))[:, None] * inputs, rtol=1e-12)
    v = np.array([1.0, -2.0, 0.5])
    whole = hessian(lambda w: loss(w, b))(w).numpy()
    np.testing.assert_allclose(tg.hvp(loss, w, v, b).numpy(), whole @ v, rtol=1e-9)


def minimal_characters() -> None:
    """A recurrent net on characters, with sampled text: Karpathy's hundred lines of NumPy.

    Written for: NumPy, min-char-rnn. Changed: the hundred lines lose their backward pass; the loop
    over time is `tg.unroll` of the same step, so it compiles; Adagrad is `tg.optim.Adagrad`.
    """
    text = "hello world, hello again; " * 4
    chars = sorted(set(text))
    ids = np.array([chars.index(c) for c in text])
    rng = np.random.default_rng(0)
    hidden = 24
    p = {
        "Wxh": rng.normal(size=(len(chars), hidden)) * 0.1, "Whh": rng.normal(size=(hidden, hidden)) * 0.1,
        "Why": rng.normal(size=(hidden, len(chars))) * 0.1, "bh": np.zeros(hidden), "by": np.zeros(len(chars)),
    }  # fmt: skip
    params = {name: tg.Parameter(value.astype(np.float32)) for name, value in p.items()}

    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(tg.take(params["Wxh"], x, axis=0) + h @ params["Whh"] + params["bh"])
        return h @ params["Why"] + params["by"], h

    optimizer, losses = tg.optim.Adagrad(list(params.values()), lr=0.1), []
    cell = tg.jit(step)
    for _ in range(60):
        optimizer.zero_grad()
        logits, _ = tg.unroll(cell, ids[:-1, None], tg.zeros(1, hidden))
        loss = tg.nn.cross_entropy(logits, ids[1:, None])
        loss.backward()
        tg.clip_grad_value(params.values(), 5.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    h, here, written = tg.zeros(1, hidden), ids[:1], chars[ids[0]]
    for _ in range(11):
        y, h = step(here, h)
        here = np.argmax(y.numpy(), axis=-1)
        written += chars[here[0]]
    assert written == "hello world,"


def descent_on_a_line() -> None:
    """A straight line fitted by gradient descent.

    Written for: MyGrad, the tutorial of linear regression. Changed: `mygrad.tensor` requires
    gradients unasked; here `requires_grad=True`; values are written by `w.data`.
    """
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 5, 50)
    y = 2.5 * x - 1.0 + 0.05 * rng.normal(size=50)
    w = tg.tensor(np.zeros(2), requires_grad=True)
    for _ in range(400):
        loss = ((w[0] * x + w[1] - y) ** 2).mean()
        w.grad = None
        loss.backward()
        w.data = w.data - 0.05 * w.grad.numpy()
    np.testing.assert_allclose(w.numpy(), np.polyfit(x, y, 1), atol=1e-2)


def spectrum_of_a_filter() -> None:
    """A blurred signal is restored by gradient descent on the signal, the blur being a product of spectra.

    Written for: JAX and PyTorch, deconvolution in the Fourier domain. Changed: spectra are pairs of
    tensors, so the complex product is written out.
    """
    n = 64
    signal = np.zeros(n)
    signal[[10, 30, 31, 50]] = [1.0, 2.0, 1.5, -1.0]
    kernel = np.exp(-0.5 * (np.minimum(np.arange(n), n - np.arange(n)) / 0.8) ** 2)
    kernel /= kernel.sum()
    spectrum = np.fft.rfft(kernel)
    blurred = np.fft.irfft(np.fft.rfft(signal) * spectrum)

    def blur(x: Any) -> Any:
        z, k = np.fft.rfft(x), spectrum
        return tg.fft.irfft((z.real * k.real - z.imag * k.imag, z.real * k.imag + z.imag * k.real))

    np.testing.assert_allclose(blur(tg.tensor(signal)).numpy(), blurred, atol=1e-12)
    step = tg.jit(grad(lambda x: np.sum((blur(x) - blurred) ** 2)))
    x: Any = tg.zeros(n, dtype=np.float64)
    for _ in range(300):
        x = x - 0.5 * step(x)
    assert np.abs(x.numpy() - signal).max() < 0.35 * np.abs(blurred - signal).max()
