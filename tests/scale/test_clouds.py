"""Stores beside S3: ``gs://`` and ``az://``, on their emulators. Run by ``make test-clouds``."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

pytest.importorskip("pyarrow")
import fsspec

from tests.conftest import in_time
from tests.scale.fake import cutout, run
from tests.scale.test_scale import pictures, rows
from wisp.scale.places import open_place

pytestmark = pytest.mark.clouds

#: Azurite's account is the same everywhere, and no secret.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def gs() -> Iterator[str]:
    pytest.importorskip("gcsfs", reason="gcsfs is an extra: `make test-clouds` installs it")
    pytest.importorskip("gcp_storage_emulator")
    from gcp_storage_emulator.server import create_server

    port, patch = free_port(), pytest.MonkeyPatch()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="shop")
    server.start()
    patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    yield "gs://shop"
    server.stop()
    patch.undo()


@pytest.fixture(scope="module")
def az() -> Iterator[str]:
    pytest.importorskip("adlfs", reason="adlfs is an extra: `make test-clouds` installs it")
    azurite = shutil.which("azurite-blob")
    if not azurite:
        pytest.skip("az:// needs Azurite: npm install -g azurite")
    port, patch = free_port(), pytest.MonkeyPatch()
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--silent"]
    place = f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1"
    account = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_KEY}"
    patch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{account};{place};")
    with subprocess.Popen([azurite, "--blobPort", str(port), *options]) as server:
        in_time(lambda: _answers(port))
        fsspec.filesystem("az").mkdir("shop")
        yield "az://shop"
        server.terminate()
    patch.undo()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(params=["gs", "az"])
def store(request) -> Iterator[str]:
    address = request.getfixturevalue(request.param)
    yield address
    fs = fsspec.filesystem(request.param, use_listings_cache=False)
    for path in fs.find("shop"):
        fs.rm_file(path)


def outputs(address: str) -> dict[str, bytes]:
    place = open_place(address)
    names = [place.below(entry.path) for entry in place.listing()]
    return {name: place.read(name) for name in names if not name.startswith("_wisp/")}


@pytest.mark.parametrize("to", ["files", "webdataset", "parquet"])
def test_from_store_to_store(store, to):
    photos = {f"in/shelf{n % 2}/{n}.jpg": b"photo %d" % n for n in range(8)}
    source = open_place(store)
    for name, data in photos.items():
        source.write(name, data)
    assert run(f"{store}/in", f"{store}/out", to=to, jobs=1).done == 8
    assert sorted(pictures(outputs(f"{store}/out"))) == sorted(map(cutout, photos.values()))
    assert run(f"{store}/in/", f"{store}/out/", to=to).skipped == 8
    source.write("in/shelf0/0.jpg", b"another")  # which the listing tells by another ETag
    run(f"{store}/in", f"{store}/out", to=to)
    assert pictures(outputs(f"{store}/out")).count(cutout(b"another")) == 1


def test_a_list_of_addresses(store):
    place = open_place(store)
    place.write("in/a.jpg", b"photo")
    place.write("in/empty.jpg", b"")
    place.write("list.txt", f"in/a.jpg\n{store}/in/a.jpg\nin/gone.jpg".encode())
    run(f"{store}/list.txt", f"{store}/out")
    errors = {row["path"]: row["error"] for row in rows(f"{store}/out").values()}
    assert errors["in/gone.jpg"] == "there is no such file"
    assert errors["shop/in/a.jpg"] == "" and place.read("in/empty.jpg", limit=10) == b""


def test_who_comes_first_settles_the_run(az):  # Google's emulator knows no conditions
    place = open_place(az)
    assert place.create("a", b"1") and not place.create("a", b"2")
    assert place.read("a") == b"1"
