"""Shards, one after the other, until all photos have a row in a manifest."""

from __future__ import annotations

import os
import posixpath
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from pipeline import batch, files
from pipeline.batch import Job
from pipeline.errors import DiskFull, SettingsError
from wisp.scale.errors import StoreError
from wisp.scale.hand import Done, Hand, Task
from wisp.scale.ledger import Ledger, part_name
from wisp.scale.places import Place
from wisp.scale.plan import Shard, plan_listed, plan_packed
from wisp.scale.rows import STORE, Row
from wisp.scale.sinks import ENDINGS, Sink, open_sink
from wisp.scale.sources import Item, Listed, Source
from wisp.scale.summary import Summary, Tell, Wish

#: Photos in a row that the store fails before the run ends: it is not the photos then.
_AWAY = 30

Execute = Callable[[Iterator[Task], Hand], Generator[tuple[Task, Done], None, None]]


def cut_all(
    source: Source, out: Place, hand: Hand, wish: Wish, execute: Execute, tell: Tell
) -> Summary:
    """Cut out the photos of a source that no manifest lists yet.

    Parameters
    ----------
    execute
        Does tasks, in any order: see :mod:`wisp.scale.workers`.
    tell
        Called with each row of this run; with None as the planning goes on.

    Raises
    ------
    SettingsError
        Where the place holds another run.
    StoreError, OutputError
        Where the store is away, or the disk full. Finished shards stay finished.
    KeyboardInterrupt
        As it came; of files, what is there is kept in the manifests first.
    """
    summary, ledger = Summary(), Ledger(out)
    run = _Run(out, ledger, wish, summary, tell)
    try:
        with closing(execute(run.tasks(run.shards(source)), hand)) as results:
            for task, done in results:
                run.take(task, done)
        run.settle()
    except KeyboardInterrupt:
        run.keep()
        raise
    finally:
        run.close()
    return summary


@dataclass
class _Making:
    """A shard's part under way."""

    shard: str
    part: int
    sink: Sink
    rows: list[Row] = field(default_factory=list)
    handed_out: int = 0
    whole: bool = False  # whether all its tasks have been given out

    @property
    def complete(self) -> bool:
        return self.whole and len(self.rows) == self.handed_out


