"""Checks on derivatives, and how gradients flow back through time."""

from .diagnose import Diagnosis, Finding, diagnose
from .flow import GradientFlow, gradient_flow
from .gradcheck import GradcheckError, gradcheck

__all__ = [
    "Diagnosis",
    "Finding",
    "GradcheckError",
    "GradientFlow",
    "diagnose",
    "gradcheck",
    "gradient_flow",
]
