"""Recurrent cells, each written from its paper."""

from .elman import Elman
from .gru import GRU
from .lstm import LSTM, LSTMState

__all__ = ["GRU", "LSTM", "Elman", "LSTMState"]
