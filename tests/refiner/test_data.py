"""The data engine: exact alpha, true composites, plausible coarse masks, reproducible shards."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from pipeline import views
from pipeline.errors import SettingsError
from refiner import (
    composite,
    dataset,
    guidance,
    patch_sampling,
    prepare,
    procedural,
    scenes,
    subjects,
)
from refiner.backdrop import dead_leaves
from refiner.subjects import Subject
from tests import networks
from tests.refiner.conftest import run_prepare
from training import folders as folder_rule
from training.split import is_held_out

RNG = np.random.default_rng


def mask(alpha: np.ndarray) -> guidance.Mask:
    """A coarse mask of stage 1's whole view."""
    return guidance.Mask(alpha, (320, 320))


def test_preparing_data_loads_no_torch() -> None:
    code = "import refiner.prepare, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", procedural.KINDS)
def test_a_drawn_foreground_is_reproducible_and_has_soft_edges(kind: str) -> None:
    colour, alpha = procedural.sample(kind, (72, 96), RNG(3))
    again = procedural.sample(kind, (72, 96), RNG(3))
    assert colour.shape == (72, 96, 3) and colour.dtype == np.uint8
    assert alpha.shape == (72, 96) and alpha.dtype == np.float32
    assert alpha.min() >= 0 and 0.3 < alpha.max() <= 1
    assert ((alpha > 0.02) & (alpha < 0.98)).mean() > 0.002
    np.testing.assert_array_equal(colour, again[0])
    np.testing.assert_array_equal(alpha, again[1])


def test_alpha_is_the_covered_part_of_a_pixel_and_colour_the_mean_of_what_covers() -> None:
    alpha = np.zeros((8, 8), np.float32)
    alpha[:4, 1:4] = 1  # three of the four columns of the first pixel
    colour = np.full((8, 8, 3), 200, np.float32)
    colour[alpha > 0] = 40  # what is not covered must not shine through
    straight, cover = procedural._reduce(colour, alpha, (2, 2))
    np.testing.assert_allclose(cover, np.array([[0.75, 0], [0, 0]]))
    assert (straight[0, 0] == 40).all()


def test_a_drawn_background_is_reproducible_and_has_a_photos_statistics() -> None:
    pictures = [dead_leaves((192, 256), RNG(seed)) for seed in range(6)]
    assert all(p.shape == (192, 256, 3) and p.dtype == np.uint8 for p in pictures)
    np.testing.assert_array_equal(pictures[0], dead_leaves((192, 256), RNG(0)))
    frequency = np.hypot(np.fft.fftfreq(192)[:, None], np.fft.fftfreq(256))
    slopes, peaked = [], []
    for picture in pictures:
        grey = picture.mean(2)
        window = np.outer(np.hanning(192), np.hanning(256))
        power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        bands = np.geomspace(0.02, 0.25, 9)
        means = [
            power[(frequency >= a) & (frequency < b)].mean() for a, b in itertools.pairwise(bands)
        ]
        slopes.append(np.polyfit(np.log(bands[:-1]), np.log(means), 1)[0])
        steps = np.diff(grey, axis=1)
        peaked.append((steps**4).mean() / (steps**2).mean() ** 2)
    # The power of photos falls as f⁻², and most neighbours are alike where a few differ much: the
    # fourth moment is 3 for a normal distribution.
    assert -3.2 < np.mean(slopes) < -1.6 and np.mean(peaked) > 6


def test_backgrounds_are_drawn_where_that_is_asked_for(folders: Path) -> None:
    everything = scenes.Pictures((), tuple((folders / "backgrounds").iterdir()))
    photos, leaves = (
        next(scenes.draw(everything, scenes.Data(procedural=1.0, leaves=share), RNG(4)))[0]
        for share in (0.0, 1.0)
    )
    assert photos.alpha.any() and not np.array_equal(photos.image, leaves.image)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        procedural.sample("soup", (64, 64), RNG(0))


