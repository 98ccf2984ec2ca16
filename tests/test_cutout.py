"""The two stages together: the design's promises, and the ways a photo may come in."""

import io
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from pipeline import (
    Cutout,
    ImageTooLarge,
    Settings,
    SettingsError,
    UnreadableImage,
    coarse,
    compose,
    models,
)
from tests import networks
from tests.conftest import fake_cutout
from tests.tiles import covered


@pytest.fixture(scope="module")
def nets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    networks.stage1(folder / "bright.onnx", gain=6.0)
    networks.constant_stage1(folder / "nothing.onnx", 0.2)
    networks.constant_stage1(folder / "nan.onnx", float("nan"))
    networks.stage2(folder / "identity.onnx")
    networks.constant_stage2(folder / "half.onnx", 0.5)
    networks.constant_stage2(folder / "zero.onnx", 0.0)
    networks.constant_stage2(folder / "nan2.onnx", float("nan"))
    return folder


def make(nets: Path, stage1: str = "bright", stage2: str = "identity", **settings) -> Cutout:
    return Cutout(
        Settings(
            model=str(nets / f"{stage1}.onnx"), refiner=str(nets / f"{stage2}.onnx"), **settings
        )
    )


@pytest.mark.parametrize("name", ["views", "detail", "threads", "network_seconds"])
@pytest.mark.parametrize("value", ["2", None, -1, float("nan")])
def test_settings_that_are_none_are_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=f"{name} must lie within"):
        Settings(**{name: value})


def test_what_are_no_settings_is_said():
    with pytest.raises(SettingsError, match=r"Cutout\(model='wisp'\)"):
        Cutout("wisp")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="tuple of names"):
        Settings(providers="CPUExecutionProvider")  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers(nets):
    chosen = Settings(threads=np.int64(1), roi_threshold=np.float32(0.02))
    photo = np.ascontiguousarray(data.astronaut()[:128, :128])
    made = make(nets)(photo, points=np.array([[0.5, 0.5]]), not_points=None)  # type: ignore[arg-type]
    assert chosen.threads == 1 and made.alpha.shape == (128, 128)


# -- promises --------------------------------------------------------------------------------------


def test_identity_generator_gives_the_coarse_mask_bit_for_bit(nets):
    result = make(nets)(data.astronaut())
    assert len(result.tiles) > 10
    assert np.array_equal(result.alpha, result.coarse)
    assert np.array_equal(result.foreground, data.astronaut())


def test_outside_the_tiles_the_alpha_is_the_coarse_mask_bit_for_bit(nets):
    result = make(nets, stage2="half")(data.rocket())
    tiles = covered(result.tiles, *result.alpha.shape)
    assert 0 < result.roi.mean() < tiles.mean() < 1
    assert tiles[result.roi].all()
    assert np.array_equal(result.alpha[~tiles], result.coarse[~tiles])
    assert not np.array_equal(result.alpha, result.coarse)


def test_a_subject_is_not_cut_into_deeper_than_the_settings_say(nets):
    deep, never = make(nets, "bright", "zero", depth=64.0), make(nets, "bright", "zero", depth=0.0)
    taken, kept = (cutout(data.rocket()) for cutout in (deep, never))
    assert np.array_equal(taken.tiles, kept.tiles)
    assert (taken.alpha < taken.coarse).mean() > 2 * (kept.alpha < kept.coarse).mean() > 0


def test_an_image_with_no_edge_costs_no_generator_call(nets):
    cutout = make(nets)
    spy = networks.Function(lambda batch: batch[:, [3, 0, 1, 2]])
    cutout._stage2 = models.Refiner(spy)
    result = cutout(np.full((300, 400, 3), 128, np.uint8))
    assert spy.batches == []
    assert len(result.tiles) == 0
    cutout(data.coffee())
    assert spy.batches
    assert max(spy.batches) <= cutout.settings.batch_size


def test_stage_2_is_left_out_of_one_call(nets):
    cutout = make(nets, stage2="half")
    plain, never = cutout(data.rocket(), refine=False), make(nets, refine=False)(data.rocket())
    assert np.array_equal(plain.alpha, never.alpha)
    assert np.array_equal(plain.foreground, never.foreground)
    assert len(plain.tiles) == 0
    assert len(cutout(data.rocket()).tiles)  # of that call alone


