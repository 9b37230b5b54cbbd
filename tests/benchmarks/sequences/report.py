"""What the tables have in common: names of the contenders ("steps".

The plain cell, step by step), and how times are summed up.
"""

import statistics
import sys
import time

import numpy as np

NAMES = {
    "jit": "tg.jit",
    "cell": "cell alone",
    "plain": "steps",
    "layer": "torch nn",
    "loop": "torch loop",
    "scan": "JAX scan",
}


def progress(text):
    """For those who wait: a line on a terminal."""
    if sys.stderr.isatty():
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)


def note_down(figures, text):
    """What could not be timed, and why."""
    figures["notes"].append(text)
    print(f"  {text}")


def median_ms(times):
    return 1e3 * statistics.median(times)


def summary(times):
    """What the file of figures keeps of the runs."""
    low, high = np.percentile(times, (25, 75))
    return {"ms": median_ms(times), "quartiles_ms": [1e3 * low, 1e3 * high], "runs": len(times)}


def said(threads):
    return f"{threads} thread{'s' if threads > 1 else ''}"
