"""Make a smaller variant of a stage-1 model, and measure what it costs.

INT8 is static quantisation in QDQ form: weights a channel, activations a tensor, their ranges
from photos of the user's own (Jacob et al., 2018, §2–3; onnxruntime.quantization). FP16 is for
GPUs, most of which compute in it twice as fast; no photos are needed for it, only to measure.
Needs the onnx package.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import coarse, image_io, models
from pipeline.errors import ImageError, ModelError, ModelInvalid, SettingsError, quoted
from pipeline.models import kernels, own, store
from pipeline.models.catalogue import CoarseModel

KINDS = ("int8", "fp16")
CALIBRATION = 128  # photos at most: more changed nothing that could be measured
MEASURED = 32  # photos at most that are kept back to measure with
_REPEATS = 5
_CPU = ("CPUExecutionProvider",)


@dataclass(frozen=True)
class Report:
    """What a variant is, measured on photos that it was not calibrated with."""

    name: str
    path: Path
    bytes_before: int
    bytes_after: int
    seconds_before: float  # of one call on the CPU, median
    seconds_after: float
    difference: float  # mean absolute difference of both maps, in grey levels of 255
    worst: float  # the same, of the photo where it is largest
    calibrated: int  # number of photos
    measured: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {store.megabytes(self.bytes_before)} to "
            f"{store.megabytes(self.bytes_after)} "
            f"({self.bytes_before / self.bytes_after:.1f} times smaller); "
            f"{1000 * self.seconds_before:.0f} to {1000 * self.seconds_after:.0f} ms on the CPU "
            f"({self.seconds_before / self.seconds_after:.2f} times as fast); the map differs by "
            f"{self.difference:.2f} grey levels, at worst {self.worst:.2f} "
            f"(calibrated with {self.calibrated} photos, measured on {self.measured} others)"
        )


def quantize(name: str, photos: Sequence[Path], kind: str = "int8") -> Report:
    """Make the variant ``NAME-int8`` or ``NAME-fp16`` of a stage-1 model and take it in.

    Parameters
    ----------
    name
        A catalogue name or the path of an ONNX file.
    photos
        Pictures of the kind that will be cut out. Every fourth is kept back to measure with.
    kind
        "int8" or "fp16".

    Raises
    ------
    SettingsError
        When ``kind`` is neither, there are too few photos, or the variant exists already.
    pipeline.errors.ModelError
        When the model is missing or cannot be converted, or the onnx package is not installed.
    """
    if kind not in KINDS:
        raise SettingsError(f"a model becomes one of {', '.join(KINDS)}, not {quoted(kind)}")
    held_back, used = photos[::4][:MEASURED], [p for i, p in enumerate(photos) if i % 4]
    if not used:
        raise SettingsError(
            f"calibration needs at least two photos (one to measure with), not {len(photos)}; "
            "some dozens of the kind that will be cut out are better"
        )
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ModelError("this needs the onnx package: pip install 'wispcut[models]'") from error
    card = models.coarse_model(name)
    if card.decoder:
        raise ModelInvalid(f"{name} is in two files, and stays as it is")
    if card.fp32_variant:
        card = models.COARSE[card.fp32_variant]
    before, card = models.open_coarse(card, _CPU, 0)
    variant = f"{card.path.stem if name.endswith('.onnx') else name}-{kind}"
    if store.model_path(variant).exists():
        raise SettingsError(f"{variant} exists already: `wisp models remove {variant}` first")

    with tempfile.TemporaryDirectory(prefix="wisp-") as folder:
        file = Path(folder) / f"{variant}.onnx"
        try:
            if kind == "int8":
                used = used[:CALIBRATION]
                photos_read = _read(used, card.path.name)
                write_int8(card.path, file, (coarse.feed(p, card) for p in photos_read))
            else:
                used = []
                _fp16(card.path, file)
        except (SettingsError, ModelError):
            raise
        except Exception as error:  # of many libraries, for whatever a stranger's file holds
            raise ModelInvalid(f"{card.path} cannot be converted: {error}") from error
        after, converted = models.open_coarse(replace(card, path=file), _CPU, 0)
        report = _measure(
            (before, card), (after, converted), _read(held_back, "measuring"), len(used)
        )
        purpose = f"{kind.upper()} variant of {name}"
        own.register(file, variant, own.like(name), card.licence, card.source, purpose)
    return Report(variant, store.model_path(variant), *report)


def _read(photos: Iterable[Path], what: str) -> Iterable[NDArray[np.uint8]]:
    """Read photos one by one, passing by what is none, with a bar on a terminal."""
    from tqdm import tqdm

    for path in tqdm(photos, what, unit="photo", disable=not sys.stderr.isatty()):
        try:
            yield image_io.read(path).image
        except ImageError:
            continue


def write_int8(source: Path, target: Path, feeds: Iterable[dict[str, NDArray[np.float32]]]) -> None:
    """Write the INT8 variant of an ONNX network: the one recipe, for own and bundled models.

    Static, QDQ, weights a channel in 7 bits, activations a tensor in 8. A processor without VNNI
    adds pairs of products in 16 bits, which overflow with weights of 8 bits (onnxruntime's
    ``reduce_range``); so the file answers alike on all of them. Ranges are the extremes seen: the
    other ways of calibration keep all activations of all photos in memory, tens of gigabytes.
    What makes the maps (:func:`_heads`) stays float.

    Parameters
    ----------
    source, target
        The FP32 file, and the file to write.
    feeds
        What it is calibrated with, each as the network is fed in use: its inputs by name,
        (1, C, H, W) float32. Read one by one. Only photos that nothing is measured with.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(feeds)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.rest, None)

    with tempfile.TemporaryDirectory(prefix="wisp-") as folder:
        ready = Path(folder) / "ready.onnx"
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        model = onnx.load(str(ready))
        for number, node in enumerate(model.graph.node):  # what is left out is named; not all are
            node.name = f"{number} {node.name}"
        kernels.widen(model)
        onnx.save(model, str(ready))
        quantize_static(
            str(ready),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            nodes_to_exclude=_heads(model.graph),
        )
    model = onnx.load(str(target))
    kernels.fill(model)
    onnx.save(model, str(target))


