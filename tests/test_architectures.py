"""The six LSTM networks and the baselines.

Against the same computation by hand, and what they promise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.errors import DtypeError, ShapeError, TinygradError

pytestmark = pytest.mark.usefixtures("eager")

T, B, F, H, OUT = 5, 3, 2, 4, 3
LENGTHS = np.array([5, 1, 3])
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


# --- the same by hand, in NumPy -------------------------------------------------------------------------------------------


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def values(module: Any) -> dict[str, Any]:
    return {name: p.numpy() for name, p in module.named_parameters()}


def lstm_by_hand(
    p: dict[str, Any], xs: Any, level: int = 0, suffix: str = "", h: Any = None, c: Any = None
) -> tuple[list[Any], Any, Any]:
    """One level over one sequence, a row at a time: xs is a list of vectors."""
    w, u, b, d = (
        p[f"{n}_l{level}{suffix}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    size = u.shape[1]
    h, c = np.zeros(size) if h is None else h, np.zeros(size) if c is None else c
    ys = []
    for x in xs:
        i, f, g, o = (w @ x + b + u @ h + d).reshape(4, size)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    return ys, h, c


def linear_by_hand(p: dict[str, Any], name: str, x: Any) -> Any:
    return p[f"{name}.weight"] @ x + p[f"{name}.bias"]


def inner(p: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        key.removeprefix(f"{name}."): value
        for key, value in p.items()
        if key.startswith(f"{name}.")
    }


def disturbed(model: Any, rng: np.random.Generator) -> Any:
    """Random values in place of first ones that are all equal, such as biases."""
    for p in model.parameters():
        p.data = rng.normal(size=p.shape) * 0.7
    return model


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
@pytest.mark.parametrize("levels", [1, 3])
def test_vanilla_and_stacked(levels: int, lengths: Any, rng: np.random.Generator) -> None:
    if levels == 1:
        model = tg.nn.VanillaLSTM(F, H, OUT, rng=1, dtype=np.float64)
    else:
        model = tg.nn.StackedLSTM(F, H, OUT, levels, rng=1, dtype=np.float64)
    p = values(disturbed(model, rng))
    xs = rng.normal(size=(T, B, F))
    ends = [T] * B if lengths is None else lengths
    expected = []
    for row in range(B):
        ys: list[Any] = list(xs[: ends[row], row])
        for level in range(levels):
            ys, h, _ = lstm_by_hand(inner(p, "lstm"), ys, level)
        expected.append(linear_by_hand(p, "output", h))
        xs[ends[row] :, row] = np.nan  # padding may hold anything
    np.testing.assert_allclose(model(xs, lengths).numpy(), expected, **CLOSE)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
def test_cnn(lengths: Any, rng: np.random.Generator) -> None:
    channels, height, width, filters = 2, 5, 4, 3
    model = disturbed(
        tg.nn.CNNLSTM(channels, height, width, filters, H, OUT, rng=1, dtype=np.float64), rng
    )
    p = values(model)
    xs = rng.normal(size=(T, B, channels, height, width))
    ends = [T] * B if lengths is None else lengths
    expected = []
    for row in range(B):
        vectors = []
        for frame in xs[: ends[row], row]:
            padded = np.zeros((channels, height + 2, width + 2))
            padded[:, 1:-1, 1:-1] = frame
            seen = np.zeros((filters, height, width))
            for k, i, j in np.ndindex(seen.shape):
                seen[k, i, j] = (
                    p["convolution.weight"][k] * padded[:, i : i + 3, j : j + 3]
                ).sum() + p["convolution.bias"][k]
            pooled = np.zeros((filters, height // 2, width // 2))
            for k, i, j in np.ndindex(pooled.shape):
                pooled[k, i, j] = max(0.0, seen[k, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max())
            vectors.append(pooled.ravel())
        expected.append(linear_by_hand(p, "output", lstm_by_hand(inner(p, "lstm"), vectors)[1]))
        xs[ends[row] :, row] = np.nan
    y = model(xs, lengths)
    np.testing.assert_allclose(y.numpy(), expected, **CLOSE)
    (y * y).sum().backward()
    assert all(np.isfinite(q.grad.numpy()).all() for q in model.parameters())


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
def test_bidirectional(lengths: Any, rng: np.random.Generator) -> None:
    model = disturbed(tg.nn.BidirectionalLSTM(F, H, OUT, rng=1, dtype=np.float64), rng)
    p = values(model)
    xs = rng.normal(size=(T, B, F))
    y = model(xs, lengths).numpy()
    assert y.shape == (T, B, OUT)
    for row in range(B):
        steps = T if lengths is None else lengths[row]
        ahead, *_ = lstm_by_hand(inner(p, "lstm"), xs[:steps, row])
        back, *_ = lstm_by_hand(inner(p, "lstm"), xs[:steps, row][::-1], suffix="_reverse")
        for t in range(steps):
            expected = linear_by_hand(p, "output", np.concatenate([ahead[t], back[steps - 1 - t]]))
            np.testing.assert_allclose(y[t, row], expected, **CLOSE)


def translator(**options: Any) -> Any:
    return tg.nn.EncoderDecoderLSTM(6, 5, F, H, rng=1, dtype=np.float64, **options)


def by_hand_target(p: dict[str, Any], source: Any, before: Any) -> list[Any]:
    """Logits of one sequence, after the tokens `before` (the start among them)."""
    _, h, c = lstm_by_hand(inner(p, "encoder"), [p["source_embedding.weight"][i] for i in source])
    ys, *_ = lstm_by_hand(
        inner(p, "decoder"), [p["target_embedding.weight"][i] for i in before], h=h, c=c
    )
    return [linear_by_hand(p, "output", y) for y in ys]


def test_encoder_decoder_with_teacher_forcing(rng: np.random.Generator) -> None:
    model = disturbed(translator(start=2), rng)
    source, target = rng.integers(6, size=(T, B)), rng.integers(5, size=(4, B))
    y = model(source, target, LENGTHS).numpy()
    for row in range(B):
        expected = by_hand_target(
            values(model), source[: LENGTHS[row], row], [2, *target[:-1, row]]
        )
        np.testing.assert_allclose(y[:, row], expected, **CLOSE)
    garbage = np.where(np.arange(T)[:, None] < LENGTHS, source, 99)
    np.testing.assert_array_equal(model(garbage, target, LENGTHS).numpy(), y)


def log_softmax(z: Any) -> Any:
    return z - z.max() - math.log(np.exp(z - z.max()).sum())


@pytest.mark.parametrize("levels", [1, 2])
def test_decoding(levels: int, rng: np.random.Generator) -> None:
    """Greedy choice step by step with the whole model.

    The widest beam against all sequences there are.
    """
    model = disturbed(translator(num_layers=levels, start=4, stop=0), rng)
    source, longest = rng.integers(6, size=(T, B)), 3
    found = model.decode(source, LENGTHS, max_length=longest)
    best = model.decode(source, LENGTHS, max_length=longest, beam=5**longest)
    for row in range(B):
        alone = source[: LENGTHS[row], row : row + 1]
        tokens: list[int] = []
        while len(tokens) < longest and 0 not in tokens:
            target = np.array([*tokens, 0])[:, None]  # the last one is not read
            tokens.append(int(model(alone, target).numpy()[-1, 0].argmax()))
        assert found[row] == [t for t in tokens if t != 0]
        scores = {}
        for full in itertools.product(range(5), repeat=longest):
            words = full[: full.index(0) + 1] if 0 in full else full
            logits = model(alone, np.array(words)[:, None]).numpy()[:, 0]
            scores[words] = sum(log_softmax(z)[w] for z, w in zip(logits, words, strict=True))
        assert best[row] == [t for t in max(scores, key=lambda k: scores[k]) if t != 0]
    assert model.decode(source, LENGTHS, max_length=longest, beam=1) == found


def test_decoding_learns_to_copy_and_stops() -> None:
    rng = np.random.default_rng(0)
    model = tg.nn.EncoderDecoderLSTM(4, 4, 8, 24, dropout=0.2, num_layers=2, rng=0)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        source = rng.integers(2, 4, size=(2, 32))
        loss = tg.nn.cross_entropy(
            model(source, np.concatenate([source, np.ones((1, 32), int)])),
            np.concatenate([source, np.ones((1, 32), int)]),
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    source = np.array([[2, 2, 3, 3], [2, 3, 2, 3]])
    for beam in (1, 3):
        assert model.decode(source, max_length=9, beam=beam) == source.T.tolist()
    assert model.training and model.encoder.training  # as before, and dropout was off


# --- generating -----------------------------------------------------------------------------------------------------------


def generator(**options: Any) -> Any:
    return tg.nn.GenerativeLSTM(5, F, H, rng=1, dtype=np.float64, **options)


def lively(model: Any, rng: np.random.Generator) -> Any:
    """Random values with which the likeliest token depends on the state: no bias, large weights."""
    disturbed(model, rng)
    model.embedding.weight.data = model.embedding.weight.numpy() * 4
    model.output.bias.data = np.zeros(5)
    return model


def test_next_token_logits_and_state(rng: np.random.Generator) -> None:
    model = disturbed(generator(), rng)
    p, ids = values(model), rng.integers(5, size=(T, B))
    logits, _ = model(ids)
    for row in range(B):
        ys, *_ = lstm_by_hand(inner(p, "lstm"), [p["embedding.weight"][i] for i in ids[:, row]])
        np.testing.assert_allclose(
            logits.numpy()[:, row], [linear_by_hand(p, "output", y) for y in ys], **CLOSE
        )
    first, state = model(ids[:2])
    rest, _ = model(ids[2:], state)
    np.testing.assert_allclose(
        np.concatenate([first.numpy(), rest.numpy()]), logits.numpy(), **CLOSE
    )


@pytest.mark.parametrize("prompt_length", [1, 4])
def test_generating_the_likeliest(prompt_length: int, rng: np.random.Generator) -> None:
    model = lively(generator(num_layers=2), rng)
    prompt = rng.integers(5, size=(prompt_length, 40))
    drawn = model.generate(prompt, 6, temperature=0)
    assert drawn.shape == (6, 40) and drawn.dtype == np.int64
    ids = prompt
    for _ in range(6):
        ids = np.concatenate([ids, model(ids)[0].numpy()[-1].argmax(-1)[None]])
    np.testing.assert_array_equal(drawn, ids[prompt_length:])
    np.testing.assert_array_equal(model.generate(prompt, 6, top_k=1, rng=3), drawn)
    np.testing.assert_array_equal(
        model.generate(prompt[:, 1].tolist(), 6, temperature=0), drawn[:, 1]
    )


def test_generating_draws_from_what_is_predicted(rng: np.random.Generator) -> None:
    model = disturbed(generator(), rng)
    n, temperature = 20_000, 1.7
    prompt = np.array([[1], [3], [0]])
    z = model(prompt)[0].numpy()[-1, 0]
    for top_k in (None, 3):
        kept = z if top_k is None else np.where(z >= np.sort(z)[-top_k], z, -np.inf)
        expected = np.exp(log_softmax(kept / temperature))
        drawn = model.generate(np.repeat(prompt, n, axis=1), 1, temperature, top_k, rng=rng)
        shares = np.bincount(drawn[0], minlength=5) / n
        np.testing.assert_allclose(shares, expected, atol=5 * math.sqrt(0.25 / n))
        assert (shares[expected == 0] == 0).all()
    one, again, other = (model.generate([0], 20, rng=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_generating_is_without_dropout(rng: np.random.Generator) -> None:
    model = lively(generator(num_layers=2, dropout=0.5), rng)
    model.output.eval()
    prompt = rng.integers(5, size=(2, 40))
    drawn = [model.generate(prompt, 30, temperature=0).tolist() for _ in range(3)]
    assert drawn[0] == drawn[1] == drawn[2]
    assert model.training and model.lstm.training and not model.output.training


# --- what all have in common ----------------------------------------------------------------------------------------------


def frames(rng: np.random.Generator) -> Any:
    return rng.normal(size=(3, 2, 1, 4, 4))


BUILDERS: dict[str, tuple[Callable[..., Any], Callable[[Any, np.random.Generator], Any]]] = {
    "VanillaLSTM": (
        lambda **o: tg.nn.VanillaLSTM(2, 3, 2, **o),
        lambda m, rng: m(rng.normal(size=(3, 2, 2))),
    ),
    "StackedLSTM": (
        lambda **o: tg.nn.StackedLSTM(2, 3, 2, 2, **o),
        lambda m, rng: m(rng.normal(size=(3, 2, 2))),
    ),
    "CNNLSTM": (lambda **o: tg.nn.CNNLSTM(1, 4, 4, 2, 3, 2, **o), lambda m, rng: m(frames(rng))),
    "BidirectionalLSTM": (
        lambda **o: tg.nn.BidirectionalLSTM(2, 3, 2, num_layers=2, **o),
        lambda m, rng: m(rng.normal(size=(3, 2, 2))),
    ),
    "EncoderDecoderLSTM": (
        lambda **o: tg.nn.EncoderDecoderLSTM(4, 3, 2, 3, **o),
        lambda m, rng: m(np.array([[0, 1], [2, 3]]), np.array([[2, 1], [0, 0], [1, 2]])),
    ),
    "GenerativeLSTM": (
        lambda **o: tg.nn.GenerativeLSTM(3, 2, 3, **o),
        lambda m, rng: m(np.array([[0, 1], [2, 1]]))[0],
    ),
    "WindowMLP": (
        lambda **o: tg.nn.WindowMLP(3, 4, 2, 2, **o),
        lambda m, rng: m(rng.normal(size=(5, 2, 2))),
    ),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_gradients(name: str, rng: np.random.Generator) -> None:
    """They reach every parameter, and agree with finite differences."""
    make, use = BUILDERS[name]
    model = make(rng=1, dtype=np.float64)
    seed = int(rng.integers(1000))
    y = use(model, np.random.default_rng(seed))
    weights = rng.normal(size=y.shape)

    def loss() -> Any:
        return (use(model, np.random.default_rng(seed)) * weights).sum()

    loss().backward()
    for path, p in model.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, path
        start = p.numpy().copy()
        for k in rng.choice(p.size, min(6, p.size), replace=False):
            found = []
            for sign in (1, -1):
                moved = start.copy()
                moved.flat[k] += sign * 1e-6
                p.data = moved
                found.append(loss().item())
            p.data = start
            np.testing.assert_allclose(
                p.grad.numpy().flat[k],
                (found[0] - found[1]) / 2e-6,
                rtol=1e-5,
                atol=1e-8,
                err_msg=path,
            )


@pytest.mark.parametrize("name", BUILDERS)
def test_dtype_seed_and_files(name: str, rng: np.random.Generator, tmp_path: Any) -> None:
    make, use = BUILDERS[name]
    one, again, other = make(rng=1), make(rng=1), make(rng=2)
    assert {p.dtype for p in one.parameters()} == {np.dtype("float32")}
    assert use(one, np.random.default_rng(0)).dtype == np.float32
    assert {p.dtype for p in make(dtype=np.float64).parameters()} == {np.dtype("float64")}
    y, twin = (use(m, np.random.default_rng(0)).numpy() for m in (one, again))
    np.testing.assert_array_equal(y, twin)
    assert (use(other, np.random.default_rng(0)).numpy() != y).any()
    tg.save(tmp_path / "model.safetensors", one)
    tg.load(tmp_path / "model.safetensors", other)
    np.testing.assert_array_equal(use(other, np.random.default_rng(0)).numpy(), y)


def test_dropout_acts_between_levels_in_training(rng: np.random.Generator) -> None:
    xs = rng.normal(size=(T, B, F))
    for model in (
        tg.nn.StackedLSTM(F, H, OUT, 2, 0.5, rng=1),
        tg.nn.BidirectionalLSTM(F, H, OUT, num_layers=2, dropout=0.5, rng=1),
    ):
        assert (model(xs).numpy() != model(xs).numpy()).any()
        model.eval()
        np.testing.assert_array_equal(model(xs).numpy(), model(xs).numpy())


# --- baselines ------------------------------------------------------------------------------------------------------------


def test_window_mlp_by_hand(rng: np.random.Generator) -> None:
    model = disturbed(tg.nn.WindowMLP(3, 4, 2, F, rng=1, dtype=np.float64), rng)
    p, xs = values(model), rng.normal(size=(T, B, F))
    for row in range(B):
        window = np.concatenate([xs[T - 3, row], xs[T - 2, row], xs[T - 1, row]])
        expected = linear_by_hand(p, "output", np.tanh(linear_by_hand(p, "hidden", window)))
        np.testing.assert_allclose(model(xs).numpy()[row], expected, **CLOSE)
    np.testing.assert_array_equal(model(xs[-3:]).numpy(), model(xs).numpy())


def process(n: int, coefficients: list[float], intercept: float, noise: Any) -> Any:
    series = list(noise[: len(coefficients)])
    for t in range(len(coefficients), n):
        series.append(
            intercept + sum(a * series[t - 1 - k] for k, a in enumerate(coefficients)) + noise[t]
        )
    return np.array(series)


def test_autoregression_recovers_its_process(rng: np.random.Generator) -> None:
    coefficients = [0.5, -0.3, 0.2]
    start = np.concatenate([rng.normal(size=3), np.zeros(37)])
    # without noise
    exact = tg.nn.LinearAutoregression(3).fit(process(40, coefficients, 0.7, start))
    np.testing.assert_allclose(exact.coefficients, coefficients, atol=1e-8)
    assert abs(exact.intercept - 0.7) < 1e-8
    noisy = tg.nn.LinearAutoregression(3).fit(
        process(20_000, coefficients, 0.7, rng.normal(size=20_000))
    )
    np.testing.assert_allclose(
        [*noisy.coefficients, noisy.intercept], [*coefficients, 0.7], atol=0.04
    )


def test_autoregression_is_least_squares_with_an_intercept(rng: np.random.Generator) -> None:
    series, order = rng.normal(size=30).cumsum() + 5, 4
    model = tg.nn.LinearAutoregression(order).fit(series)
    errors = []
    for t in range(order, 30):
        errors.append(
            series[t]
            - model.intercept
            - sum(model.coefficients[k] * series[t - 1 - k] for k in range(order))
        )
        np.testing.assert_allclose(
            series[t] - model.predict(series)[t - order], errors[-1], **CLOSE
        )
    assert abs(sum(errors)) < 1e-9  # the normal equations
    for k in range(order):
        assert abs(sum(e * series[t - 1 - k] for t, e in enumerate(errors, order))) < 1e-8
    assert len(model.predict(series)) == 30 - order + 1
    known = series.tolist()
    for _ in range(5):
        known.append(
            model.intercept + sum(model.coefficients[k] * known[-1 - k] for k in range(order))
        )
    np.testing.assert_allclose(model.forecast(series, 5), known[30:], **CLOSE)
    assert (
        model.forecast(series, 1)[0] == model.predict(series)[-1]
        and len(model.forecast(series, 0)) == 0
    )


# --- errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "act", "words"),
    [
        (ShapeError, lambda: tg.nn.VanillaLSTM(2, 3, 1)(np.zeros((4, 2))), "xs[:, None]"),
        (
            ShapeError,
            lambda: tg.nn.VanillaLSTM(2, 3, 1)(np.zeros((4, 2, 2)), [9, 1]),
            "only T=4 steps",
        ),
        (TinygradError, lambda: tg.nn.StackedLSTM(2, 3, 1, 1, 0.5), "num_layers=2"),
        (ShapeError, lambda: tg.nn.CNNLSTM(1, 4, 4, 2, 3, 2, kernel_size=2), "odd"),
        (ShapeError, lambda: tg.nn.CNNLSTM(1, 4, 4, 2, 3, 2, pool=5), "from 1 to"),
        (
            ShapeError,
            lambda: tg.nn.CNNLSTM(1, 4, 4, 2, 3, 2)(np.zeros((3, 2, 4, 4))),
            "xs[:, :, None]",
        ),
        (
            ShapeError,
            lambda: tg.nn.CNNLSTM(1, 4, 4, 2, 3, 2)(np.zeros((3, 2, 1, 4, 4)), [1, 2, 3]),
            "lengths",
        ),
        (
            TinygradError,
            lambda: tg.nn.EncoderDecoderLSTM(3, 3, 2, 2, stop=3),
            "target_vocabulary - 1 = 2",
        ),
        (TinygradError, lambda: tg.nn.EncoderDecoderLSTM(3, 3, 2, 2, start=-1), "start=-1"),
        (
            ShapeError,
            lambda: translator()(np.zeros((2, 3), int), np.zeros((2, 4), int)),
            "3 sequences and target 4",
        ),
        (ShapeError, lambda: translator()(np.full((2, 3), 6), np.zeros((2, 3), int)), "0 to 5"),
        (
            ShapeError,
            lambda: translator()(np.zeros((2, 3), int), np.full((2, 3), -1)),
            "target has ids from -1",
        ),
        (ShapeError, lambda: translator().encode(np.zeros(3, int)), "ids[:, None]"),
        (DtypeError, lambda: translator().encode(np.zeros((2, 3))), "integers"),
        (
            TinygradError,
            lambda: translator().decode(np.zeros((2, 3), int), max_length=4, beam=0),
            "beam must be at least 1",
        ),
        (
            TinygradError,
            lambda: translator().decode(np.zeros((2, 3), int), max_length=0),
            "max_length",
        ),
        (ShapeError, lambda: generator().generate([], 3), "at least one token"),
        (ShapeError, lambda: generator().generate([7], 3), "0 to 4"),
        (TinygradError, lambda: generator().generate([1], 3, temperature=-1), "temperature"),
        (ShapeError, lambda: tg.nn.WindowMLP(0, 3), "at least 1"),
        (ShapeError, lambda: tg.nn.WindowMLP(4, 3)(np.zeros((3, 2, 1))), "window=4"),
        (ShapeError, lambda: tg.nn.LinearAutoregression(0), "order"),
        (ShapeError, lambda: tg.nn.LinearAutoregression(3).fit(np.zeros(6)), "at least 7"),
        (TinygradError, lambda: tg.nn.LinearAutoregression(1).fit([1.0, 2.0, np.nan, 3.0]), "at 2"),
        (
            TinygradError,
            lambda: tg.nn.LinearAutoregression(1).predict([1.0, 2.0]),
            "fit(series) first",
        ),
    ],
)
def test_errors_say_what_to_do(kind: type[Exception], act: Callable[[], Any], words: str) -> None:
    with pytest.raises(kind) as error:
        act()
    assert words in str(error.value)
