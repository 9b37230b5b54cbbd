"""Names of other libraries, and what there is here for them; read where a name is not found."""

from __future__ import annotations

from typing import Any

CALLED = {
    "cat": "concatenate",
    "chunk": "split",
    "pow": "power",
    "mul": "multiply",
    "sub": "subtract",
    "div": "divide",
    "mm": "matmul",
    "bmm": "matmul",
    "mv": "matvec",
    "gather": "take_along_axis",
    "clamp": "clip",
    "pad_sequence": "pad_sequences",
    "msort": "sort",
    "percentile": "quantile",
    "diag_embed": "diag",
    "permute": "transpose",
    "unsqueeze": "expand_dims",
    "from_numpy": "tensor",
    "as_tensor": "tensor",
    "clip_grad_norm_": "clip_grad_norm",
    "clip_grad_value_": "clip_grad_value",
    "compile": "jit",
    "inference_mode": "no_grad",
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "atan2": "arctan2",
    "gammaln": "lgamma",
    "psi": "digamma",
    "repeat_interleave": "repeat",
    "movedim": "moveaxis",
    "unbind": "unstack",
    "row_stack": "vstack",
    "tensor_split": "array_split",
}
ELSEWHERE = {
    **dict.fromkeys(
        ("RNN", "LSTM", "GRU"), "a layer is tg.nn.{0}; one step, for tg.unroll, is in tg.cells"
    ),
    **dict.fromkeys(
        ("rand", "randn", "randint", "randperm"),
        "random numbers are in tg.random: normal, uniform, integers, permutation",
    ),
    **dict.fromkeys(("float32", "float64", "int32", "int64"), "dtypes are those of NumPy: np.{0}"),
    **dict.fromkeys(("float", "double", "long"), "dtypes are those of NumPy, such as np.float32"),
    **dict.fromkeys(("device", "cuda"), "there are no devices: all runs on the processor"),
    **dict.fromkeys(
        ("cholesky", "det", "eigh", "expm", "inv", "matrix_power", "pinv", "qr", "slogdet"),
        "linear algebra is in tg.linalg: tg.linalg.{0}",
    ),
    **dict.fromkeys(("solve", "svd"), "linear algebra is in tg.linalg: tg.linalg.{0}"),
    "inverse": "it is tg.linalg.inv",
    "matrix_exp": "it is tg.linalg.expm",
    **dict.fromkeys(("logdet", "eig", "eigvals"), "see tg.linalg: slogdet, eigh, eigvalsh, svd"),
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "addbmm"), "it is a sum: c + a @ b"),
    "autograd": "loss.backward(), or tg.grad(f)",
    **dict.fromkeys(
        ("manual_seed", "seed"),
        "there is no global seed; what draws numbers takes rng=, a seed or a NumPy generator",
    ),
}


class Elsewhere:
    """Stands in a class for a name that it does not have: reading it is an AttributeError that says the way.

    `hasattr` is False, as for any name that there is not, and an object may set it.

    Parameters
    ----------
    name : str
    sentence : str
        What to write here.
    """

    def __init__(self, name: str, sentence: str) -> None:
        self.name, self.sentence = name, sentence

    def __get__(self, owner: Any, kind: type) -> Any:
        raise AttributeError(f"a {kind.__name__} has no '{self.name}': {self.sentence}")


def give(kind: type, sentences: dict[str, str]) -> None:
    """Let a class say what is written here for the names of another library.

    Parameters
    ----------
    kind : type
    sentences : dict of str to str
        For each name one sentence; names that the class has are left as they are.
    """
    given = [name for name in sentences if not hasattr(kind, name)]
    for name in given:
        setattr(kind, name, Elsewhere(name, sentences[name]))
    listed: Any = kind.__dir__

    def __dir__(self: Any) -> list[str]:
        """List what there is, and not what is called otherwise."""
        return [name for name in listed(self) if name not in given]

    setattr(kind, "__dir__", __dir__)  # noqa: B010  (a type checker does not know it)


