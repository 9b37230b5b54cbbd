"""Print all figures, or those of the parts named: ``python -m tests.benchmarks [eager] [imports] [kernels] [sequences] [functions] [training] [forms] [compiling] [peak] [operations] [scaling] [gradbench] [options]``."""

import argparse
import platform
import sys

import numpy as np

from . import (
    compiling,
    eager,
    forms,
    functions,
    gradbench,
    imports,
    kernels,
    operations,
    peak,
    scaling,
    sequences,
    training,
)

PARTS = {
    "imports": imports,
    "eager": eager,
    "kernels": kernels,
    "sequences": sequences,
    "functions": functions,
    "training": training,
    "forms": forms,
    "compiling": compiling,
    "peak": peak,
    "operations": operations,
    "scaling": scaling,
    "gradbench": gradbench,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Timings, beside the peers that are installed.",
    )
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="part",
        help=f"of {', '.join(PARTS)}; all of them if none is named",
    )
    sequences.add_options(parser)
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}; medians of interleaved runs"
    )
    agreed = True
    for name in options.parts or PARTS:
        said = sequences.main(options) if name == "sequences" else PARTS[name].main()
        agreed = said is not False and agreed  # most parts compare nothing
    sys.exit(not agreed)
