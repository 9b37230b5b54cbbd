"""Whether a folder and the files in it are this user's own.

Compiled code is run, so nothing is read that another user could have written. `examined` looks at
each folder of a path from the root downwards, without following links blindly: each has to belong
to this user or to root, and nobody else may write to it (to one above the last only where it is
sticky, as /tmp is). Below a folder that has passed only this user and root can change what the next
name stands for, so what was found is still true when it is used. Each file is to be opened without
following a link, and `file_fault` wants the open file to be a regular one, of this user, with one
name, which nobody else can write to.

Access lists (ACLs) beyond what the mode bits show are not looked at. On Windows, which has no such
bits, the owner is not checked: the default folder lies in the user's profile, and a folder named by
TINYGRAD_RNN_CACHE has to be private.
"""

from __future__ import annotations

import contextlib
import os
import stat

_LINKS = 40  # so many links in a path are a circle


def examined(path: str) -> tuple[str, str]:
    """Follow a path from the root, and make folders that are missing.

    Parameters
    ----------
    path : str
        An absolute path.

    Returns
    -------
    str
        The same path without links; if there is a fault, the folder that has it.
    str
        Why somebody else could write there; empty if nobody can.

    Raises
    ------
    OSError
        If there is no such path and none can be made.
    """
    if not hasattr(os, "geteuid"):
        os.makedirs(path, exist_ok=True)
        return path, ""
    with contextlib.suppress(FileNotFoundError):
        os.lstat(path)  # what is too long, or below a file, is found before anything is made
    me, links = os.geteuid(), 0
    here, rest = os.sep, _parts(path)
    while True:
        try:
            about = os.lstat(here)
        except FileNotFoundError:  # its parent has passed
            with contextlib.suppress(FileExistsError):
                os.mkdir(here, 0o700)
            about = os.lstat(here)
        last = not rest
        if about.st_uid not in ((me,) if last and not stat.S_ISLNK(about.st_mode) else (me, 0)):
            return (
                here,
                f"{here} belongs to {_user(about.st_uid)}; name a folder of your own with TINYGRAD_RNN_CACHE=FOLDER",
            )
        if stat.S_ISLNK(about.st_mode):
            links += 1
            target = os.readlink(here)
            if links > _LINKS:
                raise OSError(f"there are more than {_LINKS} links in {path}")
            rest = _parts(target) + rest
            here = os.sep if os.path.isabs(target) else os.path.dirname(here)
            continue
        if not stat.S_ISDIR(about.st_mode):
            raise NotADirectoryError(f"{here} is no folder")
        if about.st_mode & 0o022 and (last or not about.st_mode & stat.S_ISVTX):
            way = f"chmod {'700' if last else 'go-w'} {here}"
            mode = stat.S_IMODE(about.st_mode)
            return (
                here,
                f"others may write to {here} (mode {mode:o}); {way}, or name a folder of your own with TINYGRAD_RNN_CACHE=FOLDER",
            )
        if last:
            return here, ""
        name = rest.pop(0)
        here = os.path.dirname(here) if name == os.pardir else os.path.join(here, name)


def _parts(path: str) -> list[str]:
    """Return the names in a path."""
    return [part for part in path.split(os.sep) if part not in ("", os.curdir)]


def _user(number: int) -> str:
    """Return a user, given by number, in words."""
    import pwd

    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user {number}"


def file_fault(about: os.stat_result) -> str:
    """Return why an open file may be somebody else's work; empty if it is this user's own."""
    if not stat.S_ISREG(about.st_mode):
        return "it is no regular file"
    if not hasattr(os, "geteuid"):
        return ""
    if about.st_uid != os.geteuid():
        return f"it belongs to {_user(about.st_uid)}"
    if about.st_mode & 0o022:
        return f"others may write to it (mode {stat.S_IMODE(about.st_mode):o})"
    return "it has another name elsewhere" if about.st_nlink != 1 else ""
