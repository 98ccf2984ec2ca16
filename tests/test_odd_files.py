"""Some hundreds of odd and broken pictures, one batch, no traceback."""

import io
import itertools
import json
import os
import random
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline import cli
from pipeline.cli import run as cut_command
from tests import networks
from tests.conftest import fake_cutout
from tests.test_image_io import icc, png, tiff

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")


def picture(mode: str, width: int = 24, height: int = 18) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x * 10 % 256, y * 14 % 256, (x * y) % 256], -1).astype(np.uint8)
    image = Image.fromarray(rgb)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "LAB":
        return Image.merge("LAB", image.split())
    if mode == "PA":
        return image.convert("P").convert("PA")
    return image.convert(mode)


def save(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def fill(folder: Path) -> tuple[int, int]:
    """Make the files; return how many there are, and how many of them a cutout must come of."""
    rng = random.Random(0)
    made: dict[str, bytes] = {}
    whole: set[str] = set()

    def good(name: str, data: bytes) -> None:
        made[name] = data
        whole.add(name)

    for mode, format in itertools.product(MODES, FORMATS):
        try:
            data = save(picture(mode), format)
            Image.open(io.BytesIO(data)).load()
        except (OSError, ValueError):
            continue  # that format has no such mode, or this Pillow writes it wrong
        good(f"modes/{mode}.{format.lower()}".replace(";", "_"), data)
    for size in ((1, 1), (1, 5000), (5000, 1), (2, 2), (3000, 3), (129, 127)):
        good(f"sizes/{size[0]}x{size[1]}.png", save(picture("RGB", *size), "PNG"))
        good(f"sizes/{size[0]}x{size[1]}.jpg", save(picture("L", *size), "JPEG"))
    for orientation, format in itertools.product(range(10), ("JPEG", "PNG", "TIFF", "WEBP")):
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = f"orientation/{orientation}.{format.lower()}"
        good(name, save(picture("RGB"), format, exif=exif))
    profiles = {"swapped": icc(b"RGB ", 1.0, "bgr"), "grey": icc(b"GRAY", 2.2), "junk": b"junk"}
    for name, profile in profiles.items():
        for mode, format in itertools.product(("L", "RGB", "CMYK"), ("JPEG", "TIFF")):
            data = save(picture(mode), format, icc_profile=profile)
            good(f"profiles/{name}-{mode}.{format.lower()}", data)
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "lime")]
    for format in ("GIF", "PNG", "WEBP", "TIFF", "AVIF"):
        data = save(frames[0], format, save_all=True, append_images=frames[1:])
        good(f"animated/a.{format.lower()}", data)
        for part in (0.3, 0.6, 0.95):
            made[f"animated/{part}.{format.lower()}"] = data[: int(len(data) * part)]
    values = np.array([[np.nan, np.inf, -np.inf, 1e38, -5, 0.5]], np.float32)
    good("deep/nan.tiff", save(Image.fromarray(values), "TIFF"))
    good("deep/12.tiff", tiff(4, 1, 12, bytes(6)))
    for key in (0, 128, bytes(range(0, 256, 16))):
        good(f"palette/{key!r:.6}.png", save(picture("P"), "PNG", transparency=key))

    for format in FORMATS:
        data = save(picture("RGB", 64, 48), format)
        ending = format.lower()
        for cut in (1, 4, 8, 13, 30, 60, len(data) // 3, len(data) // 2, len(data) - 20):
            made[f"truncated/{cut}.{ending}"] = data[:cut]
        for number in range(16):
            bits = bytearray(data)
            for _ in range(1 + number % 4):
                bits[rng.randrange(len(bits))] ^= 1 << rng.randrange(8)
            made[f"flipped/{number}.{ending}"] = bytes(bits)
        for number in range(3):
            made[f"junk/{number}.{ending}"] = data[:16] + rng.randbytes(400)
        good(f"tail/{ending}.{ending}", data + b"and something behind it")
        good(f"mislabelled/{ending}.{'png' if ending != 'png' else 'jpg'}", data)
        made[f"empty/a.{ending}"] = b""
        made[f"text/a.{ending}"] = b"404 not found"
        made[f"zeros/a.{ending}"] = bytes(1000)
    huge = struct.pack(">IIBBBBB", 30000, 30000, 8, 6, 0, 0, 0)
    made["bombs/header.png"] = png(2**31 - 1, 2**31 - 1)
    made["bombs/square.png"] = png(60000, 60000, (b"IDAT", zlib.compress(bytes(10**6))))
    made["bombs/short.png"] = png(9000, 9000, (b"IDAT", zlib.compress(bytes(10**6))))
    made["bombs/chunk.png"] = png(9, 9, (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7))))
    made["bombs/profile.png"] = png(9, 9, (b"iCCP", b"a\0\0" + zlib.compress(bytes(10**7))))
    made["bombs/twice.png"] = png(4, 4, (b"IHDR", huge))
    made["bombs/strip.tiff"] = tiff(60000, 60000, 8, b"")
    made["bombs/rows.tiff"] = tiff(9, 9, 8, bytes(9), (278, 0))
    made["bombs/screen.gif"] = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";"
    made["bombs/size.bmp"] = (
        b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 2**30, -(2**31), 1, 24, 0)
    )
    made["bombs/plain.webp"] = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6
    made["not/a.png"] = b"%PDF-1.4"
    made["not/b.jpg"] = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    made["not/c.avif"] = b"\0\0\0\x20ftypisom" + bytes(20)

    for name, data in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "folder.png").mkdir()
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere.png").symlink_to(folder / "none")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.png")
    return len(made), len(whole)


