"""How a model is found by its name or path, and how it is opened.

A file that is not in the catalogue is taken for a U²-Net, and checked when it is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from pipeline.errors import ModelInvalid, ModelMissing
from pipeline.models import own, store
from pipeline.models.catalogue import (
    COARSE,
    CONFIDENT,
    PUBLIC,
    REFINERS,
    WEIGHTS,
    CoarseModel,
    RefinerModel,
)
from pipeline.models.providers import open_session
from pipeline.models.store import checksum

if TYPE_CHECKING:
    import onnxruntime

Card = TypeVar("Card", CoarseModel, RefinerModel)

__all__ = [
    "COARSE",
    "PUBLIC",
    "REFINERS",
    "WEIGHTS",
    "CoarseModel",
    "Refiner",
    "RefinerModel",
    "Session",
    "checksum",
    "coarse_model",
    "open_coarse",
    "open_refiner",
    "refiner_model",
]


class Session(Protocol):
    """What a stage needs of a network: the one method of ``onnxruntime.InferenceSession``."""

    def run(self, outputs: Sequence[str], inputs: dict[str, Any]) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Refiner:
    """Stage 2, opened: Pix2PixHD's two generators, or one that serves as both."""

    session: Session
    has_both: bool = False

    @property
    def local_generator(self) -> Session:
        """Redraws a patch at full size."""
        return _Generator(self.session, is_global=False) if self.has_both else self.session

    @property
    def global_generator(self) -> Session:
        """Corrects the mask in the reduced photo."""
        return _Generator(self.session, is_global=True) if self.has_both else self.session


@dataclass(frozen=True)
class _Generator:
    """One of the two generators of a file, chosen by its input ``afar``."""

    session: Session
    is_global: bool

    def run(self, outputs: Sequence[str], inputs: dict[str, Any]) -> Sequence[Any]:
        return self.session.run(outputs, {**inputs, "afar": np.array(self.is_global)})


def coarse_model(name: str, quiet: bool = False) -> CoarseModel:
    """Look a stage-1 model up by name (bundled, public, or imported) or path of an ONNX file.

    A public model that is not on this machine yet is downloaded, and that is said on standard
    error unless ``quiet``.

    Raises :class:`ModelMissing` where there is no such model, :class:`pipeline.errors.ModelError`
    where it cannot be fetched, :class:`ModelInvalid` where its file is not the published one.
    """
    if name in COARSE:
        return COARSE[name]
    if name in PUBLIC:
        return replace(PUBLIC[name], path=store.ensure(name, quiet))
    mine = own.imported(CoarseModel)
    if name in mine:
        return mine[name]
    path = _file(name, [*COARSE, *PUBLIC, *mine])
    known = store.recognise(path)
    if known:
        return replace(PUBLIC[known], path=path)
    return CoarseModel(path, "unknown", name, "", output_range=CONFIDENT)


def refiner_model(name: str) -> RefinerModel:
    """Look a stage-2 model up by name (bundled or imported) or path of an ONNX file.

    Raises :class:`ModelMissing` where there is neither.
    """
    if name in REFINERS:
        return REFINERS[name]
    mine = own.imported(RefinerModel)
    if name in mine:
        return mine[name]
    return RefinerModel(_file(name, [*REFINERS, *mine]), "unknown", name, "")


def _file(name: str, known: Any) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path
    names = ", ".join(sorted(known))
    raise ModelMissing(f"no model {name!r}: give a path to an .onnx file, or one of {names}")


def open_coarse(
    card: CoarseModel, providers: Sequence[str], threads: int
) -> tuple[Session, CoarseModel]:
    """Open a stage-1 network; one in 8 bits only on a CPU, elsewhere the same in 32 bits.

    Returns the session and the card with input, output and size as the file itself has them.
    Raises :class:`ModelInvalid` where the file is not U²-Net-shaped: one input (N, 3, H, W), and
    first an output (N, 1, H, W) (the fused map; side outputs may follow);
    :class:`pipeline.errors.ProviderMissing` where an accelerator is not there.
    """
    card = _fitting(card, COARSE, providers)
    session = _open(card.path, providers, threads)
    entry, *more = session.get_inputs()
    result = session.get_outputs()[0]
    shape, out = list(entry.shape), list(result.shape)
    if more or len(shape) != 4 or shape[1] != 3:
        raise ModelInvalid(
            f"{card.path}: stage 1 needs one input of shape (N, 3, H, W); "
            f"this network has {[(i.name, i.shape) for i in session.get_inputs()]}"
        )
    # Exporters leave a spatial size, and often the channel too, as a name where it may vary.
    if len(out) != 4 or (isinstance(out[1], int) and out[1] != 1):
        raise ModelInvalid(
            f"{card.path}: the first output of stage 1 must be (N, 1, H, W), not {out}"
        )
    if entry.type != "tensor(float)":
        raise ModelInvalid(f"{card.path}: stage 1 needs a float32 input, not {entry.type}")
    fixed = [side for side in shape[2:] if isinstance(side, int)]
    height, width = (
        side if isinstance(side, int) else asked
        for side, asked in zip(shape[2:], card.size, strict=True)
    )
    return session, replace(
        card,
        input=entry.name,
        output=result.name,
        size=(height, width),
        multiple=0 if fixed else card.multiple,
    )


def open_refiner(card: RefinerModel, providers: Sequence[str], threads: int) -> Refiner:
    """Open a stage-2 network; one in 8 bits only on a CPU, elsewhere the same in 32 bits.

    Raises :class:`ModelInvalid` unless ``patches`` and ``refined`` are float32 (N, 4, 128, 128)
    with N free. A second input, the truth value ``afar``, tells a file of two generators which of
    them is asked.
    """
    card = _fitting(card, REFINERS, providers)
    # The fit to the photo's colours divides small differences of large means.
    session = _open(card.path, providers, threads, allow_fp16=False)
    first, *more = session.get_inputs()
    ends = [first, *session.get_outputs()]
    found = [(end.name, end.shape, end.type) for end in [*ends, *more]]
    two = [(end.name, list(end.shape), end.type) for end in more] == [("afar", [], "tensor(bool)")]
    good = [end.name for end in ends] == ["patches", "refined"] and all(
        list(end.shape[1:]) == [4, 128, 128]
        and not isinstance(end.shape[0], int)
        and end.type == "tensor(float)"
        for end in ends
    )
    if not good or (more and not two):
        raise ModelInvalid(
            f"{card.path}: stage 2 needs float32 'patches' in and 'refined' out, each "
            f"(N, 4, 128, 128) with N free, and at most a bool 'afar' in; this network has {found}"
        )
    return Refiner(session, two)


def _fitting(card: Card, bundled: dict[str, Card], providers: Sequence[str]) -> Card:
    """The same network in 32 bits, where there is one, for another device than a CPU."""
    if card.fp32_variant and providers[0] != "CPUExecutionProvider":
        return bundled[card.fp32_variant]
    return card


def _open(
    path: Path, providers: Sequence[str], threads: int, allow_fp16: bool = True
) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise ModelMissing(f"the model file {path} is not there: reinstall wisp, or give a path")
    return open_session(path, providers, threads, allow_fp16)
