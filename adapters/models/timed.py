"""Any analyst with its answers counted and timed: ``commands.analyst.Analyst`` around another."""

from __future__ import annotations

import time

from prometheus_client import Counter, Histogram

from commands.analyst import Analyst, AnalystFailed, AnalystUnavailable, Material, Progress
from domain.journal.insight import Account

inferences = Counter(
    "ai_inferences_total",
    "Questions to a model: answered, not_answered (it was away) or of no use (failed)",
    ["model", "outcome"],
)
durations = Histogram(
    "ai_inference_duration_seconds",
    "From a question to a model to its answer, whatever it was",
    ["model"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300),
)


class TimedAnalyst:
    """``analyst`` as the model ``model``; an answer counts however it was found."""

    def __init__(self, analyst: Analyst, model: str) -> None:
        self._analyst = analyst
        self._model = model
        for outcome in ("answered", "not_answered", "failed"):
            inferences.labels(model, outcome)

    async def tell(self, material: Material, progress: Progress) -> Account:
        """What the other tells.

        Raises:
            AnalystUnavailable, AnalystFailed.
        """
        began, outcome = time.perf_counter(), "failed"
        try:
            account = await self._analyst.tell(material, progress)
            outcome = "answered"
        except AnalystUnavailable:
            outcome = "not_answered"
            raise
        except AnalystFailed:
            raise
        finally:
            inferences.labels(self._model, outcome).inc()
            durations.labels(self._model).observe(time.perf_counter() - began)
        return account
