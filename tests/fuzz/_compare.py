"""What programs give, plain and compiled, and whether two of them give the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np

import tinygrad_rnn as tg
from tests.interpreted import interpreting
from tinygrad_rnn.compiler import fusion, host, nest, program
from tinygrad_rnn.core.tree import leaves
from tinygrad_rnn.kernels import runtime
from tinygrad_rnn.loops import lift

# the latter of NumPy, for integers that it does not take
REFUSED = (tg.TinygradError, ValueError, OverflowError)


def outcome(
    f: Callable[..., Any], given: list[Any], outside: list[Any], seed: int, order: int
) -> tuple[Any, list[tuple[str, Any]]]:
    """The result without its tensors, and named arrays.

    Tensors of the result, gradients of a random sum, for order 2 of those.
    """
    wrt = [t for t in [*given, *outside] if t.requires_grad and t.is_leaf]
    for t in wrt:
        t.grad = None
    result = f(*given)
    rng = np.random.default_rng([seed, 3])
    found: list[tuple[str, Any]] = []
    total: Any = None
    for k, y in enumerate(leaves(result)):
        if isinstance(y, tg.Tensor):
            found.append((f"result {k}", y.numpy()))
            weights = rng.normal(size=y.shape)
            if y.requires_grad:
                part = (y * weights.astype(y.dtype)).sum().astype(np.float64)
                total = part if total is None else total + part
    rest = [
        y if not isinstance(y, tg.Tensor) else (y.requires_grad, str(y.dtype))
        for y in leaves(result)
    ]
    if total is not None:
        # what it closes over has a history that is walked again
        total.backward(retain_graph=True, create_graph=order > 1)
    first = [t.grad for t in wrt]
    found += [(f"gradient {k}", None if g is None else g.numpy()) for k, g in enumerate(first)]
    if order > 1:
        again: Any = None
        for t, g in zip(wrt, first, strict=True):
            # a gradient of zeros may be none: the numbers of the others are the same
            weights = rng.normal(size=t.shape)
            if g is not None and g.requires_grad:
                part = (g * weights.astype(g.dtype)).sum().astype(np.float64)
                again = part if again is None else again + part
        for t in wrt:
            t.grad = None
        if again is not None:
            again.backward(retain_graph=True)
        found += [
            (f"second gradient {k}", None if t.grad is None else t.grad.numpy())
            for k, t in enumerate(wrt)
        ]
    return (tg.Tensor if isinstance(result, tg.Tensor) else type(result), rest), found


def different(name: str, found: Any, expected: Any, near: list[Any], special: bool) -> str | None:
    """What is different, or None.

    `near` are the arrays for inputs that differ in their last digit.
    """
    if expected is None or found is None:  # no gradient is the same as one of zeros
        one = found if expected is None else expected
        return None if one is None or not np.any(one) else f"{name}: {found} in place of {expected}"
    if (found.dtype, found.shape) != (expected.dtype, expected.shape):
        return f"{name}: {found.dtype}{found.shape} in place of {expected.dtype}{expected.shape}"
    if found.dtype.kind != "f":
        doubtful = np.zeros(found.shape, bool)
        for other in near:
            doubtful |= other != expected
        wrong = (found != expected) & ~doubtful
    else:
        eps = float(np.finfo(expected.dtype).eps)
        a, b = found.astype(np.float64), expected.astype(np.float64)
        finite = np.isfinite(a) & np.isfinite(b)
        scale = np.max(np.abs(b), where=np.isfinite(b), initial=0.0)
        spread = max(
            [
                float(np.max(np.abs(b - other), where=finite & np.isfinite(other), initial=0.0))
                for other in near
            ],
            default=0.0,
        )
        allowed = 40 * spread + 300 * eps * (scale + 0.1)
        same = np.where(finite, np.abs(a - b) <= allowed, (a == b) | (np.isnan(a) & np.isnan(b)))
        if special and name.startswith("result"):
            same &= (a != 0) | (b != 0) | (np.signbit(a) == np.signbit(b))
        wrong = ~same
    if not wrong.any():
        return None
    at = tuple(int(k) for k in np.argwhere(wrong)[0])
    return f"{name}{found.shape}: at {at} {found[at]!r} in place of {expected[at]!r}; {int(wrong.sum())} of {wrong.size} differ\nfound {found}\nexpected {expected}"


LIMITS = (
    (nest, "BLOCK", 5),
    (nest, "LONG", 6),
    (lift, "SHORT", 3),
    (fusion, "LIMIT", 5),
    (host, "SHARED", 8),
)


@contextlib.contextmanager
def everywhere(compiled: bool, limited: bool = False) -> Iterator[None]:
    """Loops are generated for arrays of any size, and for single operations; `limited`.

    As they are for large ones, in blocks and shared by threads.
    """
    changes: list[Any] = [
        (program, "SMALL", 1),
        (host, "SMALL", 1),
        (host, "_pays", lambda group: True),
        *(LIMITS if limited else ()),
    ]
    with contextlib.ExitStack() as stack, np.errstate(all="ignore"):
        for module, name, value in changes:
            stack.enter_context(mock.patch.object(module, name, value))
        stack.enter_context(contextlib.nullcontext() if compiled else interpreting())
        if limited:
            stack.enter_context(mock.patch.object(runtime, "threads", lambda: 2))
        yield


def compare(
    found: tuple[Any, Any], expected: tuple[Any, Any], near: list[Any], special: bool
) -> list[str]:
    """The differences between two outcomes."""
    problems = (
        [] if found[0] == expected[0] else [f"structure {found[0]} in place of {expected[0]}"]
    )
    if len(found[1]) != len(expected[1]):
        problems.append(f"{[n for n, _ in found[1]]} in place of {[n for n, _ in expected[1]]}")
    for k, ((name, a), (_, b)) in enumerate(zip(found[1], expected[1], strict=False)):
        others = [
            o[k][1]
            for o in near
            if k < len(o) and o[k][1] is not None and np.shape(o[k][1]) == np.shape(b)
        ]
        problem = different(name, a, b, others, special)
        problems += [] if problem is None else [problem]
    return problems
