"""Groups of parameters of one optimiser, each with settings of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from ..core.errors import TinygradError
from ..core.tensor import Tensor
from ..ops.checks import shown
from .given import Number, tensors_of

F = TypeVar("F", bound=Callable[..., Any])
KEY = "params"  # under which a group has its parameters, as in PyTorch


class Rate(Number):
    """The learning rate of an optimiser: the rates of its groups follow it in proportion."""

    def __set__(self, owner: Any, value: Any) -> None:
        super().__set__(owner, value)
        for group in vars(owner).get("_groups", ()):
            group.follow(vars(owner)[self.name])


class Group:
    """Some parameters of an optimiser, and the settings that count for them.

    The settings are attributes with the names that the constructor gives them: ``group.lr = 0.1``.

    Attributes
    ----------
    parameters : list of Tensor
    rule : Optimizer
        The settings, and what is done with them; it shares parameters and state with the optimiser.
    """

    def __init__(self, parameters: list[Tensor], rule: Any, base: float, said: set[str]) -> None:
        self._set(parameters=parameters, rule=rule, _said=said)
        self._set(_base=base, _now=base, _own=rule.lr)

    def _set(self, **values: Any) -> None:
        vars(self).update(values)

    def follow(self, lr: float) -> None:
        """Set the rate of the group as the rate of the optimiser is set."""
        self._set(_now=lr)
        if self._own == self._base:
            self.rule.lr = lr
        else:
            self.rule.lr = self._own if lr == self._base else self._own * (lr / self._base)

    def share(self, name: str, value: Any) -> None:
        """Take a setting that was set for all, unless the group has its own."""
        if name not in {"lr", *self._said} and name in settings_of(type(self.rule)):
            setattr(self.rule, name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in settings_of(type(self.rule)):
            raise AttributeError(f"a group of parameters has no attribute '{name}'")
        return getattr(self.rule, name)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self.rule)
        if name not in settings_of(kind):
            raise TinygradError(
                f"{kind.__name__}: a group has the settings {settings_of(kind)}; found '{name}'"
            )
        setattr(self.rule, name, value)
        self._said.add(name)
        if name == "lr":
            own = self.rule.lr
            self._set(_own=own * (self._base / self._now) if self._now else own)

    def __repr__(self) -> str:
        numbers = sum(p.size for p in self.parameters)
        return f"Group(lr={self.lr:g}, {len(self.parameters)} parameters of {numbers:,} numbers)"


def remembering(made: F) -> F:
    """Return the constructor of a training rule, which notes what it is given in `_call`."""

    @functools.wraps(made)
    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        vars(self).setdefault("_call", (args, kwargs))  # the outermost constructor comes first
        made(self, *args, **kwargs)

    return cast(F, noted)


def settings_of(kind: Any) -> list[str]:
    """Return the names of the settings that the constructor of a training rule takes."""
    return list(inspect.signature(kind.__init__).parameters)[2:]


def groups_in(given: Any) -> list[Mapping[str, Any]] | None:
    """Return the groups that are given in place of parameters; None where none are."""
    if not isinstance(given, (list, tuple)) or not any(isinstance(g, Mapping) for g in given):
        return None
    for group in given:
        if not isinstance(group, Mapping) or KEY not in group:
            raise TinygradError(
                f"the optimiser was given groups: each is a dict with '{KEY}' and settings, such as {{'{KEY}': module.parameters(), 'lr': 0.01}}; "
                f"found {shown(group)}"
            )
    return list(given)


def members(groups: Iterable[Mapping[str, Any]]) -> list[list[Tensor]]:
    """Return the parameters of each group."""
    return [tensors_of("a group of the optimiser", group[KEY]) for group in groups]


def made(
    optimizer: Any, groups: list[Mapping[str, Any]], each: list[list[Tensor]], call: Any
) -> list[Group]:
    """Return the groups of an optimiser.

    Parameters
    ----------
    optimizer : Optimizer
    groups : list of dict
    each : list of list of Tensor
        Their parameters.
    call : (tuple, dict)
        With what the optimiser was made.
    """
    kind, found = type(optimizer), []
    bound = inspect.signature(kind.__init__).bind(optimizer, *call[0], **call[1]).arguments
    common = dict(list(bound.items())[2:])
    for group, parameters in zip(groups, each, strict=True):
        own = {name: value for name, value in group.items() if name != KEY}
        unknown = [name for name in own if name not in settings_of(kind)]
        if unknown:
            raise TinygradError(
                f"{kind.__name__}: a group has '{KEY}' and the settings {settings_of(kind)}; found '{unknown[0]}'"
            )
        rule = kind(parameters, **{**common, **own})
        if rule.lr != optimizer.lr and not optimizer.lr:
            raise TinygradError(
                f"{kind.__name__}: the rates of groups are in proportion to that of the optimiser, which is 0; give it lr="
            )
        rule.parameters, rule.state, rule.steps = (
            optimizer.parameters,
            optimizer.state,
            optimizer.steps,
        )
        found.append(Group(parameters, rule, optimizer.lr, set(own)))
    if len({group.rule.buffers() for group in found}) > 1:
        raise TinygradError(
            f"{kind.__name__}: all groups have to keep the same arrays; found {[group.rule.buffers() for group in found]}. A momentum is 0 in all of them or in none"
        )
    return found
