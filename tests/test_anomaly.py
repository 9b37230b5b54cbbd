"""`tg.detect_anomaly`: planted faults are named with operation, step and line; healthy runs pass."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
INF = float("inf")
T, AT = 12, 5  # the length of sequences, and the step of the fault


def tensor(values: Any, requires_grad: bool = True) -> tg.Tensor:
    return tg.tensor(np.array(values, np.float32), requires_grad=requires_grad)


def caught(run: Callable[[], Any]) -> tg.AnomalyError:
    with pytest.raises(tg.AnomalyError) as found, tg.detect_anomaly():
        run()
    return found.value


def line_of(function: Any, marked: str = "# here") -> int:
    """The number of the marked line of a function."""
    lines, first = inspect.getsourcelines(function)
    return first + next(k for k, line in enumerate(lines) if marked in line)


# --- faults in a cell, in every way that a sequence can run ---------------------------------------


def log_of_zero(h: Any, x: Any) -> Any:
    return tg.log(x + 1.0) + 0.1 * h  # here


def log_of_negative(h: Any, x: Any) -> Any:
    return tg.log(x + 0.5) + 0.1 * h  # here


def exp_overflow(h: Any, x: Any) -> Any:
    return tg.exp(-100.0 * x) + 0.1 * h  # here


def zero_by_zero(h: Any, x: Any) -> Any:
    shifted = x + 1.0
    return shifted / shifted + 0.1 * h  # here


def one_by_zero(h: Any, x: Any) -> Any:
    return 1.0 / (x + 1.0) + 0.1 * h  # here


def sqrt_of_negative(h: Any, x: Any) -> Any:
    return tg.sqrt(x + 0.5) + 0.1 * h  # here


def power_of_zero(h: Any, x: Any) -> Any:
    return (x + 1.0) ** -1.5 + 0.1 * h  # here


def all_masked(h: Any, x: Any) -> Any:
    scores = tg.where(x < 0.0, -INF, x + h)
    return tg.softmax(scores, -1)  # here


def product_overflow(h: Any, x: Any) -> Any:
    big = tg.where(x < 0.0, 1e30, x)
    return big * big + 0.1 * h  # here


def sqrt_at_zero(h: Any, x: Any) -> Any:
    return tg.sqrt(x + 1.0) + 0.1 * h  # here


def other_branch(h: Any, x: Any) -> Any:
    root = tg.sqrt(x + 1.0)  # here
    return tg.where(x < 0.0, 0.0, root) + 0.1 * h


def safe_log_beside(h: Any, x: Any) -> Any:
    root = tg.power(x + 1.0, 0.5)  # here
    return tg.where(x < 0.0, 0.0, root) + 0.1 * h


# what, operation, words of the cause, whether it is in backward
IN_CELLS: list[tuple[Any, str, str, bool]] = [
    (log_of_zero, "log", "the log of 0", False),
    (log_of_negative, "log", "the log of numbers below 0", False),
    (exp_overflow, "exp", "takes numbers up to 88.72", False),
    (zero_by_zero, "divide", "0 / 0", False),
    (one_by_zero, "divide", "a division by 0", False),
    (sqrt_of_negative, "sqrt", "numbers below 0", False),
    (power_of_zero, "power", "a negative power of 0", False),
    (all_masked, "softmax", "all elements of a row are -inf", False),
    (product_overflow, "multiply", "overflow; the result is beyond 3.4e+38", False),
    (sqrt_at_zero, "sqrt", "the square root at 0, where the derivative is infinite", True),
    (other_branch, "sqrt", r"as from a tg.where at test_anomaly.py:\d+ that chose", True),
    (safe_log_beside, "power", "tg.where(m, tg.power(tg.where(m, x, 1.0), p), 0.0)", True),
]


class Faulty(tg.Cell):
    """A cell whose step does one thing, which fails where x is -1."""

    hidden_size = 3

    def __init__(self, step: Callable[[Any, Any], Any]) -> None:
        self.step, self.weight = step, tg.Parameter(np.eye(3, dtype=np.float32))

    def initial_state(self, batch_size: int) -> Any:
        return self.zeros(batch_size, 3)

    def forward(self, x: Any, state: Any) -> Any:
        h = self.step(state @ self.weight, x)
        return h, h


def inputs() -> tg.Tensor:
    """Numbers from 1 to 2, and -1 where the cells fail."""
    xs = np.linspace(1.0, 2.0, T * 2 * 3, dtype=np.float32).reshape(T, 2, 3)
    xs[AT, 0] = -1.0
    return tensor(xs)


WAYS = {
    "eager": {},
    "compiled": {"compiled": True},
    "checkpointed": {"checkpoint": 4},
    "compiled and checkpointed": {"compiled": True, "checkpoint": 4},
    "recorded": {"create_graph": True},
    "compiled and recorded": {"compiled": True, "create_graph": True},
    "reversed": {"compiled": True, "reverse": True},
}


def sequence(
    step: Any,
    compiled: bool = False,
    checkpoint: int | None = None,
    create_graph: bool = False,
    reverse: bool = False,
    backward: bool = True,
) -> None:
    cell: Any = Faulty(step)
    cell = tg.jit(cell) if compiled else cell
    ys, _ = tg.unroll(cell, inputs(), checkpoint=checkpoint, reverse=reverse)
    if backward:
        ys.sum().backward(create_graph=create_graph)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", IN_CELLS, ids=lambda f: f[0].__name__)
def test_a_fault_in_a_cell_is_named(fault: Any, way: str) -> None:
    step, operation, cause, backward = fault
    if way in ("checkpointed", "compiled") and not backward:
        error = caught(lambda: sequence(step, backward=False, **WAYS[way]))
    else:
        error = caught(lambda: sequence(step, **WAYS[way]))
    assert error.operation == operation
    assert (error.where.mark.cell, error.where.mark.step) == ("Faulty", AT)
    assert error.where.line == line_of(step)
    assert str(error).startswith(f"detect_anomaly: {'the gradient of ' if backward else operation}")
    assert re.search(cause if "\\d" in cause else re.escape(cause), str(error)), str(error)
    assert f"test_anomaly.py:{line_of(step)}" in str(error)


def test_nan_in_the_data_is_found_where_it_is_first_used() -> None:
    for compiled in (False, True):
        layer = tg.nn.LSTM(3, 4, rng=0)
        xs = np.ones((T, 2, 3), np.float32)
        xs[7, 1, 2] = np.nan
        with tg.eager() if not compiled else tg.enable_grad():
            error = caught(lambda layer=layer, xs=xs: layer(xs))
        assert (error.operation, error.where.mark) == ("matmul", ("LSTM", 0, 7))
        assert re.search(
            r"x\[7\] float32\(2, 3\) in \[1, 1\] with 1 nan.*gave nan in 16 of 32 .*came in",
            str(error),
        )


# --- growth ---------------------------------------------------------------------------------------


class Linear(tg.Cell):
    """A state that is multiplied at each step."""

    hidden_size = 3

    def __init__(self, scale: float) -> None:
        self.weight = tg.Parameter(scale * np.eye(3, dtype=np.float32))

    def initial_state(self, batch_size: int) -> Any:
        return self.zeros(batch_size, 3)

    def forward(self, x: Any, state: Any) -> Any:
        shifted = 1.0 * x
        h = state @ self.weight + shifted  # here
        return h, h


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("checkpoint", [None, 10])
@pytest.mark.parametrize("compiled", [False, True])
def test_an_exploding_gradient_is_said_to_grow(
    compiled: bool, checkpoint: int | None, create_graph: bool
) -> None:
    cell: Any = Linear(5.0)

    def run() -> None:
        xs = tensor(np.zeros((100, 2, 3)))
        _, state = tg.unroll(tg.jit(cell) if compiled else cell, xs, checkpoint=checkpoint)
        state.sum().backward(create_graph=create_graph)

    error = caught(run)
    # 5 ** 55 is the last power below 3.4e38: the gradient after step 99 - 55
    assert (error.operation, error.where.mark.step) == ("matmul", 44)
    assert error.where.line == line_of(Linear.forward)
    assert "an exploding gradient" in str(error) and "by a factor of 5 a step" in str(error)
    if not (compiled and checkpoint and not create_graph):
        assert "grew from 1 at step t=99 to 2.8e+38 at step t=44" in str(error)
    else:  # the windows after this one ran compiled
        assert "grew from 8.9e+34 at step t=49 or before to 2.8e+38 at step t=44" in str(error)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_growing_state_is_said_to_grow(compiled: bool) -> None:
    cell: Any = Linear(10.0)
    xs = np.zeros((60, 2, 3), np.float32)
    xs[4:] = 1.0
    error = caught(lambda: tg.unroll(tg.jit(cell) if compiled else cell, tensor(xs)))
    assert (error.operation, error.where.mark.step) == ("matmul", 43)
    assert "grew from 1 at step t=4 to 1.1e+38 at step t=42, by a factor of 10 a step" in str(error)


# --- operations, functions and training steps -----------------------------------------------------


def test_a_sum_of_gradients_that_overflows_is_found() -> None:
    x = tensor([1.0])
    error = caught(lambda: (x * 3e38 - (x - 1.0) * -3e38).sum().backward())
    assert "the sum of the gradients that arrive at" in str(error)
    assert "each of the gradients is finite" in str(error)


def test_a_gradient_that_is_given_as_nan_is_said_to_be_given() -> None:
    x = tensor([1.0, 2.0])
    error = caught(lambda: (x * 2.0).backward(np.array([1.0, np.nan], np.float32)))
    assert error.operation == "multiply" and "was given so to backward" in str(error)
    y = x * 2.0
    y.register_hook(lambda g: g / 0.0)
    error = caught(lambda: (y * 1.0).sum().backward())
    assert error.operation == "divide"


def test_operations_that_only_run_on_arrays_within_a_rule_are_not_looked_at() -> None:
    """A rule may divide by 0 where it then chooses otherwise; only its result counts."""
    x = tensor([0.0, 2.0])
    with tg.detect_anomaly():
        (x**2.0).sum().backward(create_graph=True)
        tg.norm(x * 0.0).backward()
        tg.jvp(lambda v: v**2.0, (x,), (x,))


def test_operations_of_the_user() -> None:
    """Of an elementwise one it is said which operation inside of it; of others that it is theirs."""
    x = tensor([0.0, 1.0])
    log = tg.elementwise(lambda v: tg.log(v) * 2.0)
    error = str(caught(lambda: log(x)))
    assert re.search(r"<lambda>\(.*gave -inf in 1 of 2.*Inside of it: log\(.*the log of 0", error)
    root = tg.elementwise(lambda v: tg.sqrt(v) * 2.0)
    error = str(caught(lambda: root(x).sum().backward()))
    assert re.search(r"gradient of .*<lambda>.*Inside of it: the gradient of sqrt\(", error)
    assert x.grad is None

    @tg.custom_vjp
    def halved(v: Any) -> Any:
        return v * 0.5

    @halved.vjp
    def _(g: Any, v: Any) -> Any:
        return g / v

    assert "its derivative rule divides by 0" in str(caught(lambda: halved(x).sum().backward()))


def test_what_is_given_does_not_hide_what_arises() -> None:
    a, b = tensor([INF, 1e30]), tensor([1.0, 1e30])
    assert "multiply(float32(2,) in [1e+30, 1e+30] with 1 inf" in str(caught(lambda: a * b))
    assert "gave inf in 1 of 2 elements" in str(caught(lambda: a * b))
    c, d = tensor([np.nan, 0.0]), tensor([1.0, INF])
    error = str(caught(lambda: c * d))
    assert "gave nan in 1 of 2 elements" in error and "infinities meet" in error


def test_a_fault_of_forward_is_named_in_backward_where_forward_was_not_watched() -> None:
    for step in (log_of_zero, one_by_zero):
        loss = in_a_function(step)(inputs())
        error = caught(loss.backward)
        assert str(error).startswith(f"detect_anomaly: {error.operation}(")
        assert (error.where.mark.step, error.where.line) == (AT, line_of(step))


def test_a_fault_by_a_mask_is_looked_for_with_that_mask() -> None:
    drop, twin = tg.nn.Dropout(0.5, rng=0), tg.nn.Dropout(0.5, rng=0)
    xs = tensor(np.ones(200))
    log = tg.jit(lambda v: tg.log(drop(v)))
    zeros = int((twin(xs).numpy() == 0).sum())
    assert f"gave -inf in {zeros} of 200 elements" in str(caught(lambda: log(xs)))
    # the next call draws the same mask, since that one was taken back
    assert np.isneginf(log(xs).numpy()).sum() == zeros
    assert np.isneginf(log(xs).numpy()).sum() == (twin(xs).numpy() == 0).sum() != zeros


def test_second_order_and_tangents() -> None:
    x = tensor([0.0, 1.0])

    def cube(v: Any) -> Any:
        return (v**1.5).sum()  # here

    for run in (
        lambda: tg.grad(lambda v: tg.grad(cube)(v).sum())(x),
        lambda: tg.hessian(cube)(x),
        lambda: tg.grad(lambda v: tg.grad(tg.jit(cube))(v).sum())(x),
    ):
        error = caught(run)
        assert (error.operation, error.where.line) == ("power", line_of(cube))
    error = caught(lambda: tg.jvp(tg.sqrt, (x,), (tensor([1.0, 1.0]),)))
    assert error.operation == "sqrt" and "the tangent of sqrt" in str(error)


def test_compiled_functions() -> None:
    w = tg.Parameter(np.array([4.0, 0.0, 1.0], np.float32))

    @tg.jit
    def forward_fault(x: Any) -> Any:
        y = tg.log(x * w)  # here
        return (y * 2.0).sum()

    @tg.jit
    def backward_fault(x: Any) -> Any:
        y = tg.sqrt(x * w)  # here
        return (y * 2.0).sum()

    x = tensor([1.0, 1.0, 1.0])
    error = caught(lambda: forward_fault(x))
    assert (error.operation, error.where.line) == ("log", line_of(forward_fault.plain))
    for run in (lambda: backward_fault(x).backward(), lambda: tg.grad(backward_fault)(x)):
        error = caught(run)
        assert (error.operation, error.where.line) == ("sqrt", line_of(backward_fault.plain))


def rooted(h: Any, x: Any) -> Any:
    return 0.5 * h + tg.power(x + 1.0, 1.5)  # here


def in_a_function(step: Any) -> Any:
    cell = Faulty(step)
    return tg.jit(lambda xs: tg.unroll(cell, xs)[0].sum())


SEQUENCES: dict[str, tuple[Any, str, Callable[[], Any]]] = {
    "forward, in a function": (log_of_zero, "log", lambda: in_a_function(log_of_zero)(inputs())),
    "backward of a function": (
        sqrt_at_zero,
        "sqrt",
        lambda: in_a_function(sqrt_at_zero)(inputs()).backward(),
    ),
    "a transform of a function": (
        sqrt_at_zero,
        "sqrt",
        lambda: tg.grad(in_a_function(sqrt_at_zero))(inputs()),
    ),
    "second order of a compiled cell": (
        rooted,
        "power",
        lambda: tg.grad(
            lambda v: tg.grad(lambda u: tg.unroll(tg.jit(Faulty(rooted)), u)[0].sum())(v).sum()
        )(inputs()),
    ),
    "tangents of a compiled cell": (
        sqrt_at_zero,
        "sqrt",
        lambda: tg.jvp(
            lambda u: tg.unroll(tg.jit(Faulty(sqrt_at_zero)), u)[0], (inputs(),), (inputs(),)
        ),
    ),
    "windows": (
        sqrt_at_zero,
        "sqrt",
        lambda: [w.ys.sum().backward() for w in tg.tbptt(Faulty(sqrt_at_zero), inputs(), 2, 4)],
    ),
    "windows, compiled": (
        sqrt_at_zero,
        "sqrt",
        lambda: [
            w.ys.sum().backward() for w in tg.tbptt(tg.jit(Faulty(sqrt_at_zero)), inputs(), 4)
        ],
    ),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_fault_in_a_sequence_is_named_wherever_it_runs(name: str) -> None:
    step, operation, run = SEQUENCES[name]
    error = caught(run)
    assert (error.operation, error.where.mark.step) == (operation, AT)
    assert error.where.line == line_of(step)


def test_steps_that_run_again_draw_what_they_drew() -> None:
    """An infinity that is given is looked into, and then the run goes on as without."""

    def run() -> list[np.ndarray]:
        drop = tg.nn.Dropout(0.5, rng=0)
        zoned = tg.nn.Zoneout(tg.cells.GRU(3, 3, rng=0), 0.5, rng=1)
        weight = tg.Parameter(np.ones(3, np.float32))
        optimizer = tg.optim.SGD([weight], lr=0.1)

        @tg.jit
        def step(xs: Any) -> Any:
            optimizer.zero_grad()
            ys, zs = drop(xs * weight), tg.unroll(zoned, xs)[0]
            (ys.sum() + zs.sum()).backward()
            optimizer.step()
            return ys, zs, tg.where(xs > 5.0, xs, -INF)

        found = [y.numpy() for _ in range(3) for y in step(np.ones((5, 2, 3), np.float32))]
        return [*found, weight.numpy()]

    with tg.detect_anomaly():
        watched = run()
    for a, b in zip(watched, run(), strict=True):
        np.testing.assert_array_equal(a, b)


class Model(tg.Module):
    """A layer, dropout and a root that fails in backward where its input is 0."""

    def __init__(self) -> None:
        self.layer = tg.nn.LSTM(3, 4, rng=1)
        self.drop = tg.nn.Dropout(0.3, rng=3)
        self.scale = tg.Parameter(np.ones(4, np.float32))

    def forward(self, xs: Any) -> Any:
        ys = self.drop(self.layer(xs)[0])
        return tg.sqrt(ys * ys * self.scale + self.scale)  # here


def training() -> tuple[Model, Any, Any]:
    model = Model()
    optimizer = tg.optim.Adam(model.parameters(), lr=0.1)

    @tg.jit
    def step(xs: Any) -> Any:
        optimizer.zero_grad()
        loss = model(xs).mean()
        loss.backward()
        norm = tg.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        return loss, norm

    return model, optimizer, step


def state_of(model: Model, optimizer: Any) -> list[np.ndarray]:
    values = [p.numpy().copy() for p in model.parameters()]
    values += [p.grad.numpy().copy() for p in model.parameters() if p.grad is not None]
    return [*values, *[np.array(a) for a in optimizer.state_dict().values() if np.ndim(a)]]


def test_a_training_step_leaves_everything_as_it_was() -> None:
    """The next steps are those of a run that never had the fault: masks and moments, too."""
    xs = np.ones((6, 2, 3), np.float32)
    model, optimizer, step = training()
    twin, twin_optimizer, twin_step = training()
    with tg.detect_anomaly():
        step(xs)
    twin_step(xs)
    good = model.scale.numpy().copy()
    model.scale.data = np.array([0.0, 1.0, 1.0, 1.0], np.float32)
    before = state_of(model, optimizer)
    error = caught(lambda: step(xs))
    assert (error.operation, error.where.line) == ("sqrt", line_of(Model.forward))
    for a, b in zip(state_of(model, optimizer), before, strict=True):
        np.testing.assert_array_equal(a, b)
    model.scale.data = good
    with tg.detect_anomaly():
        step(xs)
    twin_step(xs)
    for a, b in zip(state_of(model, optimizer), state_of(twin, twin_optimizer), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_interrupted_backward_fills_no_grad() -> None:
    x, y = tensor([0.0, 1.0]), tensor([3.0, 4.0])
    x.grad = tensor([5.0, 6.0], False)
    caught(lambda: (tg.sqrt(x) * y).sum().backward())
    assert y.grad is None and x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [5.0, 6.0])
    tg.log(x * 0.0)  # outside of it nothing is said


def test_what_only_the_compiled_code_has_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygrad_rnn.compiler.runner import Runner

    forward, backward = Runner.forward, Runner.backward

    def broken(self: Any, given: Any, batch: int, reverse: bool, out: Any) -> Any:
        left = forward(self, given, batch, reverse, out)
        out[0][2] = np.nan
        return left

    def broken_backward(self: Any, left: Any, gradients: Any) -> Any:
        return {v: np.full_like(g, np.nan) for v, g in backward(self, left, gradients).items()}

    layer = tg.nn.LSTM(3, 4, rng=0)
    xs = np.ones((T, 2, 3), np.float32)
    layer(xs)
    monkeypatch.setattr(Runner, "forward", broken)
    assert "a fault of the compiler" in str(caught(lambda: layer(xs)))
    monkeypatch.setattr(Runner, "forward", forward)
    monkeypatch.setattr(Runner, "backward", broken_backward)
    assert "a fault of the compiler" in str(caught(lambda: layer(xs)[0].sum().backward()))


# --- healthy runs ---------------------------------------------------------------------------------

MASK = np.array([[True, False, True], [False, True, True]])


def with_lengths() -> Any:
    xs = np.ones((6, 3, 3), np.float32)
    xs[4:, 1] = np.nan
    xs[2:, 2] = INF
    ys, _ = tg.nn.LSTM(3, 4, rng=0)(tensor(xs), lengths=[6, 4, 2])
    return ys.sum()


def with_attention() -> Any:
    attention = tg.nn.LuongAttention(4, 4, rng=0)
    memory = np.ones((2, 3, 4))
    memory[1, 1:] = np.nan
    return attention(tensor(np.ones((2, 4))), tensor(memory), np.array([3, 1]))[0].sum()


def with_dropout() -> Any:
    layer = tg.nn.LSTM(3, 4, num_layers=2, dropout=0.5, rng=0)
    return layer(tensor(np.ones((6, 2, 3))))[0].sum()


def largest_so_far() -> Any:
    best = tensor([-INF, -INF], False)
    for x in tensor(np.arange(6.0).reshape(3, 2)):
        best = tg.maximum(best, x)
    return best.sum()


def wrapped() -> Any:
    cell = tg.nn.Zoneout(tg.cells.LSTM(3, 4, rng=0), 0.1, rng=0)
    return tg.unroll(cell, tensor(np.ones((6, 2, 3))))[0].sum()


def crossed() -> Any:
    logits = tensor(np.ones((4, 2, 5)))
    weights = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]], np.float32)
    bad = tg.where(tg.tensor(weights[..., None] > 0), logits, np.nan)
    return tg.nn.cross_entropy(bad, np.zeros((4, 2), int), mask=weights)


HEALTHY: dict[str, Callable[[], Any]] = {
    "softmax of a mask": lambda: (tg.softmax(tg.where(MASK, tensor(MASK * 1.0), -INF)) ** 2).sum(),
    "log_softmax of a mask, chosen": lambda: tg.where(
        MASK, tg.log_softmax(tg.where(MASK, tensor(MASK * 2.0), -INF)), 0.0
    ).sum(),
    "a mask that is added": lambda: (
        tg.softmax(tensor(MASK * 1.0) + tg.tensor(np.where(MASK, 0.0, -INF).astype(np.float32)))
        ** 2
    ).sum(),
    "logsumexp of a mask": lambda: tg.logsumexp(tg.where(MASK, tensor(MASK * 1.0), -INF), 1).sum(),
    "a maximum from -inf": largest_so_far,
    "max over a mask": lambda: tg.max(tg.where(MASK, tensor(MASK * 1.0), -INF), 1).sum(),
    "exp of -inf": lambda: tg.exp(tg.where(MASK, tensor(MASK * 1.0), -INF)).sum(),
    "padding of nan, chosen away": lambda: tg.where(
        MASK, tensor(np.where(MASK, 1.0, np.nan)), 0.0
    ).sum(),
    "clip with one bound": lambda: tg.clip(tensor([1.0, 2.0]), -INF, 1.5).sum(),
    "padding with -inf": lambda: tg.max(tg.pad(tensor([1.0, 2.0]), ((1, 1),), -INF)),
    "lengths, with nan and inf in the padding": with_lengths,
    "attention with lengths": with_attention,
    "dropout between layers": with_dropout,
    "zoneout": wrapped,
    "a loss with weights of 0 on nan": crossed,
    "saturated functions": lambda: (
        tg.sigmoid(tensor([1e4, -1e4]))
        + tg.tanh(tensor([1e4, -1e4]))
        + tg.softplus(tensor([1e4, 0.0]))
    ).sum(),
    "logaddexp with -inf": lambda: tg.logaddexp(
        tensor([-INF, 1.0], False), tensor([0.0, 1.0])
    ).sum(),
    "norm and std at 0": lambda: tg.norm(tensor([0.0, 0.0])) + tg.std(tensor([2.0, 2.0])),
    "a factor that is infinite": lambda: (
        tensor([1.0, 2.0]) * 2.0 * tg.tensor(np.array([INF, 1.0], np.float32))
    ).sum(),
    "a setting that is infinite": lambda: tg.clip(tensor([1.0, 2.0]) * 2.0, INF, INF).sum(),
    "a safe root": lambda: tg.where(
        MASK, tg.sqrt(tg.where(MASK, tensor(MASK * 1.0), 1.0)), 0.0
    ).sum(),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_passes(name: str) -> None:
    run = HEALTHY[name]
    with tg.detect_anomaly():
        run().backward()
        run().backward(create_graph=True)
        with tg.eager():
            run().backward()


@pytest.mark.parametrize("name", [n for n in HEALTHY if "dropout" not in n and "zone" not in n])
def test_a_healthy_run_passes_compiled(name: str) -> None:
    xs = tensor([1.0])
    with tg.detect_anomaly():
        try:
            compiled = tg.jit(lambda x: HEALTHY[name]() * x.sum())
            tg.grad(compiled)(xs)
        except tg.TraceError:
            pytest.skip("a recording does not take it")


def test_infinite_results_of_compiled_code_pass() -> None:
    @tg.jit
    def masked(x: Any) -> Any:
        return tg.log_softmax(tg.where(x > 0.0, x, -INF))

    class Best(tg.Cell):
        hidden_size = 2

        def forward(self, x: Any, state: Any) -> Any:
            best = tg.maximum(x, state)
            return best, best

        def initial_state(self, batch_size: int) -> Any:
            return self.zeros(batch_size, 2) - INF

    xs = tensor(np.full((4, 3, 2), -INF), False)
    with tg.detect_anomaly():
        assert np.isneginf(masked(tensor([1.0, -1.0])).numpy()).any()
        ys, _ = tg.unroll(tg.jit(Best()), xs)
    assert np.isneginf(ys.numpy()).all()


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SLSTM", "MLSTM", "NeuralTuringMachine", "LMU"])
def test_cells_run_without_a_false_alarm(name: str) -> None:
    from .cell_checks import GROUPS

    if name not in GROUPS:
        pytest.skip("there is no such cell")
    cell = GROUPS[name][0].make()
    xs = tg.tensor(np.ones((4, 2, cell.input_size)))
    with tg.detect_anomaly(), tg.eager():
        ys, _ = tg.unroll(cell, xs)
        ys.sum().backward()


def test_it_decorates_and_ends() -> None:
    @tg.detect_anomaly()
    def run() -> Any:
        return tg.log(tensor([0.0]))

    with pytest.raises(tg.AnomalyError, match="the log of 0"):
        run()
    with pytest.raises(FloatingPointError):
        run()
    assert np.isneginf(tg.log(tensor([0.0])).item())
    with tg.detect_anomaly():
        assert tg.log(tensor([1.0])).item() == 0.0
    assert np.isneginf(tg.log(tensor([0.0])).item())
