"""Requests made up from the OpenAPI document: never a fault, always as documented."""

import pytest

pytest.importorskip("schemathesis", reason="needs pip install schemathesis")

import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.service.live import live

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
OPERATIONS = [
    ("POST", "/api/remove-background"),
    ("POST", "/api/matting"),
    ("POST", "/api/coarse"),
    ("GET", "/api/models"),
    ("POST", "/api/video"),
    ("GET", "/api/video/{name}"),
    ("GET", "/api/video/{name}/file"),
    ("DELETE", "/api/video/{name}"),
    ("GET", "/api/remove"),
    ("POST", "/api/remove"),
    ("GET", "/results/{name}"),
    ("POST", "/v1.0/removebg"),
    ("GET", "/v1.0/account"),
    ("POST", "/v1/segment"),
    ("GET", "/v1/account"),
    ("GET", "/v2/edit"),
    ("POST", "/v2/edit"),
    ("GET", "/v2/account"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
]


@pytest.fixture(scope="module")
def document(nets, tmp_path_factory):
    data = tmp_path_factory.mktemp("openapi") / "data"
    with live(nets, data, "--no-web", fetch="off") as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_fault_and_as_documented(document, method, path):

    @given(document[path][method].as_strategy())
    @hypothesis_settings(
        max_examples=15,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def ask(case):
        case.validate_response(case.call(), checks=CHECKS)

    ask()


def test_the_document_names_every_face(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {(m.upper(), path) for path in paths for m in paths[path]} == set(OPERATIONS)
    assert client.get("/docs").status_code == 200
