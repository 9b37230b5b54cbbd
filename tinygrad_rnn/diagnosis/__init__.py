"""Checks on derivatives, how gradients flow back through time, and where values that are not finite arise."""

from ..core.tape import add_to_engine
from .anomaly import detect_anomaly
from .diagnose import Diagnosis, Finding, diagnose
from .flow import GradientFlow, gradient_flow
from .gradcheck import GradcheckError, gradcheck

__all__ = [
    "Diagnosis",
    "Finding",
    "GradcheckError",
    "GradientFlow",
    "detect_anomaly",
    "diagnose",
    "gradcheck",
    "gradient_flow",
]

add_to_engine(__path__)
