"""Training rules, clipping of gradients, and schedules of the learning rate."""

from typing import TYPE_CHECKING, Any

from .clipping import clip_grad_norm, clip_grad_value
from .optimizer import Optimizer
from .rules import SGD, Adagrad, Adam, AdamW, Lion, NAdam, RAdam, RMSprop
from .schedules import (
    ReduceOnPlateau,
    Schedule,
    cosine,
    exponential_decay,
    linear_warmup,
    step_decay,
)

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "ReduceOnPlateau",
    "Schedule",
    "clip_grad_norm",
    "clip_grad_value",
    "cosine",
    "exponential_decay",
    "linear_warmup",
    "step_decay",
]

if not TYPE_CHECKING:  # a type checker shall not believe that every name exists

    def __getattr__(name: str) -> Any:
        hint = (
            "; a schedule is tg.optim.Schedule(optimizer, rule)" if name == "lr_scheduler" else ""
        )
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'{hint}")
