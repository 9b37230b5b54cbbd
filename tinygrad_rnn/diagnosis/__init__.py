"""Checks: derivatives against differences, and where values that are not finite arise."""

from ..core.tape import add_to_engine
from .anomaly import detect_anomaly
from .gradcheck import GradcheckError, gradcheck

__all__ = ["GradcheckError", "detect_anomaly", "gradcheck"]

add_to_engine(__path__)
