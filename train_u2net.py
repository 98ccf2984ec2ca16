"""Trains the first stage, a U²-Net-P, from random weights; readable from top to bottom.

    python train_u2net.py prepare --data DIR --out PREPARED
    python train_u2net.py train --prepared PREPARED --teacher u2netp.onnx --preset blocks --run A
    python train_u2net.py train --prepared PREPARED --teacher u2netp.onnx --preset chain \
        --init A/last.pt --run B
    python train_u2net.py train --prepared PREPARED --teacher u2netp.onnx --preset finish \
        --init B/last.pt --run C
    python train_u2net.py features C/last.pt --prepared PREPARED --teacher u2netp.onnx --out INNER
    python train_u2net.py train --prepared PREPARED --teacher u2netp.onnx --preset inner \
        --init C/last.pt --features INNER --run D
    python train_u2net.py train --prepared PREPARED --teacher u2netp.onnx --preset gpu \
        --init D/last.pt --run E
    python train_u2net.py export E/last.pt --prepared PREPARED --out WEIGHTS
    python train_u2net.py evaluate WEIGHTS/coarse.onnx --prepared PREPARED --teacher u2netp.onnx

Four ways to learn from the teacher, one loop. ``blocks``: each of the eleven RSU blocks is fed the
teacher's features and regresses the teacher's output of that block, all of them in one step
(FitNets, Romero et al. 2015; blockwise distillation, Li et al. 2020). Every block has a dense
64-channel target from the first step on, where the maps give one value a pixel through all of
them. ``chain``: the same, but each block is fed what the student's own blocks before it say, so
that it learns to bear their faults, which otherwise add up over eleven blocks. ``whole``: end to
end on the seven maps and the ground truth, with the features as hints.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import torch
from pytorch_optimizer import SOAP
from tqdm import tqdm

from pipeline.cli.command import Command
from pipeline.errors import SettingsError
from u2net import data, evaluate, export, inner, steps, teacher, views
from u2net.network import WIDTHS, U2Net, fused, normalise, unfused
from u2net.precision import autocast, fastest
from u2net.settings import PRESETS, SOURCES, Settings, changed


def rate(s: Settings, step: int) -> float:
    """The learning rate of a step: linear warm-up, then a cosine down to ``lr * lr_end``."""
    rise = min(1.0, (step + 1) / s.warmup)
    fall = 0.5 * (1 + math.cos(math.pi * step / s.steps))
    return s.lr * rise * (s.lr_end + (1 - s.lr_end) * fall)


@torch.no_grad()
def average(ema: U2Net, model: U2Net, decay: float, step: int) -> None:
    """Move the averaged weights (and normalisation statistics) towards the model's."""
    decay = min(decay, (1 + step) / (10 + step))
    for a, b in zip(ema.state_dict().values(), model.state_dict().values(), strict=True):
        if a.is_floating_point():
            a.lerp_(b, 1 - decay)
        else:
            a.copy_(b)


def place(model: U2Net, device: torch.device) -> U2Net:
    """On the device, channels last: which bf16 is fast in."""
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def ready(photos: torch.Tensor) -> torch.Tensor:
    """Photos (B, 3, H, W) uint8 as the network is fed them, channels last."""
    return normalise(photos).to(memory_format=torch.channels_last)


