"""Tracing: run a function on shapes and dtypes, and keep the nodes. Their list is the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .errors import TraceError
from .primitive import Spec
from .record import apply, describe
from .tape import Leaf, Node, at_origin, setting
from .tensor import Tensor, tensor
from .tree import flatten, leaves, tree_map, unflatten
from .walks import pull_back


class Program:
    """A list of nodes with inputs and outputs.

    Attributes
    ----------
    inputs : list of Node
        The nodes whose values are to be given: leaves for a traced function, and for a backward
        program also the forward nodes that it reads.
    nodes : list of Node
        The operations, in an order in which they can be computed.
    outputs : list of Node, number or None
        What comes out; None is a gradient that is zero.
    constants : list of Leaf
        The parameters and constants that the function closed over, each with its value.
    structure : tree
        The outputs as the function returned them, with None for each.
    """

    def __init__(
        self, inputs: Sequence[Node], outputs: Sequence[Any], structure: Any = None
    ) -> None:
        self.inputs, self.outputs, self.structure = list(inputs), list(outputs), structure
        given = set(self.inputs)
        order = _between(given, [o for o in self.outputs if isinstance(o, Node)])
        self.nodes = [n for n in order if n not in given and n.primitive is not None]
        self.constants = [n for n in order if isinstance(n, Leaf) and n not in given]

    def __call__(self, *values: Any) -> list[Any]:
        """Evaluate the program on arrays (by NumPy alone), tensors (recorded) or traced tensors.

        What is recorded comes from where the node of the program came from.
        """
        known: dict[Any, Any] = dict(zip(self.inputs, values, strict=True))
        known.update((leaf, leaf.value) for leaf in self.constants)
        with setting():
            for node in self.nodes:
                at_origin(node)
                operands = [known[n] if isinstance(n, Node) else n for n in node.inputs]
                known[node] = apply(node.primitive, operands, node.params)
        return [known[o] if isinstance(o, Node) else o for o in self.outputs]

    def backward(self, wrt: Sequence[Node] | None = None) -> Program:
        """Return the program of the gradients, which the ordinary rules give.

        Parameters
        ----------
        wrt : sequence of Node, optional
            What to differentiate by. Default: the inputs of this program that have gradients, then
            its parameters.

        Returns
        -------
        Program
            Its inputs are the forward nodes whose values it reads (inputs of this program among
            them), followed by a cotangent for each output; its outputs are the gradients. Being
            made of ordinary nodes, it can be differentiated again.
        """
        wrt = list(
            wrt
            if wrt is not None
            else [n for n in [*self.inputs, *self.constants] if n.requires_grad]
        )
        with setting(tracing=True):
            seeds = [Tensor(Spec(o.shape, o.dtype)) for o in self.outputs]
            cotangents = [
                seed.leaf(True, f"d_{o.name or o.op}")
                for seed, o in zip(seeds, self.outputs, strict=True)
            ]
            live = [(o, s) for o, s in zip(self.outputs, seeds, strict=True) if o.requires_grad]
            found = pull_back(
                [o for o, _ in live], [s for _, s in live], targets=wrt, create_graph=True
            )
        outputs = [found[n].node if n in found else None for n in wrt]
        forward = {*self.inputs, *self.nodes}
        order = _between({*forward, *cotangents}, [o for o in outputs if o is not None])
        read = {
            n
            for node in [*order, *(o for o in outputs if o)]
            for n in (*node.inputs, node)
            if n in forward
        }
        return Program([*sorted(read, key=lambda n: n.index), *cotangents], outputs)


def _between(given: set[Node], outputs: Sequence[Node]) -> list[Node]:
    """Return the nodes that the outputs need besides `given`, leaves among them, in order."""
    seen: set[Node] = set()
    stack = [o for o in outputs if o not in given]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(n for n in node.inputs if isinstance(n, Node) and n not in given)
    return sorted(seen, key=lambda n: n.index)


def constants_too(result: Any) -> Any:
    """Return what a function returned, with tensors in place of constant numbers and arrays."""
    return tree_map(lambda r: r if isinstance(r, Tensor) else tensor(r), result)


def trace(
    f: Callable[..., Any],
    *examples: Any,
    gradients: Sequence[bool] | None = None,
    effects: Any = None,
) -> Program:
    """Record `f` without computing anything.

    Parameters
    ----------
    f : callable
        A function of tensors, or of trees of tensors.
    *examples : Tensor, array, Spec, or a tree of them
        The arguments. Their shapes and dtypes are used, not their values.
    gradients : sequence of bool, optional
        Which leaves of the examples have gradients. Default: those of floating dtype.
    effects : Effects, optional
        Notes what `f` does besides computing, and says how sequences are recorded. Default: there
        is nothing besides, and each step is recorded.

    Returns
    -------
    Program
        Its inputs are the leaves of `examples` in order, named by their position in the arguments.

    Raises
    ------
    TraceError
        If `f` looks at a number (``if x > 0``, ``item``, ``numpy``), since only shapes are known;
        or if it writes to a tensor that it was given or found outside.
    """
    handles = []
    for k, (path, example) in enumerate(flatten(examples, "x")):
        handle = Tensor(Spec(example.shape, example.dtype))
        needed = handle.dtype.kind == "f" if gradients is None else gradients[k]
        handle.leaf(needed, getattr(example, "name", None) or path)
        handles.append(handle)
    inputs = [h.node for h in handles if h.node is not None]
    given = [h.handle() for h in handles]
    written: list[Any] = []
    try:
        with (
            setting(tracing=True, grad_enabled=True, origin=None, effects=effects),
            setting(inputs=frozenset(inputs), written=written),
        ):
            result = constants_too(f(*unflatten(examples, list(given))))
    except BaseException:
        _taken_back(written)
        raise
    outputs = [(r.node or r.leaf()) if isinstance(r, Tensor) else r for r in leaves(result)]
    structure = tree_map(lambda _: None, result)
    changed = [h for h, g in zip(handles, given, strict=True) if g.node is not h.node]
    del result  # what is left of the tensors that the function wrote to is held by others
    if changed := changed + _taken_back(written):
        raise TraceError(
            f"the function that is being traced writes to {describe(changed[0])}, which it was given or found outside: the record, which runs "
            "later, would not write to it. Write to a copy (x = x.copy()), and return what is to be kept."
        )
    return Program(inputs, outputs, structure)


def _taken_back(written: list[Any]) -> list[Tensor]:
    """Give the tensors that a trace wrote to what they had before; return those still in use."""
    found = [
        (t, array, node)
        for reference, array, node in reversed(written)
        if (t := reference()) is not None
    ]
    for t, array, node in found:
        t.array, t.node = array, node
    return [t for t, _, _ in found]
