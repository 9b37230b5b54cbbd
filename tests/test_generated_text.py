"""The text of generated code: the same in each process, and the one that is recorded.

The record is made and looked at with ``python -m tests.generated``.
"""

from __future__ import annotations

import ast
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .generated.canonical import canonical, digest
from .generated.entries import entries
from .generated.record import complaint, differing, hashes, recorded

ENTRIES = entries()
QUICK = [
    name
    for name in ENTRIES
    if not name.startswith(("cell", "outside", "operation", "step"))
    or (name.startswith("cell") and name.endswith("float32 plain"))
    or (name.startswith("outside") and name.endswith("plain"))
    or (name.startswith("step") and not name.endswith("x48"))
    or (name.startswith("operation") and int(digest(name), 16) % 8 == 0)
]
# of each kind of program some, with those that have most to arrange
SAME = [
    name
    for name in ENTRIES
    if ("float32" in name and name.startswith(("cell DNC", "cell Neural", "cell Relational")))
    or (name.startswith("function") and name.endswith("float32"))
    or (name.startswith("step") and name.endswith("x3"))
    or (name.startswith("outside") and name.endswith("lengths"))
    or (name.startswith("random products") and len(name) == len("random products 0"))
    or (name.startswith("operation") and name.endswith("64") and int(digest(name), 16) % 8 == 0)
    or name in ("cell LSTM(2,3) float64 plain", "cell LMU(2,3) float64 plain")
]


# --- the golden file ----------------------------------------------------------------------------------


@pytest.mark.recorded
def test_generated_code_is_the_recorded_one() -> None:
    found = hashes({name: ENTRIES[name] for name in QUICK})
    names = differing(found, QUICK)
    assert not names, complaint(names)


@pytest.mark.full
@pytest.mark.recorded
def test_all_generated_code_is_the_recorded_one() -> None:
    found = hashes(ENTRIES)
    names = differing(found, {**found, **recorded()})
    assert not names, complaint(names)


def test_the_record_has_every_entry_and_no_other() -> None:
    names = sorted(set(recorded()) ^ set(ENTRIES))
    assert not names, complaint(names)


# --- the same in each process -------------------------------------------------------------------------


def scattered(chance: random.Random) -> list[Any]:
    """Objects of many sizes, among them many that are free again, so that new ones lie in no order."""
    kinds = [
        type("Kind", (), {"__slots__": tuple(f"s{k}" for k in range(size))})
        for size in range(1, 24)
    ]
    pile: list[Any] = [kind() for kind in kinds for _ in range(chance.randrange(100, 900))]
    pile += [dict.fromkeys(range(chance.randrange(1, 20))) for _ in range(500)]
    chance.shuffle(pile)
    return pile[: len(pile) // 4]


def texts(seed: int) -> dict[str, str]:
    """Return hashes of the texts as they are, made in a random order on memory in disorder."""
    chance = random.Random(seed)
    names, found, held = chance.sample(SAME, len(SAME)), {}, []
    for name in names:
        held.append(scattered(chance))
        found[name] = " ".join(map(digest, ENTRIES[name]().values()))
        if len(held) > 5:
            held.pop(chance.randrange(5))
    return found


@pytest.mark.full  # of modules, tests/test_compile_work.py looks at it each time
def test_the_text_is_the_same_in_each_process() -> None:
    """By its text compiled code is found on disk: it may not depend on addresses or hashes of objects."""
    root = Path(__file__).parents[1]
    command = "import json, sys; from tests.test_generated_text import texts; print(json.dumps(texts(int(sys.argv[1]))))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", command, str(seed)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(root)},
        )
        for seed in (1, 2, 3)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    one, two, three = map(json.loads, outputs)
    assert set(one) == set(SAME)
    assert not [name for name in SAME if not one[name] == two[name] == three[name]]


# --- the canonical form -------------------------------------------------------------------------------

TEXT = '''"""What it is."""
import numpy as np
from m import b, a

size = 3


def f(x, n):
    """Add up."""
    total = (a(x)) + n  # a comment
    for i in range(size):
        total += x[i] * (2 + i)
    return total
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What it is", "It is another"),
        ("  # a comment", ""),
        ("(a(x)) + n", "a(x) + n"),
        ("total", "t"),
        ("(x, n)", "(x, n, )"),
        (
            "import numpy as np\nfrom m import b, a",
            "from m import a\nfrom m import b\nimport numpy as np",
        ),
        ('    """Add up."""\n', "\n"),
    ],
)
def test_what_is_no_difference(old: str, new: str) -> None:
    assert old in TEXT and canonical(TEXT.replace(old, new)) == canonical(TEXT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size = 3", "size = 4"),
        ("range(size)", "range(3)"),
        ("a(x)", "b(x)"),
        ("a(x)) + n", "n) + a(x)"),
        ("(2 + i)", "2 + i"),
        ("(2 + i)", "(2.0 + i)"),
        ("(x, n)", "(n, x)"),
        ("x[i]", "x[n]"),
        ("from m import b, a", "from m import b, c as a"),
        ("return total", "return total, n"),
    ],
)
def test_what_is_a_difference(old: str, new: str) -> None:
    assert old in TEXT and canonical(TEXT.replace(old, new)) != canonical(TEXT)


def test_the_canonical_form_is_code_and_its_own_canonical_form() -> None:
    found = canonical(TEXT)
    ast.parse(found)
    assert canonical(found) == found
    assert "def f(local0, local1):" in found and "total" not in found
