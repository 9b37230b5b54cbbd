"""Guards tell whether all that a function or a cell reads is as it was when it was recorded.

A recording is right for the values that its code read besides its arguments. A `Guard` finds them
by following what the code can reach: closures, globals, defaults, attributes of objects and of
their classes, the contents of containers. It keeps what it finds in two forms:

- The *key* describes it by value. Recordings are kept under such keys.
- The *places* hold the very objects. As long as each of them is still in its place nothing has
  changed, which `Guard.holds` finds out in a few loops that run in C. Only if one of them has
  changed is everything followed once more.

Of a module, or of a plain object of a user's class, those attributes count whose names stand in
the code that was reached. Of this package's modules and of objects of library classes all
attributes count, since the code that reads them is a library's.

The following is not seen: what an extension keeps in memory of its own, files on disk, clocks,
generators of random numbers, memory at an address, objects of another process, locks and queues,
modules that are imported by a computed name, and settings of a process, except those of NumPy, of
decimals, of the working directory and of the limit of recursion.

The files, in reading order: `keys` (how values are compared), `observations` (how an object is
looked at without running its code), `libraries` (whose code is taken to stay as it is), `bytecode`
(what the code of a function reads), `places` (what is compared by identity, and put back),
`walk` (the state of one search), `functions`, `contents`, `objects` and `follow` (how it goes
on from each kind of object), `guard`, `changes` and `asked`.
"""

from .asked import Asked, Asking
from .changes import Changes
from .guard import Guard, Guards
from .keys import Key, plain_key

__all__ = ["Asked", "Asking", "Changes", "Guard", "Guards", "Key", "plain_key"]
