"""A million photos on two hundred machines, in a minute: what a run will take and cost.

    python examples/simulate.py [--photos 1000000] [--machines 200] [--seconds 1.3]

The planner, the run, its manifests and its report are the real ones, in memory; in place of the
networks and of the store there are draws of how long each would take. Calls to the store take as
long as lognormal draws with a slow tail, and a share of them fails and is repeated as
:class:`wisp.scale.patience.Patience` says; now and then a machine is lost with the shard in hand.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import click
from tqdm import tqdm

from wisp.scale.cutter import Piece
from wisp.scale.errors import StoreError
from wisp.scale.hand import Done, Hand, Task
from wisp.scale.ledger import report
from wisp.scale.patience import Patience
from wisp.scale.places import open_place
from wisp.scale.plan import Slice, default_shards, shard_hash
from wisp.scale.rows import Row
from wisp.scale.run import cut_all
from wisp.scale.sources import Item, Listed
from wisp.scale.summary import Summary, Wish

_MEDIAN, _SPREAD = 0.05, 0.5  # seconds of a call to the store, and of its logarithm
_SLOW, _SLOWER = 0.01, 20.0  # share of slow calls, and how many times as long they take
_AGAIN = 180.0  # seconds until a lost machine is replaced and has listed the photos


class Nothing:
    """In place of a cutter: nothing is cut."""

    def open(self) -> None: ...
    def cut(self, path: str, data: bytes, software: str = "") -> Piece:
        raise AssertionError


@dataclass
class Fleet:
    """Machines with clocks of their own."""

    machines: int
    workers: int
    seconds: float
    failing: float
    lost: float
    shards: int
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    patience: Patience = field(default_factory=Patience)
    calls: int = 0
    repeated: int = 0
    losses: int = 0

    def __post_init__(self) -> None:
        # When each worker of each machine is free.
        self.free = [[0.0] * self.workers for _ in range(self.machines)]

    def execute(
        self, tasks: Iterator[Task], hand: Hand
    ) -> Generator[tuple[Task, Done], None, None]:
        """Do tasks as :mod:`wisp.scale.workers` does; they come shard after shard."""
        shard, began = -1, 0.0
        for task in tasks:
            now = shard_hash(task.item.path) % self.shards
            if now != shard:
                self._end(shard, began)
                shard, began = now, min(self.free[now % self.machines])
            clocks = self.free[shard % self.machines]
            first = min(range(self.workers), key=clocks.__getitem__)
            try:
                read, wrote = self._call(), self._call()
                cut = self.seconds * self.chance.lognormvariate(-0.045, 0.3)
                # The next photo is read, and the last one written, while one is cut.
                taken, row = max(cut, read, wrote), Row(task.item.path, task.target, "done")
            except StoreError as error:
                taken, row = 30.0, Row(task.item.path, error=str(error), fault="store")
            clocks[first] += taken
            row.seconds = taken
            yield task, Done(row)
        self._end(shard, began)

    def _end(self, shard: int, began: float) -> None:
        """Lose the machine now and then, and with it a part of the shard."""
        clocks = self.free[shard % self.machines]
        if shard >= 0 and self.chance.random() < self.lost * (max(clocks) - began) / 3600:
            self.losses += 1
            wasted = self.chance.random() * (max(clocks) - began) + _AGAIN
            clocks[:] = [clock + wasted for clock in clocks]

    def _call(self) -> float:
        """Draw how long a call takes, its repetitions with it."""
        taken = 0.0
        for number in range(1, self.patience.tries + 1):
            self.calls += 1
            once = self.chance.lognormvariate(0, _SPREAD) * _MEDIAN
            taken += once * (_SLOWER if self.chance.random() < _SLOW else 1)
            if self.chance.random() >= self.failing:
                return taken
            self.repeated += 1
            taken += self.patience.wait(number)
        raise StoreError("cannot read: no answer")


@click.command()
@click.option("--photos", default=1_000_000, show_default=True)
@click.option("--machines", default=200, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Processors of a machine.")
@click.option("--seconds", default=1.3, show_default=True, help="Of one processor for a photo.")
@click.option("--failing", default=0.01, show_default=True, help="Share of the store's calls.")
@click.option("--lost", default=0.05, show_default=True, help="Machines lost in a machine's hour.")
@click.option("--price", default=0.03, show_default=True, help="Of a machine's hour, in dollars.")
def main(
    photos: int,
    machines: int,
    workers: int,
    seconds: float,
    failing: float,
    lost: float,
    price: float,
) -> None:
    """Simulate a run, and check that each photo is in its manifests once."""
    start, shards = time.process_time(), default_shards(photos, Slice(1, machines))
    fleet = Fleet(machines, workers, seconds, failing, lost, shards)
    source = Listed(
        "simulated",
        lambda: (Item(f"{n % 97}/{n}.jpg", f"s3://shop/{n}.jpg") for n in range(photos)),
    )
    out = open_place(f"memory://simulated-{time.time_ns()}")
    wish = Wish("files", "0" * 16, {}, shards=shards)
    with tqdm(total=photos, unit="photo", disable=not sys.stderr.isatty()) as bar:

        def tell(summary: Summary, row: Row | None) -> None:
            if row is not None:
                bar.update()

        summary = cut_all(source, out, Hand(Nothing()), wish, fleet.execute, tell)
    seen: set[int] = set()
    rows = 0
    for table in report(out):
        seen.update(hash(path) for path in table["path"].to_pylist())
        rows += table.num_rows
    if not rows == len(seen) == photos == summary.done + summary.failed:
        raise click.ClickException(f"{rows} rows of {len(seen)} photos, and not {photos}")
    ends = [max(clocks) for clocks in fleet.free]
    hours = sum(ends) / 3600
    busy = photos * seconds / workers / 3600
    lists = machines * photos / 1000
    print(f"{photos} photos, {shards} shards, {machines} machines of {workers} processors")
    print(f"done {summary.done}, left for the next run {summary.failed}")
    print(
        f"the last machine ends after {max(ends) / 3600:.2f} h, the mean {hours / machines:.2f} h"
    )
    print(f"machine hours {hours:.0f}, of which cutting {busy / hours:.1%}: ${hours * price:.2f}")
    print(f"machines lost {fleet.losses}; calls {fleet.calls}, of which repeated {fleet.repeated}")
    half = fleet.calls / 2
    print(f"requests: {half:.0f} GET, {half:.0f} PUT, {lists:.0f} LIST", end=": ")
    print(f"${half * 0.4e-6 + half * 5e-6 + lists * 5e-6:.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"simulated in {time.process_time() - start:.0f} s of a processor, {peak:.0f} MB at most")


if __name__ == "__main__":
    main()
