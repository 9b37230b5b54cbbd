"""What an entry says of its operation besides how it is computed and differentiated.

The compiler and the pictures ask for these facts, and for nothing else: neither of them knows an
operation by its name. A fact is stated in the entry (``@primitive(..., cost=CHEAP, symbol="+")``)
only where it does not follow from the rest of the entry; what follows from the scalar expression
(that ``a - b`` is a sum with signs, or linear) is found by the functions at the end of this file.

To compile an operation, one fact that says where its elements come from is enough: a scalar
expression, a `decomposition`, a `view`, `pieces`, a `reduction`, a `scan`, an `extreme`, a
`contraction`, `moves`, or `casts`. `ways` lists those that an entry has. Where there is none, the
`library` that computes it is named.
"""

from __future__ import annotations

import ast
import enum
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..core.primitive import Array, Primitive
from .views import Piece, Regrouped, Size, View

Shape = Sequence[Size]


class Cost(enum.IntEnum):
    """What it costs to compute one element of a result again, in place of keeping it."""

    FREE = 0  # no arithmetic: the element is read at another place
    CHEAP = 1  # about one instruction
    ORDINARY = 2  # a few instructions, or a copy
    COSTLY = 3  # a function such as exp: not to be computed twice


FREE, CHEAP, ORDINARY, COSTLY = Cost


@dataclass(frozen=True)
class Reduction:
    """How elements are collected into one.

    Attributes
    ----------
    start : float or bool
        What the collection begins with. A bool says that elements become bools first. For integers,
        which have no infinity, it stands for the least or largest number of the dtype.
    step : str
        The next state of the collection, as a scalar expression in the collection ``a`` and the
        element ``x``.
    plain_zero : bool
        The result is 0.0 where the collection is -0.0, so that the order of zeros does not count.
    """

    start: float
    step: str
    plain_zero: bool = False

    @property
    def additive(self) -> bool:
        """Whether it is a sum: collections of parts, in any order, are added up."""
        return self.step == "a + x"


SUM = Reduction(0.0, "a + x")
LARGEST = Reduction(-float("inf"), "maximum(a, x)", plain_zero=True)
SMALLEST = Reduction(float("inf"), "minimum(a, x)", plain_zero=True)
ONE_HOLDS = Reduction(False, "a or x")
ALL_HOLD = Reduction(True, "a and x")


@dataclass(frozen=True)
class Contraction:
    """A sum of products, as in an einsum.

    Attributes
    ----------
    terms : tuple of tuple of str
        For each operand the label of each axis. An axis of size 1 may meet a longer one of the
        same label, along which it is repeated.
    result : tuple of str
        The label of each axis of the result. Labels that are not in it are summed over.
    """

    terms: tuple[tuple[str, ...], ...]
    result: tuple[str, ...]


@dataclass(frozen=True)
class Gather:
    """Every element of the result is one of the source, or one constant.

    Which one is found by applying the operation to the numbers of the source's elements, counted
    from 1: where the result is 0, the constant stands.

    Attributes
    ----------
    fill : str or None
        The parameter that holds the constant (to be set to 0 in order to find the elements); None:
        the constant is 0.
    """

    fill: str | None = None

    def numbers(self, primitive: Primitive, numbers: Array, params: dict[str, Any]) -> Array:
        """Return for each element of the result the number of the one it is, or 0."""
        changed = params if self.fill is None else {**params, self.fill: 0}
        found: Array = primitive.forward(numbers, **changed)
        return found

    def constant(self, params: dict[str, Any]) -> float:
        """Return what stands where no element of the source does."""
        return 0.0 if self.fill is None else params[self.fill]


@dataclass(frozen=True)
class Scatter:
    """Every element of the source is added to one element of the result, which begins as zeros.

    Attributes
    ----------
    numbers : callable
        ``numbers(whole, params, shape)``: from the numbers of the result's elements, as an array of
        its shape, to an array of the shape of the source that says for each of its elements where
        it is added. `shape` is that of the source.
    """

    numbers: Callable[[Array, dict[str, Any], Shape], Array]


@dataclass(frozen=True)
class Assign:
    """A copy of the first input, with elements of the second one at places known beforehand.

    Applied to zeros and the numbers of the second input's elements, counted from 1, the operation
    says which of them stands where (0: the copy).
    """


