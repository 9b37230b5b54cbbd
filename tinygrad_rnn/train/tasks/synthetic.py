"""The synthetic tasks with long lags, in one list."""

from __future__ import annotations

from . import adding, copying, parity, temporal_order

__all__ = ["TASKS"]

TASKS = [*adding.TASKS, *copying.TASKS, *temporal_order.TASKS, *parity.TASKS]
