from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from eval import compare
from eval.cli import bench
from eval.compare import CompareError


def results(psnr: list[float], sad: list[float]) -> dict:
    return {
        "schema": 1,
        "methods": [{"label": "wisp", "unavailable": None}],
        "samples": [
            {
                "name": str(i),
                "sha256": str(i),
                "figures": {"wisp": {"psnr": p, "sad": s}},
                "failures": {},
            }
            for i, (p, s) in enumerate(zip(psnr, sad, strict=True))
        ],
    }


OLD = results([20.0, 25.0, 30.0, 22.0], [5.0, 4.0, 3.0, 6.0])


def shifted(psnr: float, sad: float) -> dict:
    new = copy.deepcopy(OLD)
    for sample in new["samples"]:
        sample["figures"]["wisp"]["psnr"] += psnr
        sample["figures"]["wisp"]["sad"] += sad
    return new


def verdicts(new: dict, **bounds: compare.Bound) -> dict[str, tuple[str, bool]]:
    changes = compare.compare(OLD, new, {**compare.BOUNDS, **bounds})
    return {change.figure: (change.verdict, change.regression) for change in changes}


def test_nothing_changed() -> None:
    assert verdicts(OLD) == {"psnr": ("same", False), "sad": ("same", False)}


def test_better_and_worse_go_by_what_the_figure_means() -> None:
    changes = verdicts(shifted(psnr=1.0, sad=1.0))
    assert changes == {"psnr": ("better", False), "sad": ("worse", True)}


def test_within_the_bound_is_worse_but_no_regression() -> None:
    assert verdicts(shifted(psnr=-0.05, sad=0.01)) == {
        "psnr": ("worse", False),
        "sad": ("worse", False),
    }
    tight = compare.Bound(0.01)
    assert verdicts(shifted(psnr=-0.05, sad=0), psnr=tight)["psnr"] == ("worse", True)


def test_noise_is_no_change() -> None:
    new = copy.deepcopy(OLD)
    for sample, change in zip(new["samples"], (1.0, -1.1, 0.9, -0.9), strict=True):
        sample["figures"]["wisp"]["psnr"] += change
    assert verdicts(new)["psnr"] == ("same", False)


def test_a_lost_method_and_new_failures_are_regressions() -> None:
    new = copy.deepcopy(OLD)
    new["samples"][0]["failures"] = {"wisp": "crashed"}
    new["samples"][0]["figures"]["wisp"] = {}
    assert verdicts(new)["failures"] == ("worse", True)
    both = copy.deepcopy(OLD)
    both["methods"].append({"label": "other", "unavailable": None})
    for sample in both["samples"]:
        sample["figures"]["other"] = {"psnr": 1.0}
    lost = [c for c in compare.compare(both, OLD) if c.method == "other"]
    assert [(c.figure, c.regression) for c in lost] == [("available", True)]


def test_nothing_in_common_is_an_error() -> None:
    other = copy.deepcopy(OLD)
    for sample in other["samples"]:
        sample["sha256"] = "else"
    with pytest.raises(CompareError, match="no image in common"):
        compare.compare(OLD, other)
    other = copy.deepcopy(OLD)
    other["methods"] = [{"label": "else", "unavailable": None}]
    with pytest.raises(CompareError, match="no method in common"):
        compare.compare(OLD, other)


@pytest.mark.parametrize("text", ["psnr", "psnr=x", "psnr=-1", "beauty=1"])
def test_bad_bounds_are_refused(text: str) -> None:
    with pytest.raises(CompareError, match="is no bound"):
        compare.read_bounds([text])


def test_the_exit_code_holds_quality(tmp_path: Path) -> None:
    old, worse = tmp_path / "old.json", tmp_path / "worse.json"
    old.write_text(json.dumps(OLD))
    worse.write_text(json.dumps(shifted(psnr=-1, sad=0)))
    run = CliRunner().invoke
    assert run(bench, ["--compare", str(old), str(old)]).exit_code == 0
    result = run(bench, ["--compare", str(old), str(worse)])
    assert result.exit_code == 1 and "REGRESSION" in result.output
    allowed = run(bench, ["--compare", str(old), str(worse), "--bound", "psnr=2"])
    assert allowed.exit_code == 0 and "worse" in allowed.output
    worse.write_text("{}")
    result = run(bench, ["--compare", str(old), str(worse)])
    assert result.exit_code == 1 and "holds no results" in result.output
