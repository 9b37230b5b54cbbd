"""Modules: layers, recurrent layers, wrappers of cells, attention, architectures.

Losses and decoding.
"""

from typing import TYPE_CHECKING, Any

from ..module import Buffer, Module, Parameter
from .architectures import CNNLSTM, BidirectionalLSTM, StackedLSTM, VanillaLSTM
from .attending import AttentionCell
from .attention import BahdanauAttention, LuongAttention
from .baselines import LinearAutoregression, WindowMLP
from .convolution import AvgPool1d, AvgPool2d, Conv1d, Conv2d, MaxPool1d, MaxPool2d
from .ctc import ctc_loss
from .decoding import beam, greedy, sample
from .functional import dropout
from .layers import Dropout, Embedding, Linear
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
from .normalization import BatchNorm, LayerNorm
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
    "Dropout",
    "Embedding",
    "EncoderDecoderLSTM",
    "GenerativeLSTM",
    "LayerNorm",
    "Linear",
    "LinearAutoregression",
    "LuongAttention",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "Parameter",
    "RecurrentBatchNorm",
    "RecurrentLayerNorm",
    "Residual",
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
    "smooth_l1_loss",
]

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
        ("ModuleList", "ModuleDict", "ParameterList", "ParameterDict"),
        "a module finds what is in plain lists, tuples and dicts",
    ),
    "Sequential": "write a tg.Module whose forward calls one layer after the other",
    **{
        name: f"activations are functions: tg.{name.lower()}"
        for name in ("ReLU", "GELU", "Tanh", "Sigmoid", "Softmax")
    },
    "init": "first values are in tg.init",
    "utils": "tg.clip_grad_norm shortens gradients, and lengths= is in place of packing",
}

if not TYPE_CHECKING:  # a type checker shall not believe that every name exists

    def __getattr__(name: str) -> Any:
        hint = f"; {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'{hint}")
