"""``python -m tests.generated``: compare all generated code with the golden file.

See what changed, or record it anew.
"""

from __future__ import annotations

import argparse
import difflib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .canonical import canonical
from .entries import Made, entries
from .record import complaint, differing, hashes, recorded, write


def shown(made: Made) -> str:
    """Return the canonical texts of an entry, each with its name above it."""
    return "\n".join(f"# --- {name} ---\n{canonical(text)}" for name, text in made().items())


def difference(name: str, other: Path, here: str) -> str:
    """Return the unified diff of an entry, from another checkout to this one."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.generated", "--show", name],
        cwd=other,
        env={**os.environ, "PYTHONPATH": str(other)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{other}: {done.stderr.strip()[-500:]}")
    there = done.stdout.splitlines()
    lines = difflib.unified_diff(there, here.splitlines(), str(other), "here", lineterm="", n=5)
    return "\n".join(lines) or "no difference"


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return its exit code: 1 if something differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.generated", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help="take only the entries that have one of these in their names, such as LSTM",
    )
    parser.add_argument("--write", action="store_true", help="record what is generated now")
    parser.add_argument("--list", action="store_true", help="print the names of the entries")
    parser.add_argument("--show", metavar="NAME", help="print the canonical text of an entry")
    parser.add_argument(
        "--against",
        metavar="CHECKOUT",
        type=Path,
        help="with --show: the difference from another checkout of the project to this one",
    )
    options: Any = parser.parse_args(arguments)
    every = entries()
    if options.show is not None:
        if options.show not in every:
            parser.error(f"there is no entry {options.show!r}; --list prints their names")
        text = shown(every[options.show])
        there = options.against
        print(text if there is None else difference(options.show, there.resolve(), text))
        return 0
    chosen = {
        name: made
        for name, made in every.items()
        if not options.parts or any(part in name for part in options.parts)
    }
    if options.list:
        print("\n".join(sorted(chosen)))
        return 0
    found = hashes(chosen)
    if options.write:
        write(found if not options.parts else {**recorded(), **found})
        print(f"{len(found)} entries recorded")
        return 0
    gone = [] if options.parts else [name for name in recorded() if name not in every]
    names = differing(found, [*found, *gone])
    print(complaint(names) if names else f"{len(found)} entries, all as recorded")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
