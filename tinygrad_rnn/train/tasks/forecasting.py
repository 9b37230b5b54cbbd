"""Forecasting two old series one step ahead.

Persistence, linear autoregression and networks stand in one table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...core.primitive import Array
from ...core.tape import no_grad
from ...module import Module
from ...nn.baselines import LinearAutoregression, WindowMLP
from ...nn.layers import Linear
from ...nn.losses import mse_loss
from ...ops.shaping import reshape
from ...optim import Adam, clip_grad_norm
from .fit import Reader
from .task import Arm, Result, Run, Task

__all__ = [
    "AIRLINE",
    "SUNSPOTS",
    "TASKS",
    "Form",
    "Series",
    "autoregression",
    "load",
    "log_differences",
    "persistence",
    "plain",
    "root_mean_square",
    "seasonal",
    "seasonal_growth",
    "steps_with_least_error",
    "tutorial",
    "windows",
]

_DATA = Path(__file__).parent.parent / "data"


class Series(NamedTuple):
    """Values in the order of time; those before `split` are for training.

    Attributes
    ----------
    values : float64 array, shape (n,)
        The values.
    split : int
        The place of the first test value.
    season : int
        The number of values in a period.
    """

    values: Array
    split: int
    season: int

    @property
    def tested(self) -> Array:
        """The test values."""
        return self.values[self.split :]


def load(name: str) -> Array:
    """Read the numbers of ``train/data/NAME.csv``.

    It is a file of lines ``time,number`` after a comment.
    """
    lines = (_DATA / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    return np.array([float(line.partition(",")[2]) for line in lines if not line.startswith("#")])


def root_mean_square(errors: Array) -> float:
    """Return sqrt(mean(errors ** 2))."""
    return math.sqrt(float(np.mean(np.square(errors))))


# --- predictions without training: one for each test value, from the true values before it --------


def persistence(series: Series) -> Array:
    """Return the value before, for each test value."""
    return series.values[series.split - 1 : -1]


def seasonal(series: Series) -> Array:
    """Return the value one period before, for each test value."""
    return series.values[series.split - series.season : -series.season]


def seasonal_growth(series: Series) -> Array:
    """Return the value before, times the growth one period before.

    The growth is the factor from one value to the next.
    """
    before = Series(series.values[:-1], series.split - 1, series.season)
    return persistence(series) * seasonal(series) / seasonal(before)


# --- what models read: the series in another form -------------------------------------------------


class Form(NamedTuple):
    """A series as models read it.

    Attributes
    ----------
    values : float64 array, shape (n,)
        The values, with mean 0 and variance 1 over the training values.
    first : int
        The place of the first value that there is.
    back : callable
        A function from predicted values of the form at the test places to predictions of the
        series.
    """

    values: Array
    first: int
    back: Callable[[Array], Array]


def plain(series: Series) -> Form:
    """Return the values themselves, less their mean and over their standard deviation."""
    mean, deviation = series.values[: series.split].mean(), series.values[: series.split].std()
    return Form((series.values - mean) / deviation, 0, lambda z: z * deviation + mean)


def log_differences(series: Series) -> Form:
    """Return log(y[t] / y[t - 1]), standardised in the same way.

    Neither trend nor growing swings are left.
    """
    found = np.diff(np.log(series.values), prepend=np.nan)
    mean, deviation = found[1 : series.split].mean(), found[1 : series.split].std()
    return Form(
        (found - mean) / deviation, 1, lambda z: persistence(series) * np.exp(z * deviation + mean)
    )


def windows(form: Form, size: int, places: Array) -> tuple[Array, Array]:
    """Return for each place the `size` values of the form before it, and the value there.

    They are float32 of shapes (size, places, 1) and (places,).
    """
    rows = np.stack([form.values[places - back] for back in range(size, 0, -1)])
    return rows[:, :, None].astype(np.float32), form.values[places].astype(np.float32)


# --- models ---------------------------------------------------------------------------------------


def autoregression(series: Series, order: int, form: Callable[[Series], Form] = plain) -> Array:
    """Return the predictions of a linear autoregression.

    It is fitted to the training values by least squares.
    """
    found = form(series)
    values = found.values[found.first :]
    model = LinearAutoregression(order).fit(values[: series.split - found.first])
    return found.back(model.predict(values[:-1])[-len(series.tested) :])


class LinearWindow(Module):
    """One linear layer on a window of values."""

    def __init__(self, window: int, *, rng: Any = None) -> None:
        self.linear = Linear(window, 1, rng=rng)

    def forward(self, xs: Any) -> Any:
        """Return (batch, 1) for windows of shape (window, batch, 1)."""
        return self.linear(reshape(xs, (xs.shape[0], xs.shape[1])).T)


class Plan(NamedTuple):
    """How a network is trained, on all windows at once.

    Attributes
    ----------
    window : int
        The number of values that it sees.
    lr : float
        The rate of Adam.
    steps : int
        The most training steps.
    held_out : float
        The share of the training places, the last ones, on which the number of steps is chosen.
    """

    window: int
    lr: float
    steps: int = 600
    held_out: float = 0.2


_EVERY = 5  # training steps between two looks at the validation error
_EPOCHS = 100  # of the tutorial


def network(
    run: Run,
    series: Series,
    form: Callable[[Series], Form],
    plan: Plan,
    make: Callable[[np.random.Generator], Module],
) -> tuple[Array, Result]:
    """Train a network, and predict the test values.

    The number of steps is the one with the least error on the last training places. Then a new
    network with the same first values is trained for so many steps on all of them. Test values are
    not looked at.

    Returns
    -------
    predictions : ndarray
        The predictions of the series.
    result : Result
        What training used; it has no score yet.
    """
    found = form(series)
    places = np.arange(found.first + plan.window, series.split)
    kept = len(places) - round(plan.held_out * len(places))
    steps, used = steps_with_least_error(
        run, found, plan, make(np.random.default_rng([run.seed, 0])), places[:kept], places[kept:]
    )
    model = make(np.random.default_rng([run.seed, 0]))
    optimizer = Adam(model.parameters(), lr=plan.lr)
    xs, targets = windows(found, plan.window, places)
    for _ in range(steps):
        if not run.go_on("training on all values"):
            break
        _step(model, optimizer, xs, targets)
        used += len(places)
    inner = plan.window if isinstance(model, Reader) else 1
    result = Result(math.nan, None, used, used * inner, run.seconds)
    return found.back(
        _predict(model, windows(found, plan.window, np.arange(series.split, len(series.values)))[0])
    ), result


def steps_with_least_error(
    run: Run, form: Form, plan: Plan, model: Module, training: Array, held_out: Array
) -> tuple[int, int]:
    """Find after how many steps the error on places that are held out is least.

    Returns
    -------
    best : int
        The number of steps.
    used : int
        How many windows were used to find out.
    """
    optimizer = Adam(model.parameters(), lr=plan.lr)
    xs, targets = windows(form, plan.window, training)
    held_xs, held_targets = windows(form, plan.window, held_out)
    best, least, used = _EVERY, math.inf, 0
    for done in range(1, plan.steps + 1):
        if run.seconds > run.budget / 2 or not run.go_on(
            f"step {done} of {plan.steps}, validation error {least:.4f}"
        ):
            break  # the other half of the budget is for the second training
        _step(model, optimizer, xs, targets)
        used += len(training)
        if done % _EVERY == 0:
            error = root_mean_square(_predict(model, held_xs) - held_targets)
            if error < least:
                best, least = done, error
    return best, used


def _step(model: Module, optimizer: Adam, xs: Array, targets: Array, clip: float = 1.0) -> None:
    """Do one training step."""
    loss = mse_loss(model(xs)[:, 0], targets)
    optimizer.zero_grad()
    loss.backward()
    clip_grad_norm(optimizer.parameters, clip)
    optimizer.step()


def _predict(model: Module, xs: Array) -> Array:
    """Return what a model says for windows, shape (places,)."""
    with no_grad():
        return np.asarray(model(xs).numpy()[:, 0], np.float64)


def tutorial(run: Run, series: Series, cell: str) -> tuple[Array, Result]:
    """Train and predict as the tutorial does it.

    The network has 4 units that see one value. It is trained in batches of one, for 100 epochs of
    Adam at 0.001. Values are scaled to [0, 1] by the range of all of them. That tells how large the
    test values become, which is not known in earnest.
    """
    least, most = series.values.min(), series.values.max()
    form = Form((series.values - least) / (most - least), 0, lambda z: z * (most - least) + least)
    model = Reader(cell, 1, 4, 1, rng=np.random.default_rng([run.seed, 0]))
    order = np.random.default_rng([run.seed, 1])
    optimizer = Adam(model.parameters(), lr=0.001)
    xs, targets = windows(form, 1, np.arange(1, series.split))
    used = 0
    for epoch in range(_EPOCHS):
        if not run.go_on(f"epoch {epoch + 1} of {_EPOCHS}"):
            break
        for place in order.permutation(len(targets)):
            _step(model, optimizer, xs[:, place : place + 1], targets[place : place + 1], math.inf)
            used += 1
    result = Result(math.nan, None, used, used, run.seconds)
    return form.back(
        _predict(model, windows(form, 1, np.arange(series.split, len(series.values)))[0])
    ), result


# --- the tasks ------------------------------------------------------------------------------------

SUNSPOTS = Series(load("sunspots")[: 1979 - 1700 + 1], 1921 - 1700, 11)
AIRLINE = Series(load("airline"), 96, 12)

Predicted = Callable[[Run], tuple[Array, Result]]


def relative_variance(predictions: Array) -> tuple[float, float]:
    """Return the mean squared errors in 1921 to 1955 and in 1956 to 1979.

    Both are divided by the variance of the values from 1700 to 1979.
    """
    squares = np.square(predictions - SUNSPOTS.tested) / SUNSPOTS.values.var()
    early = 1956 - 1921
    return float(squares[:early].mean()), float(squares[early:].mean())


def _score_sunspots(predictions: Array) -> tuple[float, str]:
    """Return the score of predictions of the sunspots, and a note."""
    early, late = relative_variance(predictions)
    deviation = SUNSPOTS.values.std()
    return (
        early,
        f"RMSE {math.sqrt(early) * deviation:.1f}, in 1956-1979 {late:.3f} and RMSE {math.sqrt(late) * deviation:.1f}",
    )


def _score_airline(predictions: Array) -> tuple[float, str]:
    """Return the score of predictions of the passengers, and no note."""
    return root_mean_square(predictions - AIRLINE.tested), ""


def _arm(
    name: str,
    predict: Predicted,
    score: Callable[[Array], tuple[float, str]],
    bar: float,
    published: str = "",
    exact: bool = False,
) -> Arm:
    """Return an arm that predicts.

    Parameters
    ----------
    name, published, exact
        As in `Arm`.
    predict, score : callable
        What gives the predictions, and what gives their score and a note.
    bar : float
        The error of the best linear autoregression.
    """

    def run(run: Run) -> Result:
        predictions, result = predict(run)
        error, said = score(predictions)
        return result._replace(score=error, solved=None if error == bar else error < bar, note=said)

    return Arm(name, run, published, exact)


def _exact(predictions: Array) -> Predicted:
    """Return what gives predictions that are known already."""
    return lambda run: (predictions, Result(math.nan))


def _networks(
    series: Series, form: Callable[[Series], Form], window: int, cell: str
) -> list[tuple[str, Predicted]]:
    """Return the networks that see a window of values: linear, MLP and a cell."""

    def trained(plan: Plan, make: Callable[[np.random.Generator], Module]) -> Predicted:
        return lambda run: network(run, series, form, plan, make)

    return [
        (
            f"linear window of {window}, trained by gradient",
            trained(Plan(window, 0.02), lambda rng: LinearWindow(window, rng=rng)),
        ),
        (
            f"MLP, window of {window}",
            trained(Plan(window, 0.01), lambda rng: WindowMLP(window, 8, rng=rng)),
        ),
        (
            f"{cell}, window of {window}",
            trained(Plan(window, 0.01), lambda rng: Reader(cell, 1, 16, 1, rng=rng)),
        ),
    ]


def _sunspots(cell: str | None) -> Sequence[Arm]:
    """Return the arms of the task with sunspots."""
    series, cell = SUNSPOTS, cell or "LSTM"
    exact: dict[str, Array] = {
        "persistence": persistence(series),
        "the value 11 years before": seasonal(series),
        **{f"AR({p}), least squares": autoregression(series, p) for p in (1, 2, 12)},
    }
    bar = relative_variance(exact["AR(12), least squares"])[0]

    def one_value(run: Run) -> tuple[Array, Result]:
        return network(
            run, series, plain, Plan(1, 0.01), lambda rng: Reader(cell, 1, 16, 1, rng=rng)
        )

    networks = [(f"{cell}, one value", one_value), *_networks(series, plain, 12, cell)]
    published = {"MLP, window of 12": "0.086, and 0.35 in 1956-1979, with weight elimination"}
    return [
        *(_arm(name, _exact(p), _score_sunspots, bar, exact=True) for name, p in exact.items()),
        *(
            _arm(name, predict, _score_sunspots, bar, published.get(name, ""))
            for name, predict in networks
        ),
    ]


def _airline(cell: str | None) -> Sequence[Arm]:
    """Return the arms of the task with airline passengers."""
    series, cell = AIRLINE, cell or "LSTM"
    exact: dict[str, Array] = {
        "persistence": persistence(series),
        "the value 12 months before": seasonal(series),
        "persistence with last year's growth": seasonal_growth(series),
        **{f"AR({p}), least squares": autoregression(series, p) for p in (1, 3, 12, 13)},
        "AR(12) of log differences, least squares": autoregression(series, 12, log_differences),
    }
    bar = root_mean_square(exact["AR(13), least squares"] - series.tested)
    networks = [
        (f"{cell}, one value, as in the tutorial", lambda run: tutorial(run, series, cell)),
        *(
            (f"{name}, log differences", predict)
            for name, predict in _networks(series, log_differences, 12, cell)
        ),
    ]
    published = {"LSTM, one value, as in the tutorial": "47.53"}
    return [
        *(_arm(name, _exact(p), _score_airline, bar, exact=True) for name, p in exact.items()),
        *(
            _arm(name, predict, _score_airline, bar, published.get(name, ""))
            for name, predict in networks
        ),
    ]


_TRAINING = (
    "Networks are trained with Adam on all windows at once; the number of steps is the one with the least error on the last fifth of the "
    "training values, and a second training, on all of them, takes so many. Every prediction is of the next value from true values."
)

TASKS = [
    Task(
        name="sunspots",
        title="sunspot numbers, one year ahead",
        about="To predict the yearly sunspot number from the years before: 1700 to 1920 for training, 1921 to 1955 and 1956 to 1979 for testing. "
        "The numbers are those of the US National Geophysical Data Center, in the public domain, as statsmodels contains them. "
        "Errors are squared and divided by the variance of the years 1700 to 1979, which is called the average relative variance. "
        f"Solved: a smaller one than that of AR(12), a linear autoregression fitted by least squares. {_TRAINING}",
        source="A. S. Weigend, D. E. Rumelhart and B. A. Huberman, Generalization by Weight-Elimination with Application to Forecasting, "
        "NeurIPS 1990: a network with 12 inputs and 8 hidden units.",
        metric="the average relative variance in 1921 to 1955",
        arms=_sunspots,
        budget=60,
        decimals=4,
    ),
    Task(
        name="airline",
        title="airline passengers, one month ahead",
        about="To predict the number of international airline passengers, in thousands, in each month of 1957 to 1960 from the months before; "
        "1949 to 1956 are for training. The numbers are series G of Box and Jenkins (1970), AirPassengers in R. Solved: a smaller error "
        f"than that of AR(13), a linear autoregression fitted by least squares. {_TRAINING} Published: a tutorial's LSTM that sees one value; "
        "it scales by the range of all values, those to be tested included, as its arm here does, and tests 46 months of the same years.",
        source="J. Brownlee, Time Series Prediction with LSTM Recurrent Neural Networks in Python with Keras (2016).",
        metric="the root mean squared error on 48 test months, in thousands of passengers",
        arms=_airline,
        budget=60,
        decimals=2,
    ),
]
