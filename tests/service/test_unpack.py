"""Zips of pictures: what they say of themselves is bounded before anything is unpacked."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BadRequest, ServiceError, TooLarge
from service.settings import ServiceSettings
from service.unpack import Archive

SMALL = ServiceSettings(max_bytes=5_000_000, max_batch_bytes=8_000_000, max_batch_files=3)


def packed(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unpacked(data: bytes, limits: ServiceSettings = SMALL) -> list[tuple[str, bytes]]:
    archive = Archive(io.BytesIO(data), limits)
    return [(entry.name, archive.read(entry)) for entry in archive.entries]


def test_pictures_are_taken_and_all_else_is_passed_over():
    entries = {
        "a.jpg": b"1",
        "folder/b.PNG": b"2",
        "../../../etc/evil.png": b"3",
        "notes.txt": b"4",
        "__MACOSX/._a.jpg": b"5",
        ".hidden.png": b"6",
    }
    assert unpacked(packed(entries)) == [("a.jpg", b"1"), ("b.PNG", b"2"), ("evil.png", b"3")]


@pytest.mark.parametrize(
    "entries",
    [
        {f"{i}.png": b"x" for i in range(4)},
        {"a.png": bytes(4_000_000)},
        {"a.png": bytes(6_000_000)},
    ],
)
def test_too_many_too_large_and_packed_like_a_bomb(entries):
    with pytest.raises(TooLarge):
        unpacked(packed(entries))


def test_more_than_a_batch_in_all():
    with pytest.raises(TooLarge):
        unpacked(packed({f"{i}.png": bytes(3_000_000) for i in range(3)}, zipfile.ZIP_STORED))


def test_nothing_is_unpacked_to_know_how_much_it_is():
    data = packed({f"{i}.png": bytes(i) + bytes(990_000) for i in range(100)})
    limits = ServiceSettings(max_batch_files=100, max_batch_bytes=200_000_000)
    tracemalloc.start()
    archive = Archive(io.BytesIO(data), limits)
    assert sum(entry.size for entry in archive.entries) > 99_000_000
    archive.read(archive.entries[0])
    assert tracemalloc.get_traced_memory()[1] < 6_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("size", [100, 900_000])
def test_a_size_that_is_a_lie(size):
    data = bytearray(packed({"a.png": bytes(range(256)) * 2000}))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", size)
    tracemalloc.start()
    with pytest.raises(BadRequest, match="broken|not as large"):
        unpacked(bytes(data))
    assert tracemalloc.get_traced_memory()[1] < 3 * size + 2_000_000
    tracemalloc.stop()


def test_a_list_of_very_many_files_is_not_read():
    one = packed({"a.png": b"x"})
    start = one.rindex(b"PK\x01\x02")
    end = one.rindex(b"PK\x05\x06")
    entry, count = one[start:end], 40_000
    record = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry) * count, start, 0)
    tracemalloc.start()
    with pytest.raises(TooLarge, match="lists too many"):
        unpacked(one[:start] + entry * count + record)
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_rare_ways_of_packing_are_refused(method):
    with pytest.raises(BadRequest, match="rare"):
        unpacked(packed({"a.png": bytes(range(256))}, method))


def test_broken_zips():
    for broken in (b"", b"PK", packed({"a.png": b"x" * 50})[:-30], packed({"a.txt": b"x"})):
        with pytest.raises(BadRequest):
            unpacked(broken)
    good = bytearray(packed({"a.png": bytes(range(256)) * 4}, zipfile.ZIP_STORED))
    good[60] ^= 0xFF  # the checksum no longer fits
    with pytest.raises(BadRequest, match="broken"):
        unpacked(bytes(good))


GOOD = packed({"a.png": bytes(range(256)) * 4, "b/c.jpg": b"x" * 500, "d.txt": b""})


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6))
def test_damage_is_the_clients_mistake(changes):
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    try:
        assert sum(len(content) for _, content in unpacked(bytes(data))) <= SMALL.max_batch_bytes
    except ServiceError as error:
        assert 400 <= error.status < 500
