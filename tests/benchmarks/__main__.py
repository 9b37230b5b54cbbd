"""Print all figures, or those of the parts named: ``python -m tests.benchmarks [eager] [imports] [kernels] [sequences] [functions]``."""

import platform
import sys

import numpy as np

from . import eager, functions, imports, kernels, sequences

PARTS = {"imports": imports, "eager": eager, "kernels": kernels, "sequences": sequences, "functions": functions}

if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in PARTS]
    if unknown:
        sys.exit(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}; medians of interleaved runs")
    for name in sys.argv[1:] or PARTS:
        PARTS[name].main()