TENSOR = {
    "view": "write t.reshape(2, 3)",
    "view_as": "write t.reshape(other.shape)",
    "reshape_as": "write t.reshape(other.shape)",
    "clone": "write t.copy(), through which gradients pass",
    "unsqueeze": "write tg.expand_dims(t, 0), or t[None]",
    "permute": "write t.transpose((1, 0)), with all axes in their new order",
    "t": "write t.T",
    "mT": "write t.swapaxes(-1, -2)",
    "expand": "write t.broadcast_to((2, 3))",
    "expand_as": "write t.broadcast_to(other.shape)",
    "contiguous": "leave it out: every operation takes arrays as they lie",
    "is_contiguous": "it makes no difference here: every operation takes arrays as they lie",
    "to": "there are no devices, and another dtype is t.astype(np.float64)",
    "cpu": "leave it out: everything is on the processor",
    "cuda": "there are no devices: everything runs on the processor",
    "device": "there are no devices: everything is on the processor",
    "is_cuda": "there are no devices: everything is on the processor",
    "float": "write t.astype(np.float32)",
    "double": "write t.astype(np.float64)",
    "half": "there is no float16: write t.astype(np.float32)",
    "bfloat16": "there is no bfloat16: write t.astype(np.float32)",
    "int": "write t.astype(np.int32)",
    "long": "write t.astype(np.int64)",
    "bool": "write t.astype(bool)",
    "type": "the dtype is t.dtype, and another one t.astype(np.float64)",
    "type_as": "write t.astype(other.dtype)",
    "is_floating_point": "write t.dtype.kind == 'f'",
    "dim": "write t.ndim",
    "numel": "write t.size",
    "nelement": "write t.size",
    "masked_fill": "write tg.where(mask, 0.0, t)",
    "masked_select": "write t[mask]",
    "index_select": "write tg.take(t, indices, axis=0)",
    "gather": "write tg.take_along_axis(t, indices, axis=-1)",
    "index_fill": "write t[indices] = v on a copy, t.copy()",
    "scatter_": "write t[indices] = v on a copy, t.copy(); one row of places each is tg.one_hot",
    "scatter_add": "write tg.index_add(t, indices, values)",
    "narrow": "write t[:, 1:3]",
    "select": "write t[:, 1]",
    "chunk": "write tg.split(t, 2, axis=0)",
    "unbind": "write tg.unstack(t)",
    "movedim": "write tg.moveaxis(t, 0, -1)",
    "repeat_interleave": "write t.repeat(2, axis=0)",
    "clamp": "write t.clip(0.0, 1.0)",
    "clamp_min": "write t.clip(0.0, None)",
    "clamp_max": "write t.clip(None, 1.0)",
    "add": "write t + other",
    "sub": "write t - other",
    "mul": "write t * other",
    "div": "write t / other",
    "neg": "write -t",
    "pow": "write t ** 2",
    "matmul": "write t @ other",
    "mm": "write t @ other",
    "bmm": "write t @ other",
    "mv": "write t @ other",
    "eq": "write t == other",
    "ne": "write t != other",
    "lt": "write t < other",
    "le": "write t <= other",
    "gt": "write t > other",
    "ge": "write t >= other",
    "rsqrt": "write 1 / tg.sqrt(t)",
    "amax": "write t.max(axis=0)",
    "amin": "write t.min(axis=0)",
    "add_": "write t += other, on a tensor of your own or inside tg.no_grad()",
    "sub_": "write t -= other, on a tensor of your own or inside tg.no_grad()",
    "mul_": "write t *= other, on a tensor of your own or inside tg.no_grad()",
    "div_": "write t /= other, on a tensor of your own or inside tg.no_grad()",
    "copy_": "write t.data = other, or t[...] = other",
    "fill_": "write t[...] = 2.0, or t.data = tg.full_like(t, 2.0)",
    "zero_": "write t.data = tg.zeros_like(t); gradients are forgotten by t.grad = None",
    "clamp_": "write t.data = t.detach().clip(0.0, 1.0)",
    "normal_": "write t.data = tg.random.normal(t.shape, rng=0); first values are in tg.init",
    "uniform_": "write t.data = tg.random.uniform(t.shape, rng=0); first values are in tg.init",
    "requires_grad_": "write t.requires_grad = True",
    "detach_": "write t = t.detach()",
    "grad_fn": "what made a tensor is t.node, and print(tg.tape(t)) shows all of it",
    "new_zeros": "write tg.zeros(2, 3, dtype=t.dtype)",
    "new_ones": "write tg.ones(2, 3, dtype=t.dtype)",
    "new_full": "write tg.full((2, 3), 2.0, dtype=t.dtype)",
    "new_tensor": "write tg.tensor([1.0], dtype=t.dtype)",
}
MODULE = {
    "to": "there are no devices, and a copy of another dtype is m.astype(np.float64)",
    "cpu": "leave it out: everything is on the processor",
    "cuda": "there are no devices: everything runs on the processor",
    "float": "a copy of another dtype is m.astype(np.float32)",
    "double": "a copy of another dtype is m.astype(np.float64)",
    "half": "there is no float16: a copy is m.astype(np.float32)",
    "register_buffer": "write m.mean = tg.nn.Buffer([0.0])",
    "register_parameter": "write m.weight = tg.Parameter([0.0])",
    "add_module": "write m.part = tg.nn.Linear(2, 3)",
    "children": "write for name, part in m.named_modules()",
    "modules": "write for name, part in m.named_modules()",
    "named_children": "write for name, part in m.named_modules()",
    "apply": "write for name, part in m.named_modules()",
    "buffers": "write for name, b in m.named_buffers()",
    "requires_grad_": "write p.requires_grad = False for each p of m.parameters()",
    "compile": "write tg.jit(m)",
}
OPTIMIZER = {
    "param_groups": "the rate is o.lr, and groups are o.groups, each with its own settings: o.groups[0].lr",
    "add_param_group": "give all groups when it is made: tg.optim.Adam([{'params': [p], 'lr': 0.1}])",
}


def hint(name: str) -> str:
    """Return what an error says of a name of another library; nothing if it is not known."""
    if name in CALLED:
        return f"; it is called tg.{CALLED[name]} here"
    return f"; {ELSEWHERE[name].format(name)}" if name in ELSEWHERE else ""
