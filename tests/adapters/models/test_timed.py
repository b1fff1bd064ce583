from __future__ import annotations

from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from adapters.models.timed import TimedAnalyst
from commands.analyst import AnalystFailed, AnalystUnavailable, Material
from domain.journal.insight import Account

pytestmark = pytest.mark.anyio


class Answering:
    def __init__(self, answer: Account | Exception) -> None:
        self._answer = answer

    async def tell(self, material: Material, progress: Any) -> Account:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Account(summary="A quiet week.", generated_by="m"), "answered"),
        (AnalystUnavailable(), "not_answered"),
        (AnalystFailed(), "failed"),
        (ValueError("a slip of ours"), "failed"),
    ],
)
async def test_every_answer_of_a_model_is_counted_and_timed(
    answer: Account | Exception, outcome: str
) -> None:
    labels = {"model": "m"}

    def counted() -> tuple[float, float]:
        return (
            REGISTRY.get_sample_value("ai_inferences_total", {**labels, "outcome": outcome}) or 0,
            REGISTRY.get_sample_value("ai_inference_duration_seconds_count", labels) or 0,
        )

    timed = TimedAnalyst(Answering(answer), "m")
    before = counted()
    material = cast("Material", None)
    if isinstance(answer, Exception):
        with pytest.raises(type(answer)):
            await timed.tell(material, cast("Any", None))
    else:
        assert await timed.tell(material, cast("Any", None)) is answer
    assert counted() == (before[0] + 1, before[1] + 1)
