"""Checks on derivatives, the flow of gradients, values that are not finite, and cells as dynamical systems."""

from ..core.tape import add_to_engine
from .anomaly import detect_anomaly
from .diagnose import Diagnosis, Finding, diagnose
from .dynamics import Dynamics, dynamics
from .flow import GradientFlow, gradient_flow
from .gradcheck import GradcheckError, gradcheck

__all__ = [
    "Diagnosis",
    "Dynamics",
    "Finding",
    "GradcheckError",
    "GradientFlow",
    "detect_anomaly",
    "diagnose",
    "dynamics",
    "gradcheck",
    "gradient_flow",
]

add_to_engine(__path__)
