"""The values that the parameters of the cells start from, as their docstrings promise them. (The references draw their own.)"""

from __future__ import annotations

import ast
import math
from typing import Any, NamedTuple

import numpy as np

from .cell_checks import classes

SIZES = INPUT, H = 2, 60  # enough units to see a distribution


class Uniform(NamedTuple):
    low: float
    high: float


class Normal(NamedTuple):
    deviation: float


def blocks(*values: float) -> Any:
    """One value for each block of H units."""
    return np.repeat(values, H)


FORGET = {"b": blocks(0, 1, 0, 0)}  # i, f, g, o
INTEGRATION = {"alpha": 1, "beta_1": 1, "beta_2": 1}

# From the class to the value or distribution of NumPy expressions in its parameters (and, in
# EchoState, a constant).
PARAMETERS: dict[str, dict[str, Any]] = {
    "CFN": {"b": blocks(1, -1)},
    "ConvLSTM": {**FORGET, "p": 0},
    "CoupledLSTM": {"b": blocks(-1, 0, 0)},
    "EchoState": {"W": Uniform(-0.5, 0.5), "max(abs(eigvals(U)))": 0.9, "b": 0},
    "EURNN": {"theta": Uniform(-math.pi, math.pi), "phi": Uniform(-math.pi, math.pi), "omega": Uniform(-math.pi, math.pi), "b": 0},
    "FastGRNN": {"b_z": 1, "b_h": 1, "zeta": 1, "nu": -4},
    "FastRNN": {"alpha": -3, "beta": 3},
    "FastWeights": {"W": 0.05 * np.eye(H), "gain": 1, "offset": 0},
    "IndRNN": {"u": Uniform(0, 1)},
    "IntersectionRNN": {"b": blocks(0, 0, 1, 1)},
    "IRNN": {"U": np.eye(H), "W": Normal(0.001), "b": 0},
    "JANET": {"b": blocks(1, 0)},
    "LayerNormLSTM": {**FORGET, "alpha_1": 1, "alpha_2": 1, "alpha_3": 1, "beta_1": 0, "beta_2": 0, "beta_3": 0},
    "LMU": {"e_m": 0},
    "LRU": {
        "exp(-2 * exp(nu_log))": Uniform(0, 1),  # |lambda|^2, so that lambda is uniform on the disk
        "exp(theta_log)": Uniform(0, 2 * math.pi),
        "exp(2 * gamma_log) + exp(-2 * exp(nu_log))": 1,
        "B": Normal(math.sqrt(1 / (2 * INPUT))),
        "C_real": Normal(math.sqrt(1 / H)),
        "C_imag": Normal(math.sqrt(1 / H)),
    },
    "LSTM": {"bias_ih + bias_hh": blocks(0, 1, 0, 0)},
    "LTC": {"A": Uniform(-1, 1), "1 / log1p(exp(rho))": 10, "b": -2},
    "MassConservingLSTM": {"b": np.concatenate([blocks(-3, 0), (3 + math.log(H - 1)) * np.eye(H).ravel()])},
    "MinLSTM": {"b": blocks(1, 0, 0)},
    "MLSTM": {"b_if": np.array([0, 3])},
    "MultiplicativeIntegrationLSTM": {**FORGET, **INTEGRATION},
    "MultiplicativeIntegrationRNN": INTEGRATION,
    "MultiplicativeLSTM": FORGET,
    "NeuralTuringMachine": {"b_heads": Uniform(-0.1, 0.1), "b": 0, "b_y": 0},
    "ONLSTM": {"b": blocks(1, 0, 0, 0)},  # f, i, o, g
    "PeepholeLSTM": FORGET,
    "PhasedLSTM": {**FORGET, "log(tau)": Uniform(0, 3), "s / tau": Uniform(0, 1)},
    "QRNN": {"b": 0},
    "RAN": {"b": blocks(0, 1)},
    "RelationalMemory": {
        "b": np.repeat([1, 0, 0], H // 4), "gain_1": 1, "gain_2": 1, "offset_1": 0, "offset_2": 0, "b_e": 0, "b_1": 0, "b_2": 0,
    },
    "ResidualLSTM": FORGET,
    "RGLRU": {"(1 + exp(-Lambda)) ** -8": Uniform(0.9, 0.999)},
    "SkipRNN": {"b_p": 1},
    "SLSTM": {"b": blocks(0, 3, 0, 0)},
    "SRU": {
        **{f"W[{k * H}:{k * H + H}]": Uniform(-math.sqrt(v / INPUT), math.sqrt(v / INPUT)) for k, v in enumerate([3, 1.5, 1.5, 3])},
        "v_f": Uniform(-math.sqrt(1.5), math.sqrt(1.5)), "v_r": Uniform(-math.sqrt(1.5), math.sqrt(1.5)), "b_r": 0, "b_f": 0,
    },
    "TypedRNN": {"b": 1},
    "UGRNN": {"b": blocks(0, 1)},
    "UnICORNN": {"w": Uniform(0, 1), "c": Uniform(-0.1, 0.1)},
    "WMCLSTM": FORGET,
}  # fmt: skip

GREFF = {
    "NIG": blocks(1, 0, 0), "NFG": blocks(0, 0, 0), "NOG": blocks(0, 1, 0), "NIAF": blocks(0, 1, 0, 0), "NOAF": blocks(0, 1, 0, 0),
}  # fmt: skip

# The same where options change it: class, options, expressions.
WITH_OPTIONS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "EchoState",
        {"scale": 2.0, "spectral_radius": 1.2},
        {"W": Uniform(-2, 2), "max(abs(eigvals(U)))": 1.2},
    ),
    *[("GreffLSTM", {"variant": v}, {"b": b}) for v, b in GREFF.items()],
    ("IRNN", {"scale": 0.01}, {**PARAMETERS["IRNN"], "U": 0.01 * np.eye(H)}),
    (
        "LRU",
        {"r_min": 0.6, "r_max": 0.9, "max_phase": 0.5},
        {
            **PARAMETERS["LRU"],
            "exp(-2 * exp(nu_log))": Uniform(0.36, 0.81),
            "exp(theta_log)": Uniform(0, 0.5),
        },
    ),
    ("LSTMP", {"proj_size": 20}, {"bias_ih + bias_hh": blocks(0, 1, 0, 0)}),
    ("MLSTM", {"forget_gate": "exp"}, {"b_if": 0, "b": 0}),
    ("PhasedLSTM", {"max_log_period": 5}, {**PARAMETERS["PhasedLSTM"], "log(tau)": Uniform(0, 5)}),
    ("RecurrentHighway", {"depth": 2, "transform_bias": -3.0}, {"b": blocks(0, -3, 0, -3)}),
    ("SLSTM", {"forget_gate": "exp"}, {"b": 0}),
    ("SRU", {"highway_bias": -1.5}, {**PARAMETERS["SRU"], "b_r": -1.5}),
]

