"""`tg.jit` of whole programs: sequences become loops, and what is done besides computing is done.

The reference is the same program without `tg.jit`, in steps one by one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.interpreted import interpreting
from tinygrad_rnn.compiler import cell as compiled_cells
from tinygrad_rnn.compiler.inside import Inside
from tinygrad_rnn.core.tree import leaves

nn = tg.nn
T, BATCH, INPUT, HIDDEN = 6, 3, 4, 5
LENGTHS = [6, 2, 4]


@pytest.fixture(autouse=True)
def by_python() -> Iterator[None]:
    with interpreting():
        yield


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def lstm(seed: int = 1, inputs: int = INPUT) -> Any:
    return tg.cells.LSTM(inputs, HIDDEN, rng=seed, dtype=np.float64)


class Program:
    """A function of tensors, with the modules that it uses."""

    def __init__(self, function: Callable[..., Any], *modules: Any) -> None:
        self.function, self.modules = function, modules

    def parameters(self) -> list[Any]:
        return [p for m in self.modules for p in m.parameters()]


def simple(cell: Any) -> Program:
    def run(x: Any) -> Any:
        ys, (h, c) = tg.unroll(cell, x)
        return (tg.tanh(ys) ** 2).mean() + (h * c).sum()

    return Program(run, cell)


def plain_cell() -> Program:
    return simple(lstm())


def jitted_cell() -> Program:
    return simple(tg.jit(lstm()))


def lengths_and_resets() -> Program:
    cell = lstm()
    resets = np.zeros((T, BATCH), bool)
    resets[3, 1] = resets[2, 0] = True

    def run(x: Any) -> Any:
        ys, states = tg.unroll(cell, x, lengths=LENGTHS, resets=resets, return_states=True)
        return (ys**3).sum() + (leaves(states)[1] ** 2).mean()

    return Program(run, cell)


def backwards_and_on() -> Program:
    there, back = lstm(1), lstm(2, HIDDEN)

    def run(x: Any) -> Any:
        ys, state = tg.unroll(there, x)
        zs, _ = tg.unroll(back, ys * 0.5, state, reverse=True)
        return (zs * ys).sum()

    return Program(run, there, back)


def layers() -> Program:
    layer = nn.LSTM(INPUT, HIDDEN, num_layers=2, bidirectional=True, rng=3, dtype=np.float64)

    def run(x: Any) -> Any:
        ys, (h, _) = layer(x)
        return (ys**2).mean() + h.sum()

    return Program(run, layer)


def function_as_cell() -> Program:
    weights = nn.Linear(INPUT + HIDDEN, HIDDEN, rng=4, dtype=np.float64)

    def run(x: Any) -> Any:
        def step(x: Any, h: Any) -> Any:
            h = tg.tanh(weights(tg.concatenate([x, h], axis=1)))
            return h * 2.0, h

        ys, h = tg.unroll(step, x, np.zeros((BATCH, HIDDEN)))
        return (ys * ys).sum() + h.mean()

    return Program(run, weights)


def checkpointed() -> Program:
    cell = lstm()

    def run(x: Any) -> Any:
        ys, _ = tg.unroll(cell, x, checkpoint=2)
        return (ys**2).sum()

    return Program(run, cell)


def decoder_with_attention() -> Program:
    encoder, decoder = lstm(1), lstm(2, INPUT + HIDDEN)

    def run(x: Any) -> Any:
        memory, state = tg.unroll(encoder, x)

        def step(x: Any, state: Any) -> Any:
            weights = tg.softmax((memory * state[0]).sum(axis=-1), axis=0)
            found = (weights.reshape((T, BATCH, 1)) * memory).sum(axis=0)
            return decoder(tg.concatenate([x, found], axis=1), state)

        ys, _ = tg.unroll(step, x, state)
        return (ys**2).sum()

    return Program(run, encoder, decoder)


def gated() -> Program:
    cell = tg.cells.GRU(INPUT, HIDDEN, rng=1, dtype=np.float64)

    def run(x: Any) -> Any:
        ys, _ = tg.unroll(tg.jit(cell), x[:, :, ::-1])
        return tg.logsumexp(ys, axis=-1).sum()

    return Program(run, cell)


def zoneout() -> Program:
    cell = nn.Zoneout(nn.VariationalDropout(lstm(), input=0.3, output=0.2, rng=5), 0.2, rng=6)
    rng = np.random.default_rng(8)

    def run(x: Any) -> Any:
        ys, _ = tg.unroll(cell, nn.dropout(nn.dropout(x, 0.4, rng=rng), 0.2, rng=3))
        zs, _ = tg.unroll(cell, x, lengths=LENGTHS)
        return (ys * zs).sum() + (ys**2).sum()

    return Program(run, cell)


def dropout_between_levels() -> Program:
    layer = nn.GRU(INPUT, HIDDEN, num_layers=3, dropout=0.3, rng=3, dtype=np.float64)

    def run(x: Any) -> Any:
        return (layer(x)[0] ** 2).sum()

    return Program(run, layer)


PROGRAMS = [
    plain_cell,
    jitted_cell,
    lengths_and_resets,
    backwards_and_on,
    layers,
    function_as_cell,
    checkpointed,
    decoder_with_attention,
    gated,
    zoneout,
    dropout_between_levels,
]


def first_order(program: Program, compiled: bool) -> list[Any]:
    x = tg.tensor(normal(T, BATCH, INPUT), requires_grad=True)
    for p in program.parameters():
        p.grad = None
    with tg.eager() if not compiled else tg.enable_grad():
        loss = (tg.jit(program.function) if compiled else program.function)(x)
        loss.backward()
    return [loss.numpy(), x.grad.numpy(), *[p.grad.numpy() for p in program.parameters()]]


def compare(found: list[Any], expected: list[Any], tolerance: float = 1e-10) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
def test_values_and_gradients(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Inside] = []

    def noted(*given: Any) -> Inside:
        made.append(Inside(*given))
        return made[-1]

    monkeypatch.setattr(compiled_cells, "Inside", noted)
    compare(first_order(make(), True), first_order(make(), False))
    assert made


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
def test_gradients_inside_of_the_program(make: Any) -> None:
    x = tg.tensor(normal(T, BATCH, INPUT))
    value, gradient = tg.jit(tg.value_and_grad(make().function))(x)
    with tg.eager():
        expected = tg.value_and_grad(make().function)(x)
    compare([value.numpy(), gradient.numpy()], [e.numpy() for e in expected])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(p, marks=pytest.mark.full)
        if p in (backwards_and_on, function_as_cell, gated, zoneout)
        else p
        for p in PROGRAMS
    ],
    ids=lambda f: f.__name__,
)
def test_second_order_and_tangents(make: Any) -> None:
    def outcome(compiled: bool) -> list[Any]:
        program = make()
        run = tg.jit(program.function) if compiled else program.function
        x, v = tg.tensor(normal(T, BATCH, INPUT)), tg.tensor(normal(T, BATCH, INPUT, seed=7))
        given = tg.tensor(x.numpy(), requires_grad=True)
        run(given).backward(create_graph=True)
        (given.grad**2).sum().backward()
        found = [p.grad.numpy() for p in program.parameters()]
        found += [tg.hvp(run, x, v).numpy()]
        inside = tg.grad(lambda x: (tg.grad(program.function)(x) ** 2).sum())
        found += [(tg.jit(inside) if compiled else inside)(x).numpy()]
        return [*found, *(t.numpy() for t in tg.jvp(run, (x,), (v,)))]

    with tg.eager():
        expected = outcome(False)
    compare(outcome(True), expected)


def test_second_order_by_parameters_where_the_input_is_a_constant() -> None:
    def outcome(compiled: bool) -> list[Any]:
        cell = nn.Zoneout(lstm(), 0.3, rng=2)

        def squared(x: Any, h: Any) -> Any:
            def loss(h: Any) -> Any:
                return (tg.unroll(cell, x * 1.0, (h, h * 0.5))[0] ** 2).sum()

            return (tg.grad(loss)(h) ** 2).sum()

        gradient = tg.grad(squared, 1)
        x, h = tg.tensor(normal(T, BATCH, INPUT)), tg.tensor(normal(BATCH, HIDDEN))
        return [(tg.jit(gradient) if compiled else gradient)(x, h).numpy()]

    with tg.eager():
        expected = outcome(False)
    compare(outcome(True), expected)


def test_masks_are_those_of_the_plain_program_call_by_call() -> None:
    def outcome(compiled: bool) -> list[Any]:
        found = []
        for make in (zoneout, dropout_between_levels):
            program = make()
            run = tg.jit(program.function) if compiled else program.function
            found += [run(tg.tensor(normal(T, BATCH, INPUT))).numpy() for _ in range(4)]
            assert len({float(v) for v in found[-4:]}) == 4
        return found

    with tg.eager():
        expected = outcome(False)
    compare(outcome(True), expected)


def test_a_generator_that_the_function_makes_is_refused() -> None:
    def run(x: Any) -> Any:
        return nn.dropout(x, 0.4, rng=np.random.default_rng(8))

    with pytest.raises(tg.TraceError, match="give a seed"):
        tg.jit(run)(tg.tensor(normal(T, BATCH)))


def test_lengths_and_resets_as_arguments() -> None:
    cell, layer = lstm(), nn.GRU(INPUT, HIDDEN, bidirectional=True, rng=1, dtype=np.float64)

    def run(x: Any, lengths: Any, resets: Any) -> Any:
        ys, (h, c) = tg.unroll(cell, x, lengths=lengths, resets=resets)
        zs, _ = layer(x, lengths=lengths)
        return (ys**2).sum() + (h * c).sum() + zs.sum()

    fast, rng = tg.jit(run), np.random.default_rng(0)
    for _ in range(4):
        lengths, resets = rng.integers(1, T + 1, BATCH), rng.random((T, BATCH)) < 0.3
        found = []
        for f in (fast, run):
            x = normal(T, BATCH, INPUT)
            for row, n in enumerate(lengths):
                x[n:, row] = np.nan
            x = tg.tensor(x, requires_grad=True)
            with tg.eager() if f is run else tg.enable_grad():
                loss = f(x, lengths, resets)
                loss.backward()
            found.append([loss.numpy(), x.grad.numpy()])
        compare(*found)
    assert len(fast._programs) == 1
    with pytest.raises(tg.ShapeError, match="row 1 has length 9"):
        fast(tg.tensor(normal(T, BATCH, INPUT)), np.array([1, 9, 2]), resets)
    with pytest.raises(tg.ShapeError, match="row 0 has length 0"):
        fast(tg.tensor(normal(T, BATCH, INPUT)), np.array([0, 3, 2]), resets)
    with pytest.raises(tg.TraceError, match="an argument of the function"):
        tg.jit(lambda x, n: run(x, n + 1, resets))(tg.tensor(normal(T, BATCH, INPUT)), lengths)


def test_one_recording_does_not_grow_with_the_steps() -> None:
    cell = lstm()
    run = tg.jit(lambda x: tg.unroll(cell, x)[0].sum())
    counts = []
    for steps in (4, 40):
        run(tg.tensor(normal(steps, BATCH, INPUT)))
        counts.append(len(run.source().splitlines()))
    assert counts[0] == counts[1]


def test_models_of_tokens() -> None:
    def outcome(compiled: bool) -> list[Any]:
        one = nn.GenerativeLSTM(9, 5, 6, rng=1, dtype=np.float64)
        two = nn.EncoderDecoderLSTM(9, 8, 5, 6, rng=2, dtype=np.float64)
        optimizer = tg.optim.Adam([*one.parameters(), *two.parameters()], lr=0.01)

        def step(ids: Any, source: Any, target: Any, lengths: Any) -> Any:
            optimizer.zero_grad()
            loss = nn.cross_entropy(one(ids)[0], ids)
            loss = loss + nn.cross_entropy(two(source, target, lengths), target)
            loss.backward()
            optimizer.step()
            return loss

        run, rng = tg.jit(step) if compiled else step, np.random.default_rng(0)

        def drawn(n: int, *shape: int) -> Any:
            return rng.integers(0, n, shape)

        found = []
        for _ in range(3):
            lengths = rng.integers(1, 6, 3)
            found.append(run(drawn(9, 6, 3), drawn(9, 5, 3), drawn(8, 4, 3), lengths).numpy())
        with pytest.raises(tg.ShapeError, match="expected 0 to 8"):
            run(drawn(9, 6, 3) + 9, drawn(9, 5, 3), drawn(8, 4, 3), lengths)
        return found

    with tg.eager():
        expected = outcome(False)
    compare(outcome(True), expected)


# --- training steps -------------------------------------------------------------------------------


class Model(tg.Module):
    def __init__(self) -> None:
        self.embedding = nn.Embedding(7, INPUT, rng=1, dtype=np.float64)
        self.layer = nn.LSTM(INPUT, HIDDEN, rng=2, dtype=np.float64)
        self.out = nn.Linear(HIDDEN, 7, rng=3, dtype=np.float64)

    def forward(self, x: Any) -> Any:
        ys, _ = self.layer(self.embedding(x))
        return self.out(ys)


def loss_of(model: Model, x: Any, targets: Any) -> Any:
    return nn.cross_entropy(model(x).reshape((-1, 7)), targets.reshape((-1,)))


OPTIMIZERS: list[Callable[[Any], Any]] = [
    lambda p: tg.optim.Adam(p, lr=0.02),
    lambda p: tg.optim.AdamW(p, lr=0.02),
    lambda p: tg.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    lambda p: tg.optim.RMSprop(p, lr=0.01, centered=True),
    lambda p: tg.optim.Adagrad(p, lr=0.05, weight_decay=0.01),
]


def trained(make: Callable[[Any], Any], compiled: bool, accumulate: bool = False) -> list[Any]:
    model, rng = Model(), np.random.default_rng(3)
    optimizer = make(model.parameters())
    schedule = tg.optim.Schedule(optimizer, tg.optim.exponential_decay(0.02, 0.97))

    def step(x: Any, targets: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(model, x, targets)
        loss.backward()
        if accumulate:
            (loss_of(model, targets, x) * 0.5).backward()
        norm = tg.clip_grad_norm(model.parameters(), 0.5)
        tg.clip_grad_value(model.parameters(), 0.2)
        optimizer.step()
        schedule.step()
        return loss, {"norm": norm}

    run, found = tg.jit(step) if compiled else step, []
    for _ in range(50):
        x, targets = (tg.tensor(rng.integers(0, 7, (T, BATCH))) for _ in range(2))
        loss, said = run(x, targets)
        assert type(said["norm"]) is float
        found += [loss.numpy(), said["norm"]]
    if compiled:
        assert len(run._programs) == 1  # a rate that changes is no reason to record anew
    state = optimizer.state_dict()
    return [
        *found,
        *[t.numpy() for p in model.parameters() for t in (p, p.grad)],
        *[np.asarray(state[k], np.float64) for k in sorted(state)],
        optimizer.lr,
    ]


@pytest.mark.parametrize("make", OPTIMIZERS, ids=["Adam", "AdamW", "SGD", "RMSprop", "Adagrad"])
def test_training_steps(make: Any) -> None:
    with tg.eager():
        expected = trained(make, False)
    compare(trained(make, True), expected)


def test_two_backwards_add_up() -> None:
    with tg.eager():
        expected = trained(OPTIMIZERS[0], False, accumulate=True)
    compare(trained(OPTIMIZERS[0], True, accumulate=True), expected)


def test_gradients_are_added_to_those_that_are_there() -> None:
    model = Model()
    x = tg.tensor(np.random.default_rng(3).integers(0, 7, (T, BATCH)))

    @tg.jit
    def backward(x: Any) -> Any:
        loss = loss_of(model, x, x)
        loss.backward()
        return loss

    backward(x)
    once = [p.grad.numpy().copy() for p in model.parameters()]
    backward(x)
    compare([p.grad.numpy() for p in model.parameters()], [2 * g for g in once])
    model.zero_grad()
    backward(x)
    compare([p.grad.numpy() for p in model.parameters()], once)


def test_the_gradient_of_an_argument_is_filled() -> None:
    cell = lstm()

    def run(x: Any) -> Any:
        loss = (tg.unroll(cell, x)[0] ** 2).sum()
        loss.backward()
        return loss

    x, y = (tg.tensor(normal(T, BATCH, INPUT), requires_grad=True) for _ in range(2))
    fast = tg.jit(run)
    fast(x), fast(x), run(y), run(y)
    compare([x.grad.numpy()], [y.grad.numpy()])


def test_a_gradient_can_be_used_and_changed() -> None:
    def outcome(compiled: bool) -> list[Any]:
        model = Model()
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
        parameters = list(model.parameters())

        def step(x: Any) -> Any:
            for p in parameters:
                p.grad = None
            loss_of(model, x, x).backward()
            for p in parameters:
                p.grad = p.grad * 0.5
            size = sum((p.grad**2).sum() for p in parameters)
            optimizer.step()
            return size

        x = tg.tensor(np.random.default_rng(3).integers(0, 7, (T, BATCH)))
        run = tg.jit(step) if compiled else step
        sizes = [run(x).numpy() for _ in range(3)]
        assert not compiled or len(run._programs) == 1
        return [*sizes, *[t.numpy() for p in parameters for t in (p, p.grad)]]

    compare(outcome(True), outcome(False))


def test_a_gradient_from_before_the_call_is_read_as_it_is_then() -> None:
    weights = tg.tensor(normal(4), requires_grad=True)

    @tg.jit
    def scaled(x: Any) -> Any:
        return x * weights.grad + (0.0 if weights.grad is None else 1.0)

    for k in range(3):
        weights.grad = tg.tensor(normal(4, seed=k))
        compare([scaled(tg.tensor(np.ones(4))).numpy()], [weights.grad.numpy() + 1.0])


def test_a_failing_call_leaves_everything_as_it_was() -> None:
    model = Model()
    optimizer = tg.optim.Adam(model.parameters(), lr=0.1)

    def broken(step: int) -> float:
        if step == 3:
            raise ValueError("no rate for this step")
        return 0.1

    schedule = tg.optim.Schedule(optimizer, broken)

    @tg.jit
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(model, x, x)
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss

    x = tg.tensor(np.random.default_rng(3).integers(0, 7, (T, BATCH)))
    step(x), step(x)

    def state() -> list[Any]:
        both = {**optimizer.state_dict(), **schedule.state_dict()}
        found = [t.numpy().copy() for p in model.parameters() for t in (p, p.grad)]
        return [*found, *[np.array(v) for _, v in sorted(both.items())], optimizer.lr]

    before = state()
    with pytest.raises(ValueError, match="no rate"):
        step(x)
    for a, b in zip(state(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(tg.TinygradError, match=r"7"):
        step(tg.tensor(np.full((T, BATCH), 7)))
    for a, b in zip(state(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_call_has_changed_is_not_used_after_it() -> None:
    model = Model()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    x = tg.tensor(np.random.default_rng(3).integers(0, 7, (T, BATCH)))

    def again(x: Any) -> Any:
        loss_of(model, x, x).backward()
        optimizer.step()
        return loss_of(model, x, x)

    def norm_used(x: Any) -> Any:
        loss = loss_of(model, x, x)
        loss.backward()
        return loss * tg.clip_grad_norm(model.parameters(), 1.0)

    def gradient_returned(x: Any) -> Any:
        loss_of(model, x, x).backward()
        tg.clip_grad_norm(model.parameters(), 1.0)
        return model.out.bias.grad

    for function, said in (
        (again, "step"),
        (norm_used, "clip_grad_norm"),
        (gradient_returned, "clip_grad_norm"),
    ):
        before = [p.numpy().copy() for p in model.parameters()]
        with pytest.raises(tg.TraceError, match=said):
            tg.jit(function)(x)
        assert all(p.grad is None for p in model.parameters())
        compare([p.numpy() for p in model.parameters()], before)


def test_a_loss_that_was_walked_back_has_no_graph() -> None:
    model = Model()
    x = tg.tensor(np.random.default_rng(3).integers(0, 7, (T, BATCH)))

    @tg.jit
    def step(x: Any) -> Any:
        loss = loss_of(model, x, x)
        loss.backward()
        return loss

    loss = step(x)
    with pytest.raises(tg.GraphError, match="released"):
        loss.backward()
    assert (
        tg.draw(loss, detail="op", show="all").dot.count("tanh") > T
    )  # its steps, which are run again


def test_backward_in_a_plain_trace_is_refused() -> None:
    def run(x: Any) -> Any:
        (x**2).sum().backward()
        return x

    with pytest.raises(tg.GraphError, match=r"tg\.grad"):
        tg.trace(run, np.zeros(3))


# --- copies of a step ---


def test_many_copies_of_a_step_are_warned_of() -> None:
    cell = lstm()

    def by_hand(x: Any) -> Any:
        state = cell.initial_state(BATCH)
        for t in range(len(x)):
            y, state = cell(x[t], state)
        return y.sum()

    def closed_over(x: Any) -> Any:
        memory = x.mean(axis=0)

        def step(x: Any, h: Any) -> Any:
            h = tg.tanh(x + h * memory)
            return h, h

        return tg.unroll(step, x, np.zeros((BATCH, INPUT)))[0].sum()

    with pytest.warns(RuntimeWarning, match=r"repeated 40 times.*tg\.unroll"):
        tg.jit(by_hand)(tg.tensor(normal(40, BATCH, INPUT)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tg.jit(by_hand)(tg.tensor(normal(10, BATCH, INPUT)))
        x = normal(40, BATCH, INPUT)  # what the function has computed is no reason for copies
        found = tg.jit(closed_over)(tg.tensor(x)).item()
        with tg.eager():
            assert found == pytest.approx(closed_over(tg.tensor(x)).item(), rel=1e-12)
    with warnings.catch_warnings():  # many lines, none of which needs the one before
        warnings.simplefilter("error")
        tg.jit(lambda x: sum(tg.tanh(x * k) for k in range(20)).sum())(tg.tensor(normal(40, 3)))
        tg.jit(lambda x: tg.unroll(cell, x)[0].sum())(tg.tensor(normal(40, BATCH, INPUT)))


# --- ahead of time --------------------------------------------------------------------------------


def test_compiling_ahead_of_time_changes_nothing() -> None:
    model = Model()
    optimizer = tg.optim.Adam(model.parameters(), lr=0.1)

    @tg.jit
    def step(x: Any) -> Any:
        loss = loss_of(model, x, x)
        loss.backward()
        optimizer.step()
        return loss

    x = tg.tensor(np.random.default_rng(3).integers(0, 7, (T, BATCH)))
    before = [p.numpy() for p in model.parameters()]
    assert step.compile(x) is step
    compare([p.numpy() for p in model.parameters()], before)
    assert all(p.grad is None for p in model.parameters()) and not any(optimizer.steps)
    (recording,) = step._programs.values()
    assert all(k.code is not None for k in recording._forward.kernels)
    step(x)
    assert len(step._programs) == 1

    cell = tg.jit(lstm())
    assert cell.compile(normal(T, BATCH, INPUT)) is cell
    (runner,) = cell._code.runners.values()
    tg.unroll(cell, normal(2 * T, BATCH + 1, INPUT))
    assert list(cell._code.runners.values()) == [runner]


# --- weights that are arguments, or computed ------------------------------------------------------


MODEL = nn.LSTM(INPUT, HIDDEN, rng=3, dtype=np.float64)


def by_functional_call(x: Any, w: Any, u: Any) -> Any:
    ys, (h, _) = tg.functional_call(MODEL, {"weight_ih_l0": w, "weight_hh_l0": u}, x)
    return (ys**2).mean() + h.sum()


def by_closure(x: Any, w: Any, u: Any) -> Any:
    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(x @ w.T + h @ (u * 0.1).T)
        return h, h

    ys, _ = tg.unroll(step, x, np.zeros((BATCH, HIDDEN)))
    return (ys**2).sum()


def of_computed_weights(x: Any, w: Any, u: Any) -> Any:
    made, scaled = tg.tanh(w) * 0.5, u @ u.T * 0.05

    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(x @ made.T + h @ scaled)
        return h, h

    ys, _ = tg.unroll(step, x, np.zeros((BATCH, HIDDEN)), lengths=LENGTHS)
    return (ys**2).sum()


def with_an_inner_step(x: Any, w: Any, u: Any) -> Any:
    """Weights after a step of gradient descent inside of the function (Finn et al. 2017)."""
    inner = tg.grad(by_closure, argnums=(1, 2))(x[:3], w, u)
    return by_closure(x, *[p - 0.1 * g for p, g in zip((w, u), inner, strict=True)])


@pytest.mark.parametrize(
    "function", [by_functional_call, by_closure, of_computed_weights, with_an_inner_step]
)
@pytest.mark.parametrize("outside", [True, False], ids=["outside", "inside"])
def test_weights_that_are_arguments(
    function: Any, outside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Inside] = []

    def noted(*given: Any) -> Inside:
        made.append(Inside(*given))
        return made[-1]

    monkeypatch.setattr(compiled_cells, "Inside", noted)
    columns = 4 * HIDDEN if function is by_functional_call else HIDDEN
    shapes = [(columns, INPUT), (columns, HIDDEN)]
    places = (0, 1, 2)

    def outcome(run: Any, seed: int) -> list[np.ndarray]:
        x = normal(T, BATCH, INPUT, seed=seed)
        arrays = [x, *[0.3 * np.random.default_rng(seed).normal(size=s) for s in shapes]]
        if not outside:
            value, gradients = run(*map(tg.tensor, arrays))
            return [value.numpy(), *[g.numpy() for g in gradients]]
        given = [tg.tensor(a, requires_grad=True) for a in arrays]
        loss = run(*given)
        loss.backward()
        return [loss.numpy(), *[t.grad.numpy() for t in given]]

    whole = function if outside else tg.value_and_grad(function, argnums=places)
    compiled = tg.jit(whole)
    for seed in range(2):
        found = outcome(compiled, seed)
        with tg.eager():
            compare(found, outcome(whole, seed))
    assert made


@pytest.mark.parametrize("function", [by_functional_call, by_closure, of_computed_weights])
def test_second_order_by_weights_that_are_arguments(function: Any) -> None:
    columns = 4 * HIDDEN if function is by_functional_call else HIDDEN
    x, w, u = (
        normal(*s, seed=k) * 0.3
        for k, s in enumerate([(T, BATCH, INPUT), (columns, INPUT), (columns, HIDDEN)])
    )

    def outcome(run: Any) -> list[np.ndarray]:
        given = [tg.tensor(a, requires_grad=True) for a in (x, w, u)]
        run(*given).backward(create_graph=True)
        (given[1].grad ** 2).sum().backward()
        found = [t.grad.numpy() for t in given]
        of_w = lambda w: run(tg.tensor(x), w, tg.tensor(u))  # noqa: E731
        v = tg.tensor(normal(*w.shape, seed=5))
        found += [tg.hvp(of_w, tg.tensor(w), v).numpy()]
        return [*found, *(t.numpy() for t in tg.jvp(of_w, (tg.tensor(w),), (v,)))]

    found = outcome(tg.jit(function))
    with tg.eager():
        compare(found, outcome(function), 1e-9)


def test_weights_without_gradient_that_are_arguments() -> None:
    run, x = tg.jit(by_closure), normal(T, BATCH, INPUT)
    for seed in range(3):
        w, u = normal(HIDDEN, INPUT, seed=seed), normal(HIDDEN, HIDDEN, seed=seed)
        with tg.eager():
            expected = by_closure(*map(tg.tensor, (x, w, u))).item()
        assert run(*map(tg.tensor, (x, w, u))).item() == pytest.approx(expected, rel=1e-12)
        with tg.no_grad():
            assert run(*map(tg.tensor, (x, w, u))).item() == pytest.approx(expected, rel=1e-12)
