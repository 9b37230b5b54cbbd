"""What is recorded: a name, and how the texts are made, for each entry of the golden file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tests import test_compile_work, test_jit_operations, test_jit_outside, test_jit_steps
from tests.cell_checks import BATCH, CASES, Case, T
from tests.fuzz import cells as fuzz_cells
from tests.fuzz import functions as fuzz_functions
from tests.fuzz import products as fuzz_products
from tests.fuzz._compare import everywhere
from tests.test_primitives import NAMES, parameter_sets, takes_floats
from tinygrad_rnn.core.primitive import REGISTRY, Primitive
from tinygrad_rnn.core.tree import leaves, unflatten

from .dnc import DNC
from .functions import FUNCTIONS, Called
from .texts import Texts, of_elementwise, of_forward, of_function, of_rule, of_sequence

Made = Callable[[], Texts]
DTYPES = (np.float32, np.float64)
RANDOM = 60  # programs of each generator of tests/fuzz
LENGTHS = {"plain": {}, "lengths": {"lengths": np.array([1, T])}}


def entries() -> dict[str, Made]:
    """Return every entry by name; two of one name are an error."""
    found: dict[str, Made] = {}
    for source in (_zoo, _steps, _outside, _operations, _functions, _random, _kernels):
        for name, made in source():
            assert name not in found, name
            found[name] = made
    return found


def _converted(tree: Any, dtype: Any, gradients: bool) -> Any:
    """Return arrays as tensors, those of floats in a dtype."""
    arrays = [x.numpy() if isinstance(x, tg.Tensor) else np.asarray(x) for x in leaves(tree)]
    return unflatten(
        tree,
        [
            tg.tensor(x, dtype, requires_grad=gradients) if x.dtype.kind == "f" else tg.tensor(x)
            for x in arrays
        ],
    )


# --- cells ------------------------------------------------------------------------------------------


def of_case(case: Case, dtype: Any, how: dict[str, Any]) -> Texts:
    """Return the texts of a cell of the zoo; its inputs have gradients if there are no lengths."""
    cell = case.make(dtype)
    xs, state = case.draw(cell, np.random.default_rng(3))
    given, first = _converted(xs, dtype, not how), _converted(state, dtype, not how)
    return of_sequence(cell, lambda fast: tg.unroll(fast, given, first, **how))


def of_dnc(dtype: Any, how: dict[str, Any]) -> Texts:
    """Return the texts of the differentiable neural computer."""
    cell = DNC(3, 5, 4, 2, dtype)
    xs = _converted(np.ones((T, BATCH, 3)), dtype, not how)
    return of_sequence(cell, lambda fast: tg.unroll(fast, xs, **how))


def _zoo() -> Iterator[tuple[str, Made]]:
    """Every variant of every published cell that is tested."""
    seen: dict[str, int] = {}
    for case in CASES:
        sizes = ",".join(map(str, case.sizes))
        name = f"cell {case}({sizes})"
        seen[name] = seen.get(name, 0) + 1
        name += f" #{seen[name]}" if seen[name] > 1 else ""
        for dtype in DTYPES:
            for way, how in LENGTHS.items():
                yield (
                    f"{name} {dtype.__name__} {way}",
                    functools.partial(of_case, case, dtype, how),
                )
    for dtype in DTYPES:
        for way, how in LENGTHS.items():
            yield f"cell DNC {dtype.__name__} {way}", functools.partial(of_dnc, dtype, how)


def _steps() -> Iterator[tuple[str, Made]]:
    """Steps with odd states and results, and steps of many operations."""
    for name, (cell, xs, state) in test_jit_steps.STEPS.items():
        yield f"step {name}", functools.partial(of_step, cell, xs, state)
    for step in test_compile_work.STEPS:
        for depth in (3, 48):
            yield f"step {step.__name__} x{depth}", functools.partial(of_deep_step, step, depth)
    for program in test_jit_operations.PROGRAMS:
        yield (
            f"step {program.__name__}",
            functools.partial(of_step, program, np.ones((T, 4, 6)), np.ones((4, 6))),
        )


def of_step(cell: Callable[..., Any], xs: Any, state: Any) -> Texts:
    """Return the texts of a step; its inputs and states have gradients where they can."""
    given, first = _converted(xs, None, True), _converted(state, None, True)
    return of_sequence(cell, lambda fast: tg.unroll(fast, given, first))


def of_deep_step(step: Callable[..., Any], depth: int) -> Texts:
    """Return the texts of a step that does the same several times."""
    size = test_compile_work.SIZE
    w = tg.tensor(np.ones((size, size)), requires_grad=True)

    def cell(x: Any, h: Any) -> Any:
        h = step(h, x, w, depth)
        return h, h

    return of_step(cell, np.ones((2, 3, size)), np.ones((3, size)))


def _outside() -> Iterator[tuple[str, Made]]:
    """Cells that draw masks, tell statistics, and read tensors with rows of the batch."""
    steps, batch = test_jit_outside.T, test_jit_outside.BATCH
    made = {
        **test_jit_outside.WRAPPERS,
        "batch norm": lambda: tg.nn.RecurrentBatchNorm(
            tg.cells.LSTM(2, 3, rng=0, dtype=np.float64), 2
        ),
        "layer norm": lambda: tg.nn.RecurrentLayerNorm(tg.cells.GRU(2, 3, rng=0, dtype=np.float64)),
    }
    ways = {k: v for k, v in test_jit_outside.WAYS.items() if k not in ("reverse", "checkpoint")}
    for name, make in made.items():
        for way, how in ways.items():

            def texts(make: Any = make, how: Any = how) -> Texts:
                xs = np.ones((steps, batch, 2))
                return of_sequence(make(), lambda fast: tg.unroll(fast, xs, **how))

            yield f"outside {name} {way}", texts


def _operations() -> Iterator[tuple[str, Made]]:
    """Every primitive in a step, on all of its examples."""
    for name in dict.fromkeys(e.name for e in test_jit_operations.EXAMPLES):
        several = [e for e in test_jit_operations.EXAMPLES if e.name == name]
        for dtype in DTYPES:
            yield (
                f"operation {name} {dtype.__name__}",
                functools.partial(of_operation, several, dtype),
            )


def of_operation(several: list[Any], dtype: Any) -> Texts:
    """Return the texts of a step with these examples of an operation."""
    make, _ = test_jit_operations.step_of(several)
    step, xs, _ = make(dtype)
    inputs = tuple(tg.tensor(x, requires_grad=x.dtype.kind == "f") for x in xs)
    first = tg.tensor(np.ones(test_jit_operations.BATCH, dtype), requires_grad=True)
    return of_sequence(step, lambda fast: tg.unroll(fast, inputs, first))


# --- functions --------------------------------------------------------------------------------------


def _functions() -> Iterator[tuple[str, Made]]:
    for name, called in FUNCTIONS.items():
        for dtype in DTYPES:
            yield f"function {name} {dtype.__name__}", functools.partial(of_called, called, dtype)


def of_called(called: Called, dtype: Any) -> Texts:
    """Return the texts of a function for arguments of a dtype."""
    return of_function(called.function, lambda fast: fast(*called.given(dtype)))


# --- random programs --------------------------------------------------------------------------------


def _random() -> Iterator[tuple[str, Made]]:
    for seed in range(RANDOM):
        yield f"random cell {seed}", functools.partial(of_random_cell, seed)
        yield f"random function {seed}", functools.partial(of_random_function, seed)
        yield f"random products {seed}", functools.partial(of_random_products, seed)


def of_random_cell(seed: int) -> Texts:
    """Return the texts of a cell of the generator."""
    case = fuzz_cells.Case(seed, 10)
    return of_sequence(case.step(), case.run)


def of_random_products(seed: int) -> Texts:
    """Return the texts of a step of products of the generator."""
    case = fuzz_products.Case(seed)
    return of_sequence(case.step, case.run)


def of_random_function(seed: int) -> Texts:
    """Return the texts of a function of the generator, with loops for arrays of any size."""
    program = fuzz_functions.Written(seed)
    scope = program.closed_over(program.dtype)
    given = [make(program.dtype, 0) for make in program.inputs.values()]
    with everywhere(compiled=False, limited=seed % 3 == 0):
        return of_function(program.function(scope), lambda fast: fast(*given))


# --- elementwise kernels ----------------------------------------------------------------------------


def _kernels() -> Iterator[tuple[str, Made]]:
    for name in NAMES:
        primitive = REGISTRY[name]
        if primitive.scalar is not None and takes_floats(primitive):
            yield from _of_primitive(primitive)
    functions: dict[str, tuple[Callable[..., Any], int]] = {
        "swish": (lambda x: x / (1.0 + tg.exp(-x)), 1),
        "two results": (lambda x, y: (tg.where(x > y, x * y, x - 0.5), x + y), 2),
        "a condition": (lambda x, y: tg.logical_and(x > 0.25, y < x), 2),
        "an input that is not read": (lambda x, y: tg.tanh(y) * 2.0, 2),
    }
    for name, (function, count) in functions.items():
        yield f"kernel of {name}", functools.partial(of_elementwise, function, count)


def _of_primitive(primitive: Primitive) -> Iterator[tuple[str, Made]]:
    for params in parameter_sets(primitive):
        how = ", ".join(f"{k}={v}" for k, v in params.items())
        name = f"kernel {primitive.name}({how})"
        yield f"{name} forward", functools.partial(of_forward, primitive, params)
        for k, rule in enumerate(primitive.rules):
            if rule is not None:
                yield (
                    f"{name} gradient of {primitive.inputs[k]}",
                    functools.partial(of_rule, primitive, k, params),
                )