def save(path: Path, content: dict) -> None:
    """Write a checkpoint whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)


def learned(
    init: Path, prepared: Path, s: Settings, device: torch.device
) -> dict[str, torch.Tensor]:
    """The weights that a training goes on from: a checkpoint's average, or an exported ONNX file.

    Normalisations are folded if ``s.folded``; those of a folded network are else unfolded on 32
    training photos.
    """
    exported = init.suffix == ".onnx"
    model = teacher.load(init) if exported else export.read_average(init)
    if s.folded:
        return fused(model).state_dict()
    if model.normalised:
        return model.state_dict()
    train_set = data.Prepared(prepared, "train")
    photos, _, _ = data.draw(train_set, data.odds(train_set, SOURCES), s.seed, 0, 32, s.size, 0.0)
    views = normalise(torch.from_numpy(photos).to(device))
    return unfused(model.to(device), views).state_dict()


def train(
    s: Settings,
    prepared: Path,
    teacher_file: Path,
    run: Path,
    init: Path | None = None,
    features: Path | None = None,
    resume: bool = False,
    stop: int | None = None,
    quiet: bool = False,
) -> Path:
    """Train one run and return its last checkpoint.

    ``init`` starts from the averaged weights of another run's checkpoint, or from an exported ONNX
    file; ``resume`` goes on from this run's own, exactly as if it had not stopped. ``stop`` ends
    after that many steps of ``s.steps``. Raises ``SettingsError`` where the settings and the
    checkpoint contradict.
    """
    from torch.utils.tensorboard import SummaryWriter

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(s.seed)
    run.mkdir(parents=True, exist_ok=True)
    last = run / "last.pt"

    # --- networks: the student from random weights, and its average; the teacher, frozen
    model = place(U2Net(WIDTHS[s.widths], norm=not s.folded), device)
    ema = place(U2Net(WIDTHS[s.widths], norm=not s.folded), device)
    guide = place(teacher.load(teacher_file), device).to(fastest(device))
    first = 0
    if resume:
        if not last.is_file():
            raise SettingsError(f"Nothing to resume in {run}: start it without --resume.")
        state = torch.load(last, map_location=device, weights_only=True)
        if state["settings"] != dataclasses.asdict(s):
            raise SettingsError(f"{last} was trained with other settings: resume with the same.")
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        first = state["step"]
    else:
        if init:
            model.load_state_dict(learned(init, prepared, s, device))
        ema.load_state_dict(model.state_dict())

    # A normalised layer answers alike however large its weights are. A folded one does not, and its
    # weights differ in size by a factor of fifty: each moves by a share of its own (relative steps,
    # as in Adafactor; Shazeer and Stern, 2018, section 8).
    groups = [
        {"params": [p], "scale": p.detach().square().mean().sqrt().item() if s.folded else 1.0}
        for p in model.parameters()
    ]
    optimizer: torch.optim.Optimizer
    if s.soap:
        optimizer = SOAP(
            groups, s.lr, (0.95, 0.95), weight_decay=s.weight_decay, max_precondition_dim=512
        )
    else:
        optimizer = torch.optim.AdamW(groups, s.lr, weight_decay=s.weight_decay)
    if resume:
        optimizer.load_state_dict(state["optimizer"])

    # --- data: a batch depends on the seed and the step alone
    train_set, held_set = data.Prepared(prepared, "train"), data.Prepared(prepared, "held")
    end = min(s.steps, stop or s.steps)
    numbers = range(first, end)
    batches: Iterator[Sequence]
    if s.phase == "inner":
        if features is None:
            raise SettingsError("This phase learns from prepared features: give --features DIR.")
        rows = inner.Rows(features, s.size, model)
        batches = rows.batches(s.seed, numbers, s.batch)
    else:
        drawn = (train_set, data.odds(train_set, SOURCES), s.seed, numbers, s.batch, s.size)
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            batches = views.batches(*drawn, s.strength, s.joined, device)
        else:
            batches = data.batches(*drawn, s.strength)
    writer = SummaryWriter(str(run), purge_step=first)
    models = steps.twins(model, s.workers)
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(s.workers, initializer=torch.set_num_threads, initargs=(1,))
    bar = tqdm(total=end, initial=first, desc=run.name, disable=quiet or None)
    if init and not first:  # what the run is to improve on
        look(ema, guide, held_set, s.size, writer, first, quiet)
    model.train()
    started = time.time()

    for step, batch in zip(numbers, batches, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate(s, step) * group["scale"]
        for parameter in (p for m in models for p in m.parameters()):
            parameter.grad = None

        # --- forward and backward, the teacher on the very same pixels
        placed = [torch.as_tensor(part).to(device) for part in batch]
        if s.phase == "inner":
            log = inner.step(models, placed, s, pool)
        elif s.phase == "blocks":
            x = ready(placed[0])
            if step == 0:
                told, _ = steps.watch(guide, x)
                if init is None:
                    steps.match_spread(model, told)
                steps.match_level(model, x, told)
            log = steps.block_step(model, guide, x, s, pool)
        else:
            step_of = {"chain": steps.chain_step, "whole": steps.whole_step}[s.phase]
            log = step_of(models, guide, (ready(placed[0]), *placed[1:]), s, pool)
        torch.nn.utils.clip_grad_norm_(model.parameters(), s.clip)
        optimizer.step()
        average(ema, model, s.ema, step)

        # --- progress
        bar.update()
        done = step + 1
        if step % 10 == 0:
            for name, value in log.items():
                writer.add_scalar(name, value, step)
        if done % 25 == 0:
            pace = (time.time() - started) / (done - first) / s.batch
            line = " ".join(f"{k} {v:.3f}" for k, v in log.items())
            if bar.disable and not quiet:
                print(f"{run.name} {done}/{end} {pace:.3f} s/sample {line}", flush=True)
            bar.set_postfix_str(line)
        if done % s.every == 0 or done == end:
            state = {"model": model.state_dict(), "ema": ema.state_dict(), "step": done}
            state |= {"optimizer": optimizer.state_dict(), "settings": dataclasses.asdict(s)}
            save(last, state)
            look(ema, guide, held_set, s.size, writer, done, quiet)
    pool.shutdown()
    bar.close()
    writer.close()
    return last


@torch.no_grad()
def look(
    ema: U2Net,
    guide: U2Net,
    held: data.Prepared,
    size: int,
    writer,
    step: int,
    quiet: bool,
    count: int = 24,
) -> None:
    """Held-out errors and a preview sheet (photo, truth, teacher, student) of the average."""
    # Most of them with truth, which few of all have: it is what the training is judged by.
    parts = ((np.flatnonzero(held.has), 2 * count // 3), (np.flatnonzero(~held.has), count // 3))
    chosen = np.concatenate([part[:: max(1, len(part) // n)][:n] for part, n in parts])
    device = next(ema.parameters()).device
    rows, errors = [], []
    ema.eval()
    for k in chosen:
        record = data.cv2.resize(held.pack[k], (size, size), interpolation=data.cv2.INTER_AREA)
        image = torch.from_numpy(record[None, ..., :3].transpose(0, 3, 1, 2).copy()).to(device)
        x = normalise(image).to(memory_format=torch.channels_last)
        with autocast(device):
            student = ema(x)[0].float().sigmoid().cpu().numpy()[0, 0]
        theirs = guide(x.to(fastest(device)))[0].float().sigmoid().cpu().numpy()[0, 0]
        truth = record[..., 3] / 255
        marks = [np.abs(student - theirs).mean()]
        if held.has[k]:
            marks += [np.abs(student - truth).mean(), np.abs(theirs - truth).mean()]
        errors.append(marks + [np.nan] * (3 - len(marks)))
        grey = np.concatenate((truth, theirs, student), 1)
        rows.append(np.concatenate((record[..., :3] / 255, np.stack((grey,) * 3, -1)), 1))
    names = ("held/to_teacher", "held/error", "held/teacher_error")
    marks = np.nanmean(np.array(errors + [[np.nan] * 3]), 0) if errors else [np.nan] * 3
    for name, value in zip(names, marks, strict=True):
        writer.add_scalar(name, value, step)
    half = len(rows) // 2
    sheet = [np.concatenate(pair, 1) for pair in zip(rows[:half], rows[half:], strict=False)]
    if sheet:
        preview = np.concatenate(sheet)[::2, ::2]
        writer.add_image("preview", preview, step, dataformats="HWC")
        bgr = (preview[..., ::-1] * 255).astype(np.uint8)
        data.cv2.imwrite(str(Path(writer.log_dir) / "preview.png"), bgr)
    if not quiet:
        marks_line = " ".join(f"{n} {v:.4f}" for n, v in zip(names, marks, strict=True))
        tqdm.write(f"step {step} {marks_line}")


@click.group()
def main() -> None:
    """Train, export and measure the first stage."""


main.command_class = Command


@main.command()
@click.option("--data", "root", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--composites", default=1600, show_default=True, help="Cutouts over backgrounds.")
@click.option("--seed", default=0, show_default=True)
def prepare(root: Path, out: Path, composites: int, seed: int) -> None:
    """Find pictures, ground truth, cutouts and backgrounds; write them at one size to OUT."""
    for split, counts in data.prepare(root, out, composites, seed).items():
        click.echo(f"{split}: " + ", ".join(f"{k} {v}" for k, v in counts.items()))


@main.command("features")
@click.argument("network", type=click.Path(path_type=Path, exists=True))
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--teacher", "teacher_file", type=click.Path(path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--samples", default=12800, show_default=True, help="0.75 MB and 0.4 s each.")
@click.option("--seed", default=0, show_default=True, help="Another one adds to what OUT holds.")
@click.option("--quiet", is_flag=True)
def features_command(
    network: Path,
    prepared: Path,
    teacher_file: Path,
    out: Path,
    samples: int,
    seed: int,
    quiet: bool,
) -> None:
    """Write what the inner blocks of NETWORK (ONNX, or a checkpoint) are to learn, to OUT."""
    exported = network.suffix == ".onnx"
    student = teacher.load(network) if exported else export.read_checkpoint(network)
    photos = data.Prepared(prepared, "train")
    chance = data.odds(photos, SOURCES)
    guide = teacher.load(teacher_file)
    inner.prepare(photos, chance, student, guide, out, samples, seed, quiet=quiet)


@main.command("train")
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--teacher", "teacher_file", type=click.Path(path_type=Path), required=True)
@click.option("--run", type=click.Path(path_type=Path), required=True)
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="blocks", show_default=True)
@click.option("--init", type=click.Path(path_type=Path, exists=True))
@click.option("--features", type=click.Path(path_type=Path, exists=True), help="For inner.")
@click.option("--resume", is_flag=True)
@click.option("--set", "changes", multiple=True, help="NAME=VALUE of a setting.")
@click.option("--quiet", is_flag=True)
def train_command(
    prepared: Path,
    teacher_file: Path,
    run: Path,
    preset: str,
    init: Path | None,
    features: Path | None,
    resume: bool,
    changes: tuple[str, ...],
    quiet: bool,
) -> None:
    """Train one run. A preset is changed by --set steps=3000 --set lr=1e-3 and so on."""
    settings = changed(PRESETS[preset], changes)
    last = train(settings, prepared, teacher_file, run, init, features, resume, quiet=quiet)
    click.echo(f"Trained: {last}")


@main.command("export")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--gain", default=1.0, show_default=True, help="How decided d0 is; 1: as trained.")
def export_command(checkpoint: Path, prepared: Path, out: Path, gain: float) -> None:
    """Write coarse.onnx and coarse_int8.onnx, calibrated on training photos, to OUT."""
    out.mkdir(parents=True, exist_ok=True)
    fp32, int8 = out / "coarse.onnx", out / "coarse_int8.onnx"
    export.write_fp32(export.decided(export.read_checkpoint(checkpoint), gain), fp32)
    photos = evaluate.spread(data.Prepared(prepared, "train"), export.Quantisation().photos)
    export.write_int8(fp32, int8, photos)
    for path in (fp32, int8):
        click.echo(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


@main.command("gains")
@click.argument("network", type=click.Path(path_type=Path))
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--most", default=64, show_default=True, help="Photos, spread over all with truth.")
def gains_command(network: Path, prepared: Path, most: int) -> None:
    """Print the errors on training photos that each --gain of an export would have.

    NETWORK is the ONNX file of an export with --gain 1.
    """
    photos = data.Prepared(prepared, "train")
    click.echo(evaluate.gain_table(network, photos, (1, 1.25, 1.5, 2, 2.5, 3, 4), most))


@main.command("evaluate")
@click.argument("networks", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--teacher", "teacher_file", type=click.Path(path_type=Path), required=True)
@click.option("--sheet", type=click.Path(path_type=Path), help="Picture of the example maps.")
@click.option("--threads", default=2, show_default=True, help="For the timing.")
@click.option("--most", default=0, help="Photos of a source, spread over it; 0 takes all.")
def evaluate_command(
    networks: tuple[Path, ...],
    prepared: Path,
    teacher_file: Path,
    sheet: Path | None,
    threads: int,
    most: int,
) -> None:
    """Measure NETWORKS (ONNX) and the teacher side by side; print Markdown tables."""
    paths = {path.stem: path for path in networks}
    held = data.Prepared(prepared, "held")
    click.echo(evaluate.table(paths, teacher_file, held, most) + "\n")
    click.echo(evaluate.example_table(paths, teacher_file, sheet) + "\n")
    for name, taken in evaluate.seconds({"teacher": teacher_file} | paths, threads).items():
        click.echo(f"{name}: {taken:.3f} s a photo, {threads} threads")


if __name__ == "__main__":
    main()
