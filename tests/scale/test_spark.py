"""Spark: ``mapInPandas`` on one machine. Run by ``make test-spark``, where there is Java."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("pyspark", reason="Spark is an extra: `make test-spark` installs it")
from pyspark.sql import SparkSession

from pipeline import Settings
from tests.conftest import encoded
from wisp.scale import SPARK, Cutter

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(not shutil.which("java"), reason="Spark needs Java, 17 or newer"),
]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    patch = pytest.MonkeyPatch()
    patch.setenv("PYSPARK_PYTHON", sys.executable)  # else its workers are the first "python3"
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        # As docs/scale.md has it: pictures wait in memory, and by default ten thousand of them.
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", 8)
        .getOrCreate()
    )
    yield session
    session.stop()
    patch.undo()


def test_map_in_pandas_makes_what_the_cutter_makes(spark, tmp_path, photo):
    pictures = {f"{n}.png": encoded(photo[:, n:], "PNG") for n in range(5)}
    pictures["broken.png"] = b"no picture"
    for name, data in pictures.items():
        (tmp_path / name).write_bytes(data)
    cutter = Cutter(Settings(refine=False, threads=1))
    photos = spark.read.format("binaryFile").load(str(tmp_path)).select("path", "content")
    made = photos.repartition(2).mapInPandas(cutter.frames, schema=SPARK)
    made.write.parquet(str(tmp_path / "out"))
    rows = spark.read.parquet(str(tmp_path / "out")).collect()
    by_name = {row.path.rpartition("/")[2]: row for row in rows}
    assert len(rows) == 6 and by_name.keys() == pictures.keys()
    assert by_name["broken.png"].status == "failed" and by_name["broken.png"].image is None
    assert "not an image" in by_name["broken.png"].error
    expected = cutter({"bytes": list(pictures.values())[:5]})["image"]
    assert [bytes(by_name[name].image) for name in list(pictures)[:5]] == list(expected)


def test_addresses_alone_are_read_by_the_workers(spark, tmp_path, photo):
    (tmp_path / "a.png").write_bytes(encoded(photo, "PNG"))
    addresses = [(str(tmp_path / "a.png"),), (str(tmp_path / "gone.png"),)]
    frame = spark.createDataFrame(addresses, "url string")
    cutter = Cutter(Settings(refine=False, threads=1))
    rows = {row.path: row for row in frame.mapInPandas(cutter.frames, schema=SPARK).collect()}
    assert rows[addresses[0][0]].status == "done" and rows[addresses[0][0]].confidence is not None
    assert rows[addresses[1][0]].error == "there is no such file"