def _heads(graph: Any) -> list[str]:
    """Name what makes the maps: convolutions to one channel, and sigmoids.

    They stay as they are: they cost little, and each error of theirs is one of the map.
    """
    widths = {tensor.name: tensor.dims[0] for tensor in graph.initializer if tensor.dims}
    return [
        node.name
        for node in graph.node
        if node.op_type == "Sigmoid" or (node.op_type == "Conv" and widths.get(node.input[1]) == 1)
    ]


def _fp16(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True), str(target))


def _measure(
    before: tuple[models.Session, CoarseModel],
    after: tuple[models.Session, CoarseModel],
    photos: Iterable[NDArray[np.uint8]],
    calibrated: int,
) -> tuple[int, int, float, float, float, float, int, int]:
    """Compare two models: the fields of :class:`Report` from ``bytes_before`` on."""
    differences, photo = [], None
    for photo in photos:
        maps = [coarse.predict(*model, photo) for model in (before, after)]
        differences.append(255 * float(np.abs(maps[0] - maps[1]).mean()))
    if photo is None:
        raise SettingsError("none of the photos that are kept back to measure with can be read")
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_REPEATS):  # by turns, so that whatever else runs here slows both
        for (session, card), spent in zip((before, after), times, strict=True):
            inputs = coarse.feed(photo, card)
            start = time.perf_counter()
            session.run([card.output], inputs)
            spent.append(time.perf_counter() - start)
    sizes = [card.path.stat().st_size for _, card in (before, after)]
    return (
        sizes[0],
        sizes[1],
        float(np.median(times[0])),
        float(np.median(times[1])),
        float(np.mean(differences)),
        float(np.max(differences)),
        calibrated,
        len(differences),
    )
