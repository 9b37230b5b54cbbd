"""Training rules, gradient clipping, and schedules of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .core.errors import DtypeError, GraphError, ShapeError, TinygradError
from .core.primitive import Array
from .core.record import describe
from .core.tensor import Tensor
from .ops import checks
from .ops.checks import flag, number, shown

AMOUNT, FRACTION = "[0, inf)", "[0, 1)"


class _Number:
    """A setting of an optimiser: a number in an interval, checked whenever it is set."""

    def __init__(self, inside: str) -> None:
        self.inside = inside

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, owner: Any, kind: Any = None) -> float:
        return self if owner is None else vars(owner)[self.name]  # type: ignore[return-value]

    def __set__(self, owner: Any, value: Any) -> None:
        vars(owner)[self.name] = number(value, f"{type(owner).__name__}: {self.name}", self.inside)


class Optimizer:
    """Base class.

    ``step()`` gives the parameters new arrays; parameters without a gradient are left alone.

    A graph recorded before the step and walked after it is an error, because its saved values are
    no longer the parameters'.
    """

    decoupled = False  # whether weight decay is a step of its own, not a part of the gradient
    lr = _Number(AMOUNT)
    weight_decay = _Number(AMOUNT)

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        if isinstance(parameters, Tensor):
            raise TinygradError(
                f"the optimiser needs parameters, such as module.parameters(); found one {type(parameters).__name__}"
            )
        self.parameters = _tensors("the optimiser", parameters)
        self.lr, self.weight_decay = lr, weight_decay
        self.state: dict[str, list[Array]] = {}
        self.steps = [0] * len(self.parameters)  # how often each parameter was updated
        for p in self.parameters:
            if not p.is_leaf or not p.requires_grad:
                raise GraphError(
                    f"the optimiser needs leaf tensors that require gradients; found {p!r}"
                )
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise TinygradError(
                "the optimiser was given a parameter twice; it would be changed twice in every step"
            )

    def buffers(self) -> tuple[str, ...]:
        """The names of the arrays that these settings keep for each parameter between steps."""
        return ()

    def buffer(self, name: str) -> list[Array]:
        """An array for each parameter that is kept between steps, zero at first."""
        if name not in self.state:
            self.state[name] = [np.zeros(p.shape, p.dtype) for p in self.parameters]
        return self.state[name]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises
        ------
        ShapeError, DtypeError, TinygradError
            If a gradient is no tensor of its parameter's shape and dtype; then nothing is updated.
        """
        for i, p, g in [
            (i, p, _gradient(type(self).__name__, p))
            for i, p in enumerate(self.parameters)
            if p.grad is not None
        ]:
            self.steps[i] += 1
            value, decay = p.numpy(), self.weight_decay
            change = self.change(i, g + decay * value if decay and not self.decoupled else g)
            p.data = value + (
                change - self.lr * decay * value if decay and self.decoupled else change
            )

    def change(self, i: int, g: Array) -> Array:
        """What is added to parameter i with gradient g."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Buffers by ``name.index`` and the numbers of steps, as arrays (copies), for a checkpoint."""
        arrays = {
            f"{name}.{i}": b.copy()
            for name, buffers in self.state.items()
            for i, b in enumerate(buffers)
        }
        return {**arrays, "steps": np.asarray(self.steps)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave; nothing is changed unless all of it fits this optimiser.

        It has to be of as many parameters, of the same shapes and dtypes, and of the same rule with
        settings that keep the same arrays: one with momentum has a velocity for each parameter.

        Raises
        ------
        ShapeError, DtypeError
            For an array of another shape or dtype than its parameter.
        TinygradError
            For names that are missing or unknown, and numbers of steps that are none.
        """
        what, count = f"{type(self).__name__}.load_state_dict", len(self.parameters)
        begun = isinstance(state, Mapping) and any(name != "steps" for name in state)
        names = [f"{name}.{i}" for name in self.buffers() for i in range(count)] if begun else []
        _entries(what, state, [*names, "steps"])
        steps = _entry(what, state, "steps")
        if steps.shape != (count,):
            raise ShapeError(
                f"{what}: 'steps' has shape {steps.shape}; expected ({count},), a number for each parameter"
            )
        if steps.dtype.kind not in "iu" or (steps < 0).any():
            raise TinygradError(
                f"{what}: 'steps' must be whole numbers of at least 0; found {steps.tolist()}"
            )
        if not begun and steps.any() and self.buffers():
            raise TinygradError(
                f"{what}: after {steps.max()} steps there must be {', '.join(self.buffers())} of each parameter; found none"
            )
        found: dict[str, list[Array]] = {}
        for name in self.buffers() if begun else ():
            for i, p in enumerate(self.parameters):
                value = _entry(what, state, f"{name}.{i}")
                if value.shape != p.shape:
                    raise ShapeError(
                        f"{what}: '{name}.{i}' has shape {value.shape}; parameter {i} has {p.shape}"
                    )
                if value.dtype.newbyteorder("=") != p.dtype:
                    raise DtypeError(
                        f"{what}: '{name}.{i}' is {value.dtype}; parameter {i} is {p.dtype}"
                    )
                if name in self.squares and (value < 0).any():
                    raise TinygradError(
                        f"{what}: '{name}.{i}' holds sums of squares, of which none is below 0; found {value.min()}"
                    )
                found.setdefault(name, []).append(value.astype(p.dtype))
        self.state, self.steps = found, steps.tolist()

    squares: tuple[str, ...] = ()  # which of the buffers cannot be negative

    def __repr__(self) -> str:
        numbers = sum(p.size for p in self.parameters)
        return f"{type(self).__name__}(lr={self.lr:g}, {len(self.parameters)} parameters of {numbers:,} numbers)"


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as in PyTorch: v = momentum * v + g.

    P = p - lr * v.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    momentum : float
        In [0, 1).
    nesterov : bool
        Look one step ahead: p = p - lr * (g + momentum * v) (Nesterov 1983, in the form of
        Sutskever et al. 2013).
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

    momentum = _Number(FRACTION)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.momentum, self.nesterov = momentum, flag(nesterov, "SGD: nesterov")
        if nesterov and not momentum:
            raise TinygradError(
                "SGD: nesterov looks ahead by the momentum, which is 0; give a momentum such as 0.9"
            )

    def buffers(self) -> tuple[str, ...]:
        """See `Optimizer`."""
        return ("velocity",) if self.momentum else ()

    def change(self, i: int, g: Array) -> Array:
        """See `Optimizer`."""
        if self.momentum:
            velocity = self.buffer("velocity")
            velocity[i] = v = self.momentum * velocity[i] + g
            g = g + self.momentum * v if self.nesterov else v
        return -self.lr * g


class RMSprop(Optimizer):
    """Steps scaled by a running mean of the squared gradient (Tieleman and Hinton 2012), as in PyTorch: eps is added to the root.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    alpha : float
        In [0, 1): how much of the running mean stays at each step.
    eps : float
    momentum : float
        In [0, 1): of the scaled steps.
    centered : bool
        Scale by the running variance: the mean of the squares less the square of the mean (Graves
        2013).
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

    squares = ("squares",)
    alpha = _Number(FRACTION)
    momentum = _Number(FRACTION)
    eps = _Number(AMOUNT)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.01,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.alpha, self.momentum, self.eps, self.centered = (
            alpha,
            momentum,
            eps,
            flag(centered, "RMSprop: centered"),
        )

    def buffers(self) -> tuple[str, ...]:
        """See `Optimizer`."""
        return (
            "squares",
            *(["means"] if self.centered else []),
            *(["velocity"] if self.momentum else []),
        )

    def change(self, i: int, g: Array) -> Array:
        """See `Optimizer`."""
        squares = self.buffer("squares")
        squares[i] = spread = self.alpha * squares[i] + (1 - self.alpha) * (g * g)
        if self.centered:
            means = self.buffer("means")
            means[i] = self.alpha * means[i] + (1 - self.alpha) * g
            spread = np.maximum(spread - means[i] * means[i], 0)  # rounding may leave it below zero
        g = g / (np.sqrt(spread) + self.eps)
        if self.momentum:
            velocity = self.buffer("velocity")
            velocity[i] = g = self.momentum * velocity[i] + g
        return -self.lr * g


class Adagrad(Optimizer):
    """Steps scaled by the root of the sum of all squared gradients so far (Duchi, Hazan and Singer 2011), as in PyTorch.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    lr_decay : float
        Step t (from 0) uses lr / (1 + t * lr_decay).
    eps : float
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

    squares = ("sums",)
    lr_decay = _Number(AMOUNT)
    eps = _Number(AMOUNT)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.01,
        *,
        lr_decay: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.lr_decay, self.eps = lr_decay, eps

    def buffers(self) -> tuple[str, ...]:
        """See `Optimizer`."""
        return ("sums",)

    def change(self, i: int, g: Array) -> Array:
        """See `Optimizer`."""
        sums = self.buffer("sums")
        sums[i] = sums[i] + g * g
        return (
            -(self.lr / (1 + (self.steps[i] - 1) * self.lr_decay))
            * g
            / (np.sqrt(sums[i]) + self.eps)
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015).

    Steps of about lr, scaled by running means of the gradient and of its square.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    betas : (float, float)
        In [0, 1): how much of each running mean stays at each step.
    eps : float
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

    squares = ("second",)
    eps = _Number(AMOUNT)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        name = type(self).__name__
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TinygradError(f"{name}: betas must be two numbers; found {shown(betas)}")
        self.betas = (
            number(betas[0], f"{name}: betas[0]", FRACTION),
            number(betas[1], f"{name}: betas[1]", FRACTION),
        )
        self.eps = eps

    def buffers(self) -> tuple[str, ...]:
        """See `Optimizer`."""
        return ("first", "second")

    def change(self, i: int, g: Array) -> Array:
        """See `Optimizer`."""
        (b1, b2), first, second = self.betas, self.buffer("first"), self.buffer("second")
        first[i] = b1 * first[i] + (1 - b1) * g
        second[i] = b2 * second[i] + (1 - b2) * (g * g)
        scale = np.sqrt(second[i] / (1 - b2 ** self.steps[i])) + self.eps
        return -(self.lr / (1 - b1 ** self.steps[i])) * first[i] / scale


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    P shrinks by lr * weight_decay * p beside the step.

    Parameters as in `Adam`; here weight_decay does not go through the running means.
    """

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay)


