"""Wisp's time beside the real rembg's, ratio by ratio, as one table.

    make bench MODEL=u2netp.onnx                      # makes the report first, then this table
    python examples/ratios.py report/speed --rembg PATH/bin/rembg --model u2netp.onnx

Calls, commands and memory are read from the report of ``wisp bench --table speed --footprint``, in
which all of them took turns. Three more are measured here, by turns too: a folder of photos, one
product beside one head of hair, and both servers (``examples/load.py``). Linux only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click
from PIL import Image

from eval.builtin import Drawn
from eval.footprint import portrait
from eval.methods.external import timed
from eval.plain import without_hints
from pipeline import Cutout
from pipeline.models import coarse_model

PHOTO = (1080, 1920)  # height, width: 2 megapixels
LARGE = (3000, 4000)  # 12 megapixels
OWN = "wisp (model=wisp)"  # how a report calls Wisp as it comes
PRODUCT, HAIR = "hard", "hair"  # kinds of the built-in set: one plain edge, and very many
_SAME = "the same, Wisp with its own stage 1"
Row = tuple[str, float, str]  # what is compared, the ratio or figure, how both fared


def from_report(report: dict[str, Any]) -> list[Row]:
    """Return the rows that a report of ``wisp bench`` holds: geometric means of ratios."""
    photos = report["subsets"]["all"]
    ratios, means = photos["time_ratios"], photos["means"]
    rows: list[Row] = []
    for title, ours, theirs in (
        ("a call, refined ÷ rembg's unrefined", "wisp", "rembg"),
        (_SAME, OWN, "rembg"),
        ("a call, refined ÷ rembg's with alpha matting", "wisp", "rembg-matting"),
        (_SAME, OWN, "rembg-matting"),
        ("a command, refined ÷ `rembg i`", "wisp-cut", "rembg-i"),
        (_SAME, "wisp-own", "rembg-i"),
    ):
        seconds = (means[name]["seconds"]["value"] for name in (ours, theirs))
        rows.append((title, ratios[ours][theirs]["value"], "{:.2f} s, {:.2f} s".format(*seconds)))
    for title, ours in (
        ("peak memory of a command ÷ `rembg i`", "wisp-cut"),
        (_SAME, "wisp-own"),
    ):
        peaks = [means[name]["megabytes"]["value"] for name in (ours, "rembg-i")]
        rows.append((title, peaks[0] / peaks[1], _megabytes(*peaks)))
    largest = report["footprint"]["photos"][-1]
    million = largest["size"][0] * largest["size"][1] / 1e6
    how = f"{largest['seconds']:.2f} s, {_megabytes(largest['megabytes'])}"
    return [*rows, (f"a command at {million:.0f} megapixels, seconds", largest["seconds"], how)]


def folder(rembg: Sequence[str], model: str, custom: str, count: int, rounds: int) -> Row:
    """Cut a folder of photos with one command each, by turns; photos an hour ÷ rembg's."""
    with tempfile.TemporaryDirectory() as name:
        photos, log = Path(name, "photos"), Path(name, "log")
        photos.mkdir()
        with Image.open(portrait(Path(name), PHOTO)) as image:
            for number in range(count):  # no two alike, or a cache would answer
                moved = image.transform(image.size, Image.Transform.AFFINE, (1, 0, number, 0, 1, 0))
                moved.save(photos / f"{number:03d}.jpg", quality=92)
        ours = [sys.executable, "-m", "wisp", "cut", str(photos), "--model", model, "--quiet"]
        ours += ["--jobs", "2", "-o"]  # one photo is decoded or written while another is cut out
        theirs = [*rembg, "p", "-m", "u2net_custom", "-x", custom, str(photos)]
        took: dict[str, list[float]] = {"ours": [], "theirs": []}
        for turn in range(rounds):
            for who, words in (("ours", ours), ("theirs", theirs)):
                out = Path(name, f"{who}-{turn}")
                took[who].append(timed([*words, str(out)], log)[0])
                if len(list(out.glob("*.png"))) != count:
                    raise click.ClickException(f"{words[0]} left photos out:\n{log.read_text()}")
                shutil.rmtree(out)
    mine, other = (count / median(took[who]) * 3600 for who in ("ours", "theirs"))
    title = f"photos an hour, {count} of 2 megapixels, `wisp cut --jobs 2` ÷ `rembg p`"
    return title, mine / other, f"{mine:.0f}, {other:.0f}"


