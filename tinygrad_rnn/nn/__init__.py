"""Modules and losses."""

from .functional import cross_entropy, dropout, mse_loss
from .layers import Embedding, Linear
from .module import Module, Parameter

__all__ = ["Embedding", "Linear", "Module", "Parameter", "cross_entropy", "dropout", "mse_loss"]
