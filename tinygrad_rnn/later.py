"""Which modules are loaded when a name of theirs is first used.

The tensor, its operations and unrolling alone are quick to import.
"""

LATER = {
    "compiler": "CompileError jit",
    "data.padding": "pad_sequences",
    "diagnosis": ("GradcheckError detect_anomaly diagnose dynamics gradcheck gradient_flow"),
    "drawing": "Drawing draw explore",
    "formats.checkpoint": "load save",
    "functional": "functional_call",
    "ops.activations": "gelu glu hardswish mish prelu selu softplus softsign",
    "ops.arranging": (
        "append array_split atleast_1d atleast_2d atleast_3d column_stack diff dstack flatten "
        "hstack meshgrid moveaxis ravel repeat rot90 tile unstack vstack"
    ),
    "ops.contracting": "cross dot inner kron matvec tensordot vdot vecmat",
    "ops.counting": "bincount histogram nanmean nansum searchsorted unique",
    "ops.diagonals": "diag diagonal",
    "ops.elementary": (
        "arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_not "
        "bitwise_or bitwise_xor ceil copysign cosh exp2 floor_divide fmax fmin hypot isinf "
        "left_shift log10 log2 right_shift round sinh tan trunc xlogy"
    ),
    "ops.making": (
        "arange diag_indices empty empty_like eye full full_like linspace ones ones_like "
        "tril_indices triu_indices zeros"
    ),
    "ops.rows_and_columns": "c_ r_",
    "ops.order": "argsort median quantile sort topk",
    "ops.scattering": "scatter_reduce",
    "ops.special": "digamma erfc erfinv lgamma polygamma sinc",
    "ops.padding": "pad",
    "ops.pooling": (
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d "
        "avg_pool1d avg_pool2d max_pool1d max_pool2d"
    ),
    "ops.transposed": "conv_transpose1d conv_transpose2d",
    "ops.windows": "conv1d conv2d",
    "optim": "clip_grad_norm clip_grad_value",
    "train.checkpoint": "Checkpoint",
    "train.fit": "fit",
    "transforms": "grad hessian hvp jacobian jvp value_and_grad vjp",
}
