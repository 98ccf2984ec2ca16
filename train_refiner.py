"""Train stage 2, the edge refiner: ``python train_refiner.py --help``.

Prepare data first (``python -m refiner.prepare --help``); afterwards export what was trained with
``python -m refiner.export RUN/last.pt pipeline/weights/refiner.onnx``, and for CPUs once more with
``--eight DATA``.

First the reconstruction losses alone, then a short adversarial phase, if asked for. Every random
choice follows from the seed and the step, so a resumed run is the run that was not interrupted.
"""

from __future__ import annotations

import copy
import math
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from lightning_fabric import Fabric
from pytorch_optimizer import SOAP
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from pipeline.cli.command import Command
from pipeline.errors import SettingsError
from refiner import losses
from refiner.dataset import Batch, Shards, epochs, prefetch
from refiner.discriminator import Discriminator, over
from refiner.export import restore
from refiner.network import Generator, Shape, grow
from refiner.perceptual import perceptual
from refiner.validate import mended, validate
from training.precision import bf16_pays


@dataclass(frozen=True)
class Settings:
    """A run. Each default with its reason."""

    #: The generator's widths and depth.
    shape: Shape = field(default_factory=Shape)
    #: What the reconstruction loss is made of.
    weights: losses.Weights = field(default_factory=losses.Weights)
    #: Steps of reconstruction: 100,000 patches, about an hour of two CPU cores.
    steps: int = 6000
    #: Steps with the discriminator, afterwards: none until an ablation shows that they pay.
    gan_steps: int = 0
    #: Patches a step: small, as few patches can be had in an hour, and each step learns.
    batch: int = 16
    #: Peak learning rate: SOAP bears twice what Adam did without normalisation.
    rate: float = 2e-3
    #: Steps over which the rate rises.
    warmup: int = 100
    #: Learning rate of the adversarial phase.
    gan_rate: float = 1e-4
    #: Weights of the terms of the adversarial phase: small, they are there for texture only.
    adversarial: float = 0.01
    matching: float = 0.05
    perceptual: float = 0.02
    #: Above 0, trains the looks from afar: their change is used smoothed by a Gaussian of so many
    #: pixels (:mod:`pipeline.multiscale`), so the losses are of that.
    spread: float = 0.0
    #: Averaging of the weights: over about the last 500 steps.
    ema: float = 0.998
    #: Longest gradient; a batch of odd patches must not undo a hundred others.
    clip: float = 1.0
    #: Numbers all randomness.
    seed: int = 0
    #: "bf16-mixed" or "32-true"; "auto" is the former where the device computes in bf16.
    precision: str = "auto"
    #: Steps between validations, each with a checkpoint, and patches used for one.
    validate_every: int = 250
    validate_on: int = 512


PRESETS = {
    "tiny": Settings(
        Shape(width=8, middle=1, bottom=1), steps=8, batch=4, warmup=2, validate_every=4,
        validate_on=8, precision="32-true",
    ),
    "cpu": Settings(),
    "gpu": Settings(
        Shape(width=48, middle=2, bottom=6), steps=60_000, gan_steps=6_000, batch=64, warmup=1000,
        ema=0.9995, validate_every=2000, validate_on=2048,
    ),
}  # fmt: skip


def rate_at(step: int, s: Settings) -> float:
    """Learning rate: linear warm-up, a cosine to 2 %; then the adversarial phase's, falling."""
    if step < s.warmup:
        return s.rate * (step + 1) / s.warmup
    if step < s.steps:
        progress = (step - s.warmup) / max(1, s.steps - s.warmup)
        return s.rate * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)
    return s.gan_rate * (1 - (step - s.steps) / s.gan_steps)


