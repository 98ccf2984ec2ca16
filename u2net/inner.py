"""The blocks of the lower resolutions, trained on features that lie ready on disk.

What a student takes for the subject is decided deep inside: with a student's first three blocks
before the teacher's last eight, the map differs from the teacher's by 0.017, with its first five
by 0.042. The five blocks of the three lowest resolutions (En_4, En_5, En_6, De_5, De_4) cost 4 % of
a forward pass, though. So the blocks before them are frozen and run once for each augmented photo,
the teacher too, and what those five are fed and should answer is written to disk: each pass over
it costs an eightieth of one end to end.
"""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.errors import SettingsError
from pipeline.files import replacing
from training.precision import autocast
from training.prefetch import prefetch
from u2net import collage, losses
from u2net.dataset import Prepared
from u2net.network import DEPTH, U2Net, normalise
from u2net.phases import Log, Phase, in_parts
from u2net.settings import SIZE

BLOCKS = range(3, 8)  # En_4 .. De_4: levels 3 to 5, and nothing that they need comes after them
DEEPEST = range(4, 7)  # En_5, En_6, De_5, at a 16th and a 32nd: they cost next to nothing
SHARD = 256  # samples a file: some 180 MB
MAP = 80  # px: the side of the truth kept, twice that of the finest of these blocks' maps


class _Tap(nn.Module):
    """What the inner blocks are fed by the student, and what the teacher answers there."""

    def __init__(self, student: U2Net, teacher: U2Net):
        super().__init__()
        self.student, self.teacher = student, teacher

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        ours: list[Tensor] = []
        for k in range(BLOCKS.start):
            ours.append(self.student.blocks[k](self.student.block_input(k, x, ours)))
        theirs: list[Tensor] = []
        for k in range(BLOCKS.stop):
            theirs.append(self.teacher.blocks[k](self.teacher.block_input(k, x, theirs)))
        fed = self.student.block_input(BLOCKS.start, x, ours)
        return fed, *theirs[BLOCKS.start :], *side_maps(self.teacher, theirs[BLOCKS.start :])


def _session(tap: _Tap, size: int) -> onnxruntime.InferenceSession:
    """The tap in onnxruntime, which takes two thirds of torch's time for it; one thread a run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/tap.onnx"
        photo = torch.zeros(1, 3, size, size)
        torch.onnx.export(tap, (photo,), path, input_names=["x"], opset_version=17, dynamo=False)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def side_maps(model: U2Net, inner: list[Tensor]) -> list[Tensor]:
    """The logits of the side maps d4, d5, d6 from the features of ``BLOCKS``, each at its size;
    of d5 and d6 without the last of them."""
    fed = list(zip(BLOCKS, inner, strict=False))[DEPTH - 1 - BLOCKS.start :]
    return [model.side[U2Net.block_level(k)](feature) for k, feature in reversed(fed)]


def answers(model: U2Net, fed: Tensor, learn: range = BLOCKS) -> list[Tensor]:
    """The outputs of ``BLOCKS``, to the last of ``learn``, from the input of the first of them,
    (B, C, H, W). Those before ``learn`` get no gradient."""
    outputs: list[Tensor] = []
    for k in range(BLOCKS.start, learn.stop):
        # block_input counts from the first block; those before BLOCKS are asked for by none of them
        behind = [fed] * BLOCKS.start + outputs
        x = fed if k == BLOCKS.start else model.block_input(k, fed, behind)
        with torch.set_grad_enabled(torch.is_grad_enabled() and k in learn):
            outputs.append(model.blocks[k](x))
    return outputs


class Inner(Phase):
    """The inner blocks' features and maps, or the deepest ones' alone; nothing else learns."""

    rows: Rows

    def open_features(self, folder: Path, teacher: U2Net, quiet: bool) -> None:
        """Prepare the features that ``folder`` lacks, with the teacher in float32; open them all.

        Raises ``SettingsError`` where the features there are of other weights.
        """
        s, student = self.s, copy.deepcopy(self.model).cpu()
        prepare(
            self.pictures, self.probs, student, teacher, folder, s.feature_samples,
            size=s.size, workers=s.workers, quiet=quiet,
        )  # fmt: skip
        self.rows = Rows(folder, s.size, self.model)

    def batches(self, steps: range) -> Iterator[list[Tensor]]:
        """Yield the rows of each step: the parts of :func:`shapes`."""
        return prefetch(self.rows.draw(self.s.seed, step, self.s.batch) for step in steps)

    def step(self, step: int, batch: Sequence[Any]) -> Log:
        rows = [part.to(self.device) for part in batch]
        return in_parts(self.replicas, rows, self.part, self.pool)

    def part(self, model: U2Net, fed: Tensor, *rest: Tensor) -> Log:
        """Do one worker's part of a step, on parts of a row."""
        s, learn = self.s, DEEPEST if self.s.deepest_only else BLOCKS
        teacher_features, logits, truth, has_truth = rest[:5], rest[5:8], rest[8], rest[9].flatten()
        maps = [_enlarged(d).sigmoid() for d in logits[BLOCKS.stop - learn.stop :]]
        target = losses.targets(maps, truth, has_truth, s.truth_weight, s.teacher_gain)
        with autocast(fed.device):
            outputs = answers(model, fed, learn)
            sides = [_enlarged(d) for d in side_maps(model, outputs)]
            map_loss = losses.map_loss(sides, target, s.overlap)
            at = [k - BLOCKS.start for k in learn]
            hints = torch.stack([losses.feature_loss(outputs[i], teacher_features[i]) for i in at])
        (map_loss + s.hint * hints.mean()).backward()
        error = float(losses.truth_error(sides, truth, has_truth))
        log = {f"block/{k}": hint for k, hint in zip(learn, hints.tolist(), strict=True)}
        return {"maps": map_loss.item(), "hint": hints.mean().item(), "truth": error} | log


