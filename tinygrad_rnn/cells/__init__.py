"""Recurrent cells, each written from its paper.

A file of this folder says in its ``__all__`` which cells and states it offers; they are gathered
here.
"""

from .base import *
from .bistable import *
from .classic import *
from .conserving import *
from .convolutional import *
from .delayed import *
from .dynamical import *
from .elman import *
from .fast import *
from .gated import *
from .gru import *
from .gru_variants import *
from .linear_memory import *
from .linear_recurrences import *
from .lstm import *
from .lstm_variants import *
from .memory import *
from .multiplicative import *
from .ordered_neurons import *
from .reservoir import *
from .residual import *
from .searched import *
from .skipping import *
from .spiking import *
from .timed import *
from .unitary import *
from .weighted_average import *
from .xlstm import *

__all__ = sorted(name for name, value in globals().items() if isinstance(value, type))
