"""Time two or more versions of Wisp by turns, each in a process of its own.

    git worktree add ../before COMMIT
    python examples/versions.py ../before . --photo photo.jpg

A call of ``Cutout`` on one photo, warm: medians of the whole and of both stages, the processor's
time, and the peak memory. The others are compared with the first version. ``--compact`` measures
them as commands and the service run: with two heaps of glibc, not one a thread.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import click

#: Runs in each version's own code: one call a line that it reads, its figures a line it prints.
WORKER = """
import json, resource, sys, time
from PIL import Image
from pipeline import Cutout
if sys.argv[2] == "compact":
    from pipeline.memory import compact
    compact()
photo, cutout = Image.open(sys.argv[1]).convert("RGB"), Cutout()
cutout(photo)
print(flush=True)
for _ in sys.stdin:
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    timings = cutout(photo).timings
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = [seconds, timings["coarse"], timings["refine"], used, after.ru_maxrss / 1024]
    print(json.dumps(figures), flush=True)
"""
FIGURES = ("call, s", "stage 1, s", "stage 2, s", "processor, s", "peak, MB")


@click.command(context_settings={"show_default": True})
@click.argument("versions", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--photo", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=9)
@click.option("--compact", is_flag=True, help="As commands and the service run.")
def main(versions: tuple[Path, ...], photo: Path, rounds: int, compact: bool) -> None:
    """Time VERSIONS, checkouts of this repository, on one photo."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(photo.resolve()), "compact" if compact else "plain"],
            env={**os.environ, "PYTHONPATH": str(version.resolve())},
            cwd=version,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for version in versions
    ]
    took: list[list[list[float]]] = [[] for _ in versions]
    try:
        for worker, version in zip(workers, versions, strict=True):
            if worker.stdout is None or not worker.stdout.readline():
                raise click.ClickException(f"{version} cannot cut {photo}")
        for _ in range(rounds):
            for worker, laps in zip(workers, took, strict=True):
                assert worker.stdin and worker.stdout
                worker.stdin.write("\n")
                worker.stdin.flush()
                laps.append(json.loads(worker.stdout.readline()))
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    click.echo(f"| | {' | '.join(FIGURES)} | call ÷ the first's |")
    click.echo("|" + " --- |" * (len(FIGURES) + 2))
    first = median(lap[0] for lap in took[0])
    for version, laps in zip(versions, took, strict=True):
        row = [median(column) for column in zip(*laps, strict=True)]
        cells = [*(f"{value:.3f}" for value in row[:-1]), f"{row[-1]:.0f}", f"{row[0] / first:.2f}"]
        click.echo(f"| {version} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
