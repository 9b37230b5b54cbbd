"""The golden file: what is read from it, compared with it and written to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from .canonical import canonical, digest
from .entries import Made

GOLDEN = Path(__file__).parents[1] / "golden" / "generated.json"
ANEW = """\
The generated code of these entries is not what was recorded:
{names}
See what changed with
    python -m tests.generated --show NAME [--against OTHER_CHECKOUT]
A change of generated code has to be meant. If it is, record it with
    python -m tests.generated --write
and say in the commit why the code is another one."""


def hashes(entries: Mapping[str, Made]) -> dict[str, str]:
    """Return for each entry the hashes of its canonical texts, one after the other."""
    return {
        name: " ".join(digest(canonical(text)) for text in made().values())
        for name, made in entries.items()
    }


def recorded() -> dict[str, str]:
    """Return what the golden file holds."""
    found: dict[str, str] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return found


def write(found: Mapping[str, str]) -> None:
    """Write the golden file, one line for each entry."""
    text = json.dumps(found, indent=0, sort_keys=True, ensure_ascii=False)
    GOLDEN.write_text(f"{text}\n", encoding="utf-8")


def differing(found: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Return the names, of those given, under which another hash is recorded, or none, or no more."""
    known = recorded()
    return [name for name in sorted(names) if found.get(name) != known.get(name)]


def complaint(names: list[str], shown: int = 30) -> str:
    """Return what to say of entries that differ: which they are, and what to do."""
    lines = [f"    {name}" for name in names[:shown]]
    lines += [f"    and {len(names) - shown} others"] if len(names) > shown else []
    return ANEW.format(names="\n".join(lines))
