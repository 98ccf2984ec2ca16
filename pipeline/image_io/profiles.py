"""Colour spaces that a file names otherwise than by a profile, made into profiles.

Cameras say Adobe RGB by two letters of EXIF (DCF 2.0, section 4.5), PNG by gAMA, cHRM and cICP
(PNG 3rd edition, sections 11.3.2). A small ICC profile says the same to what converts colours.
"""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image

Primaries = tuple[float, ...]  # red, green, blue, white: x and y of each

_D65 = (0.3127, 0.3290)
_SRGB: Primaries = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65)
_ADOBE: Primaries = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65)
# ITU-T H.273, tables 2 and 3; a gamma of 0 stands for sRGB's curve.
_CICP_PRIMARIES: dict[int, Primaries] = {
    1: _SRGB,
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
}
_CICP_GAMMA = {1: 0.0, 4: 2.2, 5: 2.8, 6: 0.0, 8: 1.0, 13: 0.0, 14: 0.0, 15: 0.0}
_ADOBE_GAMMA = 563 / 256
# Bradford's cone responses, and the white of all profiles.
_CONES = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


def declared(image: Image.Image, data: bytes, notes: list[str]) -> bytes:
    """Return a profile for what an image says of its colours; nothing where that is sRGB.

    Parameters
    ----------
    image
        As Pillow opened it, without a profile of its own.
    data
        The file, where it is a PNG; else nothing.
    notes
        Where what cannot be followed is said.
    """
    info = image.info
    grey = image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")
    if image.format == "PNG":
        if code := _cicp(data):
            primaries, curve = _CICP_PRIMARIES.get(code[0]), _CICP_GAMMA.get(code[1])
            if primaries is None or curve is None:
                notes.append("the colours are HDR or of a rare space: taken for sRGB")
                return b""
            return b"" if (primaries, curve) == (_SRGB, 0.0) else profile(curve, primaries, grey)
        gamma = 1 / float(info.get("gamma") or 1 / 2.2)
        if "srgb" in info or not 0.2 < gamma < 10:
            return b""
        white_first = info.get("chromaticity") or (*_D65, *_SRGB[:6])
        primaries = (*white_first[2:], *white_first[:2])
        usual = max(abs(a - b) for a, b in zip(primaries, _SRGB, strict=True)) < 0.005
        # As libpng has it, a gamma within a twentieth of 2.2 is sRGB's own.
        if abs(gamma / 2.2 - 1) < 0.05:
            if usual or grey:
                return b""
            gamma = 0.0
        try:
            with np.errstate(all="raise"):
                return profile(gamma, primaries, grey)
        except (ArithmeticError, ValueError, struct.error, np.linalg.LinAlgError):
            notes.append("the colours' primaries are none: taken for sRGB")
            return b""
    return profile(_ADOBE_GAMMA, _ADOBE) if not grey and _says_adobe(image) else b""


def _cicp(data: bytes) -> bytes:
    """The four bytes of a PNG's cICP chunk, which comes before the pixels; or nothing."""
    place = data.find(b"\0\0\0\4cICP", 0, 100_000)
    pixels = data.find(b"IDAT", 0, 100_000)
    return data[place + 8 : place + 12] if place >= 0 and not 0 <= pixels < place else b""


def _says_adobe(image: Image.Image) -> bool:
    try:
        exif = image.getexif()
        space = exif.get_ifd(0x8769).get(0xA001)
        index = exif.get_ifd(0xA005).get(1, "")
    except Exception:  # Pillow raises nearly anything on broken metadata
        return False
    return space != 1 and (space == 2 or str(index).startswith("R03"))


def profile(gamma: float, primaries: Primaries, grey: bool = False) -> bytes:
    """Make an ICC profile (version 2, matrix and curve) of a gamma; 0 stands for sRGB's curve."""
    curve = _curve(gamma)
    tags = {b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50)}
    if grey:
        tags[b"kTRC"] = curve
    else:
        for name, column in zip(b"rgb", _to_d50(primaries).T, strict=True):
            tags[bytes([name]) + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(*column)
            tags[bytes([name]) + b"TRC"] = curve
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        place = 132 + 12 * len(tags) + len(body)
        table += tag + struct.pack(">II", place, len(content))
        body += content
    space = b"GRAY" if grey else b"RGB "
    header = bytes(4) + struct.pack(">I", 0x02400000) + b"mntr" + space + b"XYZ "
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += _fixed(*_D50) + bytes(48)
    return struct.pack(">I", 128 + len(table) + len(body)) + header + table + body


def _curve(gamma: float) -> bytes:
    if gamma:
        # As a table: a single number has eight bits behind the point.
        values = np.linspace(0, 1, 1024) ** gamma
    else:
        steps = np.linspace(0, 1, 1024)
        values = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    return b"curv" + struct.pack(">II", 0, 1024) + np.rint(values * 65535).astype(">u2").tobytes()


def _to_d50(primaries: Primaries) -> np.ndarray:
    """The matrix from linear RGB to XYZ, adapted to the white of profiles."""
    x, y = np.array(primaries[::2]), np.array(primaries[1::2])
    xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    matrix = xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3])
    scale = (_CONES @ _D50) / (_CONES @ xyz[:, 3])
    return np.asarray(np.linalg.inv(_CONES) @ np.diag(scale) @ _CONES @ matrix)


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))