@dataclass(frozen=True)
class AtIndices:
    """The second input holds integers: places on the axis ``params["axis"]`` of the first.

    Attributes
    ----------
    adds : bool
        The third input is added there to a copy of the first; otherwise the first is read there.
    aligned : bool
        The indices have all axes of the first input, and each place is looked up among its own
        row; otherwise all axes of the indices stand in place of the one axis.
    puts : bool
        The third input is written there, the last one where several are, to a copy of the first.
    """

    adds: bool
    aligned: bool
    puts: bool = False


@dataclass(frozen=True)
class OneHot:
    """1 at the place on a new last axis that the input names, and 0 elsewhere."""


Moves = Gather | Scatter | Assign | AtIndices | OneHot


@dataclass(frozen=True)
class Facts:
    """What is known of an operation besides its computation and its derivative.

    Attributes
    ----------
    cost : Cost
        What one element of the result costs.
    view : callable or None
        ``view(params, source, shape)``: from the parameters and the shapes of input and result to
        the `View` or `Regrouped` that says which element of the input each element of the result
        is; None if there is no such map for these parameters.
    pieces : callable or None
        ``pieces(params, sources, shape)``: from the parameters, the shapes of the inputs and that
        of the result to the `Piece` of each input in the result, with zeros between them; None if
        it cannot be said so for these parameters.
    reduction : Reduction or None
        How the elements over ``params["axis"]`` become one.
    scan : Reduction or None
        The states of this collection along ``params["axis"]``, one for each element.
    extreme : str or None
        The result is the index of the first element along ``params["axis"]`` that is ahead of all
        others by this comparison, ``">"`` or ``"<"``; a nan is ahead of every number.
    contraction : callable or None
        ``contraction(params, ranks)``: from the parameters and the numbers of axes of the inputs to
        the `Contraction`.
    moves : Gather, Scatter, Assign, AtIndices, OneHot or None
        Where elements come from or go to as a whole array, where indices cannot say it.
    decomposition : callable or None
        A function with the inputs and parameters of forward that computes the same by operations
        from which compiled code can be made.
    left_to_numpy : bool
        Functions leave the operation to NumPy, which is quicker than what it is made of; in steps
        it is made of that.
    casts : bool
        Every element is converted to the dtype ``params["dtype"]``.
    linear_if : callable or None
        ``linear_if(params)``: whether it is linear in all inputs of floats together, where
        `Primitive.linear` does not say it.
    library : str or None
        The library that computes the whole array, where no code can be made of single elements: a
        compiled function calls it in a line. A compiled step calls no library: it has `in_steps`, or
        refuses the operation.
    in_steps : callable or None
        The `decomposition` of compiled steps alone.
    runs_again : bool
        A node stands for many operations, which are recorded when backward runs them again; it
        never appears in a program that is compiled.
    symbol : str or None
        What stands for the operation in a picture, if not its name.
    formula : str or None
        The operation as an expression of its inputs, where the scalar expression does not say it as
        one would write it.
    rule_in_words : str or None
        What the derivative rule does, as a sentence, where that says more than its code.
    """

    cost: Cost = ORDINARY
    view: Callable[[dict[str, Any], Shape, Shape], View | Regrouped | None] | None = None
    pieces: Callable[[dict[str, Any], Sequence[Shape], Shape], tuple[Piece, ...] | None] | None = (
        None
    )
    reduction: Reduction | None = None
    scan: Reduction | None = None
    extreme: str | None = None
    contraction: Callable[[dict[str, Any], Sequence[int]], Contraction] | None = None
    moves: Moves | None = None
    decomposition: Callable[..., Any] | None = None
    left_to_numpy: bool = False
    casts: bool = False
    linear_if: Callable[[dict[str, Any]], bool] | None = None
    library: str | None = None
    in_steps: Callable[..., Any] | None = None
    runs_again: bool = False
    symbol: str | None = None
    formula: str | None = None
    rule_in_words: str | None = None

    @property
    def subscript(self) -> bool:
        """Whether the operation is written as an index in brackets: ``x[index]``."""
        return self.formula is not None and self.formula.endswith("[index]")