def product(model: str, rounds: int) -> Row:
    """Cut a product and a head of hair of 12 megapixels by turns, in one process."""
    cutout = Cutout(model=model)
    photos = [Drawn(kind, 0, LARGE).load().image for kind in (PRODUCT, HAIR)]
    took: list[list[float]] = [[], []]
    for turn in range(rounds + 1):
        for laps, photo in zip(took, photos, strict=True):
            start = time.perf_counter()
            cutout(photo)
            if turn:  # the first one loads the networks
                laps.append(time.perf_counter() - start)
    plain, hair = (median(laps) for laps in took)
    return "12 megapixels, a plain edge ÷ hair", plain / hair, f"{plain:.2f} s, {hair:.2f} s"


def service(rembg: Sequence[str], model: str, ours: str, requests: int) -> Row:
    """Ask both servers by turns (``examples/load.py``), Wisp's with its stage 1 ``ours``; requests
    a second ÷ rembg's."""
    load = Path(__file__).with_name("load.py")
    with tempfile.TemporaryDirectory() as name:
        out = Path(name, "load.json")
        words = ["--requests", str(requests), "--block", "10", "--clients", "2", "--model", model]
        words += ["--ours", ours, "--rembg", " ".join(rembg), "--out", str(out)]
        subprocess.run([sys.executable, load, *words], check=True, stdout=subprocess.DEVNULL)
        reports = json.loads(out.read_text())
    mine, other = (reports[who]["requests_per_second"] for who in ("wisp", "rembg"))
    return "requests a second at 1080p, refined ÷ `rembg s` unrefined", mine / other, (
        f"{mine:.2f}, {other:.2f}"
    )  # fmt: skip


def _megabytes(*values: float) -> str:
    return ", ".join(f"{value:.0f} MB" for value in values)


@click.command(context_settings={"show_default": True})
@click.argument("report", type=click.Path(path_type=Path, exists=True))
@click.option("--rembg", required=True, metavar="COMMAND", help="The real rembg's command.")
@click.option("--model", default="wisp", help="Stage 1 of both.")
@click.option("--photos", default=100, help="In the folder.")
@click.option("--requests", default=60, help="To each server.")
@click.option("--rounds", default=3)
def main(report: Path, rembg: str, model: str, photos: int, requests: int, rounds: int) -> None:
    """Print Wisp's ratios beside rembg's: REPORT is a folder that `wisp bench` wrote."""
    words = rembg.split()
    weights = without_hints(coarse_model(model).path, report.absolute() / "plain.onnx")
    custom = json.dumps({"model_path": str(weights)})
    os.environ["U2NET_HOME"] = str(weights.parent)  # rembg takes weights from there alone
    try:
        measured = from_report(json.loads((report / "results.json").read_text()))
    except (OSError, KeyError) as error:
        raise click.ClickException(
            f"{report} does not hold what `make bench` writes ({error}): a method may have failed"
        ) from error
    rows = [
        *measured,
        folder(words, model, custom, photos, 1),
        (_SAME, *folder(words, "wisp", custom, photos, 1)[1:]),
        product(model, rounds),
        service(words, model, model, requests),
        (_SAME, *service(words, model, "wisp", requests)[1:]),
    ]
    click.echo("| | ratio | Wisp, rembg |\n| --- | --- | --- |")
    for title, ratio, how in rows:
        click.echo(f"| {title} | {ratio:.2f} | {how} |")


if __name__ == "__main__":
    main()
