"""How long `import tinygrad_rnn` takes, as a ratio to `import numpy`, in fresh processes."""

import os
import statistics
import subprocess
import sys
import time

from .timing import table

ROUNDS = 15


def main():
    commands = {
        "numpy": "import numpy",
        "tinygrad_rnn": "import tinygrad_rnn",
        "(no import)": "pass",
    }
    times = {name: [] for name in commands}
    # compiled files, as an installed package has
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(ROUNDS + 1):
        for name, code in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            times[name].append(time.perf_counter() - start)
    start_up = statistics.median(times["(no import)"][1:])
    net = {
        name: statistics.median(t[1:]) - start_up
        for name, t in times.items()
        if name != "(no import)"
    }
    rows = [("", "ms", "of numpy")] + [
        (name, f"{1e3 * t:.1f}", f"{t / net['numpy']:.2f}") for name, t in net.items()
    ]
    table("import (interpreter start subtracted)", rows)
