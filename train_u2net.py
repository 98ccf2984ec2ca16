"""Train stage 1, a U²-Net-P student of a published teacher, by a recipe.

    python train_u2net.py --recipe bundled --data DATA --teacher u2netp.onnx --out RUN

prepares the pictures in DATA, trains the recipe's phases one after the other, each from the
averaged weights of the one before, and exports RUN/coarse.onnx and RUN/coarse_int8.onnx. What a
data folder may hold: ``training/folders.py``; what the phases are: ``u2net/phases.py``; the
settings and their reasons: ``u2net/settings.py``. Every random choice follows from the seed and the
step, so that a resumed run is the run that was not interrupted.

    python train_u2net.py --recipe bundled --phase together --init coarse.onnx …   # one phase
    python -m u2net.evaluate RUN/coarse.onnx --prepared RUN/prepared --teacher u2netp.onnx
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click
import cv2
import torch
from pytorch_optimizer import SOAP

from pipeline.cli.command import Command
from pipeline.errors import SettingsError
from training import checkpoint, recipe
from training.ema import averaged
from training.precision import fastest, fastest_format
from training.progress import Progress
from training.sampling import sampling_probs
from training.schedule import set_rate, warmup_cosine
from u2net import dataset, export, weights
from u2net.dataset import Prepared
from u2net.guided import Guided
from u2net.inner import Inner
from u2net.network import WIDTHS, U2Net, normalise
from u2net.phases import Blocks, Chain, Phase, Whole
from u2net.prepare import prepare
from u2net.relearn import Relearn
from u2net.samples import Pool
from u2net.settings import Data, Settings
from u2net.validate import validate

PHASES: dict[str, type[Phase]] = {
    "blocks": Blocks,
    "chain": Chain,
    "whole": Whole,
    "inner": Inner,
    "guided": Guided,
    "relearn": Relearn,
}


def train(
    s: Settings,
    prepared: Path,
    teacher_file: Path,
    out: Path,
    init: Path | None = None,
    about: Data | None = None,
    features: Path | None = None,
    resume: bool = False,
    stop: int | None = None,
    quiet: bool = False,
) -> Path:
    """Train one phase, and return its last checkpoint, ``out``/last.pt.

    ``init`` holds the first weights (a checkpoint or an ONNX file); ``resume`` goes on from the
    phase's own checkpoint. ``about`` weighs the sources, ``features`` is the inner phase's folder.
    ``stop`` ends after that many of ``s.steps``. Raises ``SettingsError`` where settings,
    checkpoint and files contradict.

    It is one function on purpose: a training is read from top to bottom.
    """
    if s.phase not in PHASES:
        raise SettingsError(f"There is no phase {s.phase!r}; there are {', '.join(PHASES)}.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(s.seed)
    out.mkdir(parents=True, exist_ok=True)

    # -- data, student, teacher
    model = place(U2Net(WIDTHS[s.widths], norm=not s.folded, hints=s.hinted > 0), device)
    pictures, held = Prepared(prepared, "train"), Prepared(prepared, "held")
    about = about or Data()
    probs = sampling_probs(pictures.sources, about.sampling)
    exact_teacher = weights.load_onnx(teacher_file)
    teacher = place(weights.load_onnx(teacher_file), device).to(fastest(device))
    if init and not resume:
        photos = dataset.draw(pictures, probs, s.seed, 0, 32, s.size, 0.0)[0]
        x = normalise(torch.from_numpy(photos).to(device))
        first_model = weights.load(init)
        begun = weights.adapt(first_model, WIDTHS[s.widths], s.folded, s.hinted > 0, x)
        model.load_state_dict(begun.state_dict())
    optimizer = make_optimizer(model, s)
    ema = averaged(model, s.ema)
    average = cast(U2Net, ema.module)
    parts = {"model": model, "ema": average, "optimizer": optimizer}
    first = checkpoint.resume(out / "last.pt", s, parts) if resume else 0
    ema.n_averaged.fill_(1 + first)

    phase = PHASES[s.phase](model, teacher, pictures, probs, s)
    if isinstance(phase, Blocks):
        phase.pretrained = init is not None
    if isinstance(phase, Inner):
        phase.open_features(features or out / "features", exact_teacher, quiet)
    if isinstance(phase, Guided):
        phase.samples = Pool(prepared, "train", about)

    # -- the loop
    steps = range(first, min(s.steps, stop or s.steps))
    progress = Progress(out, first, steps.stop, quiet)
    model.train()
    for step, batch in zip(steps, phase.batches(steps), strict=True):
        set_rate(optimizer, s.lr * warmup_cosine(step, s.steps, s.warmup, s.lr_end))
        optimizer.zero_grad(set_to_none=True)
        log = phase.step(step, batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), s.clip)
        optimizer.step()
        ema.update_parameters(model)
        progress.step(step, log)

        done = step + 1
        if done % s.validate_every == 0 or done == steps.stop:
            checkpoint.save(out / "last.pt", done, s, parts)
            figures, sheet = validate(average, teacher, held, s.size)
            progress.validated(figures, done)
            if sheet is not None:
                cv2.imwrite(str(out / "preview.png"), sheet[..., ::-1])
    phase.close()
    progress.close()
    return out / "last.pt"


def place(model: U2Net, device: torch.device) -> U2Net:
    """Put a network on the device, in the memory format that is fast there."""
    return model.to(device).to(memory_format=fastest_format(device))  # type: ignore[call-overload]


def make_optimizer(model: U2Net, s: Settings) -> torch.optim.Optimizer:
    """Build the optimizer, each parameter with the scale of its rate.

    A normalised layer answers alike however large its weights are. A folded one does not, and its
    weights differ in size by a factor of fifty: each moves by a share of its own (relative steps,
    as in Adafactor; Shazeer and Stern, 2018, section 8).
    """
    groups = [
        {"params": [p], "scale": p.detach().square().mean().sqrt().item() if s.folded else 1.0}
        for p in model.parameters()
    ]
    if s.optimizer == "adamw":
        return torch.optim.AdamW(groups, s.lr, weight_decay=s.weight_decay)
    if s.optimizer == "soap":
        return SOAP(
            groups, s.lr, (0.95, 0.95), weight_decay=s.weight_decay, max_precondition_dim=512
        )
    raise SettingsError(f"optimizer is adamw or soap, not {s.optimizer!r}.")


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--recipe", "name", default="bundled", help="A name in recipes/u2net, or a file.")
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Folder of pictures.")
@click.option("--prepared", type=click.Path(path_type=Path), help="In place of --data.")
@click.option("--teacher", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/u2net"))
@click.option("--phase", "chosen", multiple=True, help="Only this phase; repeatable.")
@click.option("--init", type=click.Path(path_type=Path, exists=True), help="First weights.")
@click.option("--set", "changes", multiple=True, help="NAME=VALUE of a setting; repeatable.")
@click.option("--resume", is_flag=True, help="Go on in OUT; what is finished stays.")
@click.option("--quiet", is_flag=True, help="No progress.")
def main(
    name: str,
    data: Path | None,
    prepared: Path | None,
    teacher: Path,
    out: Path,
    chosen: tuple[str, ...],
    init: Path | None,
    changes: tuple[str, ...],
    resume: bool,
    quiet: bool,
) -> None:
    """Prepare, train and export stage 1 by a recipe."""
    plan = recipe.load("u2net", name, Settings(), changes)
    phases = recipe.choose(plan.phases, chosen)
    about = recipe.apply(Data(), plan.data)
    if prepared is None:
        if data is None:
            raise click.UsageError("give --data, a folder of pictures, or --prepared")
        prepared = out / "prepared"
        if not (prepared / "held.json").is_file():
            prepare(data, prepared, about, quiet)
    for folder, s in phases.items():
        last = out / folder / "last.pt"
        if last.is_file() and not resume:
            raise SettingsError(f"{last.parent} holds a run: --resume goes on with it.")
        if not last.is_file() or checkpoint.read(last)["step"] < s.steps:
            train(
                s, prepared, teacher, out / folder, init, about, out / "features",
                resume=last.is_file(), quiet=quiet,
            )  # fmt: skip
        init = last
    for path in export.export(weights.load(last), Prepared(prepared, "train"), out):
        click.echo(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
