"""Trains the first stage, a U²-Net-P, from random weights; readable from top to bottom.

    python train_u2net.py prepare --data DIR --out PREPARED
    python train_u2net.py train --prepared PREPARED --teacher u2netp.onnx --preset blocks --run A
    python train_u2net.py train --prepared PREPARED --teacher u2netp.onnx --preset chain \
        --init A/last.pt --run B
    python train_u2net.py train --prepared PREPARED --teacher u2netp.onnx --preset finish \
        --init B/last.pt --run C
    python train_u2net.py export C/last.pt --prepared PREPARED --out WEIGHTS
    python train_u2net.py evaluate WEIGHTS/coarse.onnx --prepared PREPARED --teacher u2netp.onnx

Three ways to learn from the teacher, one loop. ``blocks``: each of the eleven RSU blocks is fed the
teacher's features and regresses the teacher's output of that block, all of them in one step
(FitNets, Romero et al. 2015; blockwise distillation, Li et al. 2020). Every block has a dense
64-channel target from the first step on, where the maps give one value a pixel through all of
them. ``chain``: the same, but each block is fed what the student's own blocks before it say, so
that it learns to bear their faults, which otherwise add up over eleven blocks. ``whole``: end to
end on the seven maps and the ground truth, with the features as hints.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from tqdm import tqdm

from pipeline.errors import SettingsError, WispError
from u2net import data, evaluate, export, losses, teacher
from u2net.network import WIDTHS, U2Net, fused, normalise, unfused


@dataclass(frozen=True)
class Settings:
    """One training run. Each preset below is one of these."""

    phase: str = "whole"  # "blocks": each fed by the teacher; "chain": each fed by the student;
    # "whole": end to end
    widths: str = "p"  # u2net.network.WIDTHS; "p" has the teacher's channels, as hints need
    size: int = 160  # px; 160 costs a quarter of the 320 in use
    steps: int = 2000
    batch: int = 8  # several steps matter more than smooth ones in so short a training
    lr: float = 1.5e-3  # Adam's usual 1e-3 and a bit: batch normalisation bears it
    lr_end: float = 0.02  # the cosine ends at this share of lr
    warmup: int = 40  # steps of linear warm-up
    weight_decay: float = 1e-4
    clip: float = 5.0  # norm of the gradient
    full_size_share: float = 0.375  # blocks phase: share of the batch that the two full-size
    # blocks see. They are 70 % of the cost and have most pixels to learn from; but with a single
    # photo their batch normalisation takes away its level, and they learn badly.
    hint: float = 1.0  # whole phase: weight of the features' loss
    trust: float = 0.9  # whole phase: share of the truth in the target, the rest is the teacher
    gain: float = 1.0  # sharpening of the teacher's maps in the target
    overlap: float = 0.0  # weight of the soft IoU
    strength: float = 0.6  # of the augmentation, 0..1
    folded: bool = False  # without normalisations, folded into the convolutions as in use: those
    # of a batch of four photos are far from what they are in use, and end to end that adds up
    ema: float = 0.998  # decay of the averaged weights, which are the ones exported
    workers: int = 2  # parts of a step side by side, one thread each: on a machine that is used
    # otherwise too, threads that wait for one another in every operation are 4 times slower.
    # In the whole phase each part has its own batch statistics, so the result depends on it.
    seed: int = 0
    every: int = 200  # steps between checkpoints, with a preview and the held-out error


PRESETS = {
    # Not below 288 px: the teacher's own error is 0.030 there, and 0.042 at 224 px.
    "blocks": Settings(
        phase="blocks",
        size=288,
        steps=1300,
        lr=2e-3,
        warmup=20,
        strength=0.9,
        ema=0.99,
        every=100,
    ),
    "whole": Settings(
        steps=380, lr=1.2e-3, warmup=15, hint=1.0, gain=1.5, overlap=0.25, ema=0.99, every=40
    ),
    # The teacher's maps alone: its features do not tell what the truth of a composite is.
    "chain": Settings(
        phase="chain",
        folded=True,
        size=288,
        steps=900,
        lr=2e-3,
        warmup=10,
        trust=0.0,
        strength=0.7,
        ema=0.98,
        every=50,
    ),
    # At the size in use, with the truth. The hints weigh most: they are many and steady, where the
    # maps' gradient, through all blocks, is mostly noise. Cross-entropy alone makes an unsure map
    # grey; the overlap and the sharpening decide it.
    "finish": Settings(
        folded=True,
        size=320,
        steps=300,
        batch=4,
        lr=5e-4,
        warmup=10,
        hint=30.0,
        trust=0.9,
        gain=1.5,
        overlap=1.0,
        strength=0.5,
        ema=0.97,
        every=30,
    ),
    "tiny": Settings(widths="tiny", size=64, steps=4, batch=2, hint=0.0, every=2, warmup=1),
}

# The chance of each source in a batch; a folder that is not named weighs 1.
SOURCES = {"photos": 5.0, "people": 2.0, "humans": 1.2, "objects": 1.5, "fur": 0.3}
SOURCES |= {"composites": 1.5}


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
    """On the device, channels last: with bf16 several times faster than float32 on a CPU."""
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def save(path: Path, content: dict) -> None:
    """Write a checkpoint whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)


