"""Generators of random programs, which run plain and compiled (or beside NumPy) and must give the same.

Each module here has ``case(seed, *, compiled) -> str``: it makes one program from the seed,
compares values and gradients, raises AssertionError with a text that shows the program, and returns
in one word what happened. With ``compiled=False`` the generated code runs as ordinary Python
(tests/interpreted.py), which takes milliseconds in place of seconds.

What `graphs` finds it makes as small as can be, and shows as a program that runs. With a line that
says what was wrong it belongs into ``corpus/``, all of which `make test` runs.
"""

from pathlib import Path

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
