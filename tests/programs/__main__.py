"""``python -m tests.programs --write``."""

from . import main

main()
