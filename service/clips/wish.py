"""What is to become of a clip."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import Output
from pipeline.output import paint
from service.errors import BadRequest

#: Containers, and what each is to a browser.
MEDIA = {
    "webm": "video/webm",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "mp4": "video/mp4",
    "webp": "image/webp",
    "apng": "image/apng",
    "gif": "image/gif",
}
_OPAQUE = "mp4"  # the one that holds no alpha


@dataclass(frozen=True)
class Wish:
    """How a clip is cut out and written: the fields of an :class:`pipeline.Output` that a clip has,
    with the background as text, and those of ``wisp video``."""

    format: str = "webm"
    background: str = "transparent"
    fit: str = "fill"
    linear: bool = False
    only_mask: bool = False
    model: str = ""
    refine: bool = True
    steady: bool = True

    def check(self, behind: bool) -> None:
        """Refuse what cannot be, before the clip is looked at. ``behind``: a file is to lie there.

        Raises :class:`BadRequest`, or :class:`pipeline.SettingsError`.
        """
        if self.format not in MEDIA:
            raise BadRequest(f"format must be one of {', '.join(MEDIA)}", code="invalid_format")
        painted = paint(self.background)
        if behind and painted is not None:
            raise BadRequest("background and background_file: give one of the two")
        if isinstance(painted, tuple) and len(painted) == 4:
            raise BadRequest("a clip's background is opaque: give a colour, or none at all")
        layer = (0, 0, 0) if behind else painted
        Output(background=layer, fit=self.fit, linear=self.linear, only_mask=self.only_mask)
        if self.format == _OPAQUE and layer is None and not self.only_mask:
            raise BadRequest(
                "mp4 holds no transparency: give a background, or another format",
                code="invalid_format",
            )
