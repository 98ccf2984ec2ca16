"""A look at how a file is built, before a decoder sees it.

Decoders are bounded by pixels; what surrounds the pixels can still cost them minutes: a thousand
scans over the same picture, millions of empty chunks, a comment of megabytes. Nothing of that is
decoded here, only walked over, and the walk itself ends at the same limits.
"""

from __future__ import annotations

import re
import struct

from pipeline.errors import ImageTooSlow

#: Scans of a JPEG. Each passes over the whole picture; cameras write 1, progressive encoders
#: some 10, and libjpeg-turbo's own fuzzers stop at 500.
SCANS = 100
#: Bytes of comments in a GIF: Pillow joins them in quadratic time.
COMMENTS = 250_000
#: Parts (markers, chunks, blocks) that any file may have, and bytes a part beyond them. An encoder
#: that streams writes chunks of 4 or 8 kB.
PARTS, BYTES_A_PART = 20_000, 1024

#: Formats that are walked over, and those that need not be: one picture of WebP is one bit stream,
#: which its library walks over in C.
WALKED, BOUNDED = ("JPEG", "PNG", "GIF"), ("WebP",)

#: Bytes between the segments of a JPEG: Pillow passes over them one by one.
JUNK = 100_000

_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended, progressive: all Huffman
_SEGMENTS = frozenset((0xC4, *range(0xDB, 0xF0), 0xFE))  # tables, application data, comment
_SCAN, _END = 0xDA, 0xD9
# In entropy-coded data a zero or a restart marker after 0xFF is none. Any number of 0xFF may come
# before a marker; they are looked for apart, as that is ten times as fast.
_MARKER, _FILL = re.compile(rb"\xff[^\x00\xd0-\xd7]"), re.compile(rb"\xff*")


def check(data: bytes, kind: str) -> bool:
    """Tell whether a file is so plainly built that its decoding time is bounded by its pixels.

    Parameters
    ----------
    data
        The whole file.
    kind
        One of :data:`WALKED`, by its signature.

    Returns
    -------
    True for a JPEG or PNG that keeps to the letter of its format. False says nothing bad: only
    that the file should be decoded where it can be stopped.

    Raises
    ------
    ImageTooSlow
        More scans, comments or parts than any camera or program writes.
    """
    return {"JPEG": _jpeg, "PNG": _png, "GIF": _gif}[kind](data)


def _parts(data: bytes) -> int:
    return PARTS + len(data) // BYTES_A_PART


def _too_many(what: str) -> ImageTooSlow:
    return ImageTooSlow(f"{what}: no camera writes that, save it anew with another program")


def _jpeg(data: bytes) -> bool:
    """Walk from marker to marker (ITU-T T.81, annex B), and from scan to scan."""
    at, scans, frames, junk, plain = 2, 0, 0, 0, True
    for _ in range(_parts(data)):
        skipped, code, after = _marker(data, at)
        junk += 0 if scans else skipped  # later it is the picture itself
        if junk > JUNK:
            raise _too_many(f"the JPEG has more than {JUNK / 1000:g} kB between its segments")
        at = after
        if code == _END:
            return plain and scans > 0 and frames == 1 and not junk
        length = int.from_bytes(data[at : at + 2], "big")
        plain &= length >= 2 and code in _SEGMENTS | _FRAMES | {_SCAN}
        at += max(length, 2)
        frames += code in _FRAMES
        scans += code == _SCAN
        if scans > SCANS:
            raise _too_many(f"the JPEG has more than {SCANS} scans")
    raise _too_many(f"the JPEG has more than {_parts(data)} segments")


def _marker(data: bytes, at: int) -> tuple[int, int, int]:
    """Find the next marker: (bytes passed over, its code, where it ends).

    Where there is none it is the end of the picture: that its marker is missing is common.
    """
    marker = _MARKER.search(data, at)
    if not marker:
        return max(0, len(data) - at), _END, len(data)
    place = marker.end() - 1
    if data[place] == 0xFF:
        filled = _FILL.match(data, place)
        place = filled.end() if filled else place
    code = data[place] if place < len(data) else _END
    return place - 1 - at, code, place + 1


def _png(data: bytes) -> bool:
    """Walk from chunk to chunk (ISO/IEC 15948, section 5.3)."""
    at = 8
    for _ in range(_parts(data)):
        if at + 8 > len(data):
            return False
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IEND":
            return True
        if not name.isalpha():
            return False
        at += 12 + length
    raise _too_many(f"the PNG has more than {_parts(data)} chunks")


def _gif(data: bytes) -> bool:
    """Walk from block to block, up to the second frame (GIF89a, sections 15 to 26)."""
    if len(data) < 13:
        return False
    at, comments, frames = 13 + _palette(data[10]), 0, 0
    blocks = PARTS + len(data) // 64  # they hold 255 bytes at most
    while data[at : at + 1] in (b"!", b",") and frames < 2:
        comment = data[at : at + 2] == b"!\xfe"
        if data[at] == ord(","):
            frames += 1
            at += 11 + _palette(data[at + 9]) if at + 9 < len(data) else 11
        else:
            at += 2
        while at < len(data) and data[at]:
            comments += data[at] * comment
            blocks -= 1
            if comments > COMMENTS:
                raise _too_many(f"the GIF has comments of more than {COMMENTS / 1000:g} kB")
            if blocks <= 0:
                break
            at += 1 + data[at]
        at += 1
        blocks -= 1
        if blocks <= 0:
            raise _too_many(f"the GIF has more than {PARTS + len(data) // 64} blocks")
    return False


def _palette(flags: int) -> int:
    """Bytes of a colour table, by the flags that announce it."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