def test_the_looks_ask_one_generator_and_the_tiles_the_other(nets):
    """From afar everything is subject, and what is near leaves it at that."""
    networks.two_stage2(nets / "two.onnx")
    one, two = (make(nets, stage2=name)(data.rocket()) for name in ("identity", "two"))
    assert np.array_equal(one.coarse, two.coarse)
    assert np.array_equal(one.alpha, one.coarse)
    assert two.alpha[two.roi].mean() > 0.9 > two.coarse[two.roi].mean()


def test_progress_is_told_stage_by_stage(nets):
    steps: list[tuple[str, float]] = []
    cutout = make(nets)
    result = cutout(data.astronaut(), progress=lambda *at: steps.append(at))
    assert list(dict.fromkeys(stage for stage, _ in steps)) == list(result.timings)
    shares = [share for stage, share in steps if stage == "refine"]
    assert 2 < len(shares) <= 1 + len(result.tiles)
    assert shares == sorted(shares) and (shares[0], shares[-1]) == (0, 1)


def test_progress_calls_the_work_off(nets):
    class Enough(Exception):
        pass

    def stop(stage: str, share: float) -> None:
        if (stage, share > 0) == ("refine", True):
            raise Enough

    cutout = make(nets)
    spy = networks.Function(lambda batch: batch[:, [3, 0, 1, 2]])
    cutout._stage2 = models.Refiner(spy)
    with pytest.raises(Enough):
        cutout(data.astronaut(), progress=stop)
    assert spy.batches[0] == 1 < spy.batches[1] <= 8  # the look, one,
    assert len(spy.batches) < 4  # and one under way
    assert len(cutout(data.astronaut()).tiles) > spy.batches[-1]  # and it goes on as before


def test_an_empty_scene_stays_empty_and_says_so(nets):
    result = make(nets, stage1="nothing")(data.coffee())
    assert result.empty
    assert result.alpha.max() == pytest.approx((0.2 - 0.05) / 0.9)  # not stretched to its extremes
    assert not make(nets)(data.astronaut()).empty


@pytest.mark.parametrize(("stage1", "stage2"), [("nan", "identity"), ("bright", "nan2")])
def test_nan_never_comes_out(nets, stage1, stage2):
    result = make(nets, stage1, stage2)(data.astronaut())
    assert np.isfinite(result.alpha).all()
    assert result.empty == (stage1 == "nan")


def test_a_cutout_on_its_own_background_is_the_photo(nets):
    """Straight alpha: no soft edge gets darker, whatever the alpha is."""
    result = make(nets)(data.chelsea())
    rgba = np.asarray(result.image).astype(float)
    a = rgba[..., 3:] / 255
    again = a * rgba[..., :3] + (1 - a) * data.chelsea()
    assert np.abs(again - data.chelsea()).max() <= 0.5


def test_straight_and_not_premultiplied():
    """rembg's default turns this pixel into (177, 165, 152) over white."""
    pixel = np.array([[[200, 150, 100]]], np.uint8)
    rgba = compose.rgba(pixel, np.full((1, 1), 128 / 255, np.float32))
    assert rgba[0, 0].tolist() == [200, 150, 100, 128]
    white = compose.over(pixel, np.full((1, 1), 128 / 255, np.float32), (255, 255, 255))
    assert white[0, 0].tolist() == [227, 202, 177]


# -- what goes in ----------------------------------------------------------------------------------


def test_every_kind_of_source_gives_the_same(nets, tmp_path):
    cutout = make(nets)
    path = tmp_path / "photo.png"
    Image.fromarray(data.rocket()).save(path)
    expected = cutout(data.rocket()).alpha
    sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), Image.open(path)]
    for source in sources:
        assert np.array_equal(cutout(source).alpha, expected)


