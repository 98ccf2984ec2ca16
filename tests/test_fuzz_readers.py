"""The readers under fuzzing: whatever the bytes, a photo within its limits or one clear error."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from pipeline import ImageError, image_io
from pipeline.image_io import structure
from tests.conftest import encoded

LIMIT = 20_000  # pixels
PHOTO = Image.fromarray(data.astronaut()[::16, ::16])
FORMATS: dict[str, list[dict[str, Any]]] = {
    "JPEG": [{}, {"progressive": True}],
    "PNG": [{}, {"pnginfo": None, "icc_profile": b"junk"}],
    "WEBP": [{"lossless": True}, {}],
    "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}],
    "BMP": [{}],
    "GIF": [{"save_all": True, "append_images": [PHOTO.rotate(90)]}],
    "AVIF": [{}],
}
SEEDS = [encoded(PHOTO, name, **options) for name, many in FORMATS.items() for options in many]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A small valid file of any format, with bytes changed, cut, doubled, or of another file."""
    made = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(made) - 1)))
        # Most of what matters is in the first bytes.
        at = draw(st.sampled_from([at, at % 64, at % 256]))
        kind = draw(st.sampled_from(["set", "extreme", "cut", "double", "drop", "splice"]))
        if kind == "set":
            made[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "extreme":
            made[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"]))
        elif kind == "cut":
            del made[at:]
        elif kind == "double":
            made[at:at] = made[at : at + draw(st.integers(1, 400))]
        elif kind == "drop":
            del made[at : at + draw(st.integers(1, 40))]
        else:
            other = draw(st.sampled_from(SEEDS))
            made[at:at] = other[: draw(st.integers(1, 200))]
    return bytes(made)


@settings(
    max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
@given(mutated())
def test_a_photo_within_its_limits_or_one_clear_error(made: bytes) -> None:
    try:
        photo = image_io.read(made, LIMIT, seconds=5.0)
    except ImageError as error:
        assert 0 < len(str(error)) < 300 and "\n" not in str(error)
        return
    height, width, channels = photo.image.shape
    assert channels == 3 and photo.image.dtype == np.uint8 and 0 < height * width <= LIMIT
    if photo.alpha is not None:
        assert photo.alpha.shape == (height, width)
        assert 0 <= photo.alpha.min() <= photo.alpha.max() <= 1
    assert len(photo.exif) <= 65_000 and all(len(note) < 200 for note in photo.notes)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=400), st.sampled_from(sorted(structure.WALKED)))
def test_the_walk_over_any_bytes_ends(made: bytes, kind: str) -> None:
    heads = {"JPEG": b"\xff\xd8", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF89a"}
    for whole in (made, heads[kind] + made):
        assert structure.check(whole, kind) in (True, False)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_seeds_are_whole(seed: bytes) -> None:
    assert image_io.read(seed, LIMIT).image.shape == (32, 32, 3)
