"""One queue of jobs: bounded, shared by all faces.

A job that is in flight already is not done twice; a job nobody waits for any more is not done; a
job beyond the queue is refused at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pipeline import Progress, __version__
from pipeline.errors import ImageTooSlow
from pipeline.image_io import sandbox
from service.cache import Cache
from service.engine import Engine, Opened
from service.errors import Busy, TimedOut
from service.job import Abandoned, Answer, Job, Watch
from service.monitoring import Metrics
from service.settings import ServiceSettings

#: Seconds after which a picture that is still being decoded makes room for the next one, and how
#: many may do so at a time. Beyond them decoding ends after so many seconds of a processor (the
#: clock would punish good pictures on a busy machine): what others wait for comes first.
_PATIENCE, _ASIDE = 1.0, 4


@dataclass
class _Running:
    """A job in work, and how many wait for it."""

    watch: Watch
    task: asyncio.Task[Answer] | None = None
    waiters: int = 0
    running: bool = field(default=False)


class JobQueue:
    """Cuts pictures out, for every face. Lives in one event loop."""

    def __init__(
        self, settings: ServiceSettings, engine: Engine, cache: Cache, metrics: Metrics
    ) -> None:
        self.settings, self.engine, self.cache, self.metrics = settings, engine, cache, metrics
        self._threads = ThreadPoolExecutor(settings.concurrency, "wisp")
        self._slots = asyncio.Semaphore(settings.concurrency)
        # Pictures are decoded beside the networks' work: one more than there are slots, as what is
        # decoded and waits takes memory.
        self._readers = ThreadPoolExecutor(settings.concurrency + 1 + _ASIDE, "wisp-read")
        self._reading = asyncio.Semaphore(settings.concurrency + 1)
        self._aside = 0
        self._flights: dict[str, _Running] = {}
        self._mean = 1.0  # seconds a job takes, as of late
        self.closing = False

    @property
    def queued(self) -> int:
        return sum(not flight.running for flight in self._flights.values())

    @property
    def running(self) -> int:
        return sum(flight.running for flight in self._flights.values())

    async def warm(self) -> None:
        """Open the default model and start a decoder, so that the first request need not wait."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._readers, sandbox.warm)
        await loop.run_in_executor(self._threads, self.engine.load)

    async def cut(self, job: Job, report: Progress | None = None) -> Answer:
        """Do a job, or take its answer from where it is already.

        Parameters
        ----------
        job
            What to do.
        report
            Called with (stage, share done) from another thread while the job runs.

        Raises
        ------
        pipeline.WispError
            What is wrong with the picture or the wish.
        Busy
            The queue is full, or the service is stopping.
        TimedOut
            It took longer than ``settings.timeout``, waiting included.
        """
        self._check_open()
        key = await asyncio.to_thread(self._key, job)
        block = await self.cache.get(key)
        answer = Answer.unpack(block) if block else None
        self.metrics.cache.labels("hit" if answer else "miss").inc()
        if answer:
            return answer
        flight = self._flights.get(key)
        if flight is None:
            flight = self._launch(key, job)
        else:
            self.metrics.shared.inc()
        # Who joins has as much time as who came first.
        flight.watch.deadline = time.monotonic() + self.settings.timeout
        if report:
            flight.watch.reports.append(report)
        flight.waiters += 1
        assert flight.task
        try:
            done, _ = await asyncio.wait({flight.task}, timeout=self.settings.timeout)
            if not done:
                raise TimedOut("the service is too busy: try again later")
            if flight.task.cancelled() or isinstance(flight.task.exception(), Abandoned):
                raise Busy("the service is stopping: try again in a moment", retry_after=5)
            return flight.task.result()
        finally:
            flight.waiters -= 1
            if report:
                flight.watch.reports.remove(report)
            if not flight.waiters and not flight.task.done():
                self._abandon(key, flight)

    def _key(self, job: Job) -> str:
        name = self.engine.resolve(job.model)
        return f"{__version__}-{self.engine.checksum(name)[:16]}-{job.key}"

    def _check_open(self) -> None:
        if self.closing:
            raise Busy("the service is stopping: try again in a moment", retry_after=5)

    def _launch(self, key: str, job: Job) -> _Running:
        self._check_open()  # again: it may have been closed while the cache was asked
        slots = self.settings.concurrency - self.running
        if self.queued >= self.settings.queue + max(0, slots):
            self.metrics.refused.inc()
            ahead = (self.queued + 1) / self.settings.concurrency
            raise Busy(
                "too many pictures are waiting: try again in a moment",
                retry_after=min(60, math.ceil(self._mean * ahead)),
            )
        flight = _Running(Watch(self.settings.timeout))
        flight.task = asyncio.create_task(self._fly(key, job, flight))
        # Retrieved here, so that a flight whose waiters all left is no "never retrieved" error.
        flight.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._flights[key] = flight
        return flight

    async def _fly(self, key: str, job: Job, flight: _Running) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            async with contextlib.AsyncExitStack() as permit:
                await permit.enter_async_context(self._reading)
                opened = await self._opened(job, flight, permit)
                await self._slots.acquire()
            try:
                flight.running = True
                answer = await loop.run_in_executor(
                    self._threads, self.engine.run, job, opened, flight.watch
                )
            finally:
                self._slots.release()
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
        taken = answer.seconds["total"]
        self._mean += 0.2 * (taken - self._mean)
        for stage, value in answer.seconds.items():
            self.metrics.stages.labels(stage).observe(value)
        self.cache.put(key, answer.pack, len(answer.data))
        return answer

    async def _opened(
        self, job: Job, flight: _Running, permit: contextlib.AsyncExitStack
    ) -> Opened:
        """Decode the pictures of a job, beside the others if that takes long: without the permit to
        read then, which the job may end without."""
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._readers, self.engine.read, job, flight.watch)
        try:
            done, _ = await asyncio.wait({reading}, timeout=_PATIENCE)
            while not done and self._aside >= _ASIDE:
                if flight.watch.worked > _PATIENCE:
                    flight.watch.ending = ImageTooSlow(
                        f"the picture takes longer than {_PATIENCE:g} s to decode, and others "
                        "wait: save it anew with another program, or try again later"
                    )
                done, _ = await asyncio.wait({reading}, timeout=_PATIENCE / 10)
            if done:
                return await reading
            self._aside += 1
            await permit.aclose()
            try:
                opened = await reading
            finally:
                self._aside -= 1
            await permit.enter_async_context(self._reading)
            return opened
        except asyncio.CancelledError:
            flight.watch.gone.set()
            raise

    def _abandon(self, key: str, flight: _Running) -> None:
        """Free the work of a client that went away.

        A job in the queue leaves it. One that runs ends at its next network call, and keeps its
        slot until then: a thread cannot be killed.
        """
        if self._flights.get(key) is not flight:
            return  # it was done already, when the service was closed
        del self._flights[key]
        self.metrics.abandoned.inc()
        flight.watch.gone.set()
        if not flight.running and flight.task:
            flight.task.cancel()

    async def drain(self, seconds: float) -> None:
        """Take no more jobs, and wait for those in work."""
        self.closing = True
        tasks = [flight.task for flight in self._flights.values() if flight.task]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def close(self) -> None:
        """End what is left, and let go of everything."""
        self.closing = True
        for key, flight in list(self._flights.items()):
            self._abandon(key, flight)
        with contextlib.suppress(Exception):
            await self.cache.close()
        for threads in (self._readers, self._threads):
            await asyncio.to_thread(threads.shutdown, True)


__all__ = ["Abandoned", "JobQueue"]
