"""Names of other libraries, and what there is here for them; read where a name is not found."""

from __future__ import annotations

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
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "addbmm"), "it is a sum: c + a @ b"),
    "autograd": "loss.backward(), or tg.grad(f)",
    **dict.fromkeys(
        ("manual_seed", "seed"),
        "there is no global seed; what draws numbers takes rng=, a seed or a NumPy generator",
    ),
}


def hint(name: str) -> str:
    """Return what an error says of a name of another library; nothing if it is not known."""
    if name in CALLED:
        return f"; it is called tg.{CALLED[name]} here"
    return f"; {ELSEWHERE[name].format(name)}" if name in ELSEWHERE else ""