def test_the_trimap_leaves_a_band_unknown_and_the_border_sure() -> None:
    mask = np.zeros((40, 60), bool)
    mask[:, 30:] = True
    row = subjects.trimap(mask, shrink=4, grow=6)[20]
    assert (row[:24] == 0).all() and (row[24:34] == 0.5).all() and (row[34:] == 1).all()


@pytest.fixture
def masked(tmp_path: Path) -> subjects.SubjectFile:
    """A photo of a light disc with a soft rim before a dark wall, and its binary mask."""
    y, x = np.mgrid[:96, :96]
    alpha = np.clip((30 - np.hypot(y - 48, x - 48)) / 4 + 0.5, 0, 1)
    image = alpha[..., None] * (220, 200, 180) + (1 - alpha[..., None]) * (20, 30, 60)
    for name, picture in (("images", image), ("masks", (alpha > 0.5) * 255)):
        (tmp_path / name).mkdir()
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / name / "disc.png")
    (folder,) = folder_rule.find(tmp_path)
    (source,) = subjects.subject_files(folder)
    return source


def test_a_mask_becomes_a_soft_alpha_with_clean_colours(masked: subjects.SubjectFile) -> None:
    subject = subjects.make(masked)
    assert subject is not None and subject.photo is not None and not subject.pixel_accurate
    y, x = np.mgrid[:96, :96]
    truth = np.clip((30 - np.hypot(y - 48, x - 48)) / 4 + 0.5, 0, 1)
    assert np.abs(subject.alpha - truth).max() < 0.1
    rim = (truth > 0.1) & (truth < 0.9)
    assert np.abs(subject.foreground[rim].astype(int) - (220, 200, 180)).mean() < 12


def test_the_photo_is_kept_only_where_its_mask_is_accurate(
    masked: subjects.SubjectFile, tmp_path: Path
) -> None:
    for kind, kept in (("masks", True), ("guesses", False)):
        subject = subjects.make(replace(masked, kind=kind))
        assert subject is not None
        subjects.save(subject, tmp_path, kind)
        back = subjects.load(tmp_path, kind)
        assert (back.photo is not None) == kept
        assert not (back.photo is not None and back.pixel_accurate)


def test_a_mask_in_doubt_is_left_out(masked: subjects.SubjectFile) -> None:
    grey = np.full((96, 96), 90, np.uint8)
    grey[20:60, 20:60] = 255
    assert subjects.unsure_share(grey) > 4
    assert masked.matte is not None
    Image.fromarray(grey).save(masked.matte)
    assert subjects.make(masked) is None


def test_a_mask_that_is_thin_all_over_is_left_out(masked: subjects.SubjectFile) -> None:
    thin = np.zeros((96, 96), np.uint8)
    thin[45:50, 10:86] = 255  # nothing lies 4 px inside, so nothing is surely foreground
    assert masked.matte is not None
    Image.fromarray(thin).save(masked.matte)
    assert subjects.make(masked) is None


def test_a_broken_picture_costs_itself_alone(
    masked: subjects.SubjectFile, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = masked.image.with_name("broken.png")
    broken.write_bytes(masked.image.read_bytes()[:200])
    assert masked.matte is not None
    masked.matte.with_name("broken.png").write_bytes(masked.matte.read_bytes())
    pictures = prepare.find(tmp_path, tmp_path / "ready", {}, 1, quiet=True)
    assert [len(group) for group in pictures.groups] == [1]
    said = capfd.readouterr().err
    assert f"left out: {broken}" in said and "Traceback" not in said
    Image.open(masked.image).save(broken)  # mended, it is taken the next time
    pictures = prepare.find(tmp_path, tmp_path / "ready", {}, 1, quiet=True)
    assert [len(group) for group in pictures.groups] == [2]


def test_a_background_that_cannot_be_read_costs_itself_alone(
    masked: subjects.SubjectFile, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "backgrounds"
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "plain.png")
    whole = (folder / "plain.png").read_bytes()
    size = struct.pack(">2I", 30_000, 30_000)  # more than Pillow opens
    header = b"IHDR" + size + whole[24:29]
    bomb = whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]
    (folder / "bomb.png").write_bytes(bomb)
    (folder / "short.png").write_bytes(whole[:50])
    pictures = prepare.find(tmp_path, tmp_path / "ready", {}, 1, quiet=True)
    assert pictures.backgrounds == (folder / "plain.png",)
    said = capfd.readouterr().err
    assert said.count("left out") == 2 and "Traceback" not in said
    assert all(f"{folder / name}.png" in said for name in ("bomb", "short"))


