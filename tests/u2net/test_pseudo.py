"""Teachers' maps of photos without truth: once, resumed, and weighed by their agreement."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pipeline import coarse
from pipeline.errors import SettingsError
from u2net import pseudo
from u2net.dataset import Prepared


def disc(row: int, column: int, radius: int = 12, side: int = 64) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return ((y - row) ** 2 + (x - column) ** 2 < radius**2).astype(np.float32)


def test_what_teachers_agree_on_counts():
    here, there = disc(20, 20), disc(44, 44)
    target, weight = pseudo.agreement(np.stack([here, here, here]))
    assert np.array_equal(target, here) and (weight == 1).all()
    target, weight = pseudo.agreement(np.stack([here, there, there]))
    assert np.allclose(target[20, 20], 0.5) and weight.max() <= 0.26 and weight[20, 20] < 0.08


def test_the_first_teacher_counts_as_much_as_the_rest():
    sure, unsure = np.full((4, 4), 0.9, np.float32), np.full((4, 4), 0.3, np.float32)
    target, _ = pseudo.agreement(np.stack([sure, unsure, unsure]))
    assert np.allclose(target, 0.6**1.5 / (0.6**1.5 + 0.4**1.5))


def test_maps_are_made_once_and_resumed(prepared, tmp_path, monkeypatch):
    folder = shutil.copytree(prepared, tmp_path / "prepared")
    asked = []

    def predict(session, card, photo):
        asked.append(photo.shape)
        return np.full((320, 320), 0.25, np.float32)

    monkeypatch.setattr(coarse, "predict", predict)
    pictures = Prepared(folder, "train")
    unlabelled = int((~pictures.has_truth).sum())
    assert unlabelled and not pseudo.Pseudo(folder, "train").done.any()
    assert pseudo.make(folder, "train", ["wisp", "wisp-fp32"], quiet=True) == unlabelled
    assert len(asked) == 2 * unlabelled
    made = np.load(folder / "train_made.npy", mmap_mode="r+")
    made[0] = False
    made.flush()
    assert pseudo.make(folder, "train", ["wisp", "wisp-fp32"], quiet=True) == 1
    labels = pseudo.Pseudo(folder, "train")
    assert np.array_equal(labels.done, ~pictures.has_truth)
    target, weight = labels.target(int(np.flatnonzero(labels.done)[0]), 48)
    assert target.shape == weight.shape == (48, 48) and target.dtype == np.uint8
    with pytest.raises(SettingsError, match="other pictures or teachers"):
        pseudo.make(folder, "train", ["wisp-fp32", "wisp"], quiet=True)
    with pytest.raises(SettingsError, match="two teachers"):
        pseudo.make(folder, "held", ["wisp"], quiet=True)
