"""Small files that cost a decoder minutes, each as long as is asked for."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def gif_comment(size: int) -> bytes:
    """A GIF of one pixel with a comment of so many bytes, in blocks of 255."""
    buffer = io.BytesIO()
    Image.new("P", (1, 1)).save(buffer, "GIF")
    data = buffer.getvalue()
    block = b"\xff" + bytes(255)
    start = 13 + (3 << ((data[10] & 7) + 1))
    return data[:start] + b"!\xfe" + block * (size // 255) + b"\0" + data[start:]


def jpeg_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG, so many pixels high and wide, whose first scan comes again and again."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    first = data.index(b"\xff\xda")
    # Of the refinements of AC coefficients, which cost the most: the last, all zero.
    start = data.rindex(b"\xff\xc4") if b"\xff\xc4" in data[first:] else first
    return data[:-2] + data[start:-2] * scans + data[-2:]


def jpeg_markers(count: int) -> bytes:
    """A JPEG with so many empty comments."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    data = buffer.getvalue()
    return data[:2] + b"\xff\xfe\0\2" * count + data[2:]


def jpeg_fill(count: int) -> bytes:
    """A JPEG with so many fill bytes before a marker."""
    data = jpeg_markers(0)
    return data[:2] + b"\xff" * count + data[2:]


def png_chunks(count: int) -> bytes:
    """A PNG with so many empty private chunks."""
    chunk = struct.pack(">I4sI", 0, b"abCd", zlib.crc32(b"abCd"))
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + chunk * count + data[33:]


def tiff_pages(count: int) -> bytes:
    """A TIFF of so many pages of one pixel, all of the same bytes."""
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
    body = struct.pack("<H", len(tags))
    body += b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    size = len(body) + 4
    pages = (
        body + struct.pack("<I", 16 + size * (page + 1) if page + 1 < count else 0)
        for page in range(count)
    )
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + b"".join(pages)


def bmp_runs(side: int) -> bytes:
    """A BMP in runs of one pixel each, which Pillow unpacks in Python: a second a megapixel."""
    row = b"\1\1" * side + b"\0\0"
    data = row * side + b"\0\1"
    palette = bytes(1024)
    offset = 14 + 40 + len(palette)
    head = b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset)
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(data), 0, 0, 256, 0)
    return head + info + palette + data


def tiff_tiles(side: int, tile: int = 16) -> bytes:
    """A TIFF whose tiles, which may be far larger than itself, are all the same few bytes."""
    packed = zlib.compress(bytes(min(tile, 16) ** 2))
    count = (-(-side // tile)) ** 2
    entries = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile}
    at, sizes = 8 + len(packed), 8 + len(packed) + 4 * count
    if count == 1:  # then the values stand where their place would
        at, sizes = 8, len(packed)
    table = struct.pack(f"<{count}I", *[8] * count) + struct.pack(
        f"<{count}I", *[len(packed)] * count
    )
    rows = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items()]
    rows += [
        struct.pack("<HHII", 324, 4, count, at),
        struct.pack("<HHII", 325, 4, count, sizes),
    ]
    head = b"II*\0" + struct.pack("<I", 8 + len(packed) + len(table))
    return head + packed + table + struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4)
