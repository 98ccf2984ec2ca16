"""Measure ONNX networks side by side: ``python -m u2net.evaluate NETWORKS --prepared DIR …``.

On the held-out split, and on scikit-image's bundled photos.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from eval.metrics import mae, s_measure
from pipeline.cli.command import Command
from pipeline.errors import ModelMissing
from u2net import losses, metrics
from u2net.dataset import Prepared, evenly
from u2net.export import network_input
from u2net.network import HINTS
from u2net.settings import SIZE

EXAMPLES = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle")


def open_network(path: Path, threads: int = 2):
    """An onnxruntime session on the CPU. Raises ``ModelMissing``."""
    import onnxruntime

    if not path.is_file():
        raise ModelMissing(f"No network at {path}.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def subject_map(
    session, photo: NDArray[np.uint8], hints: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """d0 of a (320, 320, 3) uint8 photo, (320, 320) float32 in 0..1, unstretched.

    ``hints`` (2, 320, 320) float32 in 0..1 are told to a network that takes them.
    """
    return session.run(["d0"], feed(session, photo[None], hints))[0][0, 0]


def takes_hints(session) -> bool:
    """Tell whether a network can be told what to cut."""
    return len(session.get_inputs()) > 1


def feed(
    session, photos: NDArray[np.uint8], hints: NDArray[np.float32] | None = None
) -> dict[str, NDArray[np.float32]]:
    """What a network is fed for photos (N, 320, 320, 3) uint8, and the same hints for all."""
    fed = {"input": network_input(photos)}
    if takes_hints(session):
        planes = np.zeros((HINTS, SIZE, SIZE), np.float32) if hints is None else hints
        fed["hints"] = np.repeat(planes[None], len(photos), 0)
    return fed


def saturation(prediction: NDArray[np.floating]) -> float:
    """The share of pixels at 0.01 or less, or at 0.99 or more."""
    return float(((prediction <= 0.01) | (prediction >= 0.99)).mean())


def table(networks: dict[str, Path], teacher: Path, held: Prepared, most: int = 0) -> str:
    """A Markdown table: for each held-out source, the teacher and each network.

    ``most`` photos of a source, spread evenly over it; 0 takes them all.

    maxF (beta² 0.3), S-measure and MAE against the truth where there is some; the mean absolute
    difference to the teacher (both unstretched); and the share of saturated pixels.
    """
    groups: dict[str, NDArray[np.intp]] = {}
    for source in np.unique(held.sources):
        inside = np.nonzero(held.sources == source)[0]
        groups[str(source)] = inside[evenly(len(inside), most or len(inside))]
    used = np.concatenate(list(groups.values()))
    groups["all with truth"] = used[held.has_truth[used]]
    maps: dict[str, dict[int, NDArray[np.float32]]] = {}
    for name, path in {"teacher": teacher, **networks}.items():
        session = open_network(path)
        maps[name] = {k: subject_map(session, held.pack[k][..., :3]) for k in used}
    theirs = maps["teacher"]
    lines = [
        "| held-out source | n | network | max F | S-measure | MAE | to teacher | saturated |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for source, chosen in groups.items():
        for name, predictions in maps.items():
            cells = ["–"] * 3
            if len(chosen) and held.has_truth[chosen].all():
                pairs = [(predictions[k], held.pack[k][..., 3] / 255) for k in chosen]
                curves = [metrics.precision_recall(p, t) for p, t in pairs]
                cells = [
                    f"{metrics.max_f_beta(curves):.3f}",
                    f"{np.mean([s_measure(p, t) for p, t in pairs]):.3f}",
                    f"{np.mean([mae(p, t) for p, t in pairs]):.4f}",
                ]
            apart = np.mean([mae(predictions[k], theirs[k]) for k in chosen])
            full = np.mean([saturation(predictions[k]) for k in chosen])
            row = [source, str(len(chosen)), name, *cells, f"{apart:.4f}", f"{full:.2f}"]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def gain_table(network: Path, photos: Prepared, gains: tuple[float, ...], most: int = 64) -> str:
    """A Markdown table: what each gain on the fused map's logit would give, to choose one by.

    ``network`` is exported with gain 1; ``most`` photos with truth of a split are used, spread
    evenly over it, and no composites. Take training photos: what is chosen on held-out ones is no
    longer measured on them. Squared error tells where a gain makes wrong pixels too sure.
    """
    chosen = np.nonzero(photos.has_truth & (photos.sources != "composites"))[0]
    chosen = chosen[evenly(len(chosen), most)]
    session = open_network(network)
    squares = photos.photos(chosen, SIZE)
    maps = np.stack([subject_map(session, square[..., :3]) for square in squares])
    truth = torch.from_numpy(squares[..., 3]) / 255
    lines = ["| gain | mean absolute error | mean squared error |", "| --- | --- | --- |"]
    for gain in gains:
        apart = losses.sharpen(torch.from_numpy(maps), gain) - truth
        lines.append(f"| {gain:g} | {apart.abs().mean():.4f} | {apart.square().mean():.4f} |")
    return "\n".join(lines)


def examples() -> dict[str, NDArray[np.uint8]]:
    """scikit-image's bundled photos that have a subject, squashed to 320 px as in use.

    One that would have to be downloaded and cannot be is left out.
    """
    from skimage import data as bundled

    photos = {}
    for name in EXAMPLES:
        try:
            photo = bundled.stereo_motorcycle()[0] if name == "motorcycle" else None
            photo = getattr(bundled, name)() if photo is None else photo
        except (OSError, ModuleNotFoundError):
            continue
        square = Image.fromarray(photo).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        photos[name] = np.asarray(square)
    return photos


def example_table(networks: dict[str, Path], teacher: Path, sheet: Path | None = None) -> str:
    """A Markdown table of IoU with the teacher's mask (both cut at half) on the example photos.

    ``sheet`` gets a picture: a row a photo, then the teacher's and each network's map.
    """
    teacher_session = open_network(teacher)
    sessions = {name: open_network(path) for name, path in networks.items()}
    lines = ["| photo | " + " | ".join(sessions) + " |", "| --- " * (1 + len(sessions)) + "|"]
    rows = []
    for name, photo in examples().items():
        theirs = subject_map(teacher_session, photo)
        ours = [subject_map(session, photo) for session in sessions.values()]
        values = [f"{metrics.iou(m, theirs):.3f}" for m in ours]
        lines.append(f"| {name} | " + " | ".join(values) + " |")
        grey = [np.stack((m * 255,) * 3, -1).astype(np.uint8) for m in (theirs, *ours)]
        rows.append(np.concatenate((photo, *grey), 1))
    if sheet and rows:
        Image.fromarray(np.concatenate(rows)).save(sheet)
    return "\n".join(lines)


def seconds(networks: dict[str, Path], threads: int, rounds: int = 15) -> dict[str, float]:
    """The median seconds of one photo for each network, run in turn so that load hits all."""
    sessions = {name: open_network(path, threads) for name, path in networks.items()}
    blank = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds + 2):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(["d0"], feed(session, blank))
            taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(values[2:])) for name, values in taken.items()}


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("networks", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--teacher", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--sheet", type=click.Path(path_type=Path), help="Picture of the example maps.")
@click.option("--threads", default=2, help="For the timing.")
@click.option("--most", default=0, help="Photos of a source, spread over it; 0 takes all.")
@click.option("--gains", is_flag=True, help="Only print what each --gain of an export would give.")
def main(
    networks: tuple[Path, ...],
    prepared: Path,
    teacher: Path,
    sheet: Path | None,
    threads: int,
    most: int,
    gains: bool,
) -> None:
    """Measure NETWORKS (ONNX) and the teacher side by side; print Markdown tables."""
    if gains:  # to be chosen on training photos, by an export with a gain of 1
        photos = Prepared(prepared, "train")
        click.echo(gain_table(networks[0], photos, (1, 1.25, 1.5, 2, 2.5, 3, 4), most or 64))
        return
    paths = {path.stem: path for path in networks}
    click.echo(table(paths, teacher, Prepared(prepared, "held"), most) + "\n")
    click.echo(example_table(paths, teacher, sheet) + "\n")
    for name, taken in seconds({"teacher": teacher} | paths, threads).items():
        click.echo(f"{name}: {taken:.3f} s a photo, {threads} threads")


if __name__ == "__main__":
    main()
