"""The methods that are compared, behind one small protocol, and the table of them.

A method is asked for by a :class:`Spec`, which is data: it can be written on a command line, sent
to another process and put into a cache key. A method imports its packages when it is built, so that
a missing extra is met and named there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.methods import classic, external, rembg, wisp
from eval.methods.protocol import Input, Kind, Method, MethodError, Options, Outside
from pipeline.errors import quoted

__all__ = [
    "KINDS",
    "Input",
    "Method",
    "MethodError",
    "Outside",
    "Spec",
    "as_rgba",
    "build",
    "distinct",
    "parse",
]

#: The table of methods.
KINDS: dict[str, Kind] = {**wisp.KINDS, **rembg.KINDS, **classic.KINDS, **external.KINDS}


@dataclass(frozen=True)
class Spec:
    """A method as asked for: its kind, its options, and its name in the report."""

    kind: str
    options: tuple[tuple[str, str], ...] = ()
    label: str = ""

    def option(self, name: str, default: str = "") -> str:
        return dict(self.options).get(name, default)


def parse(text: str, defaults: Options | None = None) -> list[Spec]:
    """Read a list of methods.

    Methods are separated by commas, a method's options follow a colon, and are separated by commas
    too: a piece ``key=value`` belongs to the method before it. ``as=NAME`` names it in the report.

    Parameters
    ----------
    text
        Such as ``coarse,wisp:refiner=a.onnx,as=long run,rembg``.
    defaults
        Options for every method that takes them and does not say otherwise.

    Raises
    ------
    MethodError
        For an unknown method or option, or two methods of one name.

    >>> [spec.label for spec in parse("coarse, wisp:refine=off,as=half")]
    ['coarse', 'half']
    >>> parse("wisp:refine=off")[0].label
    'wisp (refine=off)'
    """
    specs: list[tuple[str, dict[str, str]]] = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        name, colon, rest = piece.partition(":")
        if not colon and "=" in piece:
            name, rest = "", piece
        if name:
            if name not in KINDS:
                raise MethodError(f"no method {quoted(name)}: there are {', '.join(KINDS)}")
            specs.append((name, {}))
        if rest:
            key, equals, value = rest.partition("=")
            if not equals or not specs:
                raise MethodError(f"{quoted(piece)} is not METHOD:key=value")
            specs[-1][1][key.strip()] = value.strip()
    return distinct([_spec(name, options, defaults or {}) for name, options in specs])


def distinct(specs: list[Spec]) -> list[Spec]:
    """Return the list itself. Raises :class:`MethodError` where two have one label."""
    labels = [spec.label for spec in specs]
    for label in labels:
        if labels.count(label) > 1:
            raise MethodError(f"two methods are called {quoted(label)}: name one with as=NAME")
    return specs


def _spec(name: str, options: dict[str, str], defaults: Options) -> Spec:
    allowed = KINDS[name].options
    label = options.pop("as", "")
    for key in options:
        if key not in allowed:
            takes = ", ".join(allowed) or "no options"
            raise MethodError(f"{name} takes no {quoted(key)}: it takes {takes}")
    if not label:  # of a path, the file's name says enough
        shown = ", ".join(
            f"{k}={v.replace(chr(92), '/').split('/')[-1]}" for k, v in options.items()
        )
        label = f"{name} ({shown})" if shown else name
    chosen = {key: defaults[key] for key in allowed if key in defaults} | options
    return Spec(name, tuple(sorted(chosen.items())), label)


def build(spec: Spec) -> Method:
    """Make a method ready to run.

    Raises :class:`MethodError` naming what to install where a package is missing.
    """
    kind = KINDS[spec.kind]
    try:
        return kind.build(dict(spec.options))
    except ImportError as error:
        how = f"; install wispcut[{kind.extra}]" if kind.extra else ""
        raise MethodError(f"{error}{how}") from error


def as_rgba(image: NDArray[np.uint8], answer: Any) -> NDArray[np.uint8]:
    """Bring an answer to (H, W, 4) uint8 straight RGBA.

    Raises :class:`MethodError` where its size is not the photo's, or a value is not finite.
    """
    pixels = np.asarray(answer)
    if pixels.shape[:2] != image.shape[:2] or pixels.shape[2:] not in ((), (4,)):
        raise MethodError(f"the answer has the shape {pixels.shape}, the photo {image.shape}")
    if pixels.ndim == 3:
        if pixels.dtype != np.uint8:
            raise MethodError(f"an RGBA answer must be uint8, not {pixels.dtype}")
        return pixels
    if not np.isfinite(pixels).all():
        raise MethodError("the answer has values that are not finite")
    alpha = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return np.dstack([image, alpha])
