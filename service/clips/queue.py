"""The clips that wait, are in work, or are done. One at a time is cut out, in a process of its own.

The whole of it, from the decoder to the encoder, runs in that process: it is killed when its time
is over, when its visitor goes or when the service ends, and all that it held goes with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import WispError
from pipeline.image_io import sandbox
from service.clips.job import ClipJob
from service.clips.wish import Wish
from service.engine import Engine
from service.errors import (
    BadRequest,
    Busy,
    Problem,
    ServiceError,
    TimedOut,
    TooLarge,
    TooMany,
    Unsupported,
    problem,
)
from service.files import DAY, Files
from service.settings import ServiceSettings

log = logging.getLogger("wisp.clips")

#: Frames a second that a clip may have: more than any screen shows.
_RATE = 60
#: Seconds after which a process that says nothing is taken to hang: a frame takes one or two, and
#: to join the parts and check them some more.
_SILENCE = 120.0
_PATIENCE = 60.0  # seconds after which a client may come again
_REMEMBERED = 500  # jobs that are done
_STOPPED = Problem(499, "gone", "the clip was stopped")
#: Files in the folder of a job, by their fields of the form: what is said of them names them so.
_INPUTS = ("file", "background_file")
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from service.clips.child import main; main()"
)


class Clips:
    """Cuts clips out, for the API and the page. Lives in one event loop."""

    def __init__(
        self,
        settings: ServiceSettings,
        engine: Engine,
        files: Files,
        closing: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings, self._engine, self._files, self._closing = settings, engine, files, closing
        self._jobs: dict[str, ClipJob] = {}
        self._slot = asyncio.Semaphore(1)

    @property
    def active(self) -> int:
        """How many clips wait or are in work."""
        return sum(job.active for job in self._jobs.values())

    def check(self) -> None:
        """Raise :class:`Unsupported` where no clips are taken."""
        if not self.settings.clips or not sandbox.available():
            raise Unsupported("this server takes no clips", code="no_clips", status=501)
        if find_spec("av") is None:
            raise Unsupported(
                "this server takes no clips: they need pip install 'wispcut[video]' there",
                code="no_clips",
                status=501,
            )

    async def add(
        self, wish: Wish, clip: str, behind: str | None, visitor: str, owner: str
    ) -> ClipJob:
        """Take a clip, and what lies behind it, from the owner's uploads.

        Raises
        ------
        Unsupported, BadRequest, TooLarge, pipeline.WispError
            It cannot be cut out so.
        TooMany, Busy
            The visitor, or all together, have as many clips in work as there may be.
        TooMany, StorageFull
            There is no room for it on the disk.
        """
        self.check()
        wish.check(behind is not None)
        self._engine.resolve(wish.model)
        self._make_way(visitor)
        folder, room = self._files.begin(visitor)
        stem = Path(clip).stem.encode()[:100].decode("utf-8", "ignore")  # a part's name is longer
        result = folder / f"{stem}-cutout.{wish.format}"
        job = ClipJob(wish, visitor, owner, result, room)
        self._jobs[job.name] = job
        try:
            for name, path in zip(_INPUTS, (clip, behind), strict=True):
                if path is not None:
                    await asyncio.to_thread(self._copy, path, folder / name, job)
        except BaseException:
            del self._jobs[job.name]
            await asyncio.to_thread(self._throw_away, job)
            raise
        job.task = asyncio.create_task(self._work(job))
        return job

    def get(self, name: str) -> ClipJob | None:
        """Return a job; None where there is none, or no more."""
        return self._jobs.get(name)

    async def drop(self, job: ClipJob) -> None:
        """End a job, and delete what came of it."""
        self._jobs.pop(job.name, None)
        if job.task and not job.task.done():
            job.task.cancel()
            await asyncio.wait({job.task})
        if job.state == "done":
            await asyncio.to_thread(self._files.remove, job.file)
        elif job.active:  # cancelled before it began
            job.state, job.problem = "failed", _STOPPED
            await asyncio.to_thread(self._throw_away, job)

    async def close(self) -> None:
        """End all jobs."""
        for job in list(self._jobs.values()):
            if job.active:
                await self.drop(job)

    def _make_way(self, visitor: str) -> None:
        if self._closing():
            raise Busy("the service is stopping: try again in a moment", retry_after=5)
        active = [job for job in self._jobs.values() if job.active]
        if sum(job.visitor == visitor for job in active) >= -(-self.settings.clips // 2):
            raise TooMany(
                "clips of yours are in work: wait for one of them",
                code="too_many_clips",
                retry_after=_PATIENCE,
            )
        if len(active) >= self.settings.clips:
            raise Busy("too many clips are waiting: try again later", retry_after=_PATIENCE)
        done = [job for job in self._jobs.values() if not job.active]
        for number, job in enumerate(done, -len(done)):
            if number < -_REMEMBERED or time.time() - job.made > DAY:
                del self._jobs[job.name]

    def _copy(self, path: str, target: Path, job: ClipJob) -> None:
        size = self._files.size(path, job.owner)
        if size > self.settings.clip_bytes:
            largest = self.settings.clip_bytes / 1e6
            raise TooLarge(f"{target.name} is larger than {largest:.0f} MB")
        if not size:
            raise BadRequest(f"{target.name} is empty", code="invalid_file")
        self._files.grow(job.room, size)
        with self._files.opened(path, job.owner) as source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)

    async def _work(self, job: ClipJob) -> None:
        begun = time.monotonic()
        failed = None
        try:
            async with self._slot:
                job.state = "working"
                await self._run(job)
            await asyncio.to_thread(self._keep, job)
        except Exception as error:
            failed = problem(error)
            if not isinstance(error, WispError):
                log.error("fault", exc_info=error)
        except asyncio.CancelledError:
            failed = _STOPPED
        if failed:  # which is told when nothing is left of it
            await asyncio.to_thread(self._throw_away, job)
        job.state, job.problem = "failed" if failed else "done", failed
        told = {
            "state": job.state,
            "frames": job.frames,
            "work": round(time.monotonic() - begun, 1),
        }
        log.info("clip", extra={"wisp": told})

    async def _run(self, job: ClipJob) -> None:
        """Let a process cut the clip out, and follow it. What it may take is looked after there
        (:mod:`service.clips.child`), but for the time and the disk."""
        path = json.dumps([os.path.abspath(entry) for entry in sys.path])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", _START, path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=job.file.parent,
        )
        assert process.stdin and process.stdout
        deadline = time.monotonic() + self.settings.clip_timeout
        try:
            process.stdin.write(json.dumps(self._request(job)).encode() + b"\n")
            while True:
                patience = min(_SILENCE, max(0.0, deadline - time.monotonic()))
                try:
                    line = await asyncio.wait_for(process.stdout.readline(), patience)
                except asyncio.TimeoutError:
                    raise TimedOut(
                        "the clip took too long: send a shorter or smaller one"
                    ) from None
                if self._told(job, json.loads(line or "{}")):
                    return
                await asyncio.to_thread(self._grow, job)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _request(self, job: ClipJob) -> dict[str, Any]:
        settings, seconds = self.settings, self.settings.clip_seconds
        return {
            "wish": asdict(job.wish),
            "out": job.file.name,
            "settings": {
                "model": self._engine.names()[self._engine.resolve(job.wish.model)],
                "refiner": settings.refiner,
                "refine": job.wish.refine,
                "threads": settings.threads,
                "views": 1,
            },
            "limits": {
                "pixels": settings.clip_pixels,
                "seconds": seconds,
                "frames": max(1, int(seconds * _RATE)),
            },
            "seconds": settings.clip_timeout,
            "largest": self._files.disk.each,
        }

    def _told(self, job: ClipJob, facts: dict[str, Any]) -> bool:
        """Note what the process says; return whether that was its last word."""
        if "frames" in facts:
            job.step(facts["frames"], facts["of"])
        elif "error" in facts:
            told = Problem(**facts["error"])
            raise ServiceError(told.message, code=told.code, status=told.status)
        elif "fault" in facts:
            raise RuntimeError(facts["fault"])
        elif "notes" in facts:
            job.notes = tuple(facts["notes"])
            return True
        else:
            raise BadRequest(
                "the clip makes its decoder crash, or needs more memory than there is for it: save "
                "it anew, or reduce it",
                code="invalid_clip",
            )
        return False

    def _grow(self, job: ClipJob) -> None:
        """Hold room for what was written so far, twice: at the end the parts are joined."""
        sent = made = 0
        for path in job.file.parent.rglob("*"):
            with contextlib.suppress(OSError):  # it was joined meanwhile
                size = path.stat().st_size
                sent, made = (sent + size, made) if path.name in _INPUTS else (sent, made + size)
        more = sent + 2 * made - job.room.size
        if more > 0:
            self._files.grow(job.room, more)

    def _keep(self, job: ClipJob) -> None:
        """Leave the result alone in its folder, as a file of its owner."""
        for name in _INPUTS:
            (job.file.parent / name).unlink(missing_ok=True)
        job.room.grow(job.file.stat().st_size - job.room.size)
        self._files.add(job.file, job.owner, job.room)

    def _throw_away(self, job: ClipJob) -> None:
        shutil.rmtree(job.file.parent, ignore_errors=True)
        job.room.release()
