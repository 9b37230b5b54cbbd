"""tinygrad_rnn: an autograd engine for recurrent networks. The tape is the program.

Usually imported as ``tg``. Where to begin:

- `tensor`, operations under their NumPy names, ``Tensor.backward``, `grad`: computations and
  gradients;
- `Cell`, `Parameter`, `unroll`, `tbptt`, `jit`: recurrent networks of one's own;
- `cells`: the published ones; `nn`: layers, wrappers, attention, losses; `init`, `optim`;
- `draw`, `explore`, `tape`, `gradcheck`: to see what was recorded, and whether it is right;
- `gradient_flow`, `diagnose`, `detect_anomaly`: how gradients flow back through time, what is wrong
  with them, and where a nan arose;
- `dynamics`: fixed points, stability and Lyapunov exponents of a trained cell;
- `linalg`, `fft`: linear algebra, Fourier transforms; `random`: tensors of random numbers;
- `save`, `load`: parameters in safetensors files;
- `learn`: the exercises of the course in docs/learn.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from .core.errors import (
    AnomalyError,
    DtypeError,
    GraphError,
    NotDifferentiableError,
    RuleError,
    ShapeError,
    TinygradError,
    TraceError,
)
from .core.primitive import Spec
from .core.tape import at_step, eager, enable_grad, no_grad
from .core.tensor import Tensor, tensor
from .core.trace import Program, trace
from .core.tree import detach
from .formats import pickled as _pickled  # noqa: F401  (gives Tensor its pickling)
from .kernels.runtime import set_num_threads
from .module import Module, Parameter
from .ops import methods as _methods  # noqa: F401  (gives Tensor its operators and methods)
from .ops.along import cummax, cummin, cumprod, cumsum, log_softmax, logcumsumexp, softmax
from .ops.bounds import clip
from .ops.custom import custom_vjp, elementwise, register_ufunc, silu
from .ops.elementwise import (
    abs,
    add,
    astype,
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
    sqrt,
    square,
    stop_gradient,
    subtract,
    tanh,
    where,
    zeros_like,
)
from .ops.indexing import scatter
from .ops.linear import einsum, matmul, outer
from .ops.reductions import (
    all,
    any,
    argmax,
    argmin,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
)
from .ops.shaping import (
    broadcast_to,
    concatenate,
    expand_dims,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
)
from .ops.shifting import flip, roll, tril, triu
from .ops.table import Tape, tape
from .ops.taking import index_add, one_hot, put_along_axis, take, take_along_axis
from .recurrent import Cell, Window, checkpoint, tbptt, unroll
from .recurrent import cell as _cell
from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import cells, data, fft, init, learn, linalg, nn, optim, parallel, random
    from .compiler import CompileError, jit
    from .data.padding import pad_sequences
    from .diagnosis import (
        GradcheckError,
        detect_anomaly,
        diagnose,
        dynamics,
        gradcheck,
        gradient_flow,
    )
    from .drawing import Drawing, draw, explore
    from .formats.checkpoint import load, save
    from .functional import functional_call
    from .ops.activations import gelu, glu, hardswish, mish, prelu, selu, softplus, softsign
    from .ops.arranging import (
        append,
        array_split,
        atleast_1d,
        atleast_2d,
        atleast_3d,
        column_stack,
        diff,
        dstack,
        flatten,
        hstack,
        meshgrid,
        moveaxis,
        ravel,
        repeat,
        rot90,
        tile,
        unstack,
        vstack,
    )
    from .ops.contracting import cross, dot, inner, kron, matvec, tensordot, vdot, vecmat
    from .ops.counting import bincount, histogram, nanmean, nansum, searchsorted, unique
    from .ops.diagonals import diag, diagonal
    from .ops.elementary import (
        arccos,
        arccosh,
        arcsin,
        arcsinh,
        arctan,
        arctan2,
        arctanh,
        bitwise_and,
        bitwise_not,
        bitwise_or,
        bitwise_xor,
        ceil,
        copysign,
        cosh,
        exp2,
        floor_divide,
        fmax,
        fmin,
        hypot,
        isinf,
        left_shift,
        log2,
        log10,
        right_shift,
        round,
        sinh,
        tan,
        trunc,
        xlogy,
    )
    from .ops.making import (
        arange,
        diag_indices,
        empty,
        empty_like,
        eye,
        full,
        full_like,
        linspace,
        ones,
        ones_like,
        tril_indices,
        triu_indices,
        zeros,
    )
    from .ops.order import argsort, median, quantile, sort, topk
    from .ops.padding import pad
    from .ops.pooling import (
        adaptive_avg_pool1d,
        adaptive_avg_pool2d,
        adaptive_max_pool1d,
        adaptive_max_pool2d,
        avg_pool1d,
        avg_pool2d,
        max_pool1d,
        max_pool2d,
    )
    from .ops.rows_and_columns import c_, r_
    from .ops.scattering import scatter_reduce
    from .ops.special import digamma, erfc, erfinv, lgamma, polygamma, sinc
    from .ops.transposed import conv_transpose1d, conv_transpose2d
    from .ops.windows import conv1d, conv2d
    from .optim import clip_grad_norm, clip_grad_value
    from .train.checkpoint import Checkpoint
    from .train.fit import fit
    from .transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

__all__ = [
    "AnomalyError",
    "Cell",
    "Checkpoint",
    "CompileError",
    "Drawing",
    "DtypeError",
    "GradcheckError",
    "GraphError",
    "Module",
    "NotDifferentiableError",
    "Parameter",
    "Program",
    "RuleError",
    "ShapeError",
    "Spec",
    "Tape",
    "Tensor",
    "TinygradError",
    "TraceError",
    "Window",
    "abs",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "add",
    "all",
    "any",
    "append",
    "arange",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "argmax",
    "argmin",
    "argsort",
    "array_split",
    "astype",
    "at_step",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "avg_pool1d",
    "avg_pool2d",
    "bincount",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "broadcast_to",
    "c_",
    "ceil",
    "cells",
    "checkpoint",
    "clip",
    "clip_grad_norm",
    "clip_grad_value",
    "column_stack",
    "concatenate",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "copysign",
    "cos",
    "cosh",
    "cross",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "custom_vjp",
    "data",
    "detach",
    "detect_anomaly",
    "diag",
    "diag_indices",
    "diagnose",
    "diagonal",
    "diff",
    "digamma",
    "divide",
    "dot",
    "draw",
    "dstack",
    "dynamics",
    "eager",
    "einsum",
    "elementwise",
    "elu",
    "empty",
    "empty_like",
    "enable_grad",
    "equal",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expand_dims",
    "explore",
    "expm1",
    "eye",
    "fft",
    "fit",
    "flatten",
    "flip",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "full",
    "full_like",
    "functional_call",
    "gelu",
    "glu",
    "grad",
    "gradcheck",
    "gradient_flow",
    "greater",
    "greater_equal",
    "hard_sigmoid",
    "hardswish",
    "hessian",
    "histogram",
    "hstack",
    "hvp",
    "hypot",
    "index_add",
    "init",
    "inner",
    "isfinite",
    "isinf",
    "isnan",
    "jacobian",
    "jit",
    "jvp",
    "kron",
    "leaky_relu",
    "learn",
    "left_shift",
    "less",
    "less_equal",
    "lgamma",
    "linalg",
    "linspace",
    "load",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_sigmoid",
    "log_softmax",
    "logaddexp",
    "logcumsumexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logsumexp",
    "matmul",
    "matvec",
    "max",
    "max_pool1d",
    "max_pool2d",
    "maximum",
    "mean",
    "median",
    "meshgrid",
    "min",
    "minimum",
    "mish",
    "mod",
    "moveaxis",
    "multiply",
    "nanmean",
    "nansum",
    "neg",
    "nn",
    "no_grad",
    "norm",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "optim",
    "outer",
    "pad",
    "pad_sequences",
    "parallel",
    "polygamma",
    "positive",
    "power",
    "prelu",
    "prod",
    "put_along_axis",
    "quantile",
    "r_",
    "random",
    "ravel",
    "reciprocal",
    "register_ufunc",
    "relu",
    "repeat",
    "reshape",
    "right_shift",
    "roll",
    "rot90",
    "round",
    "save",
    "scatter",
    "scatter_reduce",
    "searchsorted",
    "selu",
    "set_num_threads",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinc",
    "sinh",
    "softmax",
    "softplus",
    "softsign",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "stop_gradient",
    "subtract",
    "sum",
    "swapaxes",
    "take",
    "take_along_axis",
    "tan",
    "tanh",
    "tape",
    "tbptt",
    "tensor",
    "tensordot",
    "tile",
    "topk",
    "trace",
    "transpose",
    "tril",
    "tril_indices",
    "triu",
    "triu_indices",
    "trunc",
    "unique",
    "unroll",
    "unstack",
    "value_and_grad",
    "var",
    "vdot",
    "vecmat",
    "vjp",
    "vstack",
    "where",
    "xlogy",
    "zeros",
    "zeros_like",
]
_SPACES = ["cells", "data", "fft", "init", "learn", "linalg", "nn", "optim", "parallel", "random"]


def __getattr__(name: str) -> Any:
    if name in _SPACES:
        return _import_module(f"{__name__}.{name}")
    from .later import LATER

    for module, names in LATER.items():
        if name in names.split():
            found = globals()[name] = getattr(_import_module(f"{__name__}.{module}"), name)
            return found
    from .ops.names import hint

    raise AttributeError(f"module '{__name__}' has no attribute '{name}'{hint(name)}")


def _compile_cell(cell: Any) -> Any:
    """Return a cell compiled, for `recurrent.cell.compiled`; the compiler is loaded when the first layer runs."""
    from .compiler import Automatic

    return Automatic(cell)


_cell.compile_cell = _compile_cell


def __dir__() -> list[str]:
    """What is loaded when first used is listed too."""
    return sorted({*__all__, "__version__"})
