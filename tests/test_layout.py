"""What may import what (the table of floors in docs/design.md), the size of the core, and what an import loads."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tinygrad_rnn"
MODULES = sorted(PACKAGE.rglob("*.py"))
CORE_LINES = 1341  # of at most 100 columns: an hour of reading; it may only shrink

FLOORS = {
    "core": 1,
    "ops": 2,
    "kernels": 2,
    "files": 2,
    "nn": 3,
    "cells": 3,
    "recurrent": 3,
    "optim": 3,
    "init": 3,
    "module": 3,
    "functional": 3,
    "drawing": 4,
    "formats": 4,
    "compiler": 4,
    "diagnosis": 4,
    "cli": 5,
    "__main__": 5,
    "train": 5,
}
APART = {4}  # floors whose folders know nothing of each other
FACE = ""  # tinygrad_rnn/__init__.py, which shows all floors to the user


def name_of(path: Path, base: Path = PACKAGE) -> str:
    """Return the dotted name of a module, such as tinygrad_rnn.core.tape."""
    parts = path.relative_to(base.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(
    source: str, module: str, *, is_package: bool, known: set[str]
) -> list[tuple[int, str]]:
    """Find the line and the full name of everything that a module imports, at any depth, also for type checkers only."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = module if is_package else module.rpartition(".")[0]
            base = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import tape` imports the module tape
            inner = [f"{origin}.{alias.name}" for alias in node.names]
            found += [(node.lineno, name if name in known else origin) for name in inner]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "import_module",
            "__import__",
        ):
            argument = node.args[0] if node.args else None
            computed = not (isinstance(argument, ast.Constant) and isinstance(argument.value, str))
            name = "(computed)" if computed else ast.literal_eval(argument)  # type: ignore[arg-type]
            package = module if is_package else module.rpartition(".")[0]
            dots = len(name) - len(name.lstrip("."))
            base = package.split(".")[: len(package.split(".")) - dots + 1] if dots else []
            found.append((node.lineno, ".".join([*base, *filter(None, [name.lstrip(".")])])))
    return found


def room_of(module: str) -> str:
    """Return the folder, or the file at the top, to which a module of the package belongs."""
    return module.split(".")[1] if "." in module else FACE


def edges() -> list[tuple[str, int, str, str]]:
    """List the imports of the package: file, line, importing module, imported name."""
    known = {name_of(path) for path in MODULES}
    return [
        (str(path.relative_to(ROOT)), line, name_of(path), target)
        for path in MODULES
        for line, target in imports_of(
            path.read_text(encoding="utf-8"),
            name_of(path),
            is_package=path.name == "__init__.py",
            known=known,
        )
    ]


def is_own(target: str) -> bool:
    return target == PACKAGE.name or target.startswith(PACKAGE.name + ".")


def fault(module: str, target: str) -> str | None:
    """Say what is wrong with an import inside the package, or nothing."""
    here, there = room_of(module), room_of(target)
    if here in (FACE, there):
        return None
    if there == FACE:
        return (
            None
            if FLOORS[here] == 5
            else "the face of the package is above every floor but the fifth"
        )
    above, below = FLOORS[here], FLOORS[there]
    if below > above:
        return f"floor {above} imports floor {below}"
    if below == above and above in APART:
        return f"the folders of floor {above} do not know each other"
    return None


# --- the checks -----------------------------------------------------------------------------------------------------------


def test_every_module_has_a_floor() -> None:
    rooms = {room_of(name_of(path)) for path in MODULES}
    assert rooms <= FLOORS.keys() | {FACE}, (
        f"not in the table of floors: {sorted(rooms - FLOORS.keys() - {FACE})}"
    )


def test_the_table_is_the_one_in_the_design_page() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (.*?) \|", text, flags=re.MULTILINE)
    written = {
        word.strip("/").removesuffix(".py"): int(floor)
        for floor, cell in rows
        for word in re.findall(r"`([^`]+)`", cell)
    }
    assert written == {room: floor for room, floor in FLOORS.items() if room != "__main__"}


def test_floors() -> None:
    faults = [
        f"{file}:{line} imports {target}: {what}"
        for file, line, module, target in edges()
        if is_own(target) and (what := fault(module, target))
    ]
    assert not faults, "\n" + "\n".join(faults)


def test_folders_have_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for _, _, module, target in edges():
        here, there = room_of(module), room_of(target) if is_own(target) else FACE
        if FACE not in (here, there) and here != there:
            graph.setdefault(here, set()).add(there)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(
            "folders import each other in a circle: " + " -> ".join(reversed(error.args[1]))
        )


def test_core_imports_numpy_and_the_standard_library_only() -> None:
    faults = [
        f"{file}:{line} imports {target}"
        for file, line, module, target in edges()
        if room_of(module) == "core"
        and not is_own(target)
        and target.split(".")[0] not in sys.stdlib_module_names | {"numpy"}
    ]
    assert not faults, "\n" + "\n".join(faults)


def lines_of_code(source: str) -> int:
    """Count the lines that are not blank and neither comment nor docstring."""
    blank = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in blank:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            text = node.body[0]
            lines.difference_update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    text_lines = source.splitlines()
    return sum(bool(text_lines[i - 1].strip()) for i in lines)


def test_the_core_can_be_read_in_an_hour() -> None:
    sources = {
        path.name: path.read_text(encoding="utf-8")
        for path in MODULES
        if room_of(name_of(path)) == "core"
    }
    code = {name: lines_of_code(source) for name, source in sources.items()}
    raw = sum(len(source.splitlines()) for source in sources.values())
    report = f"core: {sum(code.values())} lines of code, {raw} lines in all; {code}"
    print(report)
    assert sum(code.values()) <= CORE_LINES, report


def test_import_loads_no_heavy_package() -> None:
    heavy = ["numba", "llvmlite", "scipy", "graphviz", "pygraphviz", "rich"]
    code = f"import sys, tinygrad_rnn; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stdout + done.stderr


# --- the checks themselves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "statement", "imported"),
    [
        ("tinygrad_rnn.core.tape", "from ..ops import linear", "tinygrad_rnn.ops.linear"),
        ("tinygrad_rnn.core.tape", "from ..ops.linear import matmul", "tinygrad_rnn.ops.linear"),
        ("tinygrad_rnn.core.tape", "def f():\n    from .. import ops", "tinygrad_rnn.ops"),
        (
            "tinygrad_rnn.core.tape",
            "if TYPE_CHECKING:\n    import tinygrad_rnn.module",
            "tinygrad_rnn.module",
        ),
        (
            "tinygrad_rnn.core.tape",
            "importlib.import_module('..module', __package__)",
            "tinygrad_rnn.module",
        ),
        (
            "tinygrad_rnn.drawing.dot",
            "from ..formats import safetensors",
            "tinygrad_rnn.formats.safetensors",
        ),
        ("tinygrad_rnn.drawing.dot", "from tinygrad_rnn import tensor", "tinygrad_rnn"),
        ("tinygrad_rnn.init", "from . import train", "tinygrad_rnn.train"),
    ],
)
def test_a_forbidden_import_is_found(module: str, statement: str, imported: str) -> None:
    known = {
        "tinygrad_rnn.ops",
        "tinygrad_rnn.ops.linear",
        "tinygrad_rnn.formats.safetensors",
        "tinygrad_rnn.train",
    }
    [(_, target)] = imports_of(statement, module, is_package=False, known=known)
    assert target == imported
    assert fault(module, target)


def test_an_allowed_import_is_not_found() -> None:
    assert fault("tinygrad_rnn.ops.linear", "tinygrad_rnn.core.tape") is None
    assert fault("tinygrad_rnn.core.tensor", "tinygrad_rnn.core.walks") is None
    assert fault("tinygrad_rnn.cli", "tinygrad_rnn.train.loop") is None
    assert imports_of("from .core import tape", "tinygrad_rnn", is_package=True, known=set()) == [
        (1, "tinygrad_rnn.core")
    ]


def test_lines_of_code_are_counted() -> None:
    source = '"""Text."""\n\n# comment\ndef f():\n    """Text\n    and more.\n    """\n    x = """a\n\n    b"""  # c\n    return x\n'
    assert lines_of_code(source) == 4
