"""The tensor: an array, and the node that made it.

Operators and methods are attached by `ops/methods.py`, and `backward` by `walks.py`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DtypeError, GraphError, ShapeError, TraceError
from .primitive import Array, Spec
from .tape import Leaf, Node, Where, caller, context

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


if TYPE_CHECKING:
    from .attached import Attached
else:
    Attached = {"Tensor": object}  # operators and methods are attached, not inherited


class Tensor(Attached["Tensor"]):
    """A multi-dimensional array that remembers how it was made.

    Users make one with `tinygrad_rnn.tensor`; operations make all others.

    Attributes
    ----------
    array : ndarray, or Spec while tracing
        The values. Never written to: assignment (ops/assignment.py) replaces it by a copy.
    node : Node or None
        What made it; None for a constant that no node has used yet.
    grad : Tensor or None
        The sum of the gradients that backwards brought: to leaves, and to tensors that asked for it
        with `retain_grad`.
    """

    __slots__ = ("__weakref__", "_grad", "array", "node", "viewed")
    viewed: Any  # of what it is a view; set in views alone, see ops/assignment.py
    __array_priority__ = 1000

    def __init__(self, array: Any, node: Node | None = None) -> None:
        self.array = array
        self.node = node
        self._grad: Tensor | None = None  # which the property `grad` gives, see ops/postponed.py

    # --- the array --------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return self.array.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        return self.array.dtype  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.array.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.array.size  # type: ignore[no-any-return]

    @property
    def unknown(self) -> bool:
        """Whether the values may be others when what is being traced is run."""
        changes = context().tracing and self.node is not None and self.node.may_change
        return isinstance(self.array, Spec) or changes

    def numpy(self) -> Array:
        """Return the values as a read-only view; ``t[i] = v`` and ``t.data = array`` write to them.

        Raises
        ------
        TraceError
            While a function is traced, if the value depends on its arguments.
        """
        if self.unknown and not (context().asked and context().asked.reads(self)):
            raise TraceError(
                f"the value of this {Spec(self.shape, self.dtype)} is not known: the function is being traced, so it may not look at numbers "
                f"(bool, item, numpy, printing). Use tg.where in place of `if`.{Where(*caller()).described()}"
            )
        view = self.array.view()
        view.flags.writeable = False
        return view  # type: ignore[no-any-return]

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len: a 0-d tensor has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __hash__(self) -> int:
        return id(self)

    # --- the node ---------------------------------------------------------------------------------

    def leaf(self, requires_grad: bool = False, name: str | None = None) -> Leaf:
        """Give the tensor a Leaf, to which nodes can point, and return it; hooks move on to it."""
        hooks = None if self.node is None else self.node.hooks
        self.node = node = Leaf(self.array, requires_grad, name)
        node.hooks = hooks
        node.tensor = weakref.ref(self)
        return node

    @property
    def requires_grad(self) -> bool:
        """Whether backward goes through this tensor; may be set on leaves."""
        return self.node is not None and self.node.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self.dtype.kind != "f":
            raise DtypeError(
                f"requires_grad: gradients need float32 or float64; this tensor is {self.dtype}"
            )
        if self.node is not None and not isinstance(self.node, Leaf):
            raise GraphError(
                "requires_grad: this tensor was computed; its inputs decide. Use t.detach() for a new leaf."
            )
        if value != self.requires_grad:
            self.leaf(value, self.name)

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was given, and not computed from tensors that require gradients."""
        return self.node is None or isinstance(self.node, Leaf)

    @property
    def name(self) -> str | None:
        """A name for pictures, tables and messages."""
        return None if self.node is None else self.node.name

    @name.setter
    def name(self, value: str | None) -> None:
        (self.node or self.leaf()).name = value

    def retain_grad(self) -> None:
        """Keep the gradient of this computed tensor in `.grad` (leaves do so anyway)."""
        if not self.requires_grad:
            raise GraphError("retain_grad: this tensor does not require gradients")
        hooks = (self.node and self.node.hooks) or []
        if not self.is_leaf and not any(
            isinstance(h, KeepGrad) and h.tensor() is self for h in hooks
        ):
            self.register_hook(KeepGrad(self))

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Let backward call ``hook(gradient)``.

        What the hook returns, if not None, takes the place of the gradient.

        Returns
        -------
        callable
            A function of no arguments, which removes the hook.

        Raises
        ------
        GraphError
            If the tensor does not require gradients.
        """
        if self.node is None or not self.node.requires_grad:
            raise GraphError("register_hook: this tensor does not require gradients")
        hooks = self.node.hooks = self.node.hooks or []
        hooks.append(hook)
        return lambda: hooks.remove(hook) if hook in hooks else None

    # --- copies -----------------------------------------------------------------------------------

    def handle(self) -> Tensor:
        """Return another tensor of the same values and node, which can be written to by itself."""
        return Tensor(self.array, self.node)


class KeepGrad:
    """The hook of `retain_grad`: adds to the `.grad` of its tensor, while somebody holds that."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = weakref.ref(tensor)

    def __call__(self, g: Tensor) -> None:
        """Keep a gradient."""
        if (tensor := self.tensor()) is not None:
            tensor.grad = g.handle() if tensor.grad is None else tensor.grad + g