def test_a_subject_comes_back_from_disk(masked: subjects.SubjectFile, tmp_path: Path) -> None:
    subject = subjects.make(replace(masked, kind="alphas"))
    assert subject is not None
    subjects.save(subject, tmp_path, "disc")
    back = subjects.load(tmp_path, "disc")
    assert np.abs(back.alpha - subject.alpha).max() <= 0.5 / 255 + 1e-6
    assert subject.photo is not None and back.photo is not None and back.pixel_accurate
    np.testing.assert_array_equal(back.photo, subject.photo)
    np.testing.assert_array_equal(back.foreground, subject.foreground)
    assert not list(tmp_path.glob("*.part"))


@pytest.fixture
def subject() -> Subject:
    colour, alpha = procedural.sample("hair", (120, 120), RNG(1))
    return Subject(colour, alpha, photo=colour)


def test_a_composite_is_alpha_f_plus_the_rest_b(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composite, "camera", lambda image, rng: image)
    white, black = (np.full((50, 50, 3), level, np.uint8) for level in (255, 0))
    # The same scene before black and (nearly) white tells alpha by subtraction.
    monkeypatch.setattr(composite, "_light", lambda front, cover, back, rng: front)
    dark = composite.compose(subject, black, 1.2, RNG(5))
    light = composite.compose(subject, white, 1.2, RNG(5))
    np.testing.assert_array_equal(dark.alpha, light.alpha)
    cover = dark.alpha[..., None]
    np.testing.assert_allclose(dark.image, cover * dark.foreground, atol=0.51)
    back = light.image[light.alpha == 0].mean(0)
    full = light.image - cover * light.foreground
    np.testing.assert_allclose(full, (1 - cover) * back, atol=0.6)
    assert max(dark.alpha.shape) == round(320 * 1.2)


@pytest.mark.parametrize("sigma", [0.7, 3.0, 5.5, 19.0])
def test_a_wide_blur_from_a_reduced_picture_is_that_of_the_whole(sigma: float) -> None:
    picture = RNG(1).uniform(0, 255, (130, 211, 3)).astype(np.float32)
    whole = cv2.GaussianBlur(picture, (0, 0), sigma)
    inside = np.s_[40:-40, 40:-40]
    difference = np.abs(composite.blur(picture, sigma) - whole)[inside].mean()
    assert difference <= 0.15 * whole[inside].std()