def train(
    data: Path,
    out: Path,
    s: Settings,
    devices: int = 1,
    resume: bool = False,
    perceptual_weights: Path | None = None,
    quiet: bool = False,
    init: Path | None = None,
) -> dict[str, float]:
    """Train, and return the last validation's figures. Writes ``out``/last.pt and TensorBoard.

    ``init`` is a checkpoint or an exported file whose weights are the first ones; the generator may
    be deeper than that one was, and begins with its answers.
    """
    # -- what takes part --------------------------------------------------------------------------
    precision = s.precision
    if precision == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        precision = "bf16-mixed" if bf16_pays(device) else "32-true"
    fabric = Fabric(accelerator="auto", devices=devices, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    torch.manual_seed(s.seed)
    generator = grow(restore(init, afar=s.spread > 0), s.shape) if init else Generator(s.shape)
    generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(generator).requires_grad_(False).to(fabric.device)
    judge = Discriminator() if s.gan_steps else None
    # Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., 2024): at equal time, the
    # first 3,000 patches lower the loss by 6 % more than with Adam alone.
    model, optimizer = fabric.setup(
        generator,
        SOAP(
            generator.parameters(), s.rate, (0.95, 0.95), weight_decay=1e-4,
            max_precondition_dim=512,
        ),
    )  # fmt: skip
    critic: Any = None
    critic_optimizer: Any = None
    feel: Any = None
    if judge is not None:
        critic, critic_optimizer = fabric.setup(
            judge, torch.optim.Adam(judge.parameters(), s.gan_rate, (0.5, 0.99))
        )
        if s.perceptual:
            feel = perceptual(perceptual_weights).to(fabric.device)

    parts = {"generator": generator, "average": average, "optimizer": optimizer}
    if judge is not None:
        parts |= {"judge": judge, "critic_optimizer": critic_optimizer}
    checkpoint, start = out / "last.pt", 0
    if resume:
        start = load(checkpoint, parts, s)
    out.mkdir(parents=True, exist_ok=True)

    shards, held = (Shards(data, split, fabric.device) for split in ("train", "valid"))
    batches = prefetch(
        epochs(shards, s.batch, s.seed, start, fabric.global_rank, fabric.world_size)
    )
    log = SummaryWriter(str(out)) if fabric.is_global_zero else None
    figures: dict[str, float] = {}

    # -- the loop ---------------------------------------------------------------------------------
    total = s.steps + s.gan_steps
    bar = tqdm(
        range(start, total), initial=start, total=total, disable=quiet or not fabric.is_global_zero
    )
    for step in bar:
        batch = next(batches)
        adversarial = step >= s.steps
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, s)
        refined = model(batch.patches.contiguous(memory_format=torch.channels_last))
        refined = mended(refined, batch.coarse, s.spread)
        loss = losses.reconstruction(
            refined, batch.image, batch.alpha, batch.foreground, batch.weight, s.weights
        )
        if adversarial:
            fake, real = pictures(refined, batch, np.random.default_rng([s.seed, step]))
            critic_loss = (
                losses.adversarial(critic(fake.detach()), False)
                + losses.adversarial(critic(real), True)
            ) / 2
            critic_optimizer.zero_grad(set_to_none=True)
            fabric.backward(critic_loss)
            critic_optimizer.step()
            judged = critic(fake)
            loss = loss + (
                s.adversarial * losses.adversarial(judged, True)
                + s.matching * losses.feature_matching(judged, critic(real))
                + (s.perceptual * feel(fake, real) if feel is not None else 0)
            )
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        norm = fabric.clip_gradients(model, optimizer, max_norm=s.clip)
        optimizer.step()
        follow(average, generator, min(s.ema, (1 + step) / (10 + step)))

        last = step + 1 == total
        if log and (step % 20 == 0 or last):
            log.add_scalar("train/loss", loss.item(), step)
            log.add_scalar("train/gradient norm", float(norm or 0), step)
            log.add_scalar("train/rate", rate_at(step, s), step)
            if adversarial:
                log.add_scalar("train/critic", critic_loss.item(), step)
        if log and ((step + 1) % s.validate_every == 0 or last):
            figures, picture = validate(average, held, s.validate_on, s.spread)
            for name, value in figures.items():
                log.add_scalar(f"valid/{name}", value, step + 1)
            log.add_image("patches", picture, step + 1)
            save(checkpoint, parts, s, step + 1)
            words = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            bar.write(f"step {step + 1}: loss {loss.item():.4f}  {words}")
    if log:
        log.close()
    return figures


