"""A run of ``wisp cut``: once over what is there, or on and on over what comes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click

from pipeline import batch, files, models, render
from pipeline.batch import Job, Outcome, State
from pipeline.cli import clipboard, terminal
from pipeline.cli.selecting import Wanted
from pipeline.cutout import Cutout
from pipeline.output import Output
from pipeline.settings import Settings

#: What stands for the clipboard where a file's name would.
CLIPBOARD = Path("clipboard")
_NOTES = {
    State.FINISHED: (),
    State.UNKNOWN: ("nothing in the file tells how it was made",),
}


@dataclass(frozen=True)
class Task:
    """What a run was asked to do with each photo, and how."""

    settings: Settings
    output: Output
    wanted: Wanted
    stages: Path | None
    jobs: int
    overwrite: bool
    as_json: bool
    quiet: bool

    def digests(self, planned: Iterable[Job]) -> dict[Path | None, str]:
        """Return the settings' digest for each mask; a wrong name of a model is told here."""
        return {
            mask: batch.settings_digest(self.settings, self.output, self.wanted.selection, mask)
            for mask in {job.mask for job in planned}
        }

    def states(self, planned: Iterable[Job], digests: dict[Path | None, str]) -> dict[Job, State]:
        """Tell what is to be made, and what is there."""
        return {
            job: State.MISSING if self.overwrite else batch.state(job, digests[job.mask])
            for job in planned
        }

    def skipped(self, job: Job, state: State, digest: str) -> Outcome:
        """Tell of what is there already."""
        apart = self.wanted.each and state is State.FINISHED
        others = tuple(batch.others(job, digest)) if apart else ()
        return Outcome(job, "skipped", notes=_NOTES[state], others=others)

    def fetch(self) -> None:
        """Fetch the model here, where nothing else shows a bar."""
        if self.settings.model in models.PUBLIC and not self.wanted.masks:
            models.coarse_model(self.settings.model, self.quiet)

    def cutout(self) -> Cutout:
        """Open the networks: with masks without stage 1, which they stand in for."""
        return Cutout(self.settings, for_masks=self.wanted.masks is not None)

    def worker(self, cutout: Cutout, digests: dict[Path | None, str]) -> Callable[[Job], Outcome]:
        """Return what does one job."""

        def work(job: Job) -> Outcome:
            asked = replace(self.wanted.selection, mask=job.mask)
            take = partial(cutout.cut, wanted=asked)
            digest = digests[job.mask]
            return batch.process(job, take, self.output, self.stages, digest, self.wanted.each)

        return work

    def tell(self, outcome: Outcome) -> None:
        """Write an outcome for a script, where one reads."""
        if self.as_json:
            click.echo(json.dumps(batch.entry(outcome)))


