"""Several LSTM levels, one reading the other, forecast a chaotic series better than one.

The map of Hénon, four steps ahead. What is to be learnt is the same bent function four times in a
row, a function of a function of a function. Levels are such a thing too: each bends what the one
below it gives. One level with as many parameters has more units, but they stand side by side.

Persistence and a linear model of the same values are the baselines. Each network is trained from
three seeds; the figure is the median, with the smallest and the largest.
"""

import numpy as np

import tinygrad_rnn as tg

WINDOW, AHEAD = 4, 4


def henon(length, skip=100):
    """x[t + 1] = 1 - 1.4 x[t]^2 + 0.3 x[t - 1], without the first `skip` values."""
    x = [0.1, 0.1]
    for _ in range(length + skip):
        x.append(1 - 1.4 * x[-1] ** 2 + 0.3 * x[-2])
    return np.array(x[-length:])


def windows(series, places):
    """For each place the `WINDOW` values up to it, (time, batch, 1), and the value `AHEAD` of it, (batch, 1)."""
    xs = np.stack([series[places - back] for back in range(WINDOW - 1, -1, -1)])[..., None]
    return xs.astype(np.float32), series[places + AHEAD][:, None].astype(np.float32)


def train(model, series, places, steps, rng):
    """Fit a model to windows of the series."""
    optimizer = tg.optim.Adam(model.parameters(), lr=0.04)
    schedule = tg.optim.Schedule(optimizer, tg.optim.cosine(0.04, steps))
    for _ in range(steps):
        xs, targets = windows(series, rng.choice(places, 32))
        loss = tg.nn.mse_loss(model(xs), targets)
        optimizer.zero_grad()
        loss.backward()
        tg.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


def main(steps=400, seeds=3):
    """Train, and print errors as shares of the standard deviation; they are returned, one for each seed."""
    series, split = henon(3000), 2000
    series = (series - series[:split].mean()) / series[:split].std()
    training, test = np.arange(WINDOW, split - AHEAD), np.arange(split, len(series) - AHEAD)
    (known, wanted), (xs, targets) = windows(series, training), windows(series, test)

    def error(predicted):
        return float(np.sqrt(np.mean((predicted - targets) ** 2)))

    known_rows, rows = (np.c_[x[..., 0].T, np.ones(x.shape[1])] for x in (known, xs))
    found = {
        "persistence": [error(xs[-1])],
        "linear": [error(rows @ np.linalg.lstsq(known_rows, wanted, rcond=None)[0])],
    }
    for levels, units in ((1, 28), (2, 16)):
        errors = []
        for seed in range(seeds):
            model = tg.nn.StackedLSTM(1, units, 1, levels, rng=seed)
            train(model, series, training, steps, np.random.default_rng(seed))
            with tg.no_grad():
                errors.append(error(model(xs).numpy()))
        count = sum(p.size for p in model.parameters())
        found[f"{levels} level{'s' if levels > 1 else ''} of {units} ({count:,} parameters)"] = (
            errors
        )
    print(f"error {AHEAD} steps ahead, in standard deviations")
    for name, errors in found.items():
        spread = f"  ({min(errors):.3f} to {max(errors):.3f})" if len(errors) > 1 else ""
        print(f"  {name:33} {np.median(errors):.3f}{spread}")
    return found


if __name__ == "__main__":
    main()