NOTHING = Facts()
NAMES = frozenset(field.name for field in fields(Facts))
WAYS = (
    "decomposition",
    "view",
    "pieces",
    "reduction",
    "scan",
    "extreme",
    "contraction",
    "moves",
    "casts",
)


def taken_from(given: dict[str, Any], scalar: str | None = None) -> Facts:
    """Remove the facts from the keywords of an entry, and return them.

    Of an elementwise entry the cost follows from its scalar expression, if it is not stated.
    """
    stated = {name: given.pop(name) for name in NAMES & given.keys()}
    return Facts(**({} if scalar is None else {"cost": cost_of(scalar)}) | stated)


def facts_of(primitive: Primitive | None) -> Facts:
    """Return the facts of an operation; nothing is known of what is given, which has none."""
    found = NOTHING if primitive is None else primitive.facts
    return NOTHING if found is None else found


def ways(primitive: Primitive) -> list[str]:
    """List the facts from which compiled code for an operation can be made."""
    facts = facts_of(primitive)
    found = ["scalar"] if primitive.scalar is not None else []
    return found + [name for name in WAYS if getattr(facts, name)]


def by_library(primitive: Primitive) -> bool:
    """Whether a library alone computes it, so that compiled steps refuse it."""
    facts = facts_of(primitive)
    return facts.library is not None and facts.in_steps is None and not ways(primitive)


# --- what follows from the scalar expression ------------------------------------------------------


@functools.cache
def _tree(expression: str) -> Any:
    """The syntax tree of an expression; nothing follows from one that is no Python."""
    try:
        return ast.parse(expression, mode="eval").body
    except SyntaxError:  # whoever makes code of it says so, with the line of the user's program
        return ast.Constant(...)


# functions of the scalar language that are an instruction, or a few; all others are costly
_CHEAP_CALLS = ("maximum", "minimum", "absolute", "sign")
_ORDINARY_CALLS = (*_CHEAP_CALLS, "select", "floor", "mod")
_CHEAP_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.USub, ast.Not, ast.And, ast.Or, ast.cmpop)


def cost_of(scalar: str) -> Cost:
    """Return what a scalar expression costs."""
    kinds = ast.Call | ast.operator | ast.unaryop | ast.boolop | ast.cmpop
    work = [n for n in ast.walk(_tree(scalar)) if isinstance(n, kinds)]
    called = [n.func.id for n in work if isinstance(n, ast.Call)]  # type: ignore[attr-defined]
    if any(name not in _ORDINARY_CALLS for name in called):
        return COSTLY
    if len(work) != 1:
        return ORDINARY if work else FREE
    cheap = called[0] in _CHEAP_CALLS if called else isinstance(work[0], _CHEAP_OPERATORS)
    return CHEAP if cheap else ORDINARY


def signs(primitive: Primitive | None) -> tuple[int, ...] | None:
    """Return the sign of each input if the result is a sum of the inputs: (1, -1) for ``a - b``."""
    if primitive is None or primitive.scalar is None:
        return None
    return _signs(primitive.scalar, tuple(primitive.inputs))


@functools.cache
def _signs(scalar: str, inputs: tuple[str, ...]) -> tuple[int, ...] | None:
    found: dict[str, int] = {}

    def collect(tree: Any, sign: int) -> bool:
        if isinstance(tree, ast.Name) and tree.id in inputs and tree.id not in found:
            found[tree.id] = sign
            return True
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
            return collect(tree.operand, -sign)
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Sub):
            right = sign if isinstance(tree.op, ast.Add) else -sign
            return collect(tree.left, sign) and collect(tree.right, right)
        return False

    complete = collect(_tree(scalar), 1) and len(found) == len(inputs)
    return tuple(found[name] for name in inputs) if complete else None


def infix(primitive: Primitive | None) -> str | None:
    """Return the sign between the two inputs, such as ``+`` or ``@``; None if none stands there."""
    if primitive is None:
        return None
    text = facts_of(primitive).formula or primitive.scalar or ""
    tree = _tree(text) if text else None
    operands = [getattr(tree, "left", None), getattr(tree, "right", None)]
    if not isinstance(tree, ast.BinOp) or [getattr(o, "id", "") for o in operands] != list(
        primitive.inputs
    ):
        return None
    left, right = primitive.inputs
    return text.removeprefix(left).removesuffix(right).strip()