def test_a_scene_is_reproducible_and_uint8(subject: Subject) -> None:
    backdrop = RNG(0).integers(0, 255, (60, 90, 3)).astype(np.uint8)
    one, two = (composite.compose(subject, backdrop, 1.3, RNG(9)) for _ in range(2))
    for a, b in zip(vars(one).values(), vars(two).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.image.dtype == one.foreground.dtype == np.uint8


def test_what_stands_behind_is_no_part_of_the_subject(subject: Subject) -> None:
    colour, alpha = procedural.sample("lattice", (96, 96), RNG(2))
    plain = np.full((120, 160, 3), 128, np.uint8)
    backdrop = composite.cluttered(plain, Subject(colour, alpha), RNG(2))
    assert backdrop.shape == plain.shape and 0.01 < (backdrop != plain).any(2).mean() < 0.9
    scene = composite.compose(subject, backdrop, 0.5, RNG(8))
    before = composite.compose(subject, plain, 0.5, RNG(8))
    np.testing.assert_array_equal(scene.alpha, before.alpha)


def test_a_natural_scene_keeps_photo_and_alpha_together(subject: Subject) -> None:
    photo = np.repeat((subject.alpha * 255).astype(np.uint8)[..., None], 3, 2)
    scene = composite.natural(Subject(photo, subject.alpha, photo), 1.5, RNG(2))
    assert np.abs(scene.image[..., 0] / 255 - scene.alpha).max() < 0.02
    with pytest.raises(ValueError, match="photo"):
        composite.natural(Subject(photo, subject.alpha), 1.5, RNG(2))


def test_simulated_masks_err_like_stage_1_but_find_the_subject() -> None:
    _, alpha = procedural.sample("hair", (400, 400), RNG(2))
    truth = cv2.resize(alpha, (320, 320), interpolation=cv2.INTER_AREA)
    errors = []
    for seed in range(8):
        mask = guidance.simulate(alpha, RNG(seed))
        assert mask.shape == (320, 320) and mask.dtype == np.float32
        assert mask.min() >= 0 and mask.max() <= 1
        errors.append(np.abs(mask - truth).mean())
    assert min(errors) > 0.002 and max(errors) < 0.3 and np.ptp(errors) > 0.002


def test_the_mask_is_the_networks_own_unless_it_missed(tmp_path: Path, subject: Subject) -> None:
    y, x = np.mgrid[:320, :320]
    alpha = (np.hypot(y - 160, x - 160) < 90).astype(np.float32)
    image = np.repeat((alpha * 255).astype(np.uint8)[..., None], 3, 2)
    scene = composite.Scene(image, alpha, image)
    seeing = guidance.Stage1(str(networks.stage1(tmp_path / "a.onnx", gain=8, offset=-2)))
    masks = [guidance.coarse_mask(scene, seeing, 1.0, RNG(seed)) for seed in range(8)]
    for looks in (1, 2):  # both as in use
        once = views.see(seeing._session, seeing._card, image, looks)
        alike = [mask for mask in masks if np.array_equal(mask.alpha, once.mask)]
        assert alike and all(mask.cells == once.cells for mask in alike)
    blind = guidance.Stage1(str(networks.constant_stage1(tmp_path / "b.onnx", 0.0)))
    instead = guidance.coarse_mask(scene, blind, 1.0, RNG(0))
    assert instead.alpha.max() > 0.5 and instead.cells == (320, 320)  # simulated


def test_cell_sizes_cover_the_range() -> None:
    sizes = [scenes.cell_size(scenes.Data(), RNG(i)) for i in range(300)]
    assert min(sizes) >= 1.2 and max(sizes) <= 16 and max(sizes) > 8
    assert np.mean([1.5 <= s <= 6 for s in sizes]) > 0.6


@pytest.mark.parametrize("zoom", [1.0, 2.5])
def test_patches_lie_on_the_edge_and_count_all_over(zoom: float) -> None:
    alpha = np.zeros((300, 400), np.float32)
    alpha[:, 200:] = 1
    image = np.repeat((alpha * 200).astype(np.uint8)[..., None], 3, 2)
    scene = composite.Scene(image, alpha, image)
    sampling = patch_sampling.PatchSampling(per_scene=6, global_views=0)
    patches = patch_sampling.sample_patches(scene, mask(alpha), alpha, zoom, sampling, RNG(0))
    assert patches.shape[1:] == (9, 128, 128) and 1 <= len(patches) <= 6
    assert (patches[:, patch_sampling.WEIGHT] == 255).all()
    assert (np.ptp(patches[:, patch_sampling.ALPHA], axis=(1, 2)) == 255).all()
    # All layers are cut at the same place, and enlarged alike.
    assert (
        np.abs(
            patches[:, patch_sampling.ALPHA].astype(int) - patches[:, patch_sampling.COARSE]
        ).max()
        <= 1
    )
    assert (
        np.abs(patches[:, 0] / 200 - patches[:, patch_sampling.ALPHA] / 255).max() < 0.12
    )  # cubic rings


def test_no_edge_gives_no_patch() -> None:
    alpha = np.zeros((200, 200), np.float32)
    image = np.zeros((200, 200, 3), np.uint8)
    scene = composite.Scene(image, alpha, image)
    assert (
        len(
            patch_sampling.sample_patches(
                scene, mask(alpha), alpha, 1.0, patch_sampling.PatchSampling(), RNG(0)
            )
        )
        == 0
    )


def test_a_few_patches_show_the_scene_and_the_others_have_what_was_seen_there() -> None:
    alpha = np.zeros((320, 400), np.float32)
    alpha[:, 200:] = 1
    image = np.repeat((alpha * 200).astype(np.uint8)[..., None], 3, 2)
    scene = composite.Scene(image, alpha, image)
    coarse, corrected = alpha * np.float32(0.8), alpha * np.float32(0.9)
    sampling = patch_sampling.PatchSampling(per_scene=8, global_views=3)
    patches = patch_sampling.sample_patches(scene, mask(coarse), corrected, 1.0, sampling, RNG(1))
    assert len(patches) == 8  # of a view beside the edge, nothing is taken
    sure = patches[:, patch_sampling.COARSE].max((1, 2))
    assert (sure[:5] == 230).all() and sure[5] == 204 and {*sure[6:]} <= {204, 230}
    whole = patches[5]  # 128 × 102 px, continued below by reflection
    assert abs((whole[patch_sampling.ALPHA] > 127).mean() - 0.5) < 0.02
    np.testing.assert_array_equal(whole[:, 102], whole[:, 101])
    assert (patches[:5, patch_sampling.WEIGHT] == 255).all()
    assert (
        0 < whole[patch_sampling.WEIGHT].mean() < 128
    )  # of what is far from any edge, nothing is asked


def test_what_is_true_as_a_whole_only_is_shown_from_afar_only() -> None:
    alpha = np.zeros((500, 400), np.float32)
    alpha[:, 200:] = 1
    image = np.repeat((alpha * 200).astype(np.uint8)[..., None], 3, 2)
    subject = Subject(image, alpha, image, pixel_accurate=False)
    scene = composite.natural(subject, 1.5, RNG(0))
    assert not scene.pixel_accurate
    coarse = scene.alpha * np.float32(0.8)
    sampling = patch_sampling.PatchSampling(per_scene=8, global_views=3)
    many = [
        patch_sampling.sample_patches(scene, mask(coarse), scene.alpha, 1.0, sampling, RNG(i))
        for i in range(8)
    ]
    assert max(len(patches) for patches in many) == 3
    # As a first look sees it, or as a later one does.
    sure = [patches[:, patch_sampling.COARSE].max((1, 2)) for patches in many]
    assert {patches[0] for patches in sure} == {204}
    assert {mask for patches in sure for mask in patches[1:]} == {204, 255}


@pytest.mark.parametrize(("coarse", "local", "global_"), [(0.8, 1, 1), (0.65, 0, 1), (0.55, 0, 0)])
def test_another_subjects_mask_teaches_nothing(coarse: float, local: int, global_: int) -> None:
    """Mean squared errors of 0.04, 0.12 and 0.2: from afar more is worth showing."""
    alpha = np.zeros((320, 400), np.float32)
    alpha[:, 200:] = 1
    image = np.zeros((320, 400, 3), np.uint8)
    wrong = np.where(alpha > 0, np.float32(coarse), np.float32(1 - coarse))
    patches = patch_sampling.sample_patches(
        composite.Scene(image, alpha, image),
        mask(wrong),
        wrong,
        1.0,
        patch_sampling.PatchSampling(8, 3),
        RNG(1),
    )
    assert len(patches) == 5 * local + 3 * global_


def test_patches_are_prepared_with_what_a_refiner_sees_of_the_scene(
    folders: Path, tmp_path: Path
) -> None:
    everything = scenes.Pictures((), tuple((folders / "backgrounds").iterdir()))
    data = scenes.Data(
        shard_size=2, cells=(1.5, 2.0), stage1=(),
        corrector=str(networks.constant_stage2(tmp_path / "all.onnx", 1.0)),
        patches=patch_sampling.PatchSampling(per_scene=2, global_views=0),
    )  # fmt: skip
    prepare.write_shard(tmp_path / "x.npy", everything, data, "train", 0)
    assert np.load(tmp_path / "x.npy")[:, patch_sampling.COARSE].mean() > 225


def test_shards_are_the_same_byte_for_byte(folders: Path, shards: Path, tmp_path: Path) -> None:
    run_prepare(folders, tmp_path)
    for split in scenes.SPLITS:
        first, second = (p / f"{split}-000.npy" for p in (shards, tmp_path))
        assert first.read_bytes() == second.read_bytes()
        assert np.load(first).shape == (8, 9, 128, 128)
    assert not list(tmp_path.glob("*.part"))


def test_several_networks_make_the_coarse_masks(folders: Path, tmp_path: Path) -> None:
    """A scene's mask is made by one or the other."""
    seen = []

    class Watched(guidance.Stage1):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.name = name

        def __call__(self, image, looks=2):
            seen.append(self.name)
            return super().__call__(image, looks)

    names = [str(networks.stage1(tmp_path / f"{n}.onnx", gain=8, offset=-2)) for n in "ab"]
    everything = scenes.Pictures((), tuple((folders / "backgrounds").iterdir()))
    patches = patch_sampling.PatchSampling(per_scene=2)
    data = scenes.Data(shard_size=16, real=1.0, stage1=tuple(names), patches=patches)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "_stage1", Watched)
        prepare.write_shard(tmp_path / "x.npy", everything, data, "train", 0)
    assert set(seen) == set(names)


