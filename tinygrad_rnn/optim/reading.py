"""What a training rule reads besides its arguments, for which a loop of it is right."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, NoReturn

from ..core.errors import TinygradError
from ..kernels import runtime
from ..loops.elementwise import VARIANTS
from ..ops.guards import Guards, Key, plain_key
from .update import NoLoop, Update

MISSING = object()
METHODS = (types.FunctionType, staticmethod, classmethod)


class Loops:
    """The loops of one rule: each is right for what the rule read when it was made.

    Parameters
    ----------
    kind : type
        The class of the rule.
    """

    def __init__(self, kind: type) -> None:
        self._guards = Guards(kind, gradients=False)
        self._guards.reads.names.add("change")
        self._known: list[Reading] = []

    def of(self, owner: Any, rule: Callable[[Any], Update]) -> Update | None:
        """Return the loop for what there is now to read; None where NumPy does it.

        Parameters
        ----------
        owner : Optimizer
        rule : callable
            Makes the loop of an optimiser.
        """
        try:
            guard = self._guards.now()
        except TinygradError:  # the code reads an iterator
            return None
        for known in self._known:
            if known.holds(owner, guard.key):
                return known.found
        if len(self._known) > VARIANTS:
            return None
        made = Reading(rule, owner, self._guards)
        self._known.append(made)
        return made.found

    def still(self, owner: Any, found: Update) -> bool:
        """Whether a loop that `of` gave is right for what there is now."""
        try:
            key = self._guards.now().key
        except TinygradError:
            return False
        return any(known.found is found and known.holds(owner, key) for known in self._known)


class Reading:
    """What one run of a rule reads of its optimiser, and of what its class and its code know.

    Parameters
    ----------
    rule : callable
        Makes the loop of an optimiser. It is given a stand-in that notes what is read.
    owner : Optimizer
    guards : Guards
        Of its class.

    Attributes
    ----------
    found : Update or None
        The loop. There is none where it cannot be made, and where it could be wrong later: there is
        no telling when a list, an array or a generator of random numbers gives something else, and
        what a rule changes it has to change at each step.
    """

    def __init__(self, rule: Callable[[Any], Update], owner: Any, guards: Guards) -> None:
        self._values: dict[str, tuple[Any, Any]] = {}  # each as it is and as it is described
        self._methods: set[str] = set()
        guard = guards.now()
        self._key = guard.key
        self._open, states, restore = False, guard.states(), guard.snapshot()
        stand_in = self._stand_in(owner)
        self.found: Update | None = None
        try:
            found = rule(stand_in)
        except OSError as error:
            runtime.complain(error)
            return
        except Exception:  # it looks at numbers, say; if something is wrong, the step says what
            return
        finally:
            same = not self._open and guard.holds() and guard.states() == states
            restore()  # since the step itself is still to come
        if same:
            self.found = found

    def holds(self, owner: Any, key: Key) -> bool:
        """Whether all is as it was; `key` is that of the guards now."""
        if key is not self._key and key != self._key:
            return False
        for name, (was, described) in self._values.items():
            value = getattr(owner, name, MISSING)
            if value is not was and _described(value) != described:
                return False
        return self._methods.isdisjoint(vars(owner))

    def _stand_in(self, owner: Any) -> Any:
        """Return an object like the optimiser, whose attributes are noted as they are read."""
        kind = type(owner)

        class StandIn:  # no class of that kind, which may keep a list of those made of it
            def __getattribute__(stand_in, name: str) -> Any:
                if name == "__class__":
                    return kind
                entry = next((vars(k)[name] for k in kind.__mro__ if name in vars(k)), None)
                if name not in vars(owner) and isinstance(entry, METHODS):
                    self._methods.add(name)  # the guards look at its code
                    if isinstance(entry, types.FunctionType):
                        return types.MethodType(entry, stand_in)
                    return getattr(owner, name)
                value = getattr(owner, name, MISSING)
                described = _described(value)
                self._values[name] = value, described
                if described is None:
                    self._refuse(name)
                return getattr(owner, name) if value is MISSING else value

            def __setattr__(stand_in, name: str, value: Any) -> None:
                self._refuse(name)

            def __delattr__(stand_in, name: str) -> None:
                self._refuse(name)

        return StandIn()

    def _refuse(self, name: str) -> NoReturn:
        self._open = True
        raise NoLoop(f"the rule reads or changes {name}")


def _described(value: Any) -> Any:
    """Return what numbers and texts are the same by, or None for what has no such description."""
    if value is MISSING:
        return (MISSING,)
    if type(value) is tuple:
        parts = tuple([_described(one) for one in value])
        return None if None in parts else (tuple, *parts)
    return plain_key(value)
