"""A service with tiny networks, made at test time.

Needs ``pip install 'wispcut[serve]'``, which is part of ``wispcut[test]``.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from skimage import data

from service.app import create_app
from service.settings import ServiceSettings
from tests import networks

#: What the page's options begin with, from the ninth on.
MORE: list[Any] = ["#c8d0d8", "fill", 0, "original", 0, "", "", 0, *[False] * 6]


@pytest.fixture(scope="session", autouse=True)
def no_models_of_the_users(tmp_path_factory):
    """What lies in the home of whoever runs the tests is no part of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WISP_HOME", "U2NET_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def nets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    networks.stage1(folder / "tiny.onnx", gain=3.0)
    networks.constant_stage1(folder / "nothing.onnx", 0.02)
    networks.stage2(folder / "identity.onnx")
    return folder


@pytest.fixture(scope="session")
def base(nets) -> ServiceSettings:
    """Settings without the page; ``data`` is for each test to give."""
    return ServiceSettings(
        model=str(nets / "tiny.onnx"),
        refiner=str(nets / "identity.onnx"),
        threads=1,
        web=False,
        cache="off",
        hosts=("testserver",),  # what the test client calls it
    )


@pytest.fixture
def settings(base, tmp_path) -> ServiceSettings:
    return base.model_copy(update={"data": tmp_path / "data"})


@pytest.fixture
def serve(settings):
    """Start a service with other settings: ``client = serve(queue=0)``."""
    open_clients = []

    def start(fetch_options=None, **changes) -> TestClient:
        app = create_app(settings.model_copy(update=changes), **(fetch_options or {}))
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        open_clients.append(client)
        return client

    yield start
    for client in open_clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def client(base, tmp_path_factory):
    """One service for all tests of a module that change nothing in it."""
    app = create_app(base.model_copy(update={"data": tmp_path_factory.mktemp("data")}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def encoded(image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def streamed(body: bytes) -> httpx.Response:
    """A site's answer whose body is yet to be streamed."""

    async def stream():
        yield body

    return httpx.Response(200, content=stream())


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.fixture(scope="session")
def photo() -> bytes:
    """The astronaut, 512×512, as JPEG."""
    return encoded(data.astronaut())


@pytest.fixture(scope="module")
def scene() -> bytes:
    """A white box on black: left 100, top 60, 120×80, in 300×200."""
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[60:140, 100:220] = 255
    return encoded(pixels, "PNG")


@pytest.fixture
def service(serve, nets):
    """A service that finds the box of ``scene``."""
    return serve(model=str(networks.stage1(nets / "box.onnx", gain=40.0, offset=-5.0)))
