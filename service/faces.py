"""The faces of the API, by how their paths begin."""

from __future__ import annotations

OURS = "/api/"  # rembg's too
CLIPS = "/api/video"
REMBG = "/api/remove"
REMOVEBG = "/v1.0/"
PHOTOROOM = ("/v1/", "/v2/")

#: What costs work, whatever the method.
WORK = (OURS, REMOVEBG, *PHOTOROOM)