def is_logical(primitive: Primitive | None) -> bool:
    """Whether the operation is made of and, or, not: it is computed among booleans alone."""
    return (
        primitive is not None
        and primitive.scalar is not None
        and any(isinstance(n, ast.BoolOp | ast.Not) for n in ast.walk(_tree(primitive.scalar)))
    )


def is_zero(primitive: Primitive | None) -> bool:
    """Whether every element of the result is zero, whatever the inputs are."""
    if primitive is None or primitive.scalar is None:
        return False
    tree = _tree(primitive.scalar)
    return isinstance(tree, ast.Constant) and tree.value == 0


def is_identity(primitive: Primitive | None) -> bool:
    """Whether the result has the values of the only input, at the same places."""
    return primitive is not None and signs(primitive) == (1,)


def stops_gradient(primitive: Primitive | None) -> bool:
    """Whether the values pass and gradients do not."""
    return primitive is not None and is_identity(primitive) and not primitive.rules


def is_join(primitive: Primitive | None) -> bool:
    """Whether several arrays are put side by side, along a new axis or an old one."""
    return primitive is not None and primitive.variadic and [*primitive.defaults] == ["axis"]


def linear_groups(
    primitive: Primitive | None, params: dict[str, Any], count: int
) -> tuple[frozenset[int], ...]:
    """Return the sets of inputs in which an operation is linear.

    In all inputs of a set together, while the other inputs are held: ({0}, {1}) for a product, in
    each factor; ({0, 1},) for a sum.

    Parameters
    ----------
    primitive : Primitive or None
    params : dict
    count : int
        How many inputs there are.
    """
    if primitive is None:
        return ()
    linear_if = facts_of(primitive).linear_if
    moving = range(count)[primitive.promotes]
    if linear_if is not None:
        return (frozenset(moving),) if linear_if(params) else ()
    if primitive.linear == "jointly":
        return (frozenset(range(count)),)
    if primitive.linear == "each":
        return tuple(frozenset({k}) for k in moving)
    if primitive.scalar is None:
        return ()
    return _linear_names(primitive.scalar, tuple(primitive.inputs))


@functools.cache
def _linear_names(scalar: str, inputs: tuple[str, ...]) -> tuple[frozenset[int], ...]:
    """The largest sets of inputs in which a scalar expression is linear."""
    tree, count = _tree(scalar), len(inputs)
    found: list[frozenset[int]] = []
    for bits in sorted(range(1, 1 << count), key=lambda b: -b.bit_count()):
        names = {inputs[k] for k in range(count) if bits >> k & 1}
        chosen = frozenset(k for k in range(count) if bits >> k & 1)
        if not any(chosen < other for other in found) and _degree(tree, names) in (None, 1):
            found.append(chosen)
    return tuple(sorted(found, key=min))


def _degree(tree: Any, names: set[str]) -> int | None:
    """How an expression depends on some names.

    0: not at all; 1: linearly; 2: otherwise; None: it is zero, and so both 0 and 1.
    """
    if isinstance(tree, ast.Constant):
        return None if tree.value == 0 else 0
    if isinstance(tree, ast.Name):
        return int(tree.id in names)
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return _degree(tree.operand, names)
    if isinstance(tree, ast.BinOp):
        left, right = _degree(tree.left, names), _degree(tree.right, names)
        if isinstance(tree.op, ast.Add | ast.Sub):
            return _alike(left, right)
        if isinstance(tree.op, ast.Mult):
            return None if None in (left, right) else min(2, (left or 0) + (right or 0))
        return left if isinstance(tree.op, ast.Div) and right == 0 else 2 if left or right else 0
    if isinstance(tree, ast.Call) and getattr(tree.func, "id", "") == "select":
        condition, *values = tree.args
        found = _alike(*(_degree(v, names) for v in values))
        return found if _degree(condition, names) == 0 else 2
    inner = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return 2 if inner & names else 0


def _alike(left: int | None, right: int | None) -> int | None:
    """The degree of a sum: a constant added to what is linear makes it neither."""
    if left is None or right is None:
        return right if left is None else left
    return left if left == right else 2
