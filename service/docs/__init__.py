"""The API's document in a browser: Swagger UI, whose files are served from here."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

_HERE = Path(__file__).parent
_PACKED = Path(str(resources.files("fastapi_offline"))) / "static"  # Swagger UI, Apache-2.0
_FILES = {
    "start.js": _HERE / "start.js",
    "icon.svg": _HERE.parent / "web" / "icon.svg",
    "swagger-ui.css": _PACKED / "swagger-ui.css",
    "swagger-ui-bundle.js": _PACKED / "swagger-ui-bundle.js",
}

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def page() -> FileResponse:
    """Show the document."""
    return FileResponse(_HERE / "index.html")


def _serve(name: str, path: Path) -> None:
    async def file() -> FileResponse:
        return FileResponse(path)

    router.get(f"/docs/{name}")(file)


for _name, _path in _FILES.items():
    _serve(_name, _path)
