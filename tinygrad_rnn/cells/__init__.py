"""Recurrent cells, each written from its paper."""

from .base import LSTMState, PublishedCell
from .elman import Elman
from .gru import GRU, GRUResetBefore
from .lstm import LSTM, LSTMP

__all__ = ["GRU", "LSTM", "LSTMP", "Elman", "GRUResetBefore", "LSTMState", "PublishedCell"]
