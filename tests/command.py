"""The command line, called in the process of the tests."""

from __future__ import annotations

import pytest

from tinygrad_rnn import cli


def call(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The exit code, and what was written to the two outputs."""
    try:
        code = cli.main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    return (code, *capsys.readouterr())
