"""Colours that a stranger sends: drawn or refused on every face, and never a fault."""

import pytest

from tests.service.conftest import encoded, opened
from tests.service.test_wisp_api import URL

FACES = {
    "ours": (URL, "file", "background"),
    "removebg": ("/v1.0/removebg", "image_file", "bg_color"),
    "segment": ("/v1/segment", "image_file", "bg_color"),
    "edit": ("/v2/edit", "imageFile", "background.color"),
    "rembg": ("/api/remove", "file", "bgc"),
}
ODD = [
    "rgb(999,0,0)",
    "rgb(256, 256, 256)",
    "rgba(999,999,999,128)",
    "rgba(1,2,3,999)",
    "rgb(1000%,0%,0%)",
    "hsl(99999,999%,50%)",
    "hsv(720,100%,300%)",
    "hsv(0,300%,100%)",  # of which two parts come out below 0
    "999,0,0,255",
    "1" * 5000,
    f"{'1' * 5000},0,0,255",
    "rgb(1.5",
    "rgb(-1,0,0)",
    "#12",
    "²²²",
    "\0",
]


@pytest.mark.parametrize("colour", ODD, ids=lambda text: ascii(text[:24]))
@pytest.mark.parametrize("face", FACES)
def test_an_odd_colour_is_drawn_or_refused(client, photo, face, colour):
    path, file, field = FACES[face]
    small = encoded(opened(photo).resize((32, 32)))
    where = {"params": {field: colour}} if face == "rembg" else {"data": {field: colour}}
    answer = client.post(path, files={file: small}, **where)
    assert answer.status_code in (200, 400, 422), answer.text
