"""The drop-in for rembg: what it takes and gives back, as rembg 2.0.86 does."""

from __future__ import annotations

import inspect
import io
import threading

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import wisp
from tests import networks
from tests.conftest import encoded
from wisp import rembg
from wisp.rembg import Refused, Session, new_session, remove

#: The parameters of ``rembg.remove`` 2.0.86, in their order.
PARAMETERS = {
    "data": inspect.Parameter.empty,
    "alpha_matting": False,
    "alpha_matting_foreground_threshold": 240,
    "alpha_matting_background_threshold": 10,
    "alpha_matting_erode_size": 10,
    "session": None,
    "only_mask": False,
    "post_process_mask": False,
    "decontaminate": False,
    "vitmatte": False,
    "vitmatte_model": None,
    "bgcolor": None,
    "force_return_bytes": False,
}


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Session:
    folder = tmp_path_factory.mktemp("rembg")
    stage1 = networks.stage1(folder / "tiny.onnx", gain=30.0, offset=-15.0)
    refiner = networks.stage2(folder / "identity.onnx")
    return Session("tiny", wisp.Cutout(model=str(stage1), refiner=str(refiner), threads=1))


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """A white box on dark green: left 32, top 24, 64×48, in 128×96."""
    pixels = np.full((96, 128, 3), (0, 60, 0), np.uint8)
    pixels[24:72, 32:96] = 255
    return pixels


def png(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    return image


def positional(function) -> dict:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind in kinds}


def test_the_parameters_are_rembgs():
    assert positional(remove) == PARAMETERS


def test_the_parameters_are_those_of_the_rembg_that_is_installed():
    theirs = pytest.importorskip("rembg", reason="rembg is not installed")
    assert positional(theirs.remove) == PARAMETERS
    assert set(rembg.MODELS) == set(theirs.bg.sessions_names)


def test_what_comes_in_comes_out(scene, session):
    array = remove(scene, session=session)
    image = remove(Image.fromarray(scene), session=session)
    data = remove(encoded(scene, "PNG"), session=session)
    assert isinstance(array, np.ndarray) and array.dtype == np.uint8
    assert array.shape == (96, 128, 4)
    assert isinstance(image, Image.Image) and image.mode == "RGBA"
    assert isinstance(data, bytes) and png(data).mode == "RGBA"
    assert np.array_equal(array, np.asarray(image))
    assert np.array_equal(array, np.asarray(png(data)))
    assert array[48, 64].tolist() == [255, 255, 255, 255] and array[4, 4, 3] < 5


def test_masks_are_grey(scene, session):
    array = remove(scene, session=session, only_mask=True)
    image = remove(Image.fromarray(scene), session=session, only_mask=True)
    data = remove(encoded(scene, "PNG"), session=session, only_mask=True)
    assert array.shape == (96, 128) and array.dtype == np.uint8
    assert image.mode == png(data).mode == "L"
    assert np.array_equal(array, np.asarray(image))
    assert np.array_equal(array, remove(scene, session=session)[..., 3])
    (seen,) = session.predict(Image.fromarray(scene))
    assert seen.mode == "L" and np.array_equal(array, np.asarray(seen))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "LA"])
def test_pictures_in_every_mode(scene, session, mode):
    image = Image.fromarray(scene).convert(mode)
    before = image.tobytes()
    assert remove(image, session=session).size == (128, 96)
    assert remove(image, session=session).mode == "RGBA"
    assert image.tobytes() == before and image.mode == mode


@pytest.mark.parametrize("shape", [(96, 128), (96, 128, 4)])
def test_grey_arrays_and_arrays_with_alpha(session, shape):
    assert remove(np.full(shape, 255, np.uint8), session=session).shape == (96, 128, 4)


def test_a_photo_that_lies_on_its_side_is_set_upright(scene, session):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert png(remove(encoded(scene, "JPEG", exif=exif), session=session)).size == (96, 128)


def test_bytes_whatever_came_in(scene, session):
    for data in (scene, Image.fromarray(scene), encoded(scene, "PNG")):
        assert png(remove(data, session=session, force_return_bytes=True)).size == (128, 96)


def test_a_post_processed_mask_is_black_and_white(scene, session):
    mask = remove(scene, session=session, only_mask=True, post_process_mask=True)
    assert set(np.unique(mask)) == {0, 255}
    cut = remove(scene, session=session, post_process_mask=True)
    assert np.array_equal(cut[..., 3], mask)


