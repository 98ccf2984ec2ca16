"""The log: lines for a person at a terminal, JSON for a program."""

from __future__ import annotations

import io
import json
import logging

import pytest

pytest.importorskip("prometheus_client", reason="needs pip install 'wispcut[serve]'")

from service.monitoring import log_to

REQUEST = {"method": "POST", "route": "/api/remove", "status": 200, "seconds": 0.814}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored():
    loggers = [logging.getLogger(name) for name in ("wisp", "uvicorn.error")]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def said(stream: io.StringIO) -> list[str]:
    log_to(stream)
    logging.getLogger("wisp").info("serving", extra={"wisp": {"url": "http://0.0.0.0:8000"}})
    request = logging.getLogger("wisp.request")
    request.info("request", extra={"wisp": REQUEST})
    request.info("request", extra={"wisp": {**REQUEST, "route": "page"}})
    request.info("request", extra={"wisp": {**REQUEST, "route": "page", "status": 500}})
    logging.getLogger("uvicorn.error").warning("so")
    return stream.getvalue().splitlines()


def test_a_terminal_gets_plain_lines_and_the_address_to_open():
    lines = [line[9:] for line in said(Terminal())]  # without the time
    assert lines == [
        "open http://localhost:8000 (Ctrl-C ends it)",
        "POST /api/remove 200 in 0.81 s",
        "POST page 500 in 0.81 s",
        "warning: so",
    ]


def test_a_pipe_gets_json():
    entries = [json.loads(line) for line in said(io.StringIO())]
    assert len(entries) == 5 and entries[0]["url"] == "http://0.0.0.0:8000"
    assert entries[1]["route"] == "/api/remove" and entries[-1]["level"] == "warning"
