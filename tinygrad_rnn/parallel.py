"""One model trained by several processes: `DataParallel`, on MPI.

The same script runs under ``mpiexec -n N``. Each process, a *rank*, has the whole model and a share
of each batch. The gradients are averaged before the update, so that all ranks make the same one:
with the mean as loss, N ranks do what one rank does with the whole batch. Outside of mpiexec there is
one rank, and nothing is averaged.

The gradients travel in flat buckets. A bucket is sent as soon as its last gradient is complete, while
the walk back goes on.
"""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from .core.errors import TinygradError
from .core.primitive import Array
from .core.record import describe
from .core.tape import Leaf, Node, context, reachable, setting
from .core.tensor import Tensor
from .core.tree import leaves, unflatten
from .module import Module
from .ops import checks
from .ops.postponed import postponed
from .optim.given import gradient_of, tensors_of

__all__ = ["DataParallel", "map", "serving"]

BUCKET = 1 << 20  # bytes
NAME = "DataParallel"  # for messages
STARTED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # in which mpiexec says how many there are


class DataParallel:
    """The ranks that train one model, seen from one of them.

    Parameters
    ----------
    model : Module, or iterable of Tensor
        Its parameters. All ranks have to begin with the same values: make it from one seed.
    comm : mpi4py communicator, optional
        By default all processes that mpiexec started.
    bucket : int
        Bytes of gradients that travel together. Small ones are sent earlier, large ones take fewer
        messages.

    Attributes
    ----------
    rank, size : int
        The number of this process, and how many there are.

    Raises
    ------
    TinygradError
        Without the package mpi4py. If the ranks have other parameters, or other values of them.

    Notes
    -----
    An exception that nobody catches ends all ranks, with its traceback and the number of its rank;
    otherwise the others would wait for it for ever.

    Examples
    --------
    >>> parallel = tg.parallel.DataParallel(model)
    >>> data = parallel.shared(tg.data.Batches(xs, labels, batch_size=64, rng=0))
    >>> for x, label in data:
    ...     optimizer.zero_grad()
    ...     parallel.backward(tg.nn.cross_entropy(model(x), label))
    ...     optimizer.step()
    """

    def __init__(
        self, model: Module | Iterable[Tensor], comm: Any = None, *, bucket: int = BUCKET
    ) -> None:
        MPI = _mpi()
        given = model.parameters() if isinstance(model, Module) else model
        self.parameters = tensors_of(NAME, given)
        self.comm = MPI.COMM_WORLD if comm is None else comm
        self.rank, self.size = int(self.comm.Get_rank()), int(self.comm.Get_size())
        self._any = MPI.LOR
        self.buckets = _cut(self.parameters, checks.size(bucket, "DataParallel: bucket"))
        if self.size > 1:
            _end_together(self.comm, self.rank)
            self.check()

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes files and shows progress."""
        return self.rank == 0

    def check(self) -> None:
        """Compare the parameters of all ranks, which have to be the same.

        Raises
        ------
        TinygradError
            On each rank, with the first parameter that differs.
        """
        told = [
            (describe(p), p.shape, str(p.dtype), hashlib.sha256(p.numpy().tobytes()).digest())
            for p in self.parameters
        ]
        every = self.comm.allgather(told)
        for rank, other in enumerate(every):
            for mine, theirs in zip(every[0], other, strict=False):
                if mine[1:] != theirs[1:]:
                    raise TinygradError(
                        f"DataParallel: the ranks have to hold the same parameters, but {mine[0]} of rank 0 is not that of rank {rank}. Make the model from one "
                        "seed on all ranks, and let all of them make the same updates"
                    )
            if len(other) != len(every[0]):
                raise TinygradError(
                    f"DataParallel: rank 0 has {len(every[0])} parameters, rank {rank} {len(other)}"
                )

    # --- data -------------------------------------------------------------------------------------

    def shared(self, data: Any) -> Any:
        """Let data give the rows of this rank of each batch, and return it.

        Parameters
        ----------
        data : Batches or Windows
            The same on all ranks, with the same seed. The batch size is that of all ranks together.

        Raises
        ------
        ShapeError
            If a batch cannot be shared evenly: the mean over ranks would not be that of the batch.
        """
        data.share(self.rank, self.size)
        return data

    # --- gradients --------------------------------------------------------------------------------

    def backward(self, loss: Tensor) -> None:
        """Add to `.grad` the mean over the ranks of the gradients of their losses.

        Buckets travel while the walk back goes on. Inside of a function that is compiled, they do
        when it has computed all gradients.
        """
        if self.size == 1:
            loss.backward()
        elif context().effects is not None:
            loss.backward()
            self.average()
        else:
            before = [p.grad for p in self.parameters]
            for p in self.parameters:
                p.grad = None
            sending = _Sending(self)
            with setting(watch=sending):
                loss.backward()
            sending.finish(before)

    def average(self) -> None:
        """Replace each `.grad` by its mean over the ranks.

        One that is None counts as zeros, and stays None where it is on all ranks. It is for gradients that were computed in another way. A rank waits for the others.
        """
        _average(self)

    # --- what all have to know --------------------------------------------------------------------

    def mean(self, *numbers: float) -> list[float]:
        """Return the means of numbers over all ranks."""
        if self.size == 1:
            return list(numbers)
        found = np.array(numbers, np.float64)
        self.comm.Allreduce(found.copy(), found)
        return list((found / self.size).tolist())

    def any(self, flag: bool) -> bool:
        """Whether a flag is set on any rank, so that all of them do the same."""
        return bool(flag) if self.size == 1 else bool(self.comm.allreduce(bool(flag), self._any))

    def gather(self, tree: Any) -> list[Any]:
        """Return the trees of tensors of all ranks."""
        if self.size == 1:
            return [tree]
        every = self.comm.allgather([t.numpy() for t in leaves(tree)])
        return [unflatten(tree, list(map(Tensor, arrays))) for arrays in every]

    def __repr__(self) -> str:
        numbers = sum(p.size for p in self.parameters)
        return f"<DataParallel: rank {self.rank} of {self.size}, {numbers:,} numbers in {len(self.buckets)} buckets>"


@postponed(lambda parallel: parallel.parameters, values=False)
def _average(parallel: DataParallel) -> None:
    """See `DataParallel.average`."""
    if parallel.size == 1:
        return
    found = [None if p.grad is None else gradient_of(NAME, p) for p in parallel.parameters]
    for places in parallel.buckets:
        whole = _joined(parallel.parameters, places, found)
        total = np.empty_like(whole)
        parallel.comm.Allreduce(whole, total)
        for k, g in _means(total, parallel, places):
            parallel.parameters[k].grad = None if g is None else Tensor(g)


# --- other work that ranks share ------------------------------------------------------------------


def map(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Return ``[function(item) for item in items]``, computed by the ranks, on all of them.

    For seeds, settings of a grid, members of a population: whoever is free takes the next. The first
    rank hands out the work, so with two or more, one fewer compute. Outside of mpiexec it is the
    list itself.

    Parameters
    ----------
    function : callable
        Of a module or of the script, so that it has a name by which other processes find it.
    items : iterable
        What it is called with.

    Raises
    ------
    Exception
        What the function raises, on all ranks.
    """
    items = list(items)
    comm, futures = _ranks()
    if futures is None:
        return [function(item) for item in items]
    found: tuple[Any, BaseException | None] = (None, None)
    with futures.MPICommExecutor(comm, root=0) as executor:
        if executor is not None:
            try:
                found = list(executor.map(function, items)), None
            except Exception as fault:
                found = None, fault
    results, error = comm.bcast(found)
    if error is not None:
        raise error
    return list(results)