@pytest.mark.parametrize("real", [False, True], ids=["fake", "real"])
def test_a_folder_of_odd_and_broken_pictures(tmp_path, monkeypatch, capfd, real):
    total, whole = fill(tmp_path / "in")
    assert total > 400
    arguments = ["cut", f"{tmp_path}/in", "-o", f"{tmp_path}/out", "--jobs", "2"]
    arguments += ["--report", f"{tmp_path}/report.json"]
    if real:
        coarse = networks.stage1(tmp_path / "coarse.onnx")
        refiner = networks.stage2(tmp_path / "refiner.onnx")
        arguments += ["--model", str(coarse), "--refiner", str(refiner)]
    else:
        stand_in = SimpleNamespace(cut=fake_cutout)
        monkeypatch.setattr(cut_command, "Cutout", lambda settings, for_masks: stand_in)
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
    output = capfd.readouterr()
    assert output.out == output.err == ""  # nor does any library speak up

    lines = result.stderr.splitlines()
    assert len(lines) == total + 1  # one line each, and the summary
    report = json.loads((tmp_path / "report.json").read_text())
    files = {entry["input"][len(f"{tmp_path}/in/") :]: entry for entry in report["files"]}
    assert len(files) == total
    for name, entry in files.items():
        assert "unexpected" not in (entry["error"] or ""), (name, entry["error"])
        assert (entry["status"] == "done") == Path(entry["output"]).is_file(), name
        assert entry["status"] == "done" or len(entry["error"]) < 250, name
    done = {name for name, entry in files.items() if entry["status"] == "done"}
    good = ("modes", "sizes", "orientation", "profiles", "deep", "palette", "tail", "mislabelled")
    failed = {name for name in files if name.startswith(good)} - done
    assert not failed, {name: files[name]["error"] for name in failed}
    assert len(done) >= whole
    bad = ("empty", "text", "zeros", "not", "junk")
    assert not {name for name in done if name.startswith(bad)} - {
        "junk/0.bmp",
        "junk/1.bmp",
        "junk/2.bmp",
    }
    assert "megapixels" in files["bombs/square.png"]["error"]
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or Image.open(path).mode == "RGBA", path  # whole, and no leftovers
