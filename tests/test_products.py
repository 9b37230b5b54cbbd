"""Products of a step of every form: which of them run through packed tiles, and what einsum does by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.fuzz import products
from tests.interpreted import interpreting
from tinygrad_rnn.ops import linear

RNG = np.random.default_rng(0)
B, N = 5, 6


def weight(*shape: int) -> Any:
    return tg.tensor(RNG.normal(size=shape), requires_grad=True)


def stacked(w: Any, x: Any, h: Any) -> Any:
    return (h @ w).sum(axis=0)


def heads(w: Any, x: Any, h: Any) -> Any:
    return (h.reshape((h.shape[0], 2, 1, 3)) @ w).reshape((h.shape[0], N))


def experts(w: Any, x: Any, h: Any) -> Any:
    return tg.einsum("bi,kij->bkj", h, w)[:, 1]


def places(w: Any, x: Any, h: Any) -> Any:
    return (h.reshape((h.shape[0], 2, 3)) @ w).reshape((h.shape[0], N))


def three(w: Any, x: Any, h: Any) -> Any:
    return tg.einsum("bi,bh,ihk->bk", x, h, w)


def convolution(w: Any, x: Any, h: Any) -> Any:
    return tg.conv1d(h.reshape((h.shape[0], 2, 3)), w, padding=1).reshape((h.shape[0], N))


def groups(w: Any, x: Any, h: Any) -> Any:
    return tg.conv1d(h.reshape((h.shape[0], 2, 3)), w, padding=1, groups=2).reshape((h.shape[0], N))


FORMS = {
    stacked: (4, N, N),
    heads: (2, 3, 3),
    experts: (4, N, N),
    places: (3, 3),
    three: (N, N, N),
    convolution: (2, 2, 3),
    groups: (2, 1, 3),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f.__name__)
def test_each_form_is_a_product_with_a_packed_matrix(form: Any) -> None:
    """Forward, back to the state, and the gradient of the weight, which leaves the loop over time."""
    w = weight(*FORMS[form])

    def cell(x: Any, h: Any) -> Any:
        h = tg.tanh(form(w, x, h))
        return h, h

    xs, start = np.ones((3, B, N)), tg.tensor(np.ones((B, N)), requires_grad=True)
    with interpreting():
        told = tg.jit(cell).explain(xs, start)
    became = {
        walk: [o.became for o in told.operations if o.walk == walk]
        for walk in ("forward", "backward")
    }
    for walk, several in became.items():
        assert any(text.startswith("product with a packed matrix") for text in several), walk
        # of three operands the gradient of the state is made of two values that vary
        loops = sum("both sides vary" in text for text in several)
        assert loops == (1 if form is three and walk == "backward" else 0), walk
    assert sum(text.startswith("gradient product, sunk") for text in became["backward"]) == 1


def test_what_two_slices_have_in_common_is_no_code_for_each() -> None:
    """The text has as many lines for many slices as for two."""

    def lines(count: int) -> int:
        w = weight(count, 3, 3)

        def cell(x: Any, h: Any) -> Any:
            y = (h.reshape((h.shape[0], count, 1, 3)) @ w).reshape((h.shape[0], 3 * count))
            return y, y

        xs, start = np.ones((2, B, 3 * count)), np.ones((B, 3 * count))
        return len(str(tg.jit(cell).source(xs, start)).splitlines())

    with interpreting():
        assert lines(2) == lines(40)


def test_gradients_of_one_contraction_share_what_they_have_in_common() -> None:
    """Three operands: the product that both operands of the batch need is computed once."""
    w = weight(N, N, N)

    def cell(x: Any, h: Any) -> Any:
        h = tg.tanh(tg.einsum("bi,bh,ihk->bk", x, h, w))
        return h, h

    xs = tg.tensor(np.ones((3, B, N)), requires_grad=True)
    start = tg.tensor(np.ones((B, N)), requires_grad=True)
    with interpreting():
        told = tg.jit(cell).explain(xs, start)
    backward = [u for u in told.units if u.walk == "backward" and u.name == "product"]
    assert len(backward) == 1


def test_a_weight_of_both_operands_of_an_outer_product() -> None:
    """The two sides are one value with different labels."""
    rng = np.random.default_rng(1)
    w = tg.tensor(rng.normal(size=(2, N, N)), requires_grad=True)
    xs = rng.normal(size=(3, B, N))

    def cell(x: Any, h: Any) -> Any:
        h = tg.tanh(x + tg.einsum("bi,bj,kij->bk", h, h, w) @ np.ones((2, N)))
        return h, h

    def run(step: Any) -> list[Any]:
        w.grad = None
        ys, _ = tg.unroll(step, xs, np.ones((B, N)))
        tg.square(ys).sum().backward()
        return [ys.numpy(), w.grad.numpy()]

    expected = run(cell)
    with interpreting():
        found = run(tg.jit(cell))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_compiled_by_numba_as_well(seed: int) -> None:
    assert products.case(1000 + seed, compiled=True) == "equal"


def test_einsum_by_products_of_matrices_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "PAIRED", 0)
    rng = np.random.default_rng(2)
    for _ in range(300):
        sizes = {c: int(rng.integers(1, 4)) for c in "abcde"}
        terms = [
            "".join(rng.permutation(list(sizes))[: rng.integers(0, 4)])
            for _ in range(rng.integers(2, 6))
        ]
        every = sorted(set("".join(terms)))
        out = "".join(rng.permutation(every)[: rng.integers(0, len(every) + 1)]) if every else ""
        xs = [rng.normal(size=tuple(sizes[c] for c in term)) for term in terms]
        subscripts = f"{','.join(terms)}->{out}"
        found = tg.einsum(subscripts, *xs)
        np.testing.assert_allclose(
            found, np.einsum(subscripts, *xs), rtol=1e-10, atol=1e-10, err_msg=subscripts
        )


def test_derivatives_of_a_large_einsum(monkeypatch: pytest.MonkeyPatch) -> None:
    """First and second ones by products of matrices, beside finite differences."""
    monkeypatch.setattr(linear, "PAIRED", 0)
    rng = np.random.default_rng(3)
    given = [rng.normal(size=shape) for shape in ((2, 3), (2, 2), (3, 2, 2))]

    def f(x: Any, h: Any, w: Any) -> Any:
        return tg.tanh(tg.einsum("bi,bh,ihk->bk", x, h, w)).sum()

    tg.gradcheck(f, *given, order=2)
