"""What is finished, kept beside the cutouts: ``_wisp/run.json`` and ``_wisp/shards/*.parquet``.

The manifest of a shard is written last, in one PUT: what it lists is there, what no manifest lists
is nothing yet, and is made again under the same name. All manifests together are a Parquet dataset,
which any engine of tables reads: the report of the run. A shard that is added to later has further
manifests, ``000007-1.parquet``, and later ones are right.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import SettingsError
from wisp.scale.places import Place
from wisp.scale.rows import Row

FOLDER = "_wisp"
_RUN = f"{FOLDER}/run.json"
_SHARDS = f"{FOLDER}/shards"
#: 2 when what is written here no longer fits what an older version left.
_FORMAT = 1

_TYPES = {"str": pa.string(), "float": pa.float64(), "int": pa.int64()}
SCHEMA = pa.schema(
    [(field.name, _TYPES[str(field.type).partition(" ")[0]]) for field in fields(Row)]
)

_STOPPED = {b"wisp": b"stopped"}  # in a manifest's metadata


class Ledger:
    """The manifests of one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._names: set[str] = set()

    def look(self) -> None:
        """See which manifests there are."""
        self._names = self._place.names(_SHARDS)

    def shards(self) -> list[str]:
        """The names of all shards that have manifests."""
        names = {name.removesuffix(".parquet") for name in self._names}
        further = {part_name(n, part) for n in names for part in range(1, self.parts(n))}
        return sorted(names - further)

    def begin(self, facts: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the place's first run wrote down; None where there was none.

        Raises :class:`SettingsError` where that run had other settings than ``facts``.
        """
        self.look()
        try:
            text = self._place.read(_RUN)
            settled = json.loads(text) if text.strip() else None
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise SettingsError(f"{self._place.path(_RUN)} is broken: {error}") from error
        if settled is None:  # of a run that was killed in that very moment
            self._place.delete(_RUN)
            return None
        wanted = json.loads(json.dumps({**facts, "format": _FORMAT}))
        if any(settled.get(key) != wanted[key] for key in wanted):
            changes = _changes(settled, wanted)
            raise SettingsError(
                f"{self._place.address} holds cutouts of another run ({changes}): "
                f"repeat its settings, give another place, or delete {FOLDER} in it to begin anew"
            )
        return dict(settled)

    def settle(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Write down what holds for all runs; return what is, should another have been faster."""
        text = json.dumps({**facts, "format": _FORMAT}, indent=2, sort_keys=True)
        if self._place.create(_RUN, text.encode()):
            return facts
        wanted = {key: value for key, value in facts.items() if key != "shards"}
        return self.begin(wanted) or facts

    def parts(self, shard: str) -> int:
        """The number of manifests that a shard has."""
        number = 0
        while _file(shard, number) in self._names:
            number += 1
        return number

    def rows(self, shard: str) -> dict[str, Row]:
        """What a shard's manifests say, by the photos' names."""
        latest: dict[str, Row] = {}
        for number in range(self.parts(shard)):
            table = pq.read_table(BytesIO(self._place.read(f"{_SHARDS}/{_file(shard, number)}")))
            latest.update((record["path"], Row(**record)) for record in table.to_pylist())
        return latest

    def stopped(self, shard: str) -> bool:
        """Whether the run that wrote a shard's last manifest was stopped before the shard's end."""
        last = self._place.read(f"{_SHARDS}/{_file(shard, self.parts(shard) - 1)}")
        return _STOPPED.items() <= (pq.read_schema(BytesIO(last)).metadata or {}).items()

    def commit(self, shard: str, part: int, rows: Iterable[Row], *, stopped: bool = False) -> None:
        """Write a manifest: from here on, its photos are finished.

        ``stopped`` says in it that the shard has more of them.
        """
        ordered = sorted(rows, key=lambda row: row.path)
        buffer = BytesIO()
        schema = SCHEMA.with_metadata(_STOPPED) if stopped else SCHEMA
        pq.write_table(pa.Table.from_pylist([vars(row) for row in ordered], schema), buffer)
        name = _file(shard, part)
        self._place.write(f"{_SHARDS}/{name}", buffer.getvalue())
        self._names.add(name)

    def forget(self, shard: str) -> None:
        """Delete a shard's manifests, the last one first: it is to be made anew."""
        for number in reversed(range(self.parts(shard))):
            name = _file(shard, number)
            self._place.delete(f"{_SHARDS}/{name}")
            self._names.discard(name)


def _changes(settled: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Say in words what differs between two runs."""
    before, now = ({**facts, **facts.get("output", {})} for facts in (settled, wanted))
    keys = (before.keys() | now.keys()) - {"output", "settings", "shards"}
    changes = [
        f"{key}: {before.get(key, 'default')} → {now.get(key, 'default')}"
        for key in sorted(keys)
        if before.get(key) != now.get(key)
    ]
    # All settings are in a digest: what is not named above is in it alone.
    return "; ".join(changes) or "another option, such as --views, or another version of a network"


def _file(shard: str, part: int) -> str:
    return f"{part_name(shard, part)}.parquet"


def part_name(shard: str, part: int) -> str:
    """Name a shard's first part as the shard, and further ones by their number."""
    return f"{shard}-{part}" if part else shard


def report(place: Place) -> Iterator[Any]:
    """Yield the rows of all shards as Arrow tables, each photo once."""
    ledger = Ledger(place)
    ledger.look()
    for shard in ledger.shards():
        yield pa.Table.from_pylist([vars(row) for row in ledger.rows(shard).values()], SCHEMA)
