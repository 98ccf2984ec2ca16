"""Ray: a cluster of two nodes on this machine, one of which is lost. Run by ``make test-ray``."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("ray", reason="Ray is an extra: `make test-ray` installs it")
import ray
import ray.data
from ray.cluster_utils import Cluster

from pipeline import Settings
from tests.conftest import encoded
from tests.scale.fake import Fake, cutout, run
from tests.scale.test_scale import catalogue, fill, outputs, rows
from wisp.scale import cut_dataset
from wisp.scale.on_ray import over_ray

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_cluster_makes_what_one_machine_makes(cluster, tmp_path):
    catalogue(tmp_path / "in", 40)
    fill(tmp_path / "in", {"broken.jpg": b"bad"})
    run(str(tmp_path / "in"), str(tmp_path / "local"), to="webdataset", shards=3)
    summary = run(
        str(tmp_path / "in"), str(tmp_path / "ray"), to="webdataset", shards=3,
        execute=over_ray(None, None),
    )  # fmt: skip
    assert (summary.done, summary.failed) == (40, 1)
    assert outputs(tmp_path / "ray") == outputs(tmp_path / "local")


def test_a_photo_that_ends_its_process_is_a_row(cluster, tmp_path):
    photos = catalogue(tmp_path / "in", 12)
    fill(tmp_path / "in", {"fatal.jpg": b"die"})
    summary = run(str(tmp_path / "in"), str(tmp_path / "out"), execute=over_ray(None, 2))
    assert (summary.done, summary.failed) == (12, 1)
    assert rows(tmp_path / "out")["fatal.jpg"]["fault"] == "worker"
    assert sorted(outputs(tmp_path / "out").values()) == sorted(map(cutout, photos.values()))


def test_a_dataset_of_files(cluster, tmp_path, photo):
    (tmp_path / "a.png").write_bytes(encoded(photo, "PNG"))
    (tmp_path / "b.png").write_bytes(b"no picture")
    dataset = ray.data.read_binary_files(str(tmp_path), include_paths=True)
    settings = Settings(refine=False, threads=1)
    made = cut_dataset(dataset, settings, concurrency=1).take_all()
    assert sorted((row["path"][-5:], row["status"]) for row in made) == [
        ("a.png", "done"), ("b.png", "failed")
    ]  # fmt: skip
    assert all(
        set(row) == {"path", "image", "status", "error", "confidence", "seconds"} for row in made
    )


def test_a_node_that_is_lost_costs_no_photo(cluster, tmp_path):
    photos = catalogue(tmp_path / "in", 300)
    lost = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    begun = threading.Event()

    def tell(summary: Any, row: Any) -> None:
        if summary.done >= 20:
            begun.set()

    def lose() -> None:
        begun.wait(120)
        cluster.remove_node(lost, allow_graceful=False)

    killer = threading.Thread(target=lose)
    killer.start()
    start = time.monotonic()
    summary = run(
        str(tmp_path / "in"), str(tmp_path / "out"), cutter=Fake(seconds=0.05), tell=tell,
        execute=over_ray(None, 4),
    )  # fmt: skip
    killer.join()
    assert begun.is_set() and time.monotonic() - start < 170
    assert (summary.done, summary.failed) == (300, 0)
    assert sorted(outputs(tmp_path / "out").values()) == sorted(map(cutout, photos.values()))
