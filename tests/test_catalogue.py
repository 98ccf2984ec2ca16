"""Each row of the catalogue: its facts, and that photos go in and come out as its authors' do."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper
from PIL import Image
from skimage import data

from pipeline import (
    Cutout,
    ModelInvalid,
    ModelMissing,
    Settings,
    SettingsError,
    coarse,
    models,
)
from pipeline.models import catalogue, own, store
from pipeline.models.catalogue import PUBLIC, CoarseModel, RefinerModel
from tests import networks

CPU = ("CPUExecutionProvider",)
FROM_REMBG = [name for name, card in PUBLIC.items() if "danielgatis/rembg" in card.url]


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("WISP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "rembg"))


def tiny(path: Path, logits: bool, side: int | str, output: str = "d0") -> Path:
    """A network that answers from all three channels, each weighted differently."""
    weights = np.array([0.9, -0.5, 0.7], np.float32).reshape(1, 3, 1, 1)
    nodes = [helper.make_node("Conv", ["input.1", "w"], ["logit"])]
    nodes.append(helper.make_node("Identity" if logits else "Sigmoid", ["logit"], [output]))
    shape: list[int | str] = ["n", 3, side, side if isinstance(side, int) else "width"]
    return networks.save(
        path,
        nodes,
        [networks.value("input.1", shape)],
        [networks.value(output, [shape[0], 1, *shape[2:]])],
        {"w": weights},
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_a_row_is_complete(name):
    card = PUBLIC[name]
    assert card.url.startswith("https://")
    assert re.fullmatch(r"[0-9a-f]{64}", card.sha256)
    assert re.fullmatch(r"[0-9a-f]{32}|", card.md5)
    assert card.length > 1_000_000
    assert card.purpose
    assert card.licence and card.source
    assert card.noncommercial == ("NC" in card.licence)
    assert name not in catalogue.COARSE


def test_rows_do_not_share_a_file():
    for field in ("url", "sha256"):
        assert len({getattr(card, field) for card in PUBLIC.values()}) == len(PUBLIC)


@pytest.mark.parametrize("name", FROM_REMBG)
def test_address_and_checksum_are_the_ones_that_rembg_publishes(name):
    rembg = pytest.importorskip("rembg.sessions", reason="needs rembg")
    text = inspect.getsource(rembg.sessions[name])
    assert f'"{PUBLIC[name].url}"' in text
    published = re.findall(r'"(md5|sha256):([0-9a-f]+)"', text)
    assert published
    for algorithm, digest in published:
        assert getattr(PUBLIC[name], algorithm) == digest


@pytest.mark.parametrize("name", FROM_REMBG)
def test_the_mask_is_that_of_rembg(name, tmp_path):
    """To one grey level; rembg stretches its masks, so ours is stretched for the comparison."""
    rembg = pytest.importorskip("rembg", reason="needs rembg")
    card = PUBLIC[name]
    (tmp_path / "rembg").mkdir()
    path = tiny(tmp_path / "rembg" / f"{name}.onnx", card.sigmoid, card.size[0])
    photo = data.chelsea()
    theirs = np.asarray(rembg.new_session(name).predict(Image.fromarray(photo))[0], int)

    session, opened = models.open_coarse(replace(card, path=path), CPU, 1)
    raw = coarse.predict(session, opened, photo)
    assert raw.shape == card.size
    assert 0 < raw.min() < raw.max() < 1  # so the comparison can fail
    stretched = (raw - raw.min()) / (raw.max() - raw.min())
    grey = Image.fromarray((stretched * 255).astype(np.uint8))
    ours = np.asarray(grey.resize(photo.shape[1::-1], Image.Resampling.LANCZOS), int)
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("name", ["birefnet-general", "u2net"])
def test_logits_become_probabilities(name):
    card = replace(PUBLIC[name], size=(16, 16))
    logits = np.tile(np.array([[-1000, -1], [1, np.nan]], np.float32), (8, 8))
    session = networks.Function(lambda batch: logits[None, None])
    answer = coarse.predict(session, card, np.zeros((2, 2, 3), np.uint8))
    expected = [[0, 0.2689414], [0.7310586, 0]] if card.sigmoid else [[0, 0], [1, 0]]
    assert answer == pytest.approx(np.tile(expected, (8, 8)), abs=1e-6)


# MODNet: the size rule, the normalisation and the scaling of its authors' onnx/inference_onnx.py.


@pytest.mark.parametrize(
    "shape, size",
    [
        ((512, 512), (512, 512)),
        ((300, 451), (512, 768)),  # both below 512: the shorter grows to 512
        ((451, 300), (768, 512)),
        ((1080, 1920), (512, 896)),  # both above: the shorter shrinks to 512; 910 rounds down
        ((400, 600), (384, 576)),  # astride 512: as it is, rounded down to 32
        ((513, 514), (512, 512)),
        ((4000, 6000), (512, 768)),
        # Where the reference has no answer: too long for any memory, and thinner than a step.
        ((600, 30_000), (32, 2048)),
        ((1, 1), (512, 512)),
        ((1, 9000), (32, 2048)),
    ],
)
def test_the_size_at_which_modnet_sees_a_photo(shape, size):
    assert coarse.view(shape, PUBLIC["modnet"]) == size


def test_modnet_is_fed_as_by_its_authors():
    photo = data.chelsea()  # 300 × 451
    tensor = coarse.prepare(photo, PUBLIC["modnet"])
    normal = (photo - 127.5) / 127.5
    reference = cv2.resize(normal, (768, 512), interpolation=cv2.INTER_AREA)
    assert tensor.dtype == np.float32
    # Within one grey level: we scale in 8 bits, and normalise then.
    assert np.abs(tensor - reference.transpose(2, 0, 1)[None]).max() < 1 / 127.5


def test_modnet_keeps_proportions_where_its_file_lets_it(tmp_path):
    free = tiny(tmp_path / "free.onnx", False, "height", "output")
    session, card = models.open_coarse(replace(PUBLIC["modnet"], path=free), CPU, 1)
    assert coarse.predict(session, card, data.chelsea()).shape == (512, 768)
    fixed = tiny(tmp_path / "fixed.onnx", False, 256, "output")
    session, card = models.open_coarse(replace(PUBLIC["modnet"], path=fixed), CPU, 1)
    assert coarse.predict(session, card, data.chelsea()).shape == (256, 256)


def test_an_oblong_view_goes_all_the_way(tmp_path):
    path = tiny(tmp_path / "modnet.onnx", False, "height", "output")
    own.take_in(path, "modnet", "mine")
    cut = Cutout(Settings(model="mine", refine=False))
    assert cut(data.chelsea()).alpha.shape == (300, 451)


# Names, files, and the user's own.


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(ModelMissing, match=r"no model 'u3net'.*birefnet-general.*modnet.*wisp"):
        models.coarse_model("u3net")


def test_an_imported_model_is_used_like_the_one_it_is_like(tmp_path):
    path = tiny(tmp_path / "mine.onnx", True, 1024)
    assert own.take_in(path, "birefnet-general", None, "MIT") == "mine"
    card = models.coarse_model("mine")
    assert card.path == store.model_path("mine")
    assert card.path.read_bytes() == path.read_bytes()
    assert (card.sigmoid, card.size, card.licence) == (True, (1024, 1024), "MIT")
    assert card.sha256 == models.checksum(path)
    assert (card.url, card.md5, card.length) == ("", "", 0)
    store.remove("mine")
    with pytest.raises(ModelMissing):
        models.coarse_model("mine")


def test_an_imported_refiner_is_used_by_its_name(tmp_path):
    path = networks.stage2(tmp_path / "own.onnx")
    own.take_in(path, "refiner", "own")
    assert models.refiner_model("own").path == store.model_path("own")
    assert list(own.imported(RefinerModel)) == ["own"]
    assert own.imported(CoarseModel) == {}


def test_a_file_that_is_a_public_model_is_known(tmp_path, monkeypatch):
    path = tiny(tmp_path / "download(3).onnx", True, 1024)
    sha256, length = models.checksum(path), path.stat().st_size
    known = replace(PUBLIC["birefnet-general-lite"], sha256=sha256, length=length, md5="")
    monkeypatch.setitem(PUBLIC, "birefnet-general-lite", known)
    assert models.coarse_model(str(path)) == replace(known, path=path)
    assert own.take_in(path, None, None) == "birefnet-general-lite"
    assert models.coarse_model("birefnet-general-lite").path == store.model_path(
        "birefnet-general-lite"
    )


def test_what_cannot_be_imported(tmp_path):
    path = tiny(tmp_path / "mine.onnx", False, 320)
    with pytest.raises(SettingsError, match="--like with one of u2net"):
        own.take_in(path, None, None)
    for name in ("u2net", "wisp", "../up", "a\nb"):
        with pytest.raises(SettingsError, match="is taken|is no name"):
            own.take_in(path, "u2net", name)
    with pytest.raises(ModelMissing):
        own.take_in(tmp_path / "nothing.onnx", "u2net", None)
    with pytest.raises(ModelInvalid, match="stage 2 needs"):
        own.take_in(path, "refiner", None)
    assert own.imported(CoarseModel) == {}


def test_what_is_bundled_or_not_there_cannot_be_removed():
    for name in ("wisp", "u2net"):
        with pytest.raises(ModelMissing):
            store.remove(name)
    with pytest.raises(SettingsError, match="no name"):  # leads out of the folder
        store.remove("../../u2net")


def test_notes_of_others_are_left_alone(tmp_path):
    folder = tmp_path / "home" / "models"
    folder.mkdir(parents=True)
    for number, text in enumerate(["", "[]", "{}", '{"like": "u2net"}', '{"like": []}']):
        (folder / f"{number}.json").write_text(text)
    assert own.imported(CoarseModel) == {}


# Accelerators.


def test_devices():
    from pipeline.models import providers

    for device, names in providers.DEVICES.items():
        assert providers.providers(device)[-1] == "CPUExecutionProvider"
        assert len(set(names)) == len(names)
    with pytest.raises(SettingsError, match="cpu, cuda, tensorrt"):
        providers.providers("gpu")


def test_stage_2_keeps_its_precision_where_stage_1_is_turned_to_fp16(monkeypatch):
    """Its fit to the photo's colours would divide by zero."""
    import onnxruntime

    there = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    asked = []

    class Opened(onnxruntime.InferenceSession):
        def __init__(self, path, options, providers):
            asked.append(dict(providers)["TensorrtExecutionProvider"])
            super().__init__(path, options, providers=["CPUExecutionProvider"])

        def get_providers(self):
            return there

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Opened)
    models.open_coarse(models.coarse_model("wisp"), there, 1)
    models.open_refiner(models.refiner_model("wisp"), there, 1)
    assert asked == [{"trt_fp16_enable": "1"}, {}]


def test_an_accelerator_that_gives_up_is_an_error(tmp_path, monkeypatch):
    """onnxruntime lists what was compiled in; what then fails to start it leaves out in silence."""
    import onnxruntime

    from pipeline import ProviderMissing
    from pipeline.models import providers

    path = tiny(tmp_path / "a.onnx", False, 320)
    there = [*onnxruntime.get_available_providers(), "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),  # onnxruntime's own
        pytest.raises(ProviderMissing, match="does not start here.*onnxruntime-gpu"),
    ):
        providers.open_session(path, providers.providers("cuda"), 1)