@torch.no_grad()
def match_spread(model: U2Net, inner: list[torch.Tensor]) -> None:
    """Give each untrained block the deviation of the teacher's output, channel by channel.

    A block adds two rectified unit normals, of variance 0.68, so each gain is the teacher's
    deviation over its root. Random weights would else start several deviations off.
    """
    for block, feature in zip(model.blocks, inner, strict=True):
        gain = feature.float().std((0, 2, 3)) / 0.68**0.5
        for norm in block.ends:
            norm.weight.copy_(gain)


@torch.no_grad()
def match_level(model: U2Net, x: torch.Tensor, inner: list[torch.Tensor]) -> None:
    """Shift each block's output to the teacher's mean, channel by channel.

    Some channels lie ten deviations above 0, which a bias would take thousands of steps to reach.
    Twice, since the rectifier takes part of a shift away.
    """
    for k, block in enumerate(model.blocks):
        for _ in range(2):
            with torch.autocast(x.device.type, torch.bfloat16):
                found = block(model.block_input(k, x, inner[:k]))
            block.ends[0].bias.sub_((found.float() - inner[k].float()).mean((0, 2, 3)))


def watch(guide: U2Net, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The teacher's eleven features, and its seven maps in 0..1, for normalised photos."""
    with torch.no_grad():
        inner = guide.features(x.to(torch.bfloat16))
        return inner, [d.float().sigmoid() for d in guide.heads(inner)]


def block_step(
    model: U2Net, guide: U2Net, x: torch.Tensor, s: Settings, pool: Executor
) -> dict[str, float]:
    """Backward of every block on the teacher's input and output; the losses by name.

    The blocks know nothing of one another here, so that they run side by side, the largest first.
    """
    parts = list(pool.map(lambda part: watch(guide, part), x.chunk(s.workers)))
    inner = [torch.cat(f) for f in zip(*(part[0] for part in parts), strict=True)]
    maps = [torch.cat(m) for m in zip(*(part[1] for part in parts), strict=True)]

    def one(k: int) -> tuple[str, float]:
        if k == len(inner):
            with torch.autocast(x.device.type, torch.bfloat16):
                loss = losses.map_loss(model.heads(inner), maps, s.overlap)
            loss.backward()
            return "maps", loss.item()
        count = seen_by(model, k, len(x), s)
        with torch.autocast(x.device.type, torch.bfloat16):
            fed = model.block_input(k, x[:count], [f[:count] for f in inner[:k]])
            loss = losses.feature_loss(model.blocks[k](fed), inner[k])
        loss.backward()
        return f"block/{k}", loss.item()

    return dict(pool.map(one, sorted(range(len(inner) + 1), key=model.block_level)))


def whole_step(
    models: list[U2Net], guide: U2Net, batch: tuple, s: Settings, pool: Executor
) -> dict[str, float]:
    """Backward of the seven maps and the hints, through the whole network."""

    def one(job: tuple) -> dict[str, float]:
        model, x, truth, has = job
        inner, maps = watch(guide, x)
        target = losses.targets(maps, truth, has, s.trust, s.gain)
        with torch.autocast(x.device.type, torch.bfloat16):
            features = model.features(x)
            logits = model.heads(features)
            loss = map_loss = losses.map_loss(logits, target, s.overlap)
            log = {"maps": map_loss.item()}
            if s.hint:
                pairs = zip(features, inner, strict=True)
                hint = torch.stack(
                    [losses.feature_loss(losses.thinned(a), losses.thinned(b)) for a, b in pairs]
                ).mean()
                loss = map_loss + s.hint * hint
                log["hint"] = hint.item()
        loss.backward()
        return log | {"truth": float(losses.truth_error(logits, truth, has))}

    return in_parts(models, batch, one, pool)


def chain_step(
    models: list[U2Net], guide: U2Net, batch: tuple, s: Settings, pool: Executor
) -> dict[str, float]:
    """Backward of every block by itself, fed with what the student's own blocks before it say.

    Each learns to give the teacher's answer in spite of the faults that come in, as they will in
    use; no gradient passes from block to block, so that it is as well behaved as ``block_step``.
    """

    def one(job: tuple) -> dict[str, float]:
        model, x, truth, has = job
        inner, maps = watch(guide, x)
        target = losses.targets(maps, truth, has, s.trust, s.gain)
        outputs: list[torch.Tensor] = []
        log = {}
        for k, block in enumerate(model.blocks):
            count = seen_by(model, k, len(x), s)
            with torch.autocast(x.device.type, torch.bfloat16):
                fed = model.block_input(k, x, outputs)
                found = block(fed[:count])
                loss = losses.feature_loss(losses.thinned(found), losses.thinned(inner[k]))
                with torch.no_grad():
                    rest = [block(fed[count:])] if count < len(x) else []
            loss.backward()
            outputs.append(torch.cat([found.detach(), *rest]))
            log[f"block/{k}"] = loss.item()
        with torch.autocast(x.device.type, torch.bfloat16):
            logits = model.heads(outputs)
            loss = losses.map_loss(logits, target, s.overlap)
        loss.backward()
        log["maps"] = loss.item()
        return log | {"truth": float(losses.truth_error(logits, truth, has))}

    return in_parts(models, batch, one, pool)


def seen_by(model: U2Net, k: int, batch: int, s: Settings) -> int:
    """How many of a batch block ``k`` learns from: all, but at full size only a share.

    Half the resolution means a quarter of the pixels: those blocks see more of the batch.
    """
    return math.ceil(batch * min(1.0, s.full_size_share * 4 ** model.block_level(k)))


def in_parts(
    models: list[U2Net], batch: tuple, one: Callable[[tuple], dict[str, float]], pool: Executor
) -> dict[str, float]:
    """Do a step in parts side by side: each model takes its part of the batch; returns mean logs.

    ``models`` share their weights; the mean of their gradients ends up in the first one.
    """
    jobs = zip(models, *(part.chunk(len(models)) for part in batch), strict=True)
    logs = list(pool.map(one, jobs))
    for copies in zip(*(m.parameters() for m in models), strict=True):
        copies[0].grad = torch.stack([p.grad for p in copies]).mean(0)
    for copies in zip(*(m.buffers() for m in models), strict=True):
        mean = torch.stack(copies).to(torch.float32).mean(0)
        for statistic in copies:
            statistic.copy_(mean)
    return {name: sum(log[name] for log in logs) / len(logs) for name in logs[0]}


def twins(model: U2Net, count: int) -> list[U2Net]:
    """``model`` and copies of it that share its weights but not their gradients."""
    models = [model]
    for _ in range(count - 1):
        twin = copy.deepcopy(model)
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            theirs.data = ours.data
        models.append(twin)
    return models


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
    guide = place(teacher.load(teacher_file), device).to(torch.bfloat16)
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
    optimizer = torch.optim.AdamW(groups, s.lr, weight_decay=s.weight_decay)
    if resume:
        optimizer.load_state_dict(state["optimizer"])

    # --- data: a batch depends on the seed and the step alone
    train_set, held_set = data.Prepared(prepared, "train"), data.Prepared(prepared, "held")
    end = min(s.steps, stop or s.steps)
    batches = data.batches(
        train_set,
        data.odds(train_set, SOURCES),
        s.seed,
        range(first, end),
        s.batch,
        s.size,
        s.strength,
    )
    writer = SummaryWriter(str(run), purge_step=first)
    models = twins(model, s.workers)
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(s.workers, initializer=torch.set_num_threads, initargs=(1,))
    bar = tqdm(total=end, initial=first, desc=run.name, disable=quiet or None)
    if init and not first:  # what the run is to improve on
        look(ema, guide, held_set, s.size, writer, first, quiet)
    model.train()
    started = time.time()

    for step, (images, truth, has) in zip(range(first, end), batches, strict=True):
        x = normalise(torch.from_numpy(images).to(device)).to(memory_format=torch.channels_last)
        truth_t, has_t = torch.from_numpy(truth).to(device), torch.from_numpy(has).to(device)
        for group in optimizer.param_groups:
            group["lr"] = rate(s, step) * group["scale"]
        for parameter in (p for m in models for p in m.parameters()):
            parameter.grad = None

        # --- forward and backward, the teacher on the very same pixels
        if s.phase == "blocks":
            if step == 0:
                inner, _ = watch(guide, x)
                if init is None:
                    match_spread(model, inner)
                match_level(model, x, inner)
            log = block_step(model, guide, x, s, pool)
        else:
            step_of = {"chain": chain_step, "whole": whole_step}[s.phase]
            log = step_of(models, guide, (x, truth_t, has_t), s, pool)
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
        with torch.autocast(device.type, torch.bfloat16):
            student = ema(x)[0].float().sigmoid().cpu().numpy()[0, 0]
        theirs = guide(x.to(torch.bfloat16))[0].float().sigmoid().cpu().numpy()[0, 0]
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


@main.command()
@click.option("--data", "root", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--composites", default=1600, show_default=True, help="Cutouts over backgrounds.")
@click.option("--seed", default=0, show_default=True)
def prepare(root: Path, out: Path, composites: int, seed: int) -> None:
    """Find pictures, ground truth, cutouts and backgrounds; write them at one size to OUT."""
    for split, counts in data.prepare(root, out, composites, seed).items():
        click.echo(f"{split}: " + ", ".join(f"{k} {v}" for k, v in counts.items()))


@main.command("train")
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--teacher", "teacher_file", type=click.Path(path_type=Path), required=True)
@click.option("--run", type=click.Path(path_type=Path), required=True)
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="blocks", show_default=True)
@click.option("--init", type=click.Path(path_type=Path, exists=True))
@click.option("--resume", is_flag=True)
@click.option("--set", "changes", multiple=True, help="NAME=VALUE of a setting.")
@click.option("--quiet", is_flag=True)
def train_command(
    prepared: Path,
    teacher_file: Path,
    run: Path,
    preset: str,
    init: Path | None,
    resume: bool,
    changes: tuple[str, ...],
    quiet: bool,
) -> None:
    """Train one run. A preset is changed by --set steps=3000 --set lr=1e-3 and so on."""
    try:
        settings = changed(PRESETS[preset], changes)
        last = train(settings, prepared, teacher_file, run, init, resume, quiet=quiet)
    except WispError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Trained: {last}")


@main.command("export")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--gain", default=1.0, show_default=True, help="How decided d0 is; 1: as trained.")
def export_command(checkpoint: Path, prepared: Path, out: Path, gain: float) -> None:
    """Write coarse.onnx and coarse_int8.onnx, calibrated on training photos, to OUT."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        fp32, int8 = out / "coarse.onnx", out / "coarse_int8.onnx"
        export.write_fp32(export.decided(export.read_checkpoint(checkpoint), gain), fp32)
        photos = evaluate.spread(data.Prepared(prepared, "train"), export.Quantisation().photos)
        export.write_int8(fp32, int8, photos)
    except WispError as error:
        raise click.ClickException(str(error)) from error
    for path in (fp32, int8):
        click.echo(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


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
    try:
        held = data.Prepared(prepared, "held")
        click.echo(evaluate.table(paths, teacher_file, held, most) + "\n")
        click.echo(evaluate.example_table(paths, teacher_file, sheet) + "\n")
        for name, taken in evaluate.seconds({"teacher": teacher_file} | paths, threads).items():
            click.echo(f"{name}: {taken:.3f} s a photo, {threads} threads")
    except WispError as error:
        raise click.ClickException(str(error)) from error


# From the text of a setting to its value.
READ: dict[type, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: {"yes": True, "no": False}.__getitem__,
}


def changed(settings: Settings, changes: tuple[str, ...]) -> Settings:
    """``settings`` with NAME=VALUE changes. Raises ``SettingsError`` for what is no setting."""
    values = {}
    for change in changes:
        name, _, value = change.partition("=")
        if not hasattr(settings, name):
            raise SettingsError(f"There is no setting {name!r} to set.")
        try:
            values[name] = READ[type(getattr(settings, name))](value)
        except (ValueError, KeyError) as error:
            raise SettingsError(f"{change!r}: {error}") from error
    return dataclasses.replace(settings, **values)


if __name__ == "__main__":
    main()
