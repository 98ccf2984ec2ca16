"""What browsers are told of each answer, and that no answer names another site."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from pipeline.errors import SettingsError
from service.app import create_app
from service.settings import ServiceSettings

ELSEWHERE = re.compile(r"(?:src|href|url|import)\s*[=(\"']+\s*[\"']?(?:https?:)?//[^\"')]+")


@pytest.fixture(scope="module")
def page(base, tmp_path_factory):
    pytest.importorskip("gradio", reason="the page needs pip install 'wispcut[serve]'")
    app = create_app(base.model_copy(update={"web": True, "data": tmp_path_factory.mktemp("data")}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def policy(answer) -> dict[str, list[str]]:
    rules = answer.headers["content-security-policy"].split(";")
    return {name: sources for name, *sources in (rule.split() for rule in rules)}


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/docs/start.js", "/config", "/nothing", "/healthz"]
)
def test_no_answer_lets_a_browser_ask_another_site(page, path):
    answer = page.get(path)
    rules = policy(answer)
    assert rules["default-src"] in (["'self'"], ["'none'"])
    assert rules["frame-ancestors"] == ["'none'"] and answer.headers["x-frame-options"] == "DENY"
    for sources in rules.values():
        assert set(sources) <= {
            *("'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:")
        }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_only_the_page_itself_may_run_what_is_written_into_it(page):
    assert "'unsafe-inline'" in policy(page.get("/"))["script-src"]
    assert policy(page.get("/docs"))["script-src"] == ["'self'"]
    for path in ("/openapi.json", "/nothing", "/api/models"):
        assert policy(page.get(path))["default-src"] == ["'none'"]
        assert "script-src" not in policy(page.get(path))


def test_the_documents_page_is_whole_and_ours(page):
    html = page.get("/docs").text
    assert not ELSEWHERE.search(html) and "<script>" not in html
    named = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert len(named) == 4
    for path in named:
        answer = page.get(f"/{path}")
        assert answer.status_code == 200 and len(answer.content) > 100, path
    assert "validatorUrl: null" in page.get("/docs/start.js").text


def test_keys_are_asked_for_the_documents_page_too(serve):
    service = serve(api_keys=("one",))
    for path in ("/docs", "/docs/start.js", "/docs/swagger-ui.css"):
        assert service.get(path).status_code == 401


def test_the_theme_loads_no_font(page):
    assert not ELSEWHERE.search(page.get("/theme.css").text)
    assert "fonts.g" not in page.get("/").text


def test_who_may_show_it_in_a_frame(serve):
    service = serve(frames=("https://shop.example", "https://*.cms.example:8443"))
    answer = service.get("/docs")
    rule = ["'self'", "https://shop.example", "https://*.cms.example:8443"]
    assert policy(answer)["frame-ancestors"] == rule
    assert "x-frame-options" not in answer.headers
    for wrong in ("shop.example", "https://a.example; script-src *", "https://a.example/x"):
        with pytest.raises(SettingsError, match="frames"):
            ServiceSettings(frames=(wrong,))
