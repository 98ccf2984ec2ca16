"""The speed tables, of times that were made up."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from eval import results, table
from eval.metrics import METRICS

TIMES = {"wisp": 0.5, "slow": 4.0, "wisp-cut": 1.0, "slow-cut": 3.0, "done": None}


def timed(failures: int = 0) -> dict[str, Any]:
    """Results of two warm methods, two commands, and a folder, on two photos."""
    samples: list[dict[str, Any]] = [
        {
            "name": str(i),
            "figures": {
                label: {} if seconds is None else {"seconds": seconds * (1 + i), "megabytes": 100.0}
                for label, seconds in TIMES.items()
            },
            "together": {label: "one go" for label in TIMES},
        }
        for i in range(2)
    ]
    kinds = {"wisp": "wisp", "slow": "rembg", "done": "folder"}
    return {
        "metrics": {name: asdict(metric) for name, metric in METRICS.items()},
        "methods": [
            {"label": label, "kind": kinds.get(label, "command"), "failures": failures}
            for label in TIMES
        ],
        "subsets": results.subsets(samples, list(TIMES), None),
    }


def test_warm_calls_and_cold_commands_are_compared_among_themselves() -> None:
    assert table.speed(timed(), "wisp").splitlines() == [
        "| warm call | time, s | peak memory, MB | time ÷ wisp [95 %] |",
        "| --- | ---: | ---: | ---: |",
        "| wisp | 0.750 | 100 | 1 |",
        "| slow | 6.000 | 100 | 8.00 [8.00, 8.00] |",
        "",
        "| cold command | time, s | peak memory, MB | time ÷ wisp-cut [95 %] |",
        "| --- | ---: | ---: | ---: |",
        "| wisp-cut | 1.500 | 100 | 1 |",
        "| slow-cut | 4.500 | 100 | 3.00 [3.00, 3.00] |",
    ]


def test_the_reference_may_be_any_method() -> None:
    text = table.speed(timed(), "slow-cut")
    assert "time ÷ wisp [95 %]" in text and "time ÷ slow-cut [95 %]" in text
    assert "| wisp-cut | 1.500 | 100 | 0.33 [0.33, 0.33] |" in text


def test_failures_stand_beside_the_name() -> None:
    assert "| slow (2 failed) |" in table.speed(timed(failures=2), "wisp")
