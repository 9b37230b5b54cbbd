"""``python -m tinygrad_rnn``: the command line."""

from .cli import main

raise SystemExit(main())