def _enlarged(logit: Tensor) -> Tensor:
    return F.interpolate(logit, (MAP, MAP), mode="bilinear", align_corners=False)


def front_hash(student: U2Net) -> str:
    """A name for the weights of the blocks before ``BLOCKS``, which features belong to."""
    digest = hashlib.sha256()
    for block in student.blocks[: BLOCKS.start]:
        for value in block.state_dict().values():
            digest.update(value.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def shapes(size: int, channels: int) -> list[tuple[int, int, int]]:
    """The (C, H, W) of a row's parts: input, five features, three maps, truth, has_truth."""
    levels = [U2Net.block_level(k) for k in BLOCKS]
    side = [-(-size // 2**level) for level in levels]
    return [
        (channels, side[0], side[0]),
        *((channels, s, s) for s in side),
        *((1, s, s) for s in (side[4], side[3], side[2])),
        (1, MAP, MAP),
        (1, 1, 1),
    ]


def prepare(
    pictures: Prepared,
    probs: np.ndarray,
    student: U2Net,
    teacher: U2Net,
    out: Path,
    samples: int,
    seed: int = 0,
    strength: float = 0.7,
    size: int = SIZE,
    workers: int = 2,
    quiet: bool = False,
) -> None:
    """Write ``samples`` rows, in whole files of 256, under ``out``; those that lie there are kept.

    A file depends on the seed and its number alone, so that a stopped command goes on. Runs on
    the CPU, one thread a worker. Raises ``SettingsError`` where ``out`` holds another student's.
    """
    out.mkdir(parents=True, exist_ok=True)
    mark = out / "front.txt"
    if mark.is_file() and mark.read_text() != front_hash(student):
        raise SettingsError(f"{out} holds the features of other weights: give another folder.")
    mark.write_text(front_hash(student))
    session = _session(_Tap(student, teacher).eval(), size)

    def row(i: int) -> np.ndarray:
        image, truth, has_truth = collage.draw(pictures, probs, seed, i, size, strength)
        x = normalise(torch.from_numpy(image[None])).numpy()
        small = F.interpolate(torch.from_numpy(truth[None, None]), (MAP, MAP), mode="area").numpy()
        parts = [*session.run(None, {"x": x}), small, np.array([has_truth])]
        return np.concatenate([part.ravel() for part in parts]).astype(np.float16)

    files = -(-samples // SHARD)
    with ThreadPoolExecutor(workers) as pool:
        for number in tqdm(range(files), desc="features", disable=quiet or None):
            path = out / f"{seed:03d}-{number:04d}.npy"
            if path.is_file():
                continue
            rows = np.stack(list(pool.map(row, range(number * SHARD, (number + 1) * SHARD))))
            with replacing(path) as file:
                np.save(file, rows)


class Rows:
    """Prepared features: N rows of float16, each the parts of ``shapes`` one after the other.

    Raises ``SettingsError`` where ``folder`` holds none that ``student`` can learn from.
    """

    def __init__(self, folder: Path, size: int, student: U2Net):
        self.files = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]
        if not self.files:
            raise SettingsError(f"No features in {folder}: the phase prepares them.")
        if (folder / "front.txt").read_text() != front_hash(student):
            raise SettingsError(f"The features in {folder} are of another network's first blocks.")
        self.shapes = shapes(size, student.blocks[0].cin.conv.out_channels)
        length = sum(int(np.prod(s)) for s in self.shapes)
        if any(f.shape[1] != length for f in self.files):
            raise SettingsError(f"The features in {folder} are of photos of another size.")
        self.ends = np.cumsum([len(f) for f in self.files])

    def draw(self, seed: int, step: int, batch: int) -> list[Tensor]:
        """The parts of ``batch`` rows, float32 (B, C, H, W): a function of seed and step alone."""
        chosen = np.random.default_rng((seed, step)).integers(self.ends[-1], size=batch)
        files = np.searchsorted(self.ends, chosen, "right")
        rows = [self.files[f][k - self.ends[f]] for f, k in zip(files, chosen, strict=True)]
        flat = torch.from_numpy(np.stack(rows))
        parts = flat.split([int(np.prod(s)) for s in self.shapes], 1)
        return [p.reshape(-1, *s).float() for p, s in zip(parts, self.shapes, strict=True)]
