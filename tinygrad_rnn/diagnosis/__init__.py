"""Checks on derivatives, and what a trained cell does as a dynamical system."""

from .dynamics import Dynamics, dynamics
from .gradcheck import GradcheckError, gradcheck

__all__ = ["Dynamics", "GradcheckError", "dynamics", "gradcheck"]
