"""What a run did, as a document."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from pipeline.cli.batch import Outcome
from pipeline.cli.terminal import counts
from pipeline.settings import Settings


def report(
    outcomes: Sequence[Outcome],
    total: int,
    interrupted: bool,
    seconds: float,
    settings: Settings,
) -> dict[str, Any]:
    from pipeline.doctor import versions

    return {
        "versions": versions(),
        "settings": {
            "model": settings.model,
            "refine": settings.refine,
            "refiner": settings.refiner,
        },
        "interrupted": interrupted,
        "totals": {
            **counts(outcomes),
            "left": total - len(outcomes),
            "seconds": round(seconds, 3),
        },
        "files": [
            {
                "input": os.fsdecode(outcome.job.source),
                "output": os.fsdecode(outcome.job.target),
                "status": outcome.status,
                "seconds": round(outcome.seconds, 4),
                "timings": {stage: round(t, 4) for stage, t in outcome.timings.items()},
                "size": outcome.size,
                "notes": outcome.notes,
                "error": outcome.error or None,
            }
            for outcome in outcomes
        ],
    }