@pytest.mark.parametrize("colour", [(0, 0, 255, 128), [0, 0, 255, 255], (0, 0, 255), (0, 0, 0, 0)])
def test_a_background_colour(scene, session, colour):
    plain = Image.fromarray(remove(scene, session=session))
    expected = Image.alpha_composite(Image.new("RGBA", plain.size, tuple(colour)), plain)
    cut = remove(Image.fromarray(scene), session=session, bgcolor=colour)
    assert cut.mode == "RGBA" and np.array_equal(np.asarray(cut), np.asarray(expected))
    mask = remove(scene, session=session, bgcolor=colour, only_mask=True)
    assert np.array_equal(mask, np.asarray(plain)[..., 3])


def test_putalpha_leaves_the_photos_colours(scene, session):
    cut = remove(scene, session=session, putalpha=True)
    assert np.array_equal(cut[..., :3], scene)
    assert np.array_equal(cut[..., 3], remove(scene, session=session)[..., 3])


def test_what_asks_for_a_better_edge_changes_nothing(scene, session):
    asked = remove(scene, True, 270, 20, 11, session, decontaminate=True, vitmatte=True)
    assert np.array_equal(asked, remove(scene, session=session))


def test_points_and_boxes_of_sam(session):
    pixels = np.zeros((96, 192, 3), np.uint8)
    pixels[24:72, 16:80] = pixels[24:72, 112:176] = 255
    boxed = remove(
        pixels, session=session, sam_prompt=[{"type": "rectangle", "data": [96, 0, 192, 96]}]
    )
    assert boxed[48, 144, 3] > 200 and boxed[:, :96, 3].max() == 0
    point = {"type": "point", "data": [48, 48], "label": 1}
    pointed = remove(pixels, session=session, sam_prompt=[point])
    assert pointed[48, 48, 3] > 200 and pointed[48, 144, 3] < 50
    dropped = remove(pixels, session=session, sam_prompt=[{**point, "label": 0}])
    assert dropped[48, 48, 3] < 50 and dropped[48, 144, 3] > 200


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"data": "photo.jpg"}, "not str"),
        ({"bgcolor": (1, 2)}, "bgcolor is"),
        ({"bgcolor": (1, 2, 3, 256)}, "bgcolor is"),
        ({"input_points": [[1, 2]]}, "sam_prompt"),
        ({"api_key": "x"}, "no photo leaves this machine"),
        ({"croop": True}, "does not take croop"),
        ({"sam_prompt": [{"type": "circle"}]}, "a mark is"),
        ({"sam_prompt": [{"type": "rectangle", "data": [0, 0, 9, 9]}] * 2}, "one rectangle"),
    ],
)
def test_what_is_refused_says_what_to_use(scene, session, changes, advice):
    with pytest.raises(Refused, match=advice):
        remove(**{"data": scene, "session": session, **changes})
    assert issubclass(Refused, ValueError) and issubclass(Refused, wisp.WispError)


def test_without_a_session_the_bundled_model_is_opened_once(scene, monkeypatch):
    opened = []

    class Counted(wisp.Cutout):
        def __init__(self, **changes):
            opened.append(changes)
            super().__init__(**changes)

    monkeypatch.setattr(wisp, "Cutout", Counted)
    rembg._default.cache_clear()
    assert remove(scene).shape == remove(scene).shape == (96, 128, 4)
    assert [changes["model"] for changes in opened] == ["wisp"]
    rembg._default.cache_clear()


def test_one_session_for_many_threads(scene, session):
    expected, results = remove(scene, session=session), []
    work = [
        threading.Thread(target=lambda: results.append(remove(scene, session=session)))
        for _ in range(3)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(results) == 3 and all(np.array_equal(cut, expected) for cut in results)


def test_a_model_of_rembgs_that_is_not_here_is_stood_in_for():
    with pytest.warns(UserWarning, match="'birefnet-dis' is not here"):
        assert new_session("birefnet-dis").model_name == "wisp"
    with pytest.raises(ValueError, match="no model 'u2ney'"):
        new_session("u2ney")


def test_a_session_takes_threads_and_providers(monkeypatch):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    assert new_session(sess_opts=options).cutout.settings.threads == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    session = new_session(providers=["CPUExecutionProvider"])
    assert session.cutout.settings.threads == 2
    assert session.cutout.settings.providers == ("CPUExecutionProvider",)


def test_a_file_of_ones_own(tmp_path, scene):
    path = networks.stage1(tmp_path / "mine.onnx", gain=30.0, offset=-15.0)
    session = new_session("u2net_custom", model_path=str(path))
    assert remove(scene, session=session, only_mask=True)[48, 64] > 250
    for wrong in ({"model_name": "u2net_custom"}, {"model_path": str(path)}):
        with pytest.raises(Refused, match="model_path goes with"):
            new_session(**wrong)
