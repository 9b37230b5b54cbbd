"""The run that puts faults into the derivative rules.

It finds the source of every rule, and its checks catch what it changes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_run_over_some_rules_catches_all() -> None:
    """In a process of its own, since it changes the entries while it runs.

    `make mutants` takes all rules.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants", "part", "tanh", "matmul", "cumsum"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "(100.00%" in done.stdout and "SURVIVED" not in done.stdout