def attach(kind: type[Tensor], **members: Any) -> None:
    """Give a class of tensors operators and methods that are made further up."""
    for name, member in members.items():
        setattr(kind, name, member)


def tensor(
    data: Any, dtype: Any = None, requires_grad: bool = False, name: str | None = None
) -> Tensor:
    """Make a tensor from numbers, nested lists, an array or a tensor; the values are copied.

    Parameters
    ----------
    data : array_like
        Python floats become float32; an array keeps its dtype.
    dtype : dtype, optional
        float32, float64, an integer type or bool.
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    name : str, optional
        Shown in pictures, tables and messages.

    Raises
    ------
    DtypeError
        For other dtypes (complex, float16, strings, objects), or an integer tensor that requires
        gradients.
    GraphError
        For a tensor that requires gradients, or a list of such, where recording is on: they would
        be cut off.
    ShapeError
        For ragged lists.
    """
    data = _untensor(data)
    wanted = None if dtype is None else check_dtype(dtype)
    try:
        source = as_array(data)
    except ValueError as error:
        raise ShapeError(
            f"tensor: the nested lists are ragged, so they have no shape ({error})"
        ) from error
    if source.dtype.kind not in "fbiu" or wanted is None:
        found = check_dtype(source.dtype)
        wanted = (
            FLOAT32
            if found is FLOAT64 and not isinstance(data, (np.ndarray, np.generic))
            else found
        )
    # view: NumPy keeps a dtype that is equal, but another object
    made = Tensor(np.array(source, dtype=wanted).view(wanted))
    if requires_grad:
        made.requires_grad = True
    if name is not None:
        made.name = name
    return made


def as_array(given: Any) -> Array:
    """Return what a caller gave as an array, in the byte order of the machine.

    Raises
    ------
    DtypeError
        For masked arrays and matrices, which would lose what makes them different, and for arrays
        and tensors of other libraries.
    """
    kind = type(given)
    if kind is not np.ndarray:
        if isinstance(given, np.ma.MaskedArray):
            raise DtypeError(
                "a masked array would lose its mask; give its values, as in a.filled(0), and the mask by themselves"
            )
        if isinstance(given, np.matrix):
            raise DtypeError(
                "the operators of a numpy.matrix mean other things; give np.asarray(matrix)"
            )
        if not isinstance(getattr(given, "dtype", FLOAT32), np.dtype):
            name = f"{kind.__module__}.{kind.__qualname__}"
            raise DtypeError(
                f"the dtype {given.dtype} of a {name} is not NumPy's; give its values as an array, np.asarray(x)"
            )
    found = np.asarray(given)
    return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the dtype if it is one that tensors may have; raise a DtypeError otherwise."""
    if dtype is FLOAT32 or dtype is FLOAT64:
        return dtype
    try:
        found: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        raise DtypeError(
            f"there is no dtype {dtype!r}; use float32, float64, an integer type or bool"
        ) from None
    if found in (FLOAT32, FLOAT64):
        # an unpickled dtype is equal to these, but another object
        return FLOAT32 if found == FLOAT32 else FLOAT64
    if found.kind not in "biu":
        raise DtypeError(
            f"dtype {found} is not supported; use float32, float64, an integer type or bool (for complex values a tensor of each part)"
        )
    return found


def _untensor(data: Any) -> Any:
    """Return arrays in place of a tensor, or of the tensors in nested lists."""
    if isinstance(data, (list, tuple)):
        return [_untensor(x) for x in data]
    if isinstance(data, Tensor) and data.requires_grad and context().grad_enabled:
        raise GraphError(
            "tensor: this is made of a tensor that requires gradients, which would be cut off; use tg.stack([...]) for a list of tensors, "
            f"the tensor itself, or t.detach() for a copy of its values{Where(*caller()).described()}"
        )
    if isinstance(data, Tensor):
        return data.numpy()
    return as_array(data) if isinstance(data, np.ndarray) else data
