"""DOT source becomes a picture, by whatever is installed, in a process that can be stopped."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

# What pygraphviz brings along is run in another process: it could neither be stopped in this one,
# nor fail without ending it.
PYGRAPHVIZ = """
import sys
sys.path[:] = {path!r}
import pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())
sys.stdout.buffer.write(graph.draw(format={form!r}, prog="dot", args={args!r}))
"""


def renderers(form: str, dpi: int) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the graphviz programs on this machine: their names and the commands to run them.

    A command reads DOT from the standard input and writes a picture to the standard output.
    """
    program, args = shutil.which("dot"), [f"-Gdpi={dpi}"] if form == "png" else []
    if program:
        yield "dot", [program, f"-T{form}", *args]
    if importlib.util.find_spec("pygraphviz") is not None and sys.executable:
        yield (
            "pygraphviz",
            [
                sys.executable,
                "-c",
                PYGRAPHVIZ.format(path=sys.path, form=form, args=" ".join(args)),
            ],
        )


def render(source: str, form: str, timeout: float, dpi: int = 96) -> tuple[bytes | None, list[str]]:
    """Render with the first program that can.

    Parameters
    ----------
    source : str
        DOT.
    form : {"svg", "png", "pdf"}
        The format.
    timeout : float
        Seconds for each program.
    dpi : int
        Dots per inch of a PNG.

    Returns
    -------
    picture : bytes or None
        None if no program made one.
    reasons : list of str
        Why programs failed.
    """
    reasons = []
    for name, command in renderers(form, dpi):
        try:
            picture, complaint = _run(command, source.encode(), timeout)
        except subprocess.TimeoutExpired:
            reasons.append(f"{name} took more than {timeout:g} s")
        except OSError as error:
            reasons.append(f"{name} could not be started ({error})")
        else:
            if picture:
                return picture, reasons
            reasons.append(f"{name} failed ({complaint or 'no output'})")
    return None, reasons


def _run(command: Sequence[str], data: bytes, timeout: float) -> tuple[bytes, str]:
    """Run a command; return its output and the last line of its complaint.

    Nothing of it is left running after `timeout` seconds.
    """
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as taken,
        tempfile.TemporaryFile() as said,
    ):
        given.write(data)
        given.seek(0)
        # Files in place of pipes: a pipe that some grandchild has inherited would keep us waiting
        # for its end.
        process = subprocess.Popen(
            command, stdin=given, stdout=taken, stderr=said, start_new_session=os.name == "posix"
        )
        try:
            code = process.wait(timeout)
        finally:
            if process.returncode is None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL) if os.name == "posix" else process.kill()
                process.wait()
        taken.seek(0)
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
        return taken.read() if code == 0 else b"", lines[-1] if lines else ""