def once(task: Task, planned: Sequence[Job], report: Path | None, alone: bool = False) -> int:
    """Do what is not finished yet; return the exit code. ``alone``: one photo, and no folder."""
    digests = task.digests(planned)
    states = task.states(planned, digests)
    if alone and states[planned[0]] is State.UNKNOWN:
        raise click.UsageError(
            f"{planned[0].target} is there already, and nothing in it tells how it was made: "
            "--overwrite replaces it"
        )
    todo = [job for job in planned if states[job] is State.MISSING]
    if todo:
        task.fetch()
    journal = _report(report, planned, task.settings)
    for folder in {job.target.parent for job in planned}:
        files.remove_leftovers(folder)
    outcomes: list[Outcome] = []
    interrupted = False

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        task.tell(outcome)
        if journal:
            journal.add(outcome)

    for job, state in states.items():
        if state is not State.MISSING:
            note(task.skipped(job, state, digests[job.mask]))
    try:
        with (
            terminal.interruptible(),
            terminal.progress(len(planned), len(outcomes), task.quiet) as tell,
        ):
            if todo:
                work = task.worker(task.cutout(), digests)
                for outcome in batch.run(todo, work, task.jobs):
                    note(outcome)
                    tell(outcome)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        if journal:
            journal.close(interrupted=interrupted or len(outcomes) < len(planned))
    terminal.conclude(outcomes, len(planned), interrupted, task.quiet)
    if interrupted:
        return 130
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def across_clipboard(task: Task, job: Job, out: str | None, copies: bool) -> int:
    """Cut out one picture that comes from the clipboard or goes there; return the exit code."""
    if out and os.path.exists(out) and not task.overwrite:
        raise click.UsageError(f"{out} is there already: --overwrite writes over it")
    (job,) = task.wanted.planned([replace(job, target=Path(out) if out else CLIPBOARD)])
    if task.wanted.each:
        raise click.UsageError("--keep each makes several pictures, and the clipboard holds one")
    source = clipboard.paste() if job.source == CLIPBOARD else job.source

    def work(job: Job) -> Outcome:
        start = time.perf_counter()
        asked = replace(task.wanted.selection, mask=job.mask)
        result = task.cutout().cut(source, wanted=asked)
        if out:
            files.write(out, render.to_bytes(result, task.output))
        if copies:
            png = replace(task.output, format="png", quality=None)
            clipboard.copy(render.to_bytes(result, png))
        height, width = result.alpha.shape
        return Outcome(
            job,
            "done",
            time.perf_counter() - start,
            result.timings,
            (width, height),
            batch.notes_of(result),
            confidence=result.confidence,
        )

    outcome = batch.attempt(job, work)
    task.tell(outcome)
    with terminal.progress(1, 0, task.quiet) as tell:
        tell(outcome)
    return 1 if outcome.status == "failed" else 0


def on_and_on(task: Task, folders: Sequence[str], planned: Callable[[], Sequence[Job]]) -> int:
    """Cut out what is in the folders and what comes into them, until Ctrl-C; return the exit code.

    ``planned`` looks anew and plans all that is there.
    """
    from pipeline.cli.arrivals import at_rest

    task.fetch()
    cutout = task.cutout()
    failed = False
    terminal.say(task.quiet, f"watching {', '.join(folders)}; Ctrl-C ends it")
    try:
        with terminal.interruptible():
            for photos in at_rest(folders, lambda: [job.source for job in planned()]):
                jobs = [job for job in planned() if job.source in photos]
                digests = task.digests(jobs)
                states = task.states(jobs, digests)
                todo = [job for job in jobs if states[job] is State.MISSING]
                with terminal.progress(len(todo), 0, task.quiet) as tell:
                    for outcome in batch.run(todo, task.worker(cutout, digests), task.jobs):
                        task.tell(outcome)
                        tell(outcome)
                        failed |= outcome.status == "failed"
                        if outcome.final:
                            return 1
    except KeyboardInterrupt:
        terminal.say(task.quiet, "ended; the same command goes on from here")
    return 1 if failed else 0


def _replaceable(path: Path) -> bool:
    """Whether nothing is lost where a report is written there: no file, a pipe, an empty one."""
    if not os.path.isfile(path):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(1) in (b"", b"{")
    except OSError:
        return True  # that it cannot be written is said then


def _report(path: Path | None, jobs: Sequence[Job], settings: Settings) -> batch.Report | None:
    """Begin the report, before any work: one that cannot be written ends the run here."""
    if path is None:
        return None
    if path == batch.STREAM:
        raise click.UsageError("--report is a file; --json writes to standard output")
    pictures = {os.path.realpath(p) for j in jobs for p in (j.source, j.target, j.mask) if p}
    if os.path.realpath(path) in pictures or not _replaceable(path):
        raise click.UsageError(f"{path} is no report of before: choose another name for this one")
    from pipeline.doctor import versions

    named = ("model", "views", "refine", "refiner", "detail")
    facts = {name: getattr(settings, name) for name in named}
    return batch.Report(path, len(jobs), {"versions": versions(), "settings": facts})