class _Run:
    def __init__(
        self, out: Place, ledger: Ledger, wish: Wish, summary: Summary, tell: Tell
    ) -> None:
        self._out, self._ledger, self._wish = out, ledger, wish
        self._summary, self._tell = summary, tell
        self._making: dict[str, _Making] = {}
        self._of: dict[int, _Making] = {}  # by the number of a task under way
        self._numbers = count()
        self._commits: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(1, "wisp-commit")
        self._away = 0
        self._clean: set[str] = set()
        self._there: set[str] = set()

    # -- planning

    def shards(self, source: Source) -> Iterator[Shard]:
        wish = self._wish
        facts = {"source": source.address, "to": wish.to, **wish.facts, "settings": wish.digest}
        begun = self._ledger.begin(facts)
        if wish.to != "files":
            self._there = self._out.names()
        if not isinstance(source, Listed):
            if wish.shards:
                raise SettingsError("the source's own files are the shards: leave their number out")
            for shard in plan_packed(source, wish.part):
                begun = begun or self._ledger.settle(facts)  # not before there is something to do
                yield shard
            return

        def agree(proposed: int | None) -> int | None:
            nonlocal begun
            if proposed is not None and begun is None:
                begun = self._ledger.settle({**facts, "shards": proposed})
            if begun is None:
                return wish.shards
            if wish.shards not in (None, begun["shards"]):
                raise SettingsError(
                    f"{self._out.address} was begun with {begun['shards']} shards, "
                    f"not {wish.shards}: leave their number out"
                )
            return int(begun["shards"])

        def planned(photos: int) -> None:
            self._summary.listed = photos
            self._tell(self._summary, None)

        self._summary.listed, shards = plan_listed(source, wish.part, agree, planned)
        self._tell(self._summary, None)
        yield from shards

    def tasks(self, shards: Iterator[Shard]) -> Iterator[Task]:
        for shard in shards:
            known = self._ledger.rows(shard.name)
            packed = bool(shard.version and known)
            stand = packed and all(self._stands(row, shard.version) for row in known.values())
            if stand and not self._ledger.stopped(shard.name):
                self._skip(known.values())  # and it need not be read
                continue
            yield from self._begin(shard, known)

    def _begin(self, shard: Shard, known: dict[str, Row]) -> Iterator[Task]:
        """Give out what is to be done of a shard."""
        items: Iterable[Item] = shard.items
        anew = False
        if known and isinstance(items, list):
            # A photo that is another now would be twice in a tar or a table.
            anew = self._wish.to != "files" and any(
                item.path in known
                and (known[item.path].status == "done" or self._wish.to == "parquet")
                and not self._stands(known[item.path], item.version)
                for item in items
            )
        elif known:
            anew = self._wish.to != "files"
        if anew:
            self._ledger.forget(shard.name)
            known = {}
        making: _Making | None = None
        targets = self._targets(items, known) if isinstance(items, list) else {}
        for item in items:
            if shard.version:
                item = replace(item, version=shard.version)
            row = known.get(item.path)
            if row and self._stands(row, item.version):
                self._skip([row])
                continue
            if making is None:
                making = self._open(shard.name)
            target = targets.get(item.path) or (item.stem or _stem(item.path)) + self._wish.ending
            number = next(self._numbers)
            self._of[number] = making
            making.handed_out += 1
            self._sweep(target)
            yield Task(number, item, target, self._software(item))
        if making is not None:
            making.whole = True
            self._finish(making)

    def _stands(self, row: Row, version: str) -> bool:
        """Whether a row of an earlier run is right still."""
        if row.status != "done" and (row.fault == STORE or self._wish.retry):
            return False
        return not version or row.version == version

    def _skip(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._summary.skipped += 1
            self._summary.failed_before += row.status != "done"
        self._tell(self._summary, None)

    def _targets(self, items: list[Item], known: dict[str, Row]) -> dict[str, str]:
        """Name the cutouts of a shard, as ``wisp cut`` does; what has a name keeps it."""
        ending = self._wish.ending
        targets = {item.path: _stem(item.path) + ending for item in items}
        if len(set(targets.values())) < len(targets):
            jobs = [Job(Path(path), name=Path(path)) for path in targets]
            named = batch.named(jobs, Path(), ending)
            targets = {
                path: job.target.as_posix() for path, job in zip(targets, named, strict=True)
            }
        taken = {row.output for row in known.values() if row.output}
        for path, target in targets.items():
            row = known.get(path)
            if row and row.output and self._wish.to == "files":
                targets[path] = row.output
            elif target in taken:
                targets[path] = path + ending
        return targets

    def _software(self, item: Item) -> str:
        local = re.fullmatch("[0-9a-f]{16}", item.version)
        return batch.mark(self._wish.digest, item.version) if local else ""

    def _open(self, shard: str) -> _Making:
        part = self._ledger.parts(shard)
        name = part_name(shard, part)
        if ending := ENDINGS.get(self._wish.to):
            # What a killed run left behind, beyond what the manifests tell of.
            later = part
            while (stale := part_name(shard, later) + ending) in self._there:
                self._out.delete(stale)
                self._there.discard(stale)
                later += 1
        making = _Making(shard, part, open_sink(self._wish.to, self._out, name))
        self._making[shard] = making
        return making

    def _sweep(self, target: str) -> None:
        """Delete what killed processes left half written, once in each folder."""
        if not self._out.local:
            return
        folder = os.path.dirname(self._out.path(target if self._wish.to == "files" else "x"))
        if folder not in self._clean:
            self._clean.add(folder)
            files.remove_leftovers(folder)

    # -- what comes back

    def take(self, task: Task, done: Done) -> None:
        row = done.row
        row.version = row.version or task.item.version
        making = self._of.pop(task.number)
        making.sink.add(row, done.image)
        making.rows.append(row)
        self._summary.count(row)
        self._tell(self._summary, row)
        if done.final:
            raise DiskFull(row.error)
        self._away = self._away + 1 if row.fault == STORE else 0
        if self._away >= _AWAY:
            raise StoreError(f"{self._away} photos in a row failed, the last: {row.error}")
        self._finish(making)

    def _finish(self, making: _Making) -> None:
        if not making.complete:
            return
        del self._making[making.shard]
        while self._commits and (self._commits[0].done() or len(self._commits) > 2):
            self._commits.popleft().result()
        self._commits.append(self._pool.submit(self._commit, making))

    def _commit(self, making: _Making) -> None:
        try:
            making.sink.finish(making.rows)
            self._ledger.commit(making.shard, making.part, making.rows)
        finally:
            making.sink.close()

    def settle(self) -> None:
        """Wait until everything is written."""
        while self._commits:
            self._commits.popleft().result()

    def keep(self) -> None:
        """Keep what is done of the shards under way, where each cutout is a file by itself."""
        self.settle()
        if self._wish.to == "files":
            for making in self._making.values():
                if making.rows:
                    self._ledger.commit(making.shard, making.part, making.rows, stopped=True)

    def close(self) -> None:
        self._pool.shutdown(wait=True)
        for making in self._making.values():
            making.sink.close()


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]
