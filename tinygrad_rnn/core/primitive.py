"""The primitive: everything that the engine knows of one operation, in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from .errors import RuleError

Array = np.ndarray[Any, np.dtype[Any]]
LARGE = 4_096  # elements from which on the kernel of a rule beats NumPy (measured by `make bench`)
REGISTRY: dict[str, Primitive] = {}  # name -> primitive; filled by the decorators in ops/


class Spec:
    """The shape and dtype of an array whose numbers are not known; tracing computes with these."""

    __slots__ = ("dtype", "shape")
    __array_ufunc__ = None

    def __init__(self, shape: Sequence[int], dtype: Any = np.float32) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape))

    def __repr__(self) -> str:
        return f"Spec({self.shape}, {self.dtype})"


class Rule:
    """A derivative rule: from the gradient of the output it makes that of an input.

    It is a function of ``g``, the gradient of the output, and of whatever else it names: ``out``,
    the output; an input of the operation or a parameter of it; ``like_out`` or ``like_<input>``,
    for shape and dtype only. For an operation with any number of inputs it may name ``inputs`` and
    ``like_inputs`` (tuples), and ``position``, which says for which input the gradient is wanted.

    Attributes
    ----------
    function : callable
        The rule as it was written.
    large : callable
        The same for large arrays: a fused kernel, where there is one.
    needs : tuple of int
        The positions in ``(out, *inputs)`` of the values that the rule reads: these are saved.
    simple : bool
        Whether it reads saved values only, neither parameters nor ``like_x``.
    only : int or None
        The position of the saved value that it reads, if that is all it asks for besides ``g``.
    pick : callable or None
        Takes from ``(out, *inputs, like_out, *like_inputs, *params, position)`` the arguments after
        ``g``; None if there are none.
    """

    __slots__ = ("function", "large", "needs", "only", "pick", "simple")

    def __init__(self, function: Callable[..., Any], primitive: Primitive) -> None:
        values = ["out", "inputs"] if primitive.variadic else ["out", *primitive.inputs]
        offered = [*values, *(f"like_{v}" for v in values), *primitive.defaults, "position"]
        first, *asked = parameters(function)[0] or [""]
        unknown = [name for name in asked if name not in offered]
        if first != "g" or unknown:
            raise RuleError(
                f"a rule of '{primitive.name}' asks for {[first, *asked] if first else 'nothing by name'}; it may ask for g, then any of {offered}"
            )
        places = [offered.index(name) for name in asked]
        self.function = self.large = function
        self.needs = tuple(p for p in places if p < len(values))
        self.only = places[0] if len(places) == 1 == len(self.needs) else None
        self.simple = len(self.needs) == len(places)
        self.pick: Any = _picker(places)

    def __call__(self, g: Any, saved: Sequence[Any], node: Any, position: int) -> Any:
        """Call the rule with what it asks for.

        Parameters
        ----------
        g : ndarray or Tensor
            The gradient of the output.
        saved : sequence
            Values in the order ``(out, *inputs)``; only those that it needs have to be there.
        node : Node
            The node whose primitive the rule belongs to: it gives parameters and shapes.
        position : int
            The input for which the gradient is wanted.
        """
        function = self.function if g.size < LARGE else self.large
        if self.only is not None:
            return function(g, saved[self.only])
        if self.pick is None:
            return function(g)
        if self.simple:
            return function(g, *self.pick(saved))
        likes = (node.inputs,) if node.primitive.variadic else node.inputs
        return function(g, *self.pick((*saved, node, *likes, *node.params.values(), position)))


def parameters(function: Callable[..., Any]) -> tuple[list[str], dict[str, Any], bool]:
    """Look at the parameters of a function.

    A function that was made for a number of inputs states their names in its ``__signature__``.

    Returns
    -------
    names : list of str
        The positional ones.
    settings : dict
        The keyword-only ones with their defaults (None where there is none).
    variadic : bool
        Whether it takes ``*args``.

    Raises
    ------
    RuleError
        If it is no Python function.
    """
    function = getattr(function, "__wrapped__", function)
    if not hasattr(function, "__code__"):
        raise RuleError(
            f"expected a Python function, whose parameters have names; found {function!r}. Wrap it: lambda x: f(x)"
        )
    if hasattr(function, "__signature__"):
        given = inspect.signature(function).parameters.values()
        names = [p.name for p in given if p.kind <= p.POSITIONAL_OR_KEYWORD]
        keywords = [p.name for p in given if p.kind is p.KEYWORD_ONLY]
        defaults = {p.name: p.default for p in given if p.default is not p.empty}
        variadic = any(p.kind is p.VAR_POSITIONAL for p in given)
    else:  # the same, in a tenth of the time: an import makes some three hundred rules
        code, defaults = function.__code__, function.__kwdefaults__ or {}
        count = code.co_argcount
        names = list(code.co_varnames[:count])
        keywords = list(code.co_varnames[count : count + code.co_kwonlyargcount])
        variadic = bool(code.co_flags & inspect.CO_VARARGS)
    return names, {name: defaults.get(name) for name in keywords}, variadic


def _picker(places: list[int]) -> Any:
    """Return a function that takes the values at these places as a tuple; None for no places."""
    if len(places) == 1:
        return itemgetter(slice(places[0], places[0] + 1))
    return itemgetter(*places) if places else None


class Kept(dict[int, tuple[int, ...]]):
    """What has to be saved, by which inputs need gradients.

    The keys are bit masks of these inputs, the values positions in ``(out, *inputs)``.
    """

    def __init__(self, primitive: Primitive) -> None:
        self.primitive = primitive

    def __missing__(self, mask: int) -> tuple[int, ...]:
        every = self.primitive.variadic or self.primitive.joint
        rules = [
            r
            for i, r in enumerate(self.primitive.rules)
            if r is not None and (every or mask >> i & 1)
        ]
        self[mask] = found = (
            tuple(sorted({place for rule in rules for place in rule.needs})) if mask else ()
        )
        return found


class Primitive:
    """One operation. Making it enters it into `REGISTRY`.

    Parameters
    ----------
    name : str
        A unique name, by which nodes are printed, pickled and compiled.
    forward : callable
        The function ``forward(*arrays, **params) -> array``. Its positional parameters are the
        inputs, its keyword-only ones the parameters of the operation.
    rules : tuple of callable or None
        For each input a `Rule` as a function; None for one that gets no gradient. An operation
        without rules is not differentiable.
    shape : callable
        The function ``shape(*specs, **params) -> Spec``, which raises ShapeError. It is used for
        tracing, and to explain failures.
    scalar : str, optional
        For an elementwise operation: its expression on scalars, in the input and parameter names.
    linear : {"each", "jointly"}, optional
        Whether it is linear in each input with the others held, or in all of them together.
    tangent : callable, optional
        The function ``tangent(t, out, *inputs, **params)``, where neither the rules nor `linear`
        say how a tangent passes; t is a tuple for several inputs, with None for a constant one.
    floating : bool
        Whether integer inputs become float32 first.
    elementwise : bool
        Whether each output element depends on one element of each input; `scalar` implies it.
    broadcasts : bool
        Whether inputs may be spread over axes: the walk then sums over these what a rule returns.
        `elementwise` implies it.
    joint : bool
        Whether one rule gives the gradients for all inputs at once, as a tuple (in which None means
        no gradient).
    promotes : slice
        The inputs that are brought to one dtype.
    domain, examples :
        On what inputs the entry is tested; see ``tests/test_primitives.py``. `domain` is (low,
        high) or a list with one for each input; `examples` is a list of (shapes or arrays of the
        inputs, params). An elementwise entry needs examples only for its params.
    signed : bool
        The domain gives magnitudes (that keep away from a kink or a pole); signs are drawn as well.
    add_into : callable, optional
        The function ``add_into(total, g, **params)``, which adds the gradient of the only input to
        an array in place.
    facts : optional
        What is known besides, for the compiler and the pictures: a `Facts` of ``ops/facts.py``.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        rules: Sequence[Callable[..., Any] | None],
        *,
        shape: Callable[..., Spec],
        scalar: str | None = None,
        linear: str | None = None,
        tangent: Callable[..., Any] | None = None,
        floating: bool = False,
        broadcasts: bool = False,
        joint: bool = False,
        elementwise: bool = False,
        promotes: slice = slice(None),
        domain: Any = None,
        examples: Any = None,
        signed: bool = False,
        add_into: Callable[..., None] | None = None,
        facts: Any = None,
    ) -> None:
        self.name, self.forward = name, forward
        self.inputs, self.defaults, self.variadic = parameters(forward)
        self.shape, self.scalar, self.linear, self.tangent = shape, scalar, linear, tangent
        self.floating, self.promotes, self.joint = floating, promotes, joint
        self.elementwise = elementwise or scalar is not None
        self.broadcasts = broadcasts or self.elementwise
        self.add_into, self.facts = add_into, facts
        # an elementwise one that is itself a program (tg.elementwise)
        self.body: Callable[[], Any] | None = None
        self.domain, self.examples, self.signed = domain, examples, signed
        self.kept = Kept(self)
        self.set_rules(rules)
        REGISTRY[name] = self

    def set_rules(self, rules: Sequence[Callable[..., Any] | None]) -> None:
        """State the derivative.

        There is a rule for each input, or a single one where it is joint or their number varies.
        """
        expected = 1 if self.variadic or self.joint else len(self.inputs)
        if rules and len(rules) != expected:
            raise RuleError(
                f"'{self.name}' was given {len(rules)} derivative rules; expected {expected}"
            )
        self.rules = tuple(None if rule is None else Rule(rule, self) for rule in rules)
        self.kept.clear()

    def edges(self, nodes: Sequence[Any]) -> tuple[tuple[Any, int, Rule], ...]:
        """Return the node, the position and the rule of each input that needs a gradient."""
        if len(nodes) == 1:  # often so, and then quicker
            rule, node = self.rules[0], nodes[0]
            return ((node, 0, rule),) if rule is not None and node.requires_grad else ()
        rules = self.rules * len(nodes) if self.variadic or self.joint else self.rules
        found = []
        for position, (node, rule) in enumerate(zip(nodes, rules)):
            if rule is not None and getattr(node, "requires_grad", False):
                found.append((node, position, rule))
        return tuple(found)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"