@pytest.mark.parametrize("change", ["stage1=['no-such-network']", "corrector=no-such-network"])
def test_a_network_that_is_not_there_is_refused_at_once(
    folders: Path, tmp_path: Path, change: str
) -> None:
    options = ["--data", str(folders), "--out", str(tmp_path), "--set", "stage1=[]"]
    result = CliRunner().invoke(prepare.main, [*options, "--set", change])
    assert result.exit_code == 1 and "no-such-network" in result.output
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_said_and_only_of_what_is_asked_for(tmp_path: Path) -> None:
    held = next(name for i in range(99) if is_held_out(name := f"{i}.png"))
    (tmp_path / "backgrounds").mkdir()
    Image.new("RGB", (200, 150), (9, 90, 30)).save(tmp_path / "backgrounds" / held)

    def run(*options: str) -> Result:
        base = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--quiet"]
        base += ["--set", "stage1=[]", "--set", "valid_shards=0", "--set", "procedural=1"]
        return CliRunner().invoke(prepare.main, [*base, *options])

    assert run("--set", "shards=0", "--scenes", "1").exit_code == 0
    assert len(list((tmp_path / "out/scenes/images").iterdir())) == 1
    shards = run("--set", "shards=1")
    assert shards.exit_code == 1 and "no background belongs to the train split" in shards.output
    unknown = run("--set", "repeat={hair = 3}")
    assert unknown.exit_code == 1 and "No subjects in hair" in unknown.output