def pictures(refined: Tensor, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Composites for the discriminator: ours and the true one over the same random backgrounds.

    The background is another patch of the batch, or a plain colour, where all faults show.
    """
    n = len(refined)
    background = batch.image.roll(int(rng.integers(1, n)) if n > 1 else 0, 0)
    plain = torch.from_numpy(rng.uniform(0, 1, (n, 3, 1, 1))).to(background)
    choose = torch.from_numpy(rng.random((n, 1, 1, 1)) < 0.5).to(background.device)
    background = torch.where(choose, plain, background)
    # Outside the ROI the pipeline keeps the coarse mask; there the discriminator sees the truth.
    alpha = torch.lerp(batch.alpha, refined[:, :1], batch.weight)
    true = torch.where(batch.alpha > 0.02, batch.foreground, batch.image)
    colours = torch.lerp(true, refined[:, 1:], batch.weight)
    return over(alpha, colours, background), over(batch.alpha, true, background)


@torch.no_grad()
def follow(average: torch.nn.Module, model: torch.nn.Module, keep: float) -> None:
    """Move the averaged weights towards the model's; statistics of normalisation are copied."""
    for mine, theirs in zip(average.parameters(), model.parameters(), strict=True):
        mine.lerp_(theirs, 1 - keep)
    for kept, new in zip(average.buffers(), model.buffers(), strict=True):
        kept.copy_(new)


def save(path: Path, parts: dict[str, Any], s: Settings, step: int) -> None:
    """Write a checkpoint; the file is complete or the one before."""
    state = {name: part.state_dict() for name, part in parts.items()}
    part = path.with_suffix(".part")
    torch.save({"step": step, "settings": asdict(s), **state}, part)
    os.replace(part, path)


def load(path: Path, parts: dict[str, Any], s: Settings) -> int:
    """Read a checkpoint into the parts, and return its step.

    Raises SettingsError where there is none, or it is of another generator.
    """
    if not path.is_file():
        raise SettingsError(f"nothing to resume: there is no {path}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["settings"]["shape"] != asdict(s.shape):
        raise SettingsError(f"{path} holds a generator of another shape: {state['settings']}")
    for name, part in parts.items():
        if name in state:  # a run that adds the adversarial phase begins it with a new judge
            part.load_state_dict(state[name])
    return int(state["step"])


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/refiner"))
@click.option("--preset", type=click.Choice(list(PRESETS)), default="cpu")
@click.option("--steps", type=int, help="Steps of reconstruction, instead of the preset's.")
@click.option("--gan-steps", type=int, help="Steps of the adversarial phase.")
@click.option("--batch", type=int, help="Patches a step and device.")
@click.option("--rate", type=float, help="Peak learning rate.")
@click.option("--width", type=int, help="Channels at half resolution.")
@click.option("--bottom", type=int, help="Residual blocks in the bottleneck.")
@click.option("--norm", type=click.Choice(["none", "batch", "group"]), help="Normalisation.")
@click.option("--gates/--no-gates", default=None, help="Attention gates on the skips.")
@click.option("--aspp/--no-aspp", default=None, help="ASPP in the bottleneck.")
@click.option("--attention/--no-attention", default=None, help="Attention in the bottleneck.")
@click.option("--colours/--no-colours", default=None, help="First guess from nearby colours.")
@click.option("--lines/--no-lines", default=None, help="Alpha follows the photo's colours.")
@click.option("--spread", type=float, help="Train looks from afar, smoothed by so many pixels.")
@click.option(
    "--weigh", "weights", type=(str, float), multiple=True, help="A loss term's weight; repeatable."
)
@click.option("--seed", type=int, help="Numbers all randomness.")
@click.option("--perceptual-weights", type=click.Path(exists=True, path_type=Path))
@click.option("--devices", default=1, help="GPUs, or processes on a CPU.")
@click.option("--threads", default=0, help="CPU threads; 0 means one a core.")
@click.option("--init", type=click.Path(exists=True, path_type=Path), help="First weights.")
@click.option("--resume", is_flag=True, help="Go on from OUT/last.pt.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def main(
    data: Path,
    out: Path,
    preset: str,
    steps: int | None,
    gan_steps: int | None,
    batch: int | None,
    rate: float | None,
    width: int | None,
    bottom: int | None,
    norm: str | None,
    gates: bool | None,
    aspp: bool | None,
    attention: bool | None,
    colours: bool | None,
    lines: bool | None,
    spread: float | None,
    weights: tuple[tuple[str, float], ...],
    seed: int | None,
    perceptual_weights: Path | None,
    devices: int,
    threads: int,
    init: Path | None,
    resume: bool,
    quiet: bool,
) -> None:
    """Train the edge refiner on prepared patches."""
    s = PRESETS[preset]
    shape = dict(width=width, bottom=bottom, norm=norm, gates=gates, aspp=aspp)
    shape |= dict(attention=attention, colours=colours, lines=lines)
    given = dict(steps=steps, gan_steps=gan_steps, batch=batch, rate=rate, seed=seed, spread=spread)
    unknown = {name for name, _ in weights} - set(asdict(s.weights))
    if unknown:
        raise click.BadParameter(f"no such loss term: {', '.join(sorted(unknown))}")
    s = replace(
        s,
        shape=replace(s.shape, **_set(shape)),
        weights=replace(s.weights, **dict(weights)),
        **_set(given),
    )
    if threads:
        torch.set_num_threads(threads)
    train(data, out, s, devices, resume, perceptual_weights, quiet, init)


def _set(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


if __name__ == "__main__":
    main()
