"""Looking twice: where the second look goes, and how two answers become one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from pipeline import ModelInvalid, coarse, views
from pipeline.models.catalogue import COARSE, CoarseModel
from pipeline.views import Box
from tests.networks import Function

CARD = CoarseModel(Path("none.onnx"), "", "", "", scale_by_max=False, mean=(0, 0, 0), std=(1, 1, 1))


def bright(batch: np.ndarray) -> np.ndarray:
    """Take what is bright for the subject, as (N, 1, h, w)."""
    return (batch.mean(1, keepdims=True) > 0.5).astype(np.float32)


def square(top: int, left: int, side: int, shape: tuple[int, int] = (600, 900)) -> np.ndarray:
    image = np.zeros((*shape, 3), np.uint8)
    image[top : top + side, left : left + side] = 255
    return image


def test_one_look_is_the_whole_photo():
    session, image = Function(bright), square(100, 200, 240)
    sight = views.see(session, CARD, image, looks=1)
    assert session.batches == [1]
    assert sight.box == Box(0, 0, 600, 900) and sight.cells == (320, 320)
    assert np.array_equal(
        sight.mask, coarse.upsample(coarse.predict(session, CARD, image), (600, 900))
    )


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 2, 320, 320), (1, 320, 320), (1, 1)])
def test_an_answer_that_is_no_map_is_the_models_fault(shape):
    session = Function(lambda batch: np.full(shape, 0.5, np.float32))
    with pytest.raises(ModelInvalid, match=r"none\.onnx: .* not \(1, "):
        views.see(session, CARD, square(100, 200, 240))


def test_the_second_look_goes_where_something_was_found():
    session, image = Function(bright), square(100, 200, 240)
    sight = views.see(session, CARD, image)
    assert session.batches == [1, 1]
    spare = 0.15 * 240
    assert sight.box.top == pytest.approx(100 - spare, abs=3)
    assert sight.box.right == pytest.approx(440 + spare, abs=3)
    # From nearer by a cell is smaller, and so is the error of the edge.
    assert sight.cells[0] == pytest.approx(320 * 600 / (240 + 2 * spare), abs=5)
    truth = image[..., 0] / 255
    once = views.see(session, CARD, image, looks=1).mask
    assert np.abs(sight.mask - truth).sum() < 0.6 * np.abs(once - truth).sum()


def test_the_second_look_may_be_at_another_size():
    session = Function(bright)
    sight = views.see(session, replace(CARD, second=(96, 64)), square(0, 0, 600))
    assert sight.second.shape == sight.first.shape == (96, 64)
    assert sight.cells == (96, round(64 * 900 / sight.box.shape[1]))
    assert sight.mask.shape == (600, 900)


def test_the_second_look_is_mirrored_and_turned_back():
    def left_half(batch: np.ndarray) -> np.ndarray:
        answer = np.zeros((len(batch), 1, *batch.shape[2:]), np.float32)
        answer[..., : batch.shape[3] // 2] = 0.9
        return answer

    sight = views.see(Function(left_half), CARD, np.zeros((64, 64, 3), np.uint8))
    middle = 320 * 32 // sight.box.shape[1]  # where the first answer ends, in the box
    assert sight.first[:, : middle - 4].min() > 0.5 > sight.first[:, middle + 4 :].max()
    inside = sight.second.shape[1] // 2
    assert sight.second[:, inside:].min() > 0.5 > sight.second[:, :inside].max()


def test_a_second_look_that_takes_the_surroundings_for_the_subject_is_left():
    def everything_from_nearby(batch: np.ndarray) -> np.ndarray:
        return bright(batch) if batch.shape[2] == 320 else np.ones_like(batch[:, :1])

    card, image = replace(CARD, second=(224, 224)), square(100, 200, 240)
    sight = views.see(Function(everything_from_nearby), card, image)
    assert np.array_equal(sight.mask, views.see(Function(bright), card, image, looks=1).mask)
    assert sight.cells == (320, 320)
    assert sight.second.min() == 1 > sight.first.mean()  # the confidence hears of it
    told = views.see(Function(everything_from_nearby), card, image, box=sight.box)
    assert told.mask[sight.box.area].mean() > sight.mask[sight.box.area].mean()


@pytest.mark.parametrize(("added", "stray"), [(0.0, False), (0.45, False), (0.55, True)])
def test_how_much_a_second_look_may_add(added, stray):
    first = np.zeros((10, 10), np.float32)
    first[:, :4] = 1
    second = first.copy()
    second[:, 4:] = added * 40 / 60
    assert views.strays(first, second) is stray
    assert not views.strays(first * 0.4, np.ones_like(first))  # nothing was found there


def test_nothing_found_is_looked_for_again_in_all_of_the_photo():
    session = Function(lambda batch: np.full((len(batch), 1, 320, 320), 0.2, np.float32))
    sight = views.see(session, CARD, data.coffee())
    assert session.batches == [1, 1]
    assert sight.box == Box(0, 0, 400, 600)
    assert sight.mask.max() == pytest.approx(0.2, abs=1e-6)


def test_what_was_found_outside_the_box_stays():
    """A pixel that is likelier out than in draws no box, and is not thrown away."""
    image = square(100, 100, 200)
    image[500:560, 700:800] = 60
    session = Function(lambda batch: batch.mean(1, keepdims=True))
    sight = views.see(session, CARD, image)
    assert sight.box.right < 700
    assert sight.mask[530, 750] == pytest.approx(60 / 255, abs=0.01)


@pytest.mark.parametrize("level", [0.0, 0.002, 0.5, 0.98, 1.0])
def test_what_both_say_stays_said(level):
    answer = np.full((8, 8), level, np.float32)
    assert views.join(answer, answer, 0.7) == pytest.approx(level, abs=1e-6)


def test_a_sure_answer_outweighs_an_unsure_one():
    joined = views.join(np.full((1, 1), 0.45, np.float32), np.full((1, 1), 0.99, np.float32), 0.7)
    assert joined > 0.95  # a mean of the maps has 0.83


def test_a_part_of_a_map_lies_where_the_photo_has_it():
    """Enlarging and cutting out give the same as cutting out and enlarging."""
    y, x = np.mgrid[:40, :60].astype(np.float32)
    whole = np.sin(x / 9) * np.cos(y / 7) / 2 + 0.5
    shape, box = (400, 600), Box(95, 130, 255, 470)
    part = views.part(whole, box, shape, (160, 340))
    full_y, full_x = np.mgrid[:400, :600].astype(np.float32)
    full = np.sin(((full_x + 0.5) / 10 - 0.5) / 9) * np.cos(((full_y + 0.5) / 10 - 0.5) / 7)
    assert np.abs(part - (full / 2 + 0.5)[box.area]).max() < 0.01


def test_a_tiny_thing_is_looked_at_with_its_surroundings():
    mask = np.zeros((320, 320), np.float32)
    mask[100:103, 200:203] = 1
    box = views.around(mask, (3200, 3200))
    assert box.shape == pytest.approx((800, 800), abs=2)
    assert views.around(mask * 0, (50, 70)) == Box(0, 0, 50, 70)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (5, 3)])
def test_any_shape(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    sight = views.see(Function(lambda batch: batch.mean(1, keepdims=True)), CARD, image)
    assert sight.mask.shape == shape and np.isfinite(sight.mask).all()


@pytest.mark.parametrize("larger", [1, 2, 4])
def test_a_large_photo_is_seen_as_a_small_one(larger):
    """By whole pixels first and then by Lanczos: a grey level or so from Lanczos alone."""
    photo = Image.fromarray(data.astronaut()).resize((512 * larger, 512 * larger))
    size = (64 * larger, 64 * larger)
    card = replace(COARSE["wisp"], size=size, scale_by_max=False, mean=(0.0,) * 3, std=(1.0,) * 3)
    card = replace(card, resampling="lanczos")
    seen = 255 * coarse.prepare(np.asarray(photo), card)[0].transpose(1, 2, 0)
    exact = np.asarray(photo.resize(size, Image.Resampling.LANCZOS), float)
    assert np.abs(seen - exact).mean() < 1.5


@pytest.mark.parametrize("shape", [(1030, 1939), (3001, 2003), (640, 4000), (700, 200), (100, 90)])
def test_reducing_by_whole_pixels_is_what_pillow_does(shape):
    """But for thirds, which Pillow rounds down."""
    rng = np.random.default_rng(1)
    image = np.asarray(Image.fromarray(data.coffee()).resize(shape[::-1]))
    image = np.clip(image + rng.normal(0, 9, image.shape), 0, 255).astype(np.uint8)
    card = replace(COARSE["wisp"], size=(64, 80), scale_by_max=False, mean=(0.0,) * 3)
    card = replace(card, resampling="lanczos", std=(1.0,) * 3)
    seen = 255 * coarse.prepare(image, card)[0].transpose(1, 2, 0)
    lanczos = Image.Resampling.LANCZOS
    known = Image.fromarray(image).resize((80, 64), lanczos, reducing_gap=coarse.GAP)
    assert np.abs(seen - np.asarray(known, float)).max() <= 2