# --- what is given ----------------------------------------------------------------------------------------------------------


def _tensors(what: str, given: Any) -> list[Tensor]:
    """The tensors of an iterable, or the one that was given.

    An empty one is an error, as it is nearly always an iterator that was used up.
    """
    if isinstance(given, Tensor):
        return [given]
    if not isinstance(given, Iterable):
        raise TinygradError(
            f"{what} needs parameters, such as module.parameters(); found one {type(given).__name__}"
        )
    found = list(given.values() if isinstance(given, Mapping) else given)
    for p in found:
        if not isinstance(p, Tensor):
            raise GraphError(
                f"{what} needs tensors, such as module.parameters() gives; among them found a {type(p).__name__}: {shown(p)}"
            )
    if not found and isinstance(given, Iterator):
        raise TinygradError(
            f"{what} was given no parameters: the iterator is at its end. One from module.parameters() can be read once; keep "
            "list(module.parameters()) to use it again. (A module finds attributes that are tg.Parameter; tg.tensor ones it does not.)"
        )
    if not found:
        raise TinygradError(
            f"{what} was given no parameters (a module finds attributes that are tg.Parameter; tg.tensor ones it does not)"
        )
    return found


def _gradient(what: str, p: Tensor) -> Array:
    """The array of ``p.grad``, which may have been set by hand.

    It must be a tensor of the shape and dtype of `p`.
    """
    g: Any = p.grad
    if not isinstance(g, Tensor):
        raise TinygradError(
            f"{what}: the .grad of {describe(p)} is a {type(g).__name__}; expected a tensor: p.grad = tg.tensor(...)"
        )
    if g.shape != p.shape:
        raise ShapeError(
            f"{what}: the .grad of {describe(p)} has shape {g.shape}; expected {p.shape}"
        )
    if g.dtype != p.dtype:
        raise DtypeError(
            f"{what}: the .grad of {describe(p)} is {g.dtype}; expected {p.dtype}. Convert it with .astype({p.dtype})"
        )
    found: Array = g.numpy()
    return found


