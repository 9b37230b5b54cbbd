"""Recurrent cells, each written from its paper."""

from .base import LSTMState, PublishedCell
from .bistable import BRC, NBRC
from .classic import (
    IRNN,
    MRNN,
    SCRN,
    ClockworkRNN,
    ClockworkState,
    IndRNN,
    Jordan,
    MultiplicativeIntegrationRNN,
    SCRNState,
)
from .conserving import MassConservingLSTM
from .convolutional import ConvLSTM
from .delayed import DilatedRNN, TauGRU
from .dynamical import (
    LEM,
    LTC,
    AntisymmetricRNN,
    CoRNN,
    GatedAntisymmetricRNN,
    OscillatorState,
    UnICORNN,
)
from .elman import Elman
from .fast import FastGRNN, FastRNN
from .gated import (
    ATR,
    CFN,
    RAN,
    STAR,
    UGRNN,
    IntersectionRNN,
    MinimalRNN,
    RecurrentHighway,
    TypedRNN,
)
from .gru import GRU, GRUResetBefore
from .gru_variants import MGU, MUT1, MUT2, MUT3, LiGRU
from .linear_memory import LMU, LRU, RGLRU, ComplexState, LMUState
from .linear_recurrences import QRNN, SRU, MinGRU, MinLSTM, QRNNState
from .lstm import LSTM, LSTMP
from .lstm_variants import (
    JANET,
    LSTM1997,
    WMCLSTM,
    CoupledLSTM,
    GreffLSTM,
    LayerNormLSTM,
    MultiplicativeIntegrationLSTM,
    MultiplicativeLSTM,
    PeepholeLSTM,
)
from .memory import (
    FastWeights,
    FastWeightsState,
    NeuralTuringMachine,
    NTMState,
    RelationalMemory,
    RelationalMemoryState,
)
from .ordered_neurons import ONLSTM
from .reservoir import EchoState
from .residual import ResidualLSTM
from .searched import NAS
from .skipping import SkipRNN, SkipRNNState
from .spiking import LIF, LIFState
from .timed import CfC, PhasedLSTM
from .unitary import EURNN
from .weighted_average import RWA, RWAState
from .xlstm import MLSTM, SLSTM, MLSTMState, SLSTMState

__all__ = [
    "ATR",
    "BRC",
    "CFN",
    "EURNN",
    "GRU",
    "IRNN",
    "JANET",
    "LEM",
    "LIF",
    "LMU",
    "LRU",
    "LSTM",
    "LSTM1997",
    "LSTMP",
    "LTC",
    "MGU",
    "MLSTM",
    "MRNN",
    "MUT1",
    "MUT2",
    "MUT3",
    "NAS",
    "NBRC",
    "ONLSTM",
    "QRNN",
    "RAN",
    "RGLRU",
    "RWA",
    "SCRN",
    "SLSTM",
    "SRU",
    "STAR",
    "UGRNN",
    "WMCLSTM",
    "AntisymmetricRNN",
    "CfC",
    "ClockworkRNN",
    "ClockworkState",
    "CoRNN",
    "ComplexState",
    "ConvLSTM",
    "CoupledLSTM",
    "DilatedRNN",
    "EchoState",
    "Elman",
    "FastGRNN",
    "FastRNN",
    "FastWeights",
    "FastWeightsState",
    "GRUResetBefore",
    "GatedAntisymmetricRNN",
    "GreffLSTM",
    "IndRNN",
    "IntersectionRNN",
    "Jordan",
    "LIFState",
    "LMUState",
    "LSTMState",
    "LayerNormLSTM",
    "LiGRU",
    "MLSTMState",
    "MassConservingLSTM",
    "MinGRU",
    "MinLSTM",
    "MinimalRNN",
    "MultiplicativeIntegrationLSTM",
    "MultiplicativeIntegrationRNN",
    "MultiplicativeLSTM",
    "NTMState",
    "NeuralTuringMachine",
    "OscillatorState",
    "PeepholeLSTM",
    "PhasedLSTM",
    "PublishedCell",
    "QRNNState",
    "RWAState",
    "RecurrentHighway",
    "RelationalMemory",
    "RelationalMemoryState",
    "ResidualLSTM",
    "SCRNState",
    "SLSTMState",
    "SkipRNN",
    "SkipRNNState",
    "TauGRU",
    "TypedRNN",
    "UnICORNN",
]
