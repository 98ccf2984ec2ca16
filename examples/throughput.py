"""Photos a second of ``wisp scale``, beside independent processes of ``wisp cut``.

    python examples/throughput.py [--photos 24] [--rounds 3] [--ray] [--out throughput.json]

Each way cuts a few photos out, and then three times as many: the slope between the two is the time
of a photo, free of the start. The ways take turns, so that whatever else the machine does hits all
of them. Independent processes, one a processor, share nothing: they are what ``wisp scale`` can
reach at best. The photos are the built-in composites at 1080p (``wisp bench --list``). Linux only.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from PIL import Image

from eval.builtin import builtin

WISP = [sys.executable, "-m", "wisp"]


def draw(folder: Path, parts: int, each: int) -> None:
    """Write ``each`` photos for every part: ``folder``/part/number.jpg."""
    scenes = [sample.load() for sample in builtin((1080, 1920)).samples]
    for part in range(parts):
        (folder / str(part)).mkdir(parents=True)
        for number in range(each):
            photo = Image.fromarray(scenes[(part + number) % len(scenes)].image)
            photo.save(folder / str(part) / f"{number}.jpg", quality=92)


def commands(way: str, photos: Path, out: Path, cores: list[str]) -> list[tuple[str, list[str]]]:
    """Return the commands of a way, which run side by side, each with the processors it gets."""
    if way == "independent":
        alone = ["--jobs", "1", "--quiet"]
        return [
            (core, [*WISP, "cut", f"{photos}/{part}", "-o", f"{out}/{part}", *alone])
            for part, core in enumerate(cores)
        ]
    engine = ["--engine", "ray"] if way == "ray" else []
    jobs = ["--jobs", str(len(cores)), "--quiet", *engine]
    return [(",".join(cores), [*WISP, "scale", f"{photos}/", f"{out}/", *jobs])]


def seconds(way: str, photos: Path, cores: list[str]) -> float:
    """Cut all photos out in one way, into a folder that is thrown away, and return the time."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        running = [
            # Several get a processor each: more threads than that would wait for each other.
            subprocess.Popen(["taskset", "--cpu-list", cores, *command])
            for cores, command in commands(way, photos, Path(out), cores)
        ]
        if any([process.wait() for process in running]):
            raise click.ClickException(f"{way} failed")
        took = time.perf_counter() - start
        made = sum(1 for _ in Path(out).rglob("*.png"))
        there = sum(1 for _ in photos.rglob("*.jpg"))
        if made != there:
            raise click.ClickException(f"{way} made {made} of {there} cutouts")
    return took


@click.command(context_settings={"show_default": True})
@click.option("--photos", default=24, help="In the smaller folder; the larger has three times it.")
@click.option("--rounds", default=3)
@click.option("--ray", is_flag=True, help="The Ray engine too.")
@click.option("--out", type=click.Path(path_type=Path), help="Every time, as JSON.")
def main(photos: int, rounds: int, ray: bool, out: Path | None) -> None:
    """Measure how many photos a second each way cuts out."""
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
    parts = len(cores)
    each = -(-photos // parts)
    ways = ["independent", "local", *(["ray"] if ray else [])]
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as made:
        few, many = Path(made, "few"), Path(made, "many")
        draw(few, parts, each)
        draw(many, parts, 3 * each)
        for number in range(rounds):
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                times[way].append((seconds(way, few, cores), seconds(way, many, cores)))
                print(f"{way}: {times[way][-1][0]:.1f} s, {times[way][-1][1]:.1f} s", flush=True)
    more = 2 * each * parts
    slope = {way: statistics.median((b - a) / more for a, b in times[way]) for way in ways}
    for way in ways:
        best = slope["independent"] / slope[way]
        print(f"{way}: {slope[way]:.3f} s a photo, {best:.2f} of independent processes' pace")
    if out:
        out.write_text(json.dumps({"seconds": times, "a photo": slope}, indent=2) + "\n")


if __name__ == "__main__":
    main()
