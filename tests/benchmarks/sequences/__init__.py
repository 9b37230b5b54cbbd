"""Training steps of compiled cells beside PyTorch and JAX.

A training step is forward, and backward to all weights, of the mean square of all outputs, in
float32; the inputs have no gradient. What is printed:

1. built-in cells: `tg.jit`, the same cell step by step, PyTorch's layer, and JAX's jitted scan with
   the input's product taken out by hand;
2. custom cells: `tg.jit`, a loop in PyTorch and a jitted scan in JAX, both with the same formulas
   and the input's product taken out where they allow it; and the geometric mean of the ratios;
3. the matrix products of a training step in a second, as a share of those of one large product;
4. seconds from nothing to the first result;
5. time for ten times the steps, and growth of the process over a thousand training steps.

Ratios are time of the peer / time of `tg.jit`. Each contender's outputs and gradients are compared
with those of `tg.jit` before it is timed (`workers.race`): the norm of the difference of two arrays
is to be below 1e-4 of the norm of one. A contender that differs or fails is not timed, a line says
why, and the run ends with code 1. Peers that are not installed are left out. `workers` says how
threads are set and turns taken.
"""

import json
import os
import platform
from importlib.metadata import version

from . import problems
from .growth import lengths, memory
from .start import first_results
from .steps import training_steps
from .workers import LIBRARIES, Workers, cores, installed

TABLES = ("built-in", "custom", "start", "length", "memory")


def add_options(parser):
    """The options of this part."""
    group = parser.add_argument_group("options of sequences")
    group.add_argument(
        "--tables",
        type=_list(TABLES),
        default=TABLES,
        metavar="A,B",
        help=f"of {', '.join(TABLES)}",
    )
    cells = (*problems.BUILT_IN, *problems.CUSTOM)
    group.add_argument(
        "--cells", type=_list(cells), default=cells, metavar="A,B", help=f"of {', '.join(cells)}"
    )
    sizes = tuple(problems.SIZES)
    group.add_argument(
        "--sizes", type=_list(sizes), default=sizes, metavar="A,B", help=f"of {', '.join(sizes)}"
    )
    group.add_argument(
        "--threads",
        type=_list(range(1, 1025)),
        default=(1, 2),
        metavar="1,2",
        help="numbers of threads, one after the other",
    )
    group.add_argument("--quick", action="store_true", help="fewer rounds")
    group.add_argument("--json", metavar="FILE", help="write the figures to a file")


def _list(allowed):
    """A reader of options: some of what is allowed, divided by commas."""

    def read(text):
        found = {str(a): a for a in allowed}
        unknown = [word for word in text.split(",") if word not in found]
        if unknown:
            raise ValueError
        return tuple(found[word] for word in text.split(","))

    read.__name__ = f"part of {', '.join(map(str, allowed))}" if len(allowed) < 20 else "number"
    return read


def main(options):
    """Print the tables, and write the figures where they are asked for.

    Whether everything could be timed.
    """
    figures = {
        "machine": machine(),
        "sizes": {name: size._asdict() for name, size in problems.SIZES.items()},
    }
    figures |= {"steps": [], "start": {}, "length": [], "memory": [], "notes": []}
    usable = len(cores() or range(os.cpu_count() or 1))
    if (load := figures["machine"]["load"]) is not None:
        print(
            f"load of the machine in the last minute: {load:.1f}; beside other programs that compute, figures say little"
        )
    for side, library in LIBRARIES.items():
        if not installed(side):
            print(f"{library} is not installed and is left out")
    try:
        for threads in options.threads:
            if threads > usable:
                print(
                    f"{threads} threads are left out: this process may use {usable} core{'s' if usable > 1 else ''}"
                )
                continue
            if cores() is None and threads < usable and installed("jax_cells"):
                print(
                    f"JAX uses all {usable} cores, not {threads}: this system does not let a process choose its cores"
                )
            with Workers(threads) as workers:
                training_steps(workers, options, figures)
                if threads == options.threads[0]:
                    lengths(workers, options, figures)
                    memory(workers, options, figures)
        if "start" in options.tables:
            first_results(options, figures)
    finally:
        if options.json:
            with open(options.json, "w") as file:
                json.dump(figures, file, indent=1)
    return not figures["notes"]


def machine():
    """What the figures were taken on."""
    model = ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            model = next(
                (line.partition(":")[2].strip() for line in file if line.startswith("model name")),
                "",
            )
    versions = {
        library: version(library)
        for side, library in LIBRARIES.items()
        if side != "ours" and installed(side)
    }
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "load": load,
        "python": platform.python_version(),
        **versions,
    }