def _entries(what: str, state: Any, names: list[str]) -> None:
    """Raise an error unless a dict of states has these names and no others."""
    if not isinstance(state, Mapping):
        raise TinygradError(
            f"{what}: expected what state_dict() gave, a dict of arrays; found a {type(state).__name__}"
        )
    missing, unknown = [n for n in names if n not in state], [n for n in state if n not in names]
    if missing or unknown:
        raise TinygradError(
            f"{what}: missing {missing[:8] or 'nothing'}, unknown {unknown[:8] or 'nothing'}; expected {names[:8]}"
            f"{' and more' if len(names) > 8 else ''}: the state of another rule, of other settings, or of other parameters does not fit"
        )


def _entry(what: str, state: Mapping[str, Any], name: str) -> Array:
    """An entry of a dict of states as an array of numbers."""
    value: Array = checks.array(state[name], f"{what}: '{name}'")
    return value


def _scalar(what: str, state: Mapping[str, Any], name: str) -> Any:
    """An entry of a dict of states that is one number."""
    value = _entry(what, state, name)
    if value.size != 1:
        raise ShapeError(f"{what}: '{name}' must be one number; found shape {value.shape}")
    return value.item()


# --- clipping ---------------------------------------------------------------------------------------------------------------


def clip_grad_norm(parameters: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their joint Euclidean norm is at most `max_norm` (Pascanu et al. 2013).

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are passed over; one that occurs twice counts once. An empty
        iterable is an error.
    max_norm : float
        At least 0; with inf the norm is measured only.

    Returns
    -------
    float
        The norm before; inf or nan leaves the gradients as they are, for the caller to see.
    """
    most = number(max_norm, "clip_grad_norm: max_norm", "[0, inf]")
    graded = _graded("clip_grad_norm", parameters)
    total = _joint_norm([g for _, g in graded])
    if math.isfinite(total) and total > most:
        scale = most / total
        for p, g in graded:
            # as a number of the gradients' dtype it would lose digits, or be 0
            if scale < np.finfo(g.dtype).tiny:
                p.grad = Tensor(np.asarray((g / np.float64(total)) * most, g.dtype))
            else:
                p.grad = Tensor(np.multiply(g, scale, out=np.empty_like(g)))
    return total


def _joint_norm(arrays: list[Array]) -> float:
    """The Euclidean norm of all numbers, also where their squares are too large or too small for the dtype."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = sum(float(np.vdot(g, g)) for g in arrays)
        # squares that vanish in float32, below 1e-45, are nothing beside this
        if 1e-20 < squares < math.inf:
            return math.sqrt(squares)
        # nan if there is one
        largest = max((float(np.abs(g).max(initial=0)) for g in arrays), default=0.0)
        if not 0 < largest < math.inf:
            return largest
        return largest * math.sqrt(
            sum(float(np.vdot(g, g)) for g in (g.astype(np.float64) / largest for g in arrays))
        )


def clip_grad_value(parameters: Tensor | Iterable[Tensor], max_value: float) -> None:
    """Bring every element of the gradients into [-max_value, max_value].

    Nan stays, for the caller to see.

    `parameters` as in `clip_grad_norm`.
    """
    most = number(max_value, "clip_grad_value: max_value", "[0, inf]")
    for p, g in _graded("clip_grad_value", parameters):
        p.grad = Tensor(np.clip(g, -most, most, out=np.empty_like(g)))


def _graded(name: str, parameters: Tensor | Iterable[Tensor]) -> list[tuple[Tensor, Array]]:
    """The tensors that have a gradient, each once, with it."""
    once = {id(p): p for p in _tensors(name, parameters)}
    return [(p, _gradient(name, p)) for p in once.values() if p.grad is not None]


# --- schedules --------------------------------------------------------------------------------------------------------------
# A schedule is a function from the number of steps done so far to a learning rate; `Schedule`
# applies one to an optimiser.


def step_decay(lr: float, size: int, factor: float = 0.1) -> Callable[[int], float]:
    """`lr`, multiplied by `factor` after every `size` steps."""
    lr, factor = number(lr, "step_decay: lr", AMOUNT), number(factor, "step_decay: factor", AMOUNT)
    every = checks.size(size, "step_decay: size")
    return lambda step: lr * factor ** (step // every)


def exponential_decay(lr: float, factor: float) -> Callable[[int], float]:
    """`lr`, multiplied by `factor` after every step."""
    lr, factor = (
        number(lr, "exponential_decay: lr", AMOUNT),
        number(factor, "exponential_decay: factor", AMOUNT),
    )
    return lambda step: lr * factor**step


def cosine(lr: float, steps: int, last: float = 0.0) -> Callable[[int], float]:
    """From `lr` down to `last` along half a cosine in `steps` steps, and `last` from then on (Loshchilov and Hutter 2017)."""
    lr, last, count = (
        number(lr, "cosine: lr", AMOUNT),
        number(last, "cosine: last", AMOUNT),
        checks.size(steps, "cosine: steps"),
    )
    return lambda step: last + (lr - last) * (1 + math.cos(math.pi * min(step / count, 1.0))) / 2


def linear_warmup(
    steps: int, then: float | Callable[[int], float], first: float = 0.0
) -> Callable[[int], float]:
    """From `first` in a straight line up to where `then` begins, in `steps` steps.

    After them `then`, whose steps count from there.

    `then` is a learning rate or a schedule: ``linear_warmup(100, cosine(0.01, 900))``.
    """
    count, first = (
        checks.size(steps, "linear_warmup: steps"),
        number(first, "linear_warmup: first", AMOUNT),
    )
    rate = (
        None
        if callable(then) and not isinstance(then, type)
        else number(then, "linear_warmup: then, if it is no schedule,", AMOUNT)
    )
    after: Any = then if callable(then) else lambda step: rate
    return lambda step: (
        first + (after(0) - first) * step / count if step < count else after(step - count)
    )


class Schedule:
    """Sets the learning rate of an optimiser from a function of the number of steps.

    Call ``step()`` after each ``optimizer.step()`` (or after each epoch: what a step is, is the
    caller's choice).

    Parameters
    ----------
    optimizer : Optimizer
        Its rate is set at once, to ``function(0)``.
    function : callable
        From the number of steps done so far to a learning rate.
    """

    def __init__(self, optimizer: Optimizer, function: Callable[[int], float]) -> None:
        if isinstance(function, type) or not callable(function):
            raise TinygradError(
                f"Schedule: expected a function from the number of steps to a rate; found {shown(function)}"
            )
        self.optimizer, self.function, self.count = _optimizer("Schedule", optimizer), function, 0
        self._apply()

    def step(self) -> None:
        """Count a step and set the rate for the next one."""
        self.count += 1
        self._apply()

    def _apply(self) -> None:
        self.optimizer.lr = number(
            self.function(self.count), f"Schedule: lr, after {self.count} steps,", AMOUNT
        )

    def state_dict(self) -> dict[str, Any]:
        """The count, for a checkpoint."""
        return {"count": np.asarray(self.count)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave, and set the rate."""
        what = "Schedule.load_state_dict"
        _entries(what, state, ["count"])
        self.count = checks.size(_scalar(what, state, "count"), f"{what}: 'count'", 0)
        self._apply()


class ReduceOnPlateau:
    """Multiplies the learning rate of an optimiser by a factor when a loss stops falling.

    Parameters
    ----------
    optimizer : Optimizer
    factor : float
        In [0, 1).
    patience : int
        So many calls in a row without an improvement are borne; the next one lowers the rate.
    threshold : float
        A loss is an improvement if it is below the best one by more than this share of it (as in
        PyTorch, for losses above 0).
    smallest : float
        The rate is not lowered further than this.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        smallest: float = 0.0,
    ) -> None:
        name = type(self).__name__
        self.optimizer, self.factor = (
            _optimizer(name, optimizer),
            number(factor, f"{name}: factor", FRACTION),
        )
        self.patience, self.threshold = (
            checks.size(patience, f"{name}: patience", 0),
            number(threshold, f"{name}: threshold", AMOUNT),
        )
        self.smallest = number(smallest, f"{name}: smallest", AMOUNT)
        self.best, self.bad = math.inf, 0

    def step(self, loss: float) -> None:
        """Tell it the loss, after an epoch or an evaluation; nan counts as no improvement."""
        if isinstance(loss, (Tensor, np.ndarray)) and loss.size == 1:
            loss = (loss.numpy() if isinstance(loss, Tensor) else loss).item()
        loss = (
            loss
            if loss != loss
            else number(loss, f"{type(self).__name__}.step: the loss", "[-inf, inf]")
        )
        if loss < self.best - self.threshold * abs(self.best) or (loss < self.best == math.inf):
            self.best, self.bad = loss, 0
        else:
            self.bad += 1
        if self.bad > self.patience:
            self.optimizer.lr, self.bad = (
                min(self.optimizer.lr, max(self.optimizer.lr * self.factor, self.smallest)),
                0,
            )

    def state_dict(self) -> dict[str, Any]:
        """The best loss, the calls without an improvement and the rate, for a checkpoint."""
        return {
            "best": np.asarray(self.best),
            "bad": np.asarray(self.bad),
            "lr": np.asarray(self.optimizer.lr),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave, and set the rate."""
        what = f"{type(self).__name__}.load_state_dict"
        _entries(what, state, ["best", "bad", "lr"])
        best = number(_scalar(what, state, "best"), f"{what}: 'best'", "[-inf, inf]")
        bad = checks.size(_scalar(what, state, "bad"), f"{what}: 'bad'", 0)
        self.optimizer.lr = number(_scalar(what, state, "lr"), f"{what}: 'lr'", AMOUNT)
        self.best, self.bad = best, bad


def _optimizer(what: str, given: Any) -> Optimizer:
    if not isinstance(given, Optimizer):
        raise TinygradError(
            f"{what}: expected an optimiser, such as tg.optim.Adam(...); found {shown(given)}"
        )
    return given
