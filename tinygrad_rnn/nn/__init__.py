"""Modules: layers, recurrent layers, wrappers of cells, attention, architectures.

Losses and decoding.
"""

from typing import TYPE_CHECKING, Any

from ..module import Buffer, Module, Parameter
from .architectures import CNNLSTM, BidirectionalLSTM, StackedLSTM, VanillaLSTM
from .attending import AttentionCell
from .attention import BahdanauAttention, LuongAttention
from .baselines import LinearAutoregression, WindowMLP
from .containers import ModuleDict, ModuleList, Sequential
from .convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from .ctc import ctc_loss
from .decoding import beam, greedy, sample
from .functional import dropout, scaled_dot_product_attention
from .layers import Dropout, Embedding, Linear, PReLU
from .losses import (
    bce_with_logits,
    cross_entropy,
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from .multihead import MultiheadAttention
from .normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from .pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from .recurrent import GRU, LSTM, RNN
from .recurrent_norms import RecurrentBatchNorm, RecurrentLayerNorm
from .regularisers import VariationalDropout, WeightDrop, Zoneout
from .token_models import EncoderDecoderLSTM, GenerativeLSTM
from .wrappers import Bidirectional, Residual, Stacked

__all__ = [
    "CNNLSTM",
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AttentionCell",
    "AvgPool1d",
    "AvgPool2d",
    "BahdanauAttention",
    "BatchNorm",
    "Bidirectional",
    "BidirectionalLSTM",
    "Buffer",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "Dropout",
    "Embedding",
    "EncoderDecoderLSTM",
    "GenerativeLSTM",
    "GroupNorm",
    "LayerNorm",
    "Linear",
    "LinearAutoregression",
    "LuongAttention",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "PReLU",
    "Parameter",
    "RMSNorm",
    "RecurrentBatchNorm",
    "RecurrentLayerNorm",
    "Residual",
    "Sequential",
    "Stacked",
    "StackedLSTM",
    "VanillaLSTM",
    "VariationalDropout",
    "WeightDrop",
    "WindowMLP",
    "Zoneout",
    "bce_with_logits",
    "beam",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "gaussian_nll_loss",
    "greedy",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "sample",
    "scaled_dot_product_attention",
    "smooth_l1_loss",
]

ACTIVATIONS = {  # PyTorch's layers, and the functions that are called here
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "SELU": "selu",
    "GELU": "gelu",
    "SiLU": "silu",
    "Mish": "mish",
    "Hardswish": "hardswish",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "GLU": "glu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "LogSigmoid": "log_sigmoid",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
}
_ELSEWHERE = {  # names of PyTorch, for which this package has others
    "RNNCell": "one step is tg.cells.Elman",
    "LSTMCell": "one step is tg.cells.LSTM",
    "GRUCell": "one step is tg.cells.GRU",
    **{
        name: f"losses are functions: tg.nn.{function}"
        for name, function in {
            "CrossEntropyLoss": "cross_entropy(logits, targets)",
            "NLLLoss": "nll_loss(log_probabilities, targets)",
            "MSELoss": "mse_loss(prediction, target)",
            "L1Loss": "l1_loss(prediction, target)",
            "SmoothL1Loss": "smooth_l1_loss(prediction, target)",
            "HuberLoss": "huber_loss(prediction, target)",
            "GaussianNLLLoss": "gaussian_nll_loss(mean, target, variance)",
            "KLDivLoss": "kl_div(log_probabilities, target)",
            "BCEWithLogitsLoss": "bce_with_logits(logits, targets)",
            "CTCLoss": "ctc_loss(logits, targets, input_lengths, target_lengths)",
        }.items()
    },
    **dict.fromkeys(
        ("ParameterList", "ParameterDict"),
        "a module finds what is in plain lists, tuples and dicts",
    ),
    **{
        name: f"activations are functions: tg.{function}, which tg.nn.Sequential takes as it is"
        for name, function in ACTIVATIONS.items()
    },
    "Flatten": "write lambda x: tg.flatten(x, 1), which tg.nn.Sequential takes",
    "init": "first values are in tg.init",
    "utils": "tg.clip_grad_norm shortens gradients, and lengths= is in place of packing",
}

if not TYPE_CHECKING:  # a type checker shall not believe that every name exists

    def __getattr__(name: str) -> Any:
        hint = f"; {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'{hint}")