def test_a_folder_counts_as_often_as_it_is_said(folders: Path, tmp_path: Path) -> None:
    pictures = prepare.find(folders, tmp_path, {"cutouts": 3}, 1, quiet=True)
    assert len(pictures.groups) == 3 and len(pictures.groups[0]) == 2
    assert len(pictures.backgrounds) == 2


def test_whole_scenes_of_what_is_held_out_can_be_measured_on(folders: Path, tmp_path: Path) -> None:
    everything = scenes.Pictures((), tuple((folders / "backgrounds").iterdir()))
    data = scenes.Data(cells=(1.2, 1.5), procedural=1.0)
    for name in "ab":
        prepare.write_scenes(tmp_path / name, everything, data, 2)
    for kind in ("images", "alphas", "foregrounds"):
        files = sorted((tmp_path / "a" / kind).iterdir())
        assert [f.name for f in files] == ["000.png", "001.png"]
        assert all(f.read_bytes() == (tmp_path / "b" / kind / f.name).read_bytes() for f in files)
    image, alpha = (
        np.asarray(Image.open(tmp_path / "a" / k / "000.png")) for k in ("images", "alphas")
    )
    assert image.shape == (*alpha.shape, 3) and alpha.max() > 100


def test_no_picture_belongs_to_both_splits(tmp_path: Path) -> None:
    paths = tuple(tmp_path / f"{i}.png" for i in range(200))
    everything = scenes.Pictures((paths,), paths)
    train, valid = (scenes.split_of(everything, split) for split in scenes.SPLITS)
    assert not set(train.groups[0]) & set(valid.groups[0])
    assert set(train.backgrounds) | set(valid.backgrounds) == set(paths)
    assert 8 < len(valid.backgrounds) < 40
    with pytest.raises(SettingsError, match="valid split"):
        lonely = tuple(p for p in paths if not is_held_out(p.name))
        scenes.split_of(scenes.Pictures((), lonely), "valid")