NO_OPTIONS: dict[str, Any] = {}
STARTS = [*((name, NO_OPTIONS, expected) for name, expected in PARAMETERS.items()), *WITH_OPTIONS]


def made(name: str, options: dict[str, Any]) -> Any:
    kind: Any = classes()[name]
    return kind(*SIZES, **options, rng=1, dtype=np.float64)


def agree(found: Any, expected: Any, what: str) -> None:
    """A value is the expected one, or fills the range it should be drawn from."""
    if isinstance(expected, Uniform):
        low, high = expected
        edge = (high - low) / 8
        assert low <= found.min() < low + edge and high - edge < found.max() <= high, (
            f"{what} is not uniform on [{low}, {high}]"
        )
        assert abs(found.mean() - (low + high) / 2) < edge, f"{what}: mean {found.mean()}"
    elif isinstance(expected, Normal):
        assert (
            abs(found.std() / expected.deviation - 1) < 0.25
            and abs(found).max() > 2 * expected.deviation
        ), f"{what}: {found.std()}"
    else:
        np.testing.assert_allclose(
            found, np.broadcast_to(expected, np.shape(found)), rtol=1e-9, atol=1e-12, err_msg=what
        )


def check_listed(name: str, options: dict[str, Any], expected: dict[str, Any]) -> set[str]:
    """Compare what is listed; gives the names of the parameters that it looked at."""
    cell = made(name, options)
    values = {
        **vars(np),
        "eigvals": np.linalg.eigvals,
        **{k: v for k, v in vars(cell).items() if isinstance(v, np.ndarray)},
    }
    values |= {k: p.numpy() for k, p in cell.named_parameters()}
    for expression, value in expected.items():
        agree(eval(expression, values), value, f"{name}: {expression}")
    return {
        n.id
        for expression in expected
        for n in ast.walk(ast.parse(expression))
        if isinstance(n, ast.Name)
    }


# Rows of one gate, where they are not H.
ROWS = {
    ("LSTMP", "weight_hr"): 20, ("MLSTM", "W_if"): 1, ("SkipRNN", "W_p"): 1, ("NeuralTuringMachine", "W_heads"): 44,
    **{("RelationalMemory", name): H // 4 for name in ("W_e", "W_qkv", "W_1", "W_2", "W", "U")},
}  # fmt: skip


def check_matrices(name: str, options: dict[str, Any], listed: set[str]) -> None:
    """Matrices that the docstring says nothing of.

    Each gate is orthogonal, or Xavier uniform by its own size.
    """
    for k, p in made(name, options).named_parameters():
        if k in listed or p.ndim != 2:
            continue
        columns, rows = p.shape[1], ROWS.get((name, k), H)
        assert p.shape[0] % rows == 0, (
            f"{name}: {k} has {p.shape[0]} rows, not several times {rows}"
        )
        for gate in np.split(p.numpy(), p.shape[0] // rows):
            if rows == columns and np.allclose(gate @ gate.T, np.eye(rows)):
                continue
            bound = math.sqrt(6 / (rows + columns))
            low = 0.8 * bound if gate.size > 20 else 0
            assert low < abs(gate).max() <= bound, (
                f"{name}: {k} is not Xavier uniform by gates: {abs(gate).max() / bound}"
            )


def check_the_rest(name: str, options: dict[str, Any], listed: set[str]) -> None:
    """Parameters that no docstring says anything of are zeros, if vectors, or drawn around zero."""
    for k, p in made(name, options).named_parameters():
        v = p.numpy()
        if k not in listed and not (v.ndim == 1 and not v.any()):
            assert np.unique(v).size > max(v.size / 2, 1), f"{name}: {k} starts from chosen values"
            assert abs(v.mean()) < 5 * v.std() / v.size**0.5, f"{name}: {k} has mean {v.mean()}"


def check_first_values(name: str) -> None:
    """All parameters of a cell, with each set of options that has an entry.

    And that the docstring says something where there is one.
    """
    mine = [(options, expected) for other, options, expected in STARTS if other == name]
    for options, expected in mine or [(NO_OPTIONS, {})]:
        listed = check_listed(name, options, expected)
        check_the_rest(name, options, listed)
        check_matrices(name, options, listed)
    doc = " ".join((classes()[name].__doc__ or "").split())
    assert not mine or "start" in doc or "uniform" in doc or "Weights as in `LSTM`" in doc, (
        f"{name}: the docstring has no first values"
    )
