"""Programs of statistics and learning to learn: linear algebra, scans in log space, inner steps."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import tinygrad_rnn as tg


def gaussian_process() -> None:
    """The marginal likelihood of a Gaussian process, by its hyperparameters.

    Written for: autograd, examples/gaussian_process.py. Changed: `autograd.scipy.stats` is not here,
    so the density is written by `np.linalg.cholesky`, `solve` and the diagonal.
    """
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-3, 3, 25))[:, None]
    y = np.sin(x[:, 0]) + 0.1 * rng.normal(size=25)

    def covariance(params: Any, a: Any, b: Any) -> Any:
        scaled = (a[:, None, :] - b[None, :, :]) / np.exp(params[1])
        return np.exp(params[0]) * np.exp(-0.5 * np.sum(scaled**2, axis=2))

    def negative_log_likelihood(params: Any) -> Any:
        k = covariance(params, x, x) + np.exp(params[2]) * np.eye(len(x))
        lower = np.linalg.cholesky(k)
        white = tg.linalg.solve_triangular(lower, y, lower=True)
        return 0.5 * np.sum(white**2) + np.sum(np.log(tg.sum(lower * np.eye(len(x)), axis=0)))

    params: Any = np.array([0.0, -1.0, -1.0])
    tg.gradcheck(negative_log_likelihood, params, order=2)
    both = tg.jit(tg.value_and_grad(negative_log_likelihood))
    before = both(params)[0].item()
    for _ in range(60):
        _, slope = both(params)
        params = params - 0.02 * slope
    assert both(params)[0].item() < before - 5
    k = covariance(params, x, x) + np.exp(params[2]) * np.eye(len(x))
    grid = np.linspace(-2, 2, 9)[:, None]
    mean = np.dot(covariance(params, grid, x), np.linalg.solve(k, y))
    assert np.abs(mean.numpy() - np.sin(grid[:, 0])).max() < 0.2


def independent_components() -> None:
    """Independent components of mixed signals, by the likelihood with the determinant of W.

    Written for: autograd, examples/ica.py. Changed: nothing beside the import.
    """
    rng = np.random.default_rng(0)
    sources = rng.laplace(size=(2, 800))
    data = np.array([[1.0, 0.6], [0.4, 1.0]]) @ sources

    def loss(weights: Any) -> Any:
        found = np.dot(weights, data)
        _, volume = np.linalg.slogdet(weights)
        return np.mean(np.sum(np.sqrt(found**2 + 0.01), axis=0)) - volume

    gradient, weights = tg.jit(tg.grad(loss)), tg.tensor(np.eye(2))
    for _ in range(300):
        weights = weights - 0.1 * gradient(weights)
    mixing = np.abs(weights.numpy() @ np.array([[1.0, 0.6], [0.4, 1.0]]))
    assert (np.sort(mixing, axis=1)[:, 0] < 0.2 * mixing.max(axis=1)).all()


def mixture_of_gaussians() -> None:
    """A mixture of Gaussians fitted by gradient descent on the log-likelihood.

    Written for: autograd, examples/gmm.py. Changed: `logsumexp` is `tg.logsumexp`; the covariances
    are given by their Cholesky factors, and solved in one batch.
    """
    rng = np.random.default_rng(0)
    data = np.concatenate(
        [
            rng.normal(size=(60, 2)) * [0.3, 1.0] + [2, 0],
            rng.normal(size=(60, 2)) * [1.0, 0.3] - [2, 0],
        ]
    )

    def log_likelihood(params: Any) -> Any:
        weights = tg.log_softmax(params["proportions"])
        lower = np.tril(params["roots"])
        white = tg.linalg.solve_triangular(
            lower, np.swapaxes(data - params["means"][:, None, :], 1, 2), lower=True
        )
        volume = tg.linalg.slogdet(lower).logabsdet
        each = (
            weights[:, None] - 0.5 * np.sum(white**2, axis=1) - volume[:, None] - np.log(2 * np.pi)
        )
        return np.sum(tg.logsumexp(each, axis=0))

    params: Any = {
        "proportions": np.zeros(2),
        "means": rng.normal(size=(2, 2)),
        "roots": np.stack([np.eye(2)] * 2),
    }
    objective = tg.jit(tg.value_and_grad(lambda p: -log_likelihood(p) / len(data)))
    before = objective(params)[0].item()
    for _ in range(200):
        _, slopes = objective(params)
        params = {name: p - 0.1 * slopes[name] for name, p in params.items()}
    assert objective(params)[0].item() < before - 1.0
    assert sorted(np.sign(params["means"].numpy()[:, 0])) == [-1, 1]


def kalman_filter() -> None:
    """The log-likelihood of a linear Gaussian model by a Kalman filter, and its gradient by the model.

    Written for: NumPy and JAX, the textbook's filter. Changed: nothing beside the import; a compiled
    *step* refuses `np.linalg.solve`, a compiled *function* of the whole filter does not.
    """
    rng = np.random.default_rng(0)
    transition = np.array([[1.0, 0.3], [0.0, 0.9]])
    h, q, r = np.array([[1.0, 0.0]]), 0.05 * np.eye(2), np.array([[0.2]])
    x, seen = np.zeros(2), []
    for _ in range(30):
        x = transition @ x + rng.multivariate_normal(np.zeros(2), q)
        seen.append(h @ x + np.sqrt(r[0, 0]) * rng.normal(size=1))

    def log_likelihood(a: Any, q: Any) -> Any:
        mean, covariance, total = np.zeros(2), np.eye(2), 0.0
        for y in seen:
            mean, covariance = a @ mean, a @ covariance @ a.T + q
            innovation, spread = y - h @ mean, h @ covariance @ h.T + r
            gain = np.linalg.solve(spread, h @ covariance).T
            total = total - 0.5 * (
                innovation @ np.linalg.solve(spread, innovation)
                + np.linalg.slogdet(spread)[1]
                + np.log(2 * np.pi)
            )
            mean, covariance = mean + gain @ innovation, (np.eye(2) - gain @ h) @ covariance
        return total

    # the same by the joint density of all observations
    steps, state, joint = len(seen), np.eye(2), np.zeros((len(seen), len(seen)))
    for i in range(steps):
        state = transition @ state @ transition.T + q
        turned = state
        for j in range(i, steps):
            joint[i, j] = joint[j, i] = (h @ turned @ h.T)[0, 0]
            turned = transition @ turned
    joint += r[0, 0] * np.eye(steps)
    ys = np.concatenate(seen)
    expected = -0.5 * (
        ys @ np.linalg.solve(joint, ys) + np.linalg.slogdet(joint)[1] + steps * np.log(2 * np.pi)
    )
    np.testing.assert_allclose(
        log_likelihood(tg.tensor(transition), q).item(), expected, rtol=1e-10
    )
    tg.gradcheck(log_likelihood, transition, q)
    plain = tg.grad(log_likelihood)(transition, q).numpy()
    np.testing.assert_allclose(
        tg.jit(tg.grad(log_likelihood))(transition, q).numpy(), plain, rtol=1e-9
    )


def learning_to_learn_sinusoids() -> None:
    """Model-agnostic meta-learning on sinusoids: the gradient goes through the inner steps.

    Written for: PyTorch and JAX, Finn et al. 2017. Changed: parameters are a dict; the inner step is
    `tg.grad(loss)` of it, and the whole outer gradient is compiled.
    """
    rng = np.random.default_rng(0)
    sizes = [1, 16, 16, 1]
    params: Any = {}
    for k, (m, n) in enumerate(itertools.pairwise(sizes)):
        params[f"w{k}"] = (rng.normal(size=(m, n)) / np.sqrt(m)).astype(np.float32)
        params[f"b{k}"] = np.zeros(n, np.float32)

    def net(p: Any, x: Any) -> Any:
        for k in range(2):
            x = tg.tanh(x @ p[f"w{k}"] + p[f"b{k}"])
        return x @ p["w2"] + p["b2"]

    def loss(p: Any, x: Any, y: Any) -> Any:
        return tg.mean((net(p, x) - y) ** 2)

    def adapt(p: Any, x: Any, y: Any) -> Any:
        slopes = tg.grad(loss)(p, x, y)
        return {name: p[name] - 0.1 * slopes[name] for name in p}

    def after(p: Any, tasks: Any) -> Any:
        return sum(loss(adapt(p, x[:10], y[:10]), x[10:], y[10:]) for x, y in tasks) / len(tasks)

    def draw(count: int) -> list[Any]:
        found = []
        for _ in range(count):
            amplitude, phase = rng.uniform(0.5, 2.0), rng.uniform(0, np.pi)
            x = rng.uniform(-3, 3, (20, 1)).astype(np.float32)
            found.append((x, (amplitude * np.sin(x + phase)).astype(np.float32)))
        return found

    test = draw(20)
    before = after(params, test).item()
    outer = tg.jit(tg.grad(after))
    moments: Any = dict.fromkeys(params, (0.0, 0.0))
    for _ in range(150):
        slopes = outer(params, draw(4))
        for name, g in slopes.items():
            m, v = moments[name]
            moments[name] = m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
            params[name] = params[name] - 0.01 * m / (tg.sqrt(v) + 1e-6)
    assert after(params, test).item() < 0.6 * before


def alignments_of_speech() -> None:
    """Connectionist temporal classification by its forward algorithm in log space, on a toy of speech.

    Written for: NumPy, after Graves et al. 2006. Changed: `logaddexp` of three is `logsumexp` of a
    stack; minus infinity is a large negative number, whose gradient is 0 and not nan.
    """
    blank, never = 0, -1e30

    def ctc(logits: Any, label: list[int]) -> Any:
        log_p = tg.log_softmax(logits, axis=-1)
        extended = np.array([blank, *itertools.chain(*((c, blank) for c in label))])
        skips = np.array(
            [k > 1 and c not in (blank, extended[k - 2]) for k, c in enumerate(extended)]
        )
        alpha = tg.where(np.arange(len(extended)) < 2, log_p[0][extended], never)
        for t in range(1, len(logits)):
            one = tg.concatenate([np.full(1, never), alpha[:-1]])
            two = tg.where(skips, tg.concatenate([np.full(2, never), alpha[:-2]]), never)
            alpha = tg.logsumexp(tg.stack([alpha, one, two]), axis=0) + log_p[t][extended]
        return -tg.logsumexp(alpha[-2:])

    def collapsed(path: Any) -> list[int]:
        return [c for c, _ in itertools.groupby(path) if c != blank]

    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(5, 3)), [1, 2]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    paths = (path for path in itertools.product(range(3), repeat=5) if collapsed(path) == label)
    total = sum(np.prod(p[np.arange(5), list(path)]) for path in paths)
    np.testing.assert_allclose(ctc(tg.tensor(logits), label).item(), -np.log(total))
    tg.gradcheck(lambda x: ctc(x, label), logits, order=2)
    # words of two letters, said slowly: noisy frames, and a layer that learns to hear them
    tone = rng.normal(size=(3, 4))
    words = [[1, 2], [2, 1], [1, 1], [2]]
    said = [np.repeat(tone[[0, *itertools.chain(*((c, 0) for c in w))]], 3, axis=0) for w in words]
    said = [frames + 0.1 * rng.normal(size=frames.shape) for frames in said]
    layer = tg.nn.Linear(4, 3, rng=0, dtype=np.float64)
    optimizer = tg.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        sum(ctc(layer(frames), word) for frames, word in zip(said, words, strict=True)).backward()
        optimizer.step()
    heard = [collapsed(np.argmax(layer(frames).numpy(), axis=1)) for frames in said]
    assert heard == words
