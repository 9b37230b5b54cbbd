"""Several processes that begin their work at the same moment."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


def together(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Wait until each has written "ready", write "go" to all, and give what they wrote then.

    Each must end without an error.
    """
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n", (
            process.communicate()[1]
        )
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = []
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err[-3000:]
        found.append(out)
    return found