def test_a_batch_has_rgb_then_coarse(shards: Path) -> None:
    raw = np.load(shards / "train-000.npy")
    held = dataset.Shards(shards, "train")
    batch = held.batch(held.index()[2:4])
    np.testing.assert_allclose(batch.patches[:, :3], raw[2:4, :3] / 255.0, atol=1e-6)
    np.testing.assert_allclose(batch.patches[:, 3], raw[2:4, 3] / 255.0, atol=1e-6)
    np.testing.assert_allclose(batch.alpha[:, 0], raw[2:4, 4] / 255.0, atol=1e-6)
    np.testing.assert_allclose(batch.foreground, raw[2:4, 5:8] / 255.0, atol=1e-6)
    np.testing.assert_allclose(batch.weight[:, 0], raw[2:4, 8] / 255.0, atol=1e-6)


@pytest.fixture
def batch(shards: Path) -> dataset.Batch:
    """Four patches whose photo is α·F + (1 − α)·B, with F and B of one colour each."""
    held = dataset.Shards(shards, "train")
    plain = held.batch(held.index()[:4])
    front = torch.tensor([0.9, 0.5, 0.2]).view(1, 3, 1, 1).expand_as(plain.foreground)
    image = plain.alpha * front + (1 - plain.alpha) * 0.1
    patches = torch.cat([image, plain.alpha], 1)
    return dataset.Batch(patches, plain.alpha, front.contiguous(), plain.weight)


def test_augmentation_moves_all_layers_alike(batch: dataset.Batch) -> None:
    same = torch.cat([batch.alpha] * 5, 1)
    moved = dataset.warp(same, RNG(0), share=1.0)
    assert (moved == moved[:, :1]).all() and not torch.allclose(moved, same, atol=0.1)
    assert (dataset.warp(same, RNG(0), share=0.0) == same).all()
    many = [dataset.augment(batch, RNG(seed)) for seed in range(6)]
    assert len({b.alpha.numpy().tobytes() for b in many}) > 2
    for b in many:
        assert b.patches.shape == batch.patches.shape and b.patches.isfinite().all()
        assert b.patches.min() >= 0 and b.patches.max() <= 1
    again = dataset.augment(batch, RNG(5))
    assert (again.patches == many[5].patches).all()