def test_an_alpha_already_there_is_an_upper_bound(nets):
    rgba = np.dstack([data.coffee(), np.zeros((400, 600), np.uint8)])
    rgba[:200, :, 3] = 255
    rgba[100:200, :, 3] = 60
    result = make(nets, stage2="half")(rgba)
    assert (result.alpha[200:] == 0).all()
    assert result.alpha[100:200].max() <= 60 / 255 + 1e-6
    assert np.array_equal(result.foreground[100:], rgba[100:, :, :3])


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (5, 3), (127, 129), (40, 2000)])
def test_any_shape(nets, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    result = make(nets, stage2="half")(image)
    assert result.alpha.shape == shape
    assert result.image.size == shape[::-1]


def test_no_refinement_is_stage_1_alone_with_clean_colours(nets):
    result = make(nets, refine=False)(data.astronaut())
    assert np.array_equal(result.alpha, result.coarse)
    assert len(result.tiles) == 0
    assert not np.array_equal(result.foreground, data.astronaut())


def test_too_many_pixels(nets):
    with pytest.raises(ImageTooLarge):
        make(nets, max_pixels=1000)(data.coffee())


def test_what_is_no_picture(nets):
    with pytest.raises(UnreadableImage):
        make(nets)(b"no picture")


def test_save_and_timings(nets, tmp_path):
    result = make(nets)(data.rocket())
    result.save(tmp_path / "out.png")
    saved = np.asarray(Image.open(tmp_path / "out.png"))
    assert np.array_equal(saved, np.asarray(result.image))
    assert list(result.timings) == ["read", "coarse", "roi", "refine", "colour"]
    assert all(seconds >= 0 for seconds in result.timings.values())


def test_many_threads_get_what_one_gets(nets):
    cutout = make(nets, stage2="half")
    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    expected = [cutout(photo).alpha for photo in photos]
    got: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        got[index] = cutout(photos[index % 4]).alpha

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(got[index], expected[index % 4]) for index in range(8))


# -- beside the real rembg -------------------------------------------------------------------------


def test_coarse_mask_equals_rembgs_on_the_same_weights(monkeypatch, tmp_path):
    """To one grey level before stretching, with any U²-Net-P file named in the environment."""
    weights = os.environ.get("WISP_TEST_U2NETP")
    if not weights:
        pytest.skip("set WISP_TEST_U2NETP to the published u2netp.onnx to compare with rembg")
    pytest.importorskip("rembg")
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    (tmp_path / "u2netp.onnx").write_bytes(Path(weights).read_bytes())
    from rembg import new_session

    theirs = new_session("u2net_custom", model_path=str(tmp_path / "u2netp.onnx"))
    session, card = models.open_coarse(models.coarse_model(weights), ("CPUExecutionProvider",), 0)
    card = replace(card, output_range=(0.0, 1.0))
    for photo in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket()):
        height, width = photo.shape[:2]
        raw = coarse.predict(session, card, photo)
        (mask,) = theirs.predict(Image.fromarray(photo))
        low, high = raw.min(), raw.max()
        # What rembg does after the network: stretch, cut down to grey levels, enlarge.
        levels = Image.fromarray(((raw - low) / (high - low) * 255).astype(np.uint8))
        enlarged = np.asarray(levels.resize((width, height), Image.Resampling.LANCZOS), np.int16)
        assert np.abs(enlarged - np.asarray(mask, np.int16)).max() <= 1
        # Ours is not cut down to levels in between: that rounds down, by half a level on average.
        ours = (coarse.upsample(raw, (height, width)) - low) / (high - low) * 255
        assert np.abs(ours - np.asarray(mask, np.float32)).mean() <= 0.6


@pytest.mark.parametrize(
    ("shape", "noted"), [((40, 800), True), ((800, 40), True), ((40, 700), False)]
)
def test_of_a_very_long_photo_it_is_said_that_little_is_seen(shape, noted, tmp_path):
    cutout = Cutout(Settings(model=str(networks.stage1(tmp_path / "c.onnx")), refine=False))
    notes = cutout(np.zeros((*shape, 3), np.uint8)).photo.notes
    assert any("in parts" in note for note in notes) == noted


# -- as Python users meet it -----------------------------------------------------------------------


def test_keywords_are_settings(tmp_path):
    model = str(networks.stage1(tmp_path / "a.onnx"))
    cutout = Cutout(Settings(threads=1), model=model, refine=False)
    assert (cutout.settings.model, cutout.settings.threads, cutout.settings.refine) == (
        model,
        1,
        False,
    )
    with pytest.raises(SettingsError, match="no setting 'modell': there are model,"):
        Cutout(modell=model)


def test_a_result_shows_itself(photo):
    result = fake_cutout(photo)
    assert repr(result).startswith("<Result 96×64 px, subject on ") and "\n" not in repr(result)
    assert Image.open(io.BytesIO(result._repr_png_())).mode == "RGBA"
    white = result.composite("white")
    assert white.mode == "RGB" and white.getpixel((0, 0)) == (255, 255, 255)
