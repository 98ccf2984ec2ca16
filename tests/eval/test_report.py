"""The command, and the report that it writes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from eval.measure import measure
from eval.report import crops
from tests.eval.conftest import invoke, perfect, soft_disc


def test_the_command_prints_tables_and_counts_failures(report: tuple[Path, Result]) -> None:
    _, result = report
    assert result.exit_code == 1  # one image failed
    assert "| true | **100.00** | **1.000** | **0.00** |" in result.stdout
    assert "(1 failed)" in result.stdout
    assert "half<b>: failed on 1 of 10 images (fur-1: " in result.stderr


def test_the_files_are_there(report: tuple[Path, Result]) -> None:
    out, _ = report
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html", "results.csv", "results.json", "table.md",
    ]  # fmt: skip
    document = json.loads((out / "results.json").read_text())
    assert document["machine"]["cores"] >= 1 and document["versions"]["numpy"]
    rows = list(csv.DictReader((out / "results.csv").open()))
    psnr = [r for r in rows if r["method"] == "true" and r["metric"] == "psnr"]
    assert {r["region"] for r in psnr} == {"whole", "edge", "unknown"}
    assert [r["image"] for r in rows if r["metric"] == "failure"] == ["fur-1"]


def test_the_page_needs_nothing_but_itself(report: tuple[Path, Result]) -> None:
    page = (report[0] / "index.html").read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|\$)[^"']+""", page)
    assert "@import" not in page and "fetch(" not in page
    (data,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    document = json.loads(data)
    assert document["reference"] == "true"
    assert [crop["title"] for crop in document["crops"]] == ["best", "median", "worst"]
    assert set(document["crops"][0]["layers"]) >= {"photo", "truth", "true"}
    assert "half<b>" in document["subsets"]["all"]["means"]  # data, and never markup
    assert "half<b>" not in page


def test_images_stay_out_when_asked(report: tuple[Path, Result], tmp_path: Path) -> None:
    root = report[0].parent
    result = invoke(
        "builtin", "--size", "128x96", "--methods", "", "--method-folder", f"true={root / 'true'}",
        "--no-lpips", "--quiet", "--cache", root / "cache", "--no-images", "-o", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "data:image/webp" not in (tmp_path / "out" / "index.html").read_text()


def test_measuring_is_what_the_metrics_say(scene) -> None:
    from eval import metrics, regions

    cutout = perfect(scene)
    cutout[..., 3] = np.round(cutout[..., 3] * 0.8)
    figures = measure(cutout, scene, coarse=scene.alpha)
    alpha, truth = cutout[..., 3] / 255.0, scene.alpha.astype(np.float64)
    for name, region in regions.all_of(scene.alpha, scene.trimap, scene.alpha).items():
        suffix = "" if region is None else f"@{name}"
        for metric, function in (
            ("psnr", metrics.psnr),
            ("ssim", metrics.ssim),
            ("sad", metrics.sad),
            ("mse", metrics.mse),
            ("mae", metrics.mae),
            ("gradient", metrics.gradient_error),
            ("connectivity", metrics.connectivity_error),
            ("fmax", metrics.f_beta_max),
            ("fmean", metrics.f_beta_mean),
        ):
            assert figures[metric + suffix] == pytest.approx(function(alpha, truth, region)), metric
    assert figures["foreground"] == 0 and figures["composite"] > 0
    assert set(name.partition("@")[0] for name in figures) == set(metrics.METRICS) - {
        "lpips", "seconds", "megabytes",
    }  # fmt: skip


def test_the_window_is_where_the_edge_is() -> None:
    truth = np.zeros((200, 300), np.float32)
    truth[140:188, 220:284] = soft_disc()
    rows, columns = crops.window(truth, 80)
    assert rows.stop - rows.start == columns.stop - columns.start == 80
    assert truth[rows, columns].sum() == truth.sum()
    small = crops.window(soft_disc(), 320)
    assert small == (slice(0, 48), slice(0, 64))


def test_wrong_usage() -> None:
    for arguments, message in (
        ([], "name a DATASET"),
        (["builtin", "--methods", ""], "no method"),
        (["builtin", "--size", "big"], "--size is WIDTHxHEIGHT"),
        (["builtin", "--against", "x"], "is none of coarse, wisp"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2 and message in result.output
    for arguments, message in (
        (["nowhere"], "neither 'builtin' nor a folder"),
        (["builtin", "--methods", "magic"], "no method 'magic'"),
        (["builtin", "--methods", "coarse", "--model", "no.onnx"], "there is no file no.onnx"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 1 and message in result.output
        assert "Traceback" not in result.output


def test_the_list_names_everything() -> None:
    output = invoke("--list").output
    for name in ("rembg-matting", "grabcut", "aim-500", "dis5k-te4", "builtin", "http"):
        assert name in output
