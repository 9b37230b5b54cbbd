"""Disks on which nothing can be written, and small ones that become full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _mounted(*words: str | Path) -> bool:
    try:
        return not subprocess.run(["mount", *map(str, words)], capture_output=True).returncode
    except FileNotFoundError:
        return False


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Context: nothing can be written in a folder, by whoever runs the tests.

    Permissions do not hold the superuser, for whom the folder is mounted on itself.
    """
    if hasattr(os, "geteuid") and os.geteuid():
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    if not _mounted("--bind", folder, folder):
        pytest.skip("this user can make no folder in which nothing can be written")
    try:
        if not _mounted("-o", "remount,ro,bind", folder):
            pytest.skip("this user can make no folder in which nothing can be written")
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Context: a folder is a disk of its own, of a size such as "160k"."""
    if not _mounted("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder):
        pytest.skip("this user cannot make a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