def test_a_new_background_keeps_alpha_true(batch: dataset.Batch) -> None:
    image, front = dataset.replace_background(
        batch.image, batch.alpha, batch.foreground, RNG(1), share=1.0
    )
    solid, clear = (batch.alpha > 0.99).expand_as(image), (batch.alpha < 0.01).expand_as(image)
    assert (image - front)[solid].abs().max() < 0.08  # but for the grain
    assert (image - batch.image)[clear].abs().mean() > 0.01
    assert (dataset.replace_background(batch.image[:1], batch.alpha[:1], front[:1], RNG(1))[0]
            == batch.image[:1]).all()  # fmt: skip


def test_colours_change_alike(batch: dataset.Batch) -> None:
    image, front = dataset.jitter_colours(batch.foreground, batch.foreground, RNG(2))
    assert (image == front).all() and not torch.allclose(image, batch.foreground, atol=0.05)


def test_a_patch_seen_twice_differs_in_noise_alone(batch: dataset.Batch) -> None:
    both = dataset.twice(batch, RNG(5))
    n = len(batch.patches)
    assert len(both.patches) == len(both.weight) == 2 * n
    assert torch.equal(both.patches[:n], batch.patches)
    assert torch.equal(both.coarse[n:], batch.coarse)
    for layer in ("alpha", "foreground", "weight"):
        assert torch.equal(getattr(both, layer)[n:], getattr(batch, layer)), layer
    difference = (both.image[n:] - batch.image).abs().mean((1, 2, 3))
    assert (difference > 0).all() and difference.max() < 0.08
    assert torch.equal(both.patches, dataset.twice(batch, RNG(5)).patches)
    few = dataset.twice(batch, RNG(5), first=2)  # only the first ones come again
    assert len(few.patches) == len(few.weight) == n + 2
    assert torch.equal(few.patches, both.patches[: n + 2])
    assert torch.equal(few.alpha[n:], batch.alpha[:2])


def test_bent_masks_stay_near(batch: dataset.Batch) -> None:
    bent = dataset.warp_coarse(batch.coarse, RNG(3), share=1.0)
    assert 0.001 < (bent - batch.coarse).abs().mean() < 0.1
    assert (dataset.warp_coarse(batch.coarse, RNG(3), share=0.0) == batch.coarse).all()


def test_batches_go_on_where_they_stopped_and_share_the_work(shards: Path) -> None:
    held = dataset.Shards(shards, "train")

    def take(start: int, count: int, rank: int = 0, ranks: int = 1) -> list:
        steps = range(start, start + count)
        return [b.patches for b in dataset.batches(held, 2, 7, steps, rank, ranks)]

    whole = take(0, 6)  # one epoch is four steps
    for a, b in zip(whole[3:], take(3, 3), strict=True):
        assert (a == b).all()
    seen = {p for step in range(4) for p in dataset.shuffled(held, 7, 0)[step * 2 :][:2]}
    assert len(seen) == 8
    assert not (take(0, 1, 0, 2)[0] == take(0, 1, 1, 2)[0]).all()
    with pytest.raises(SettingsError, match="fewer than a batch"):
        next(dataset.batches(held, 16, 0, range(1)))


def test_new_shards_are_found_at_the_next_epoch(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "train-000.npy").write_bytes((shards / "train-000.npy").read_bytes())
    held = dataset.Shards(tmp_path, "train")
    assert len(dataset.shuffled(held, 0, 0)) == 8
    (tmp_path / "train-001.npy").write_bytes((shards / "train-000.npy").read_bytes())
    assert len(dataset.shuffled(held, 0, 1)) == len(held) == 16
    with pytest.raises(SettingsError, match="prepare"):
        dataset.Shards(tmp_path, "valid")
