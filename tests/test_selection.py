"""Say what to cut: masks, boxes, points, and which pieces to keep."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from PIL import Image
from skimage import data

from pipeline import Cutout, Output, Settings, image_io, models, pieces, selection
from pipeline.batch.jobs import Job
from pipeline.batch.running import process
from pipeline.errors import ModelInvalid, SettingsError, UnreadableImage
from pipeline.models.catalogue import CoarseModel
from pipeline.selection import Hint, Selection
from pipeline.views import Box
from tests import networks
from tests.networks import Function

CARD = CoarseModel(Path("none.onnx"), "", "", "", scale_by_max=False, mean=(0, 0, 0), std=(1, 1, 1))
GREY = Function(lambda batch: batch.mean(1, keepdims=True))


def two(shape: tuple[int, int] = (400, 600)) -> np.ndarray:
    """A large bright square to the left, a smaller one to the right."""
    image = np.zeros((*shape, 3), np.uint8)
    image[100:300, 50:250] = 255
    image[150:250, 420:520] = 255
    return image


def see(image: np.ndarray, **wanted) -> tuple[np.ndarray, tuple[str, ...]]:
    sight, notes = selection.see(GREY, CARD, image, Selection(**wanted))
    return sight.mask, notes


@pytest.fixture(scope="module")
def cutout(tmp_path_factory) -> Cutout:
    folder = tmp_path_factory.mktemp("nets")
    networks.stage1(folder / "bright.onnx", gain=6.0)
    networks.stage2(folder / "same.onnx")
    return Cutout(Settings(model=str(folder / "bright.onnx"), refiner=str(folder / "same.onnx")))


# -- a mask ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(400, 600), (200, 300), (1200, 1800), (40, 60)])
def test_a_mask_replaces_stage_1_whatever_its_size(size):
    truth = np.zeros(size, np.uint8)
    truth[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 255
    mask, _ = see(two(), mask=truth)
    assert mask.shape == (400, 600)
    assert mask[150, 225] > 0.99 and mask[50, 225] < 0.01 and mask[200, 470] < 0.01
    # Its edge is in doubt, at the place where it was drawn.
    edge = mask[150, 100:200]
    assert edge[50] == pytest.approx(0.5, abs=0.15)
    assert ((edge > 0.05) & (edge < 0.95)).sum() >= 4


def test_a_soft_mask_stays_as_soft_as_it_is():
    ramp = np.tile(np.linspace(0, 1, 320, dtype=np.float32), (320, 1))
    sight = selection.from_mask(ramp, (320, 320))
    assert np.abs(sight.mask - ramp).max() < 0.02


def test_a_mask_may_come_as_anything(cutout, tmp_path):
    grey = np.zeros((512, 512), np.uint8)
    grey[100:400, 100:400] = 255
    Image.fromarray(grey).save(tmp_path / "mask.png")
    alpha = np.dstack([np.zeros((512, 512, 3), np.uint8), grey])
    expected = cutout(data.astronaut(), mask=grey)
    assert expected.confidence == 1
    for given_mask in (
        tmp_path / "mask.png",
        (tmp_path / "mask.png").read_bytes(),
        Image.fromarray(grey),
        grey / np.float32(255),
        grey > 0,
        alpha,
    ):
        assert np.array_equal(cutout(data.astronaut(), mask=given_mask).coarse, expected.coarse)


def test_stage_1_does_not_run_where_there_is_a_mask():
    def never(batch):
        raise AssertionError

    selection.see(Function(never), CARD, two(), Selection(mask=np.ones((40, 60), np.float32)))


@pytest.mark.parametrize("size", [(600, 400), (400, 400)])
def test_a_mask_of_another_photo_is_told_of(size):
    with pytest.raises(SettingsError, match="proportions"):
        see(two(), mask=np.zeros(size, np.uint8))


def test_a_mask_that_is_none():
    with pytest.raises(UnreadableImage):
        see(two(), mask=b"nothing")
    with pytest.raises(SettingsError, match=r"0\.\.1"):
        see(two(), mask=np.full((40, 60), 7.0))


# -- a box -----------------------------------------------------------------------------------------


def test_nothing_outside_of_a_box_stays(cutout):
    mask, _ = see(two(), box=(400, 100, 560, 300))
    assert mask[200, 470] > 0.9
    assert mask[:, :400].max() == 0 == mask[:, 560:].max()
    result = cutout(two(), box=(0.6, 0.2, 1, 1))
    assert result.alpha[200, 470] > 0.9
    assert result.alpha[:, :360].max() == 0


def test_shares_and_pixels_say_the_same():
    shares, _ = see(two(), box=(0.5, 0.25, 1, 0.75))
    in_pixels, _ = see(two(), box=(300, 100, 600, 300))
    assert np.array_equal(shares, in_pixels)


def test_a_box_of_a_thing_that_alone_would_not_be_found():
    """From nearer by it is seen: a network that finds nothing small."""
    image = np.zeros((400, 600, 3), np.uint8)
    image[180:220, 280:320] = 255

    def large(batch: np.ndarray) -> np.ndarray:
        bright = batch.mean(1, keepdims=True)
        return bright * (bright.mean((2, 3), keepdims=True) > 0.2)

    plain, _ = selection.see(Function(large), CARD, image)
    boxed, _ = selection.see(Function(large), CARD, image, Selection(box=(270, 170, 330, 230)))
    assert plain.mask.max() < 0.5 <= boxed.mask[200, 300]


# -- points ----------------------------------------------------------------------------------------


def test_a_point_keeps_the_thing_there():
    mask, notes = see(two(), points=((470, 200),))
    assert not notes
    assert mask[200, 470] > 0.9 and mask[200, 150] < 0.1
    both, _ = see(two(), points=((470, 200), (150, 200)))
    assert both[200, 470] > 0.9 and both[200, 150] > 0.9


def test_a_point_drops_the_thing_there():
    mask, notes = see(two(), not_points=((470, 200),))
    assert not notes
    assert mask[200, 470] < 0.1 and mask[200, 150] > 0.9


def test_points_beside_a_box_count_without_hints():
    """A network that is told nothing finds both things in the box; the points choose one."""
    mask, _ = see(two(), box=(0, 0, 600, 400), not_points=((470, 200),))
    assert mask[200, 470] < 0.1 and mask[200, 150] > 0.9
    mask, _ = see(two(), box=(0, 0, 600, 400), points=((470, 200),))
    assert mask[200, 470] > 0.9 and mask[200, 150] < 0.1


def test_a_point_on_nothing_finds_nothing_and_says_so(cutout):
    mask, notes = see(two(), points=((20, 20),))
    assert mask.max() == 0
    assert notes == ("nothing was found at the point 20,20",)
    result = cutout(two(), points=((20, 20),))
    assert result.empty and result.photo.notes


def test_a_point_is_called_what_it_was_given_as():
    _, notes = see(two(), points=((0.5, 0.123456),))
    assert notes == ("nothing was found at the point 0.5,0.123456",)


def test_a_thing_that_is_to_be_kept_and_dropped_stays_and_that_is_said():
    mask, notes = see(two(), points=((150, 200),), not_points=((0.3, 0.5),))
    assert mask[200, 150] > 0.9
    assert "at the point 0.3,0.5 stays" in notes[0]


def test_a_whole_thing_wins_over_a_part_of_it():
    """From nearest by, the large square is cut off by the view on all sides."""
    mask, _ = see(two(), points=((150, 200),))
    assert mask[110:290, 60:240].min() > 0.9


# -- hints, for a network that takes them ----------------------------------------------------------


@pytest.fixture(scope="module")
def hinted(tmp_path_factory) -> Path:
    """A network that answers with its hint: what to keep, less what to drop."""
    path = tmp_path_factory.mktemp("hinted") / "hinted.onnx"
    return networks.save(
        path,
        [
            helper.make_node("ReduceMean", ["input"], ["grey"], axes=[1], keepdims=1),
            helper.make_node("Sub", ["grey", "grey"], ["zero"]),
            helper.make_node("Split", ["hints"], ["keep", "drop"], axis=1),
            helper.make_node("Sub", ["keep", "drop"], ["hint"]),
            helper.make_node("Add", ["hint", "zero"], ["d0"]),
        ],
        [
            networks.value("input", ["n", 3, "h", "w"]),
            networks.value("hints", ["n", 2, "h", "w"]),
        ],
        [networks.value("d0", ["n", 1, "h", "w"])],
    )


def test_a_network_that_takes_hints_is_given_them(hinted):
    opened, card = models.open_coarse(replace(CARD, path=hinted), ("CPUExecutionProvider",), 1)
    assert card.hints
    plain, _ = selection.see(opened, card, two())
    assert plain.mask.max() < 1e-6  # nothing is certain, and stays so
    boxed, _ = selection.see(opened, card, two(), Selection(box=(300, 100, 500, 300)))
    assert boxed.mask[200, 400] > 0.9 and boxed.mask[:, :300].max() == 0
    both = Selection(box=(100, 100, 500, 300), points=((470, 200),))
    clicked, _ = selection.see(opened, card, two(), both)
    assert clicked.mask[200, 470] > 0.9 > clicked.mask[200, 150]
    assert clicked.clicks and plain.clicks is boxed.clicks is None


def test_stage_2_does_not_take_a_clicked_place_away(hinted, tmp_path):
    refiner = str(networks.constant_stage2(tmp_path / "r.onnx", 0.0))
    cutout = Cutout(model=str(hinted), refiner=refiner)
    box, place = (100, 100, 500, 300), (110, 200)
    without = cutout(two(), box=box).alpha
    alpha = cutout(two(), box=box, points=[place]).alpha
    assert without[200, 110] < 0.5 < alpha[200, 110]
    assert cutout(two(), box=box, points=[(300, 200)], not_points=[place]).alpha[200, 110] < 0.5


def test_hints_are_drawn_where_the_view_has_them():
    hint = Hint(Box(100, 200, 300, 400), ((250.0, 150.0),), ((350.0, 250.0),))
    whole = hint.planes(Box(0, 0, 400, 600), (320, 320))
    assert whole[0, 120, 133] == 1 and whole[0, 20, 20] == 0
    assert 0.5 < whole[0, 200, 200] < 1  # the box, in which the point is to be seen
    assert whole[1, 200, 186] == 1
    near = hint.planes(Box(100, 200, 300, 400), (100, 100))
    assert near[0, 25, 25] == 1 and near[1, 75, 75] == 1
    assert hint.planes(Box(0, 0, 50, 50), (64, 64)).max() == 0
    dropping = replace(hint, keep=()).planes(Box(0, 0, 400, 600), (320, 320))
    assert dropping[0, 200, 200] == 1  # no point is hidden by the box: it counts in full


def test_another_second_input_is_refused(hinted, tmp_path):
    model = onnx.load(hinted)
    for place in (model.graph.input[1], *(n for n in model.graph.node if "hints" in n.input)):
        if isinstance(place, onnx.ValueInfoProto):
            place.name = "other"
        else:
            place.input[0] = "other"
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ModelInvalid, match="hints"):
        models.open_coarse(
            replace(CARD, path=tmp_path / "other.onnx"), ("CPUExecutionProvider",), 1
        )


# -- what is kept ----------------------------------------------------------------------------------


def test_the_largest_piece_alone():
    mask, _ = see(two(), keep="largest")
    assert mask[200, 150] > 0.9 and mask[200, 470] == 0


def test_each_piece_by_itself(cutout):
    result = cutout(two())
    parts = result.each()
    assert len(parts) == 2
    assert parts[0].alpha[200, 150] > 0.9 and parts[0].alpha[200, 470] == 0
    assert np.array_equal(np.maximum(*(part.alpha for part in parts)), result.alpha)
    speck = two()
    speck[20:30, 560:570] = 255
    assert len(cutout(speck).each()) == 2


def test_one_subject_after_the_other_is_written(tmp_path):
    dots = np.zeros((300, 300), np.float32)
    for y, x in np.ndindex(5, 5):
        dots[60 * y + 15 : 60 * y + 45, 60 * x + 15 : 60 * x + 45] = 1
    photo = np.repeat((dots * 255).astype(np.uint8)[..., None], 3, 2)
    found = Cutout(refine=False)(photo, mask=dots)
    target = tmp_path / "dots-1.png"
    job = Job(tmp_path / "dots.png", target, name=Path("dots.png"))
    image_io.write(job.source, image_io.encode(photo, "png"))
    process(job, lambda _: found, Output(), each=True)
    parts = [np.asarray(Image.open(tmp_path / f"dots-{n}.png"))[..., 3] for n in range(1, 26)]
    assert np.sum([part > 127 for part in parts], axis=0).max() == 1
    assert not (tmp_path / "dots-26.png").exists()
    middles = [np.nonzero(part > 127)[1].mean() for part in parts]
    assert middles == sorted(middles)  # from left to right


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float32])
def test_a_mask_of_0_and_1_is_one_of_black_and_white(dtype):
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 20:50] = 1
    assert np.array_equal(selection.read_mask(labels.astype(dtype)), labels)
    png = io.BytesIO()
    Image.fromarray(labels).save(png, "PNG")
    assert np.array_equal(selection.read_mask(png.getvalue()), labels)


def test_of_an_empty_mask_nobody_is_sure():
    nothing = Cutout(refine=False)(two(), mask=np.zeros((40, 60), np.uint8))
    assert nothing.empty and nothing.confidence == 0 and not nothing.unsure
    assert Cutout(refine=False)(two(), mask=np.full((40, 60), 255, np.uint8)).confidence == 1


def test_noise_of_black_is_no_mask():
    noise = np.zeros((200, 200), np.uint8)
    noise[::80, ::80] = 1
    assert selection.read_mask(noise).max() < 0.01


def test_shares_that_are_a_little_too_large_are_no_box_of_a_pixel():
    with pytest.raises(SettingsError, match=r"all within 0\.\.1"):
        see(two(), box=(0.5, 0.5, 1.2, 1.2))


@pytest.mark.parametrize(
    "wanted",
    [
        {"box": (0.5, 0.5, 1.5, 1.5)},
        {"box": (0, 0, 1, 1.2)},
        {"box": (0.1, 0.1, 300, 200)},
        {"points": ((1.2, 0.5),)},
        {"points": ((1.2, 1.5),)},
        {"not_points": ((0.5, 200),)},
        {"points": ((1.0000001, 0.5),)},
    ],
)
def test_what_is_neither_in_shares_nor_in_pixels(wanted):
    with pytest.raises(SettingsError, match=r"all within 0\.\.1, and pixels below 2 are whole"):
        Selection(**wanted)


@pytest.mark.parametrize("box", [(0, 0, 2, 2), (1, 1, 300, 3), (10, 10, 13, 13), (2.5, 2, 4.5, 5)])
def test_a_box_of_a_few_pixels_is_refused(box):
    with pytest.raises(SettingsError, match=r"all within 0\.\.1"):
        see(two(), box=box)


def test_pixels_may_have_fractions_and_a_small_photo_a_small_box():
    broken, _ = see(two(), box=(299.7, 100.2, 599.9, 299.6), points=((470.5, 200.25),))
    whole, _ = see(two(), box=(300, 100, 600, 300), points=((470.5, 200.25),))
    assert np.array_equal(broken, whole)
    mask, _ = see(np.full((3, 8, 3), 255, np.uint8), box=(0, 0, 3, 3))
    assert mask[:, :3].min() > 0.5 and mask[:, 3:].max() == 0
    corner = Selection(box=(0, 0, 1, 1), points=((1, 1),))  # of the photo
    assert (
        selection.see(GREY, CARD, np.full((40, 40, 3), 255, np.uint8), corner)[0].mask.min() > 0.5
    )


@pytest.mark.parametrize(
    "wanted",
    [
        {"box": (0.5, 0, 1, 1), "points": ((0.6, 0.5), (0.2, 0.5))},
        {"box": (300, 0, 600, 400), "points": ((299, 200),)},
    ],
)
def test_a_point_to_keep_lies_inside_the_box(wanted):
    with pytest.raises(SettingsError, match="outside of the box"):
        Selection(**wanted)
    dropped = {"box": wanted["box"], "not_points": wanted["points"]}
    see(two(), **dropped)  # where nothing stays anyway


def test_what_is_kept_is_not_dropped():
    with pytest.raises(SettingsError, match=r"0\.25,0\.5 is both"):
        Selection(points=((0.25, 0.5),), not_points=((0.5, 0.5), (0.25, 0.5)))


def test_contradictions_in_shares_and_pixels_are_told_where_the_photo_is_known():
    with pytest.raises(SettingsError, match=r"the point 200,200 .* box 0\.5,0,1,1"):
        see(two(), box=(0.5, 0, 1, 1), points=((200, 200),))
    with pytest.raises(SettingsError, match="150,200 is both"):
        see(two(), points=((150, 200),), not_points=((0.25, 0.5),))
    on_the_border = {"box": (0.5, 0, 1, 1), "points": ((300, 0), (1, 1))}
    see(two(), **on_the_border)


def test_a_mask_without_pixels_is_refused():
    with pytest.raises(SettingsError, match="no pixels"):
        selection.read_mask(np.zeros((0, 0)))


def test_holes_are_filled_by_size():
    image = two()
    image[140:160, 100:120] = 0  # 400 px
    image[200:260, 100:160] = 0  # 3,600 px
    open_, _ = see(image)
    assert open_[150, 110] < 0.2 and open_[230, 130] < 0.2
    closed, _ = see(image, holes="fill")
    assert closed[150, 110] == 1 == closed[230, 130]
    assert closed[50, 110] < 0.1 and closed[200, 350] < 0.1
    small, _ = see(image, smallest_hole=0.005)  # 1,200 px
    assert small[150, 110] == 1 and small[230, 130] < 0.2


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_pieces_of_any_shape(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width), np.float32)
    for piece in (pieces.largest(mask), pieces.filled(mask, 3.0), pieces.at(mask, (0, 0))):
        assert piece.shape == mask.shape and piece.min() >= 0
    numbers, order = pieces.apart(mask, 0.1)
    assert sorted(set(order)) == sorted(order) and (order != []) == bool((mask > 0.5).any())
    if order:
        assert numbers.shape == mask.shape and set(np.unique(numbers)) <= set(order)


# -- what makes no sense ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted",
    [
        {"box": (1, 2, 3)},
        {"box": (0.5, 0.5, 0.5, 0.9)},
        {"box": (-1, 0, 1, 1)},
        {"box": "left"},
        {"points": ((1,),)},
        {"points": ((float("nan"), 0),)},
        {"keep": "some"},
        {"holes": "dig"},
        {"smallest_hole": 2},
        {"mask": b"", "points": ((0.5, 0.5),)},
    ],
)
def test_what_makes_no_sense(wanted):
    with pytest.raises(SettingsError):
        Selection(**wanted)


@pytest.mark.parametrize("wanted", [{"box": (10, 10, 700, 300)}, {"points": ((601, 10),)}])
def test_outside_of_the_photo(wanted):
    with pytest.raises(SettingsError, match="600x400"):
        see(two(), **wanted)


def test_bytes_of_a_mask_are_read_like_a_photos():
    buffer = io.BytesIO()
    Image.new("L", (60, 40), 255).save(buffer, "PNG")
    mask, _ = see(two(), mask=buffer.getvalue())
    assert mask.min() > 0.99
