"""Several LSTM levels, one reading the other, forecast a chaotic series.

The equation of Mackey and Glass, six time units ahead.

What several levels are worth is told by one level with as many parameters, trained in the same way:
here, on a small problem, nothing. Persistence and a linear model of the same 16 values are the
baselines.
"""

import numpy as np

import tinygrad_rnn as tg

WINDOW, AHEAD = 16, 6


def mackey_glass(length, delay=17, parts=10, skip=300):
    """x' = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x, by Euler's rule in tenths, one value for each unit of time."""
    x = [1.2] * (delay * parts + 1)
    for _ in range((length + skip) * parts):
        past = x[-1 - delay * parts]
        x.append(x[-1] + (0.2 * past / (1 + past**10) - 0.1 * x[-1]) / parts)
    return np.array(x[::-parts][:length][::-1])


def windows(series, places):
    """For each place the `WINDOW` values up to it, (time, batch, 1), and the value `AHEAD` of it, (batch, 1)."""
    xs = np.stack([series[places - back] for back in range(WINDOW - 1, -1, -1)])[..., None]
    return xs.astype(np.float32), series[places + AHEAD][:, None].astype(np.float32)


def train(model, series, places, steps):
    """Fit a model to windows of the series."""
    rng = np.random.default_rng(1)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.02)
    schedule = tg.optim.Schedule(optimizer, tg.optim.cosine(0.02, steps))
    for _ in range(steps):
        xs, targets = windows(series, rng.choice(places, 32))
        loss = tg.nn.mse_loss(model(xs), targets)
        optimizer.zero_grad()
        loss.backward()
        tg.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


def main(steps=200):
    """Train, and print errors as shares of the standard deviation; they are returned."""
    series, split = mackey_glass(1500), 1000
    series = (series - series[:split].mean()) / series[:split].std()
    training, test = np.arange(WINDOW, split - AHEAD), np.arange(split, len(series) - AHEAD)
    (known, wanted), (xs, targets) = windows(series, training), windows(series, test)
    known_rows, rows = (np.c_[x[..., 0].T, np.ones(x.shape[1])] for x in (known, xs))
    predictions = {
        "persistence": xs[-1],
        "linear": rows @ np.linalg.lstsq(known_rows, wanted, rcond=None)[0],
    }
    for levels, units in ((1, 28), (2, 16)):
        model = train(tg.nn.StackedLSTM(1, units, 1, levels, rng=0), series, training, steps)
        count = sum(p.size for p in model.parameters())
        with tg.no_grad():
            predictions[
                f"{levels} level{'s' if levels > 1 else ''} of LSTM ({count:,} parameters)"
            ] = model(xs).numpy()
    found = {name: float(np.sqrt(np.mean((p - targets) ** 2))) for name, p in predictions.items()}
    print(f"error {AHEAD} steps ahead, in standard deviations")
    for name, error in found.items():
        print(f"  {name:35} {error:.3f}")
    return found


if __name__ == "__main__":
    main()
