"""tinygrad_rnn: an autograd engine for recurrent networks. The tape is the program."""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from . import cells, init, nn, optim
from .core.errors import (
    DtypeError,
    GraphError,
    NotDifferentiableError,
    RuleError,
    ShapeError,
    TinygradError,
    TraceError,
)
from .core.gradcheck import GradcheckError, gradcheck
from .core.primitive import Spec
from .core.tape import Tape, at_step, enable_grad, no_grad, tape
from .core.tensor import Tensor, tensor
from .core.trace import Program, trace
from .core.transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .ops.custom import custom_vjp, elementwise, gelu, register_ufunc, silu
from .ops.elementwise import (
    abs,
    add,
    astype,
    clip,
    cos,
    divide,
    elu,
    equal,
    erf,
    exp,
    expm1,
    floor,
    greater,
    greater_equal,
    hard_sigmoid,
    isfinite,
    isnan,
    leaky_relu,
    less,
    less_equal,
    log,
    log1p,
    log_sigmoid,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    mod,
    multiply,
    neg,
    not_equal,
    positive,
    power,
    reciprocal,
    relu,
    sigmoid,
    sign,
    sin,
    softplus,
    sqrt,
    square,
    stop_gradient,
    subtract,
    tanh,
    where,
    zeros_like,
)
from .ops.linear import einsum, matmul, outer
from .ops.reductions import (
    all,
    any,
    argmax,
    argmin,
    cumprod,
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    softmax,
    std,
    sum,
    var,
)
from .ops.shaping import (
    broadcast_to,
    concatenate,
    expand_dims,
    flip,
    index_add,
    one_hot,
    pad,
    reshape,
    roll,
    scatter,
    split,
    squeeze,
    stack,
    swapaxes,
    take,
    take_along_axis,
    transpose,
    tril,
    triu,
)
from .formats import pickled as _pickled
from .formats.checkpoint import load, save
from .kernels.runtime import set_num_threads
from .nn.module import Module, Parameter
from .ops import methods as _methods
from .optim import clip_grad_norm
from .recurrent import Cell, unroll

if TYPE_CHECKING:
    from .drawing import Drawing, draw

__version__ = "0.1.0"
_LAZY = {"draw": "drawing", "Drawing": "drawing"}  # loaded when first used


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(_import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
