"""The versions that the package is tested with: ``python -m tests.matrix [ROW...] [--dist FOLDER]``.

Each row has an environment of its own, made anew: a Python, and of the dependencies either the
lowest versions that pyproject.toml allows or the newest ones. The wheel is installed there, and some
test files, chosen to end in a minute or two, run from the source distribution without its package:
so what is tested is what a user gets. Both are built first, unless ``--dist`` says where they are.
Rows whose Python is not here are left out, and named.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PLAIN = ("tensor", "tape", "numpy_dispatch", "linalg", "optim", "safetensors", "missing")
FILES = (
    *PLAIN, "order", "unroll", "loops", "native", "products", "jit", "jit_steps", "jit_functions",
)  # fmt: skip
RULES = "primitives"  # which takes as long as all others
TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "mpmath", "safetensors")
SHOWN = ("numpy", "numba", "llvmlite", "scipy", "graphviz", "rich")


# What lies on the path of this Python is none of the others' business.
OUTSIDE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


class Row(NamedTuple):
    """What is tested together.

    Attributes
    ----------
    python : str
    lowest : tuple of str
        The dependencies of which the lowest version is taken; of all others the newest.
    without : tuple of str
        What is taken out again.
    files : tuple of str
        The test files, without ``tests/test_`` and ``.py``.
    """

    python: str
    lowest: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    files: tuple[str, ...] = FILES


# The newest of all with the oldest and the newest Python are what `make test` has.
ROWS = {
    "oldest": Row("3.11", ("numpy", "numba", "scipy", "graphviz", "rich"), files=(*FILES, RULES)),
    "old-numpy": Row("3.12", ("numpy", "scipy")),
    "old-numba": Row("3.13", ("numba",)),
    "newest": Row("3.12"),
    "plain": Row("3.13", (), ("numba", "llvmlite"), (*PLAIN, RULES)),
}


def lowest(name: str) -> str:
    """The requirement that pins a dependency to the lowest version of pyproject.toml."""
    for requirement in PROJECT["dependencies"]:
        found = re.match(rf"{name}\s*>=\s*([0-9.]+)", requirement)
        if found:
            return f"{name}=={found[1]}"
    raise ValueError(f"pyproject.toml has no lowest version of {name}")


def interpreter(version: str) -> str | None:
    """A Python of this version which can make environments, on the path or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for python in (f"python{version}", *map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))):
        check = (
            f"import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
        )
        try:
            if subprocess.run([python, "-c", check], capture_output=True).returncode == 0:
                return shutil.which(python)
        except OSError:
            continue
    return None


def environment(folder: Path, python: str) -> Path:
    """Make an environment, and return its Python."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def pip(python: Path, *arguments: str) -> None:
    """Run pip; what it says is shown if it fails."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=OUTSIDE)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def build(folder: Path) -> None:
    """Write the source distribution, and the wheel that is made of it, to a folder.

    The first holds every file of the repository, the second every file of the package.
    """
    with tempfile.TemporaryDirectory() as place:
        python = environment(Path(place) / "env", sys.executable)
        pip(python, "install", "build", "twine")
        command = [str(python), "-m", "build", "--outdir", str(folder), str(ROOT)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=OUTSIDE)
        files = [str(only(folder, pattern)) for pattern in ("*.tar.gz", "*.whl")]
        subprocess.run(
            [str(python), "-m", "twine", "check", "--strict", *files], check=True, env=OUTSIDE
        )
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    known = listed.stdout.splitlines()  # none where there is no git
    with tarfile.open(only(folder, "*.tar.gz")) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(only(folder, "*.whl")) as wheel:
        package = set(wheel.namelist())
    missing = [f for f in known if f not in source]
    missing += [f for f in known if f.startswith("tinygrad_rnn/") and f not in package]
    if missing:
        raise RuntimeError(f"the distributions do not hold {', '.join(missing)}")
    print(
        f"{len(source)} files in the source distribution, {len(package)} in the wheel", flush=True
    )


def only(folder: Path, pattern: str) -> Path:
    """The one file of this pattern."""
    (found,) = folder.glob(pattern)
    return found


def unpacked(folder: Path, to: Path) -> Path:
    """Unpack the source distribution, and return its folder."""
    with tarfile.open(only(folder, "*.tar.gz")) as archive:
        archive.extractall(to, filter="data")
    (found,) = to.iterdir()
    return found


def run(name: str, row: Row, dist: Path) -> bool:
    """Run a row; print what it was and how it ended."""
    found = interpreter(row.python)
    if found is None:
        print(f"{name}: left out, there is no Python {row.python}", flush=True)
        return True
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        python = environment(Path(place) / "env", found)
        pinned = [lowest(package) for package in row.lowest]
        pip(python, "install", str(only(dist, "*.whl")), *pinned, *TOOLS)
        if row.without:
            pip(python, "uninstall", "-y", *row.without)
        versions = subprocess.run([str(python), "-c", VERSIONS, *SHOWN], capture_output=True, text=True, check=True, env=OUTSIDE)  # fmt: skip
        print(f"{name}: {versions.stdout.strip()}", flush=True)
        made = time.monotonic()
        source = unpacked(dist, Path(place) / "source")
        shutil.rmtree(source / "tinygrad_rnn")  # the installed one is tested
        tests = [f"tests/test_{file}.py" for file in row.files]
        options = ["-m", "not full", "-n", "2", "--dist", "loadfile", "--timeout", "600"]
        env = {**OUTSIDE, "XDG_CACHE_HOME": str(Path(place) / "cache")}
        done = subprocess.run(
            [str(python), "-m", "pytest", "-p", "no:cacheprovider", *options, *tests], cwd=source, env=env
        )  # fmt: skip
        took = f"{made - began:.0f} s to install, {time.monotonic() - made:.0f} s of tests"
    print(f"{name}: {'FAILED' if done.returncode else 'passed'}; {took}", flush=True)
    return done.returncode == 0


VERSIONS = """
import importlib.metadata as metadata, platform, sys
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
print("Python", platform.python_version(), *(f"{n} {version(n)}" for n in sys.argv[1:]), sep=", ")
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; else all")
    parser.add_argument("--dist", type=Path, help="a folder with the sdist and the wheel")
    parser.add_argument("--build", type=Path, help="only build them, to this folder")
    given = parser.parse_args(arguments)
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if given.build:
        build(given.build)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        dist = given.dist or Path(folder)
        if given.dist is None:
            build(dist)
        failed = [name for name in given.rows or ROWS if not run(name, ROWS[name], dist)]
    print(f"failed: {', '.join(failed)}" if failed else "all rows passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