def serving(main: Callable[[Any], int]) -> int:
    """Call a program with what runs functions on other ranks, and return its exit code.

    On the first rank that is an executor of `mpi4py.futures`; the others serve it until the program
    ends, and return 0. Outside of mpiexec it is None.
    """
    comm, futures = _ranks()
    if futures is None:
        return main(None)
    with futures.MPICommExecutor(comm, root=0) as executor:
        return 0 if executor is None else main(executor)


def _ranks() -> tuple[Any, Any]:
    """Return the communicator and `mpi4py.futures`, if mpiexec has started more than one process."""
    if all(os.environ.get(name, "1") == "1" for name in STARTED):
        return None, None
    MPI = _mpi()
    from mpi4py import futures

    return MPI.COMM_WORLD, futures if MPI.COMM_WORLD.Get_size() > 1 else None


def _mpi() -> Any:
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise TinygradError(
            f"tg.parallel needs mpi4py and an MPI, which are not there ({error}): pip install 'tinygrad-rnn[mpi]'"
        ) from None
    return MPI


# --- buckets --------------------------------------------------------------------------------------


def _cut(parameters: list[Tensor], most: int) -> list[list[int]]:
    """Return which parameters travel together, the last ones first: of one dtype, of so many bytes."""
    found: list[list[int]] = []
    size = 0
    for k in reversed(range(len(parameters))):
        p = parameters[k]
        same = bool(found) and parameters[found[-1][0]].dtype == p.dtype
        if not same or size + p.array.nbytes > most:
            found.append([])
            size = 0
        found[-1].append(k)
        size += p.array.nbytes
    return found


