"""Worker processes that may die.

Each is a Python of its own, and does one photo at a time; while it computes, its next photo is
fetched and its last one written. A photo whose worker died (of memory, mostly, which the system
answers with a kill) is tried once more when nothing else runs, and then given up.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import chain
from multiprocessing.connection import Connection, wait
from typing import Any

from wisp.scale.errors import WorkersError
from wisp.scale.hand import Done, Hand, Task
from wisp.scale.rows import WORKER, Row

_AHEAD = 2  # tasks that a worker has: one to do, one to fetch
_STARTS = 3  # workers in a row that die as they start, while no other does anything
_SPAWN = multiprocessing.get_context("spawn")


def inline(tasks: Iterator[Task], hand: Hand) -> Generator[tuple[Task, Done], None, None]:
    """Do the tasks in this process, one after the other."""
    for task in tasks:  # whose first one is reached where there is something to do at all
        hand.cutter.open()
        yield task, hand.do(task)


def processes(
    tasks: Iterator[Task], hand: Hand, jobs: int
) -> Generator[tuple[Task, Done], None, None]:
    """Do the tasks in ``jobs`` processes, and yield them as they end, in any order.

    Tasks are taken as they are needed. Raises :class:`WorkersError` where workers cannot start.
    When the caller stops, the workers are ended.
    """
    first = next(tasks, None)
    if first is None:  # nothing to do, and no need to start anybody
        return
    team = _Team(hand, jobs)
    try:
        yield from team.work(chain([first], tasks))
    finally:
        team.end()


class _Member:
    """One process, as seen from the one that feeds it."""

    def __init__(self, hand: Hand) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_main, args=(theirs, hand), daemon=True)
        self.process.start()
        theirs.close()
        self.tasks: dict[int, Task] = {}
        self.doing: int | None = None
        self.ready = False


class _Team:
    def __init__(self, hand: Hand, jobs: int) -> None:
        self._hand, self._numbers = hand, iter(range(1 << 62))
        self._again: deque[Task] = deque()  # given to a worker that died before it came to them
        self._suspects: deque[Task] = deque()  # in hand when a worker died
        self._alone: Task | None = None
        self._stillborn = 0
        self._members = [_Member(hand) for _ in range(jobs)]

    def work(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Done]]:
        while True:
            self._feed(tasks)
            if not any(member.tasks for member in self._members):
                return
            watched: dict[Any, _Member] = {member.pipe: member for member in self._members}
            for pipe in wait(list(watched)):
                member = watched[pipe]
                try:
                    message = member.pipe.recv()
                except (EOFError, OSError):
                    yield from self._died(member)
                else:
                    yield from self._heard(member, message)

    def _feed(self, tasks: Iterator[Task]) -> None:
        if self._suspects or self._alone is not None:
            busy = any(member.tasks for member in self._members)
            if not busy and self._suspects:
                self._alone = self._suspects.popleft()
                self._give(self._members[0], self._alone)
            return
        for full in range(1, _AHEAD + 1):  # everybody gets a first task before one gets a second
            for member in self._members:
                if len(member.tasks) >= full:
                    continue
                task = self._again.popleft() if self._again else next(tasks, None)
                if task is None:
                    return
                self._give(member, task)

    def _give(self, member: _Member, task: Task) -> None:
        number = next(self._numbers)
        member.tasks[number] = task
        with suppress(OSError):  # it has died, which the next look at it tells
            member.pipe.send((number, task))

    def _heard(self, member: _Member, message: Any) -> Iterator[tuple[Task, Done]]:
        kind, number, what = message
        self._stillborn = 0
        if kind == "ready":
            member.ready = True
        elif kind == "broken":
            raise WorkersError(what)
        elif kind == "begun":
            member.doing = number
        else:
            task = member.tasks.pop(number)
            if member.doing == number:
                member.doing = None
            if task is self._alone:
                self._alone = None
            yield task, what

    def _died(self, member: _Member) -> Iterator[tuple[Task, Done]]:
        member.process.join(5)
        code = member.process.exitcode
        member.pipe.close()
        self._members[self._members.index(member)] = _Member(self._hand)
        if not member.ready:
            self._stillborn += 1
            if self._stillborn >= _STARTS:
                raise WorkersError(f"worker processes end as they start ({_cause(code)})")
        for number, task in member.tasks.items():
            if number != member.doing:
                self._again.append(task)
            elif task is self._alone:
                self._alone = None
                error = (
                    f"the process ended over this photo, also when it ran alone ({_cause(code)})"
                )
                yield task, Done(Row(task.item.path, error=error, fault=WORKER))
            else:
                self._suspects.append(task)
        if self._alone is not None and self._alone in self._again:
            self._again.remove(self._alone)  # it died before it came to it: again, alone
            self._suspects.appendleft(self._alone)
            self._alone = None

    def end(self) -> None:
        for member in self._members:
            member.process.kill()
        for member in self._members:
            member.process.join()
            member.pipe.close()


def _cause(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "killed: most likely there was too little memory"
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


# -- in the worker ---------------------------------------------------------------------------------


def _main(pipe: Connection[Any, Any], hand: Hand) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that feeds us
    lock = threading.Lock()

    def say(*message: Any) -> None:
        with lock, suppress(OSError):
            pipe.send(message)

    try:
        from pipeline.cli.terminal import hush_libraries

        hush_libraries()
        hand.cutter.open()
    except Exception as error:
        say("broken", 0, f"{type(error).__name__}: {error}")
        return
    say("ready", 0, None)
    fetched: queue.Queue[tuple[int, Task, Any]] = queue.Queue()
    made: queue.Queue[tuple[int, Task, Done]] = queue.Queue(1)

    def fetch() -> None:
        while True:
            try:
                number, task = pipe.recv()
            except (EOFError, OSError):  # whoever feeds us is gone
                os._exit(1)
            fetched.put((number, task, hand.fetch(task)))

    def store() -> None:
        while True:
            number, task, done = made.get()
            say("done", number, hand.store(task, done))

    for work in (fetch, store):
        threading.Thread(target=work, daemon=True).start()
    while True:
        number, task, data = fetched.get()
        say("begun", number, None)
        made.put((number, task, hand.cut(task, data)))
