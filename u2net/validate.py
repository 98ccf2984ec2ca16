"""Validation during a training: errors of the averaged network on held-out photos, and a sheet."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from training.precision import autocast, fastest_format
from u2net.dataset import Prepared
from u2net.network import U2Net, normalise


@torch.no_grad()
def validate(
    model: U2Net, teacher: U2Net, held: Prepared, size: int, count: int = 24
) -> tuple[dict[str, float], NDArray[np.uint8] | None]:
    """Measure d0 on ``count`` held-out photos, two thirds of them with truth.

    Returns mean absolute differences, of the student to the teacher (``to_teacher``), and of both
    to the truth where there is some (``error``, ``teacher_error``), and a sheet of photo, truth,
    teacher, student, (H, W, 3) uint8 RGB, None without photos.
    """
    with_truth, without = np.flatnonzero(held.has_truth), np.flatnonzero(~held.has_truth)
    parts = ((with_truth, 2 * count // 3), (without, count // 3))
    chosen = np.concatenate([part[:: max(1, len(part) // n)][:n] for part, n in parts])
    squares = held.photos(chosen, size)
    device = next(model.parameters()).device
    maps = []
    model.eval()
    for square in squares:
        photo = torch.from_numpy(square[None, ..., :3].transpose(0, 3, 1, 2).copy()).to(device)
        x = normalise(photo).to(memory_format=fastest_format(device))
        with autocast(device):
            student_map = model(x)[0].float().sigmoid()
        teacher_map = teacher(x.to(next(teacher.parameters()).dtype))[0].float().sigmoid()
        maps.append(torch.cat([teacher_map, student_map])[:, 0].cpu().numpy())
    if not maps:
        return {}, None
    truth, has_truth = squares[..., 3] / 255, held.has_truth[chosen]
    theirs, ours = np.stack(maps, 1)
    figures = {"to_teacher": float(np.abs(ours - theirs).mean())}
    if has_truth.any():
        for name, prediction in (("error", ours), ("teacher_error", theirs)):
            figures[name] = float(np.abs(prediction - truth)[has_truth].mean())
    grey = np.repeat(np.concatenate([truth, theirs, ours], 2)[..., None], 3, 3)
    return figures, _sheet(np.concatenate([squares[..., :3] / 255, grey], 2))


def _sheet(rows: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Lay rows, (n, h, w, 3) in 0..1, in two columns, at half the size."""
    half = max(1, len(rows) // 2)
    columns = [np.concatenate(list(rows[k : k + half])) for k in (0, half) if len(rows) >= k + half]
    return (np.concatenate(columns, 1)[::2, ::2] * 255).astype(np.uint8)