def _joined(
    parameters: list[Tensor], places: list[int], gradients: Sequence[Array | None]
) -> Array:
    """Return a bucket: the gradients one after the other, then for each whether there is one."""
    dtype = parameters[places[0]].dtype
    parts = []
    for k in places:
        g = gradients[k]
        parts.append(np.zeros(parameters[k].size, dtype) if g is None else g.ravel())
    return np.concatenate([*parts, np.array([gradients[k] is not None for k in places], dtype)])


def _means(
    total: Array, parallel: DataParallel, places: list[int]
) -> Iterator[tuple[int, Array | None]]:
    """Yield for each parameter of a bucket, which all ranks have added up, its mean gradient.

    It is None where no rank has one.
    """
    begin = 0
    for k, ranks in zip(places, total[-len(places) :], strict=True):
        p = parallel.parameters[k]
        part = total[begin : begin + p.size].reshape(p.shape)
        begin += p.size
        yield k, part / parallel.size if ranks else None


class _Sending:
    """One walk back, and the buckets that are on their way meanwhile."""

    def __init__(self, parallel: DataParallel) -> None:
        self.parallel = parallel
        self.place = {p.node: k for k, p in enumerate(parallel.parameters)}
        self.bucket = {k: b for b, places in enumerate(parallel.buckets) for k in places}
        self.missing = [set(places) for places in parallel.buckets]
        self.found: list[Array | None] = [None] * len(parallel.parameters)
        # in the order that all ranks have: what is sent, what will be there, and the request
        self.sent: list[tuple[Array, Array, Any]] = []

    def backward(self, gradients: Any, rule_gives: Any, roots: Any) -> tuple[Any, Any]:
        """See `pull_back`, which asks for this at its beginning; the rest of it is not watched."""
        context().watch = None
        return _counting(type(gradients))(self, roots), rule_gives

    def arrived(self, leaf: Node, gradient: Array) -> None:
        """Note a gradient that is complete."""
        k = self.place[leaf]
        self.found[k] = np.asarray(gradient)
        self.missing[self.bucket[k]].discard(k)
        while len(self.sent) < len(self.missing) and not self.missing[len(self.sent)]:
            self._send()
        for *_, request in self.sent:
            request.Test()  # MPI works while it is called

    def _send(self) -> None:
        parallel = self.parallel
        whole = _joined(parallel.parameters, parallel.buckets[len(self.sent)], self.found)
        total = np.empty_like(whole)
        self.sent.append((whole, total, parallel.comm.Iallreduce(whole, total)))

    def finish(self, before: list[Tensor | None]) -> None:
        """Send what is left, wait for all, and put the means into `.grad`."""
        parallel = self.parallel
        self.found = [None if p.grad is None else gradient_of(NAME, p) for p in parallel.parameters]
        while len(self.sent) < len(parallel.buckets):
            self._send()
        for places, (_, total, request) in zip(parallel.buckets, self.sent, strict=True):
            request.Wait()
            for k, g in _means(total, parallel, places):
                grad = before[k]
                if g is not None:
                    grad = Tensor(g) if grad is None else grad + Tensor(g)
                parallel.parameters[k].grad = grad


def _counting(kind: type) -> Any:
    """Return what collects gradients in a walk and tells of those of the parameters when complete."""

    class Counting(kind):  # type: ignore[misc]
        __slots__ = ("left", "sending")

        def __init__(self, sending: _Sending, roots: Any) -> None:
            super().__init__()
            self.sending = sending
            self.left: dict[Node, int] = {}
            for node in reachable(roots):
                for source, _, _ in node.edges:
                    if isinstance(source, Leaf) and source in sending.place:
                        self.left[source] = self.left.get(source, 0) + 1

        def add(self, node: Node, gradient: Any) -> None:
            super().add(node, gradient)
            self._note(node)

        def add_part(self, node: Node, g: Any, add_into: Any) -> None:
            super().add_part(node, g, add_into)
            self._note(node.edges[0][0])

        def _note(self, node: Node) -> None:
            if node in self.left:
                self.left[node] -= 1
                if not self.left[node] and node in self and not node.hooks:
                    self.sending.arrived(node, self[node])

    return Counting


def _end_together(comm: Any, rank: int) -> None:
    """Let an exception that nobody catches end all ranks; the others would wait for ever."""

    def ended(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, where)
            return
        told = "".join(traceback.format_exception(kind, error, where))
        print(f"rank {rank} ends the run of all ranks:\n{told}", file=sys.stderr, flush=True)
        comm.Abort(1)

    sys.excepthook = ended
