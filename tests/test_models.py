import numpy as np
import pytest
from onnx import TensorProto, helper
from skimage import data

from pipeline import coarse, generator, models
from pipeline.errors import ModelInvalid, ModelMissing, ProviderMissing
from pipeline.models import session
from tests import networks
from tests.networks import save, value

CPU = ("CPUExecutionProvider",)


@pytest.mark.parametrize("catalogue", [models.COARSE, models.REFINERS])
def test_the_bundled_models_are_the_ones_on_record(catalogue):
    for name, card in catalogue.items():
        assert models.checksum(card.path) == card.sha256, name
        assert card.path.stat().st_size < 10_000_000


def test_the_bundled_models_open():
    session, card = models.open_coarse(models.coarse_model("wisp"), CPU, 1)
    assert card.size == (320, 320)
    models.open_refiner(models.refiner_model("wisp"), CPU, 1)


def test_the_default_answers_as_its_network_in_32_bits():
    maps = []
    for name in ("wisp", models.COARSE["wisp"].fp32_variant):
        opened = models.open_coarse(models.coarse_model(name), CPU, 1)
        maps.append(coarse.predict(*opened, data.astronaut()))
    assert not np.array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[1]).mean() < 0.01


def test_the_default_redraws_as_its_network_in_32_bits():
    photo = data.astronaut()[:128, 150:278].transpose(2, 0, 1)[None] / np.float32(255)
    mask = np.tile(np.linspace(0, 1, 128, dtype=np.float32), (1, 1, 128, 1))
    answers = []
    for name in ("wisp", models.REFINERS["wisp"].fp32_variant):
        opened = models.open_refiner(models.refiner_model(name), CPU, 1)
        patches = np.concatenate([photo, mask], 1)
        answers.append(
            [
                generator.run(session, patches)
                for session in (opened.local_generator, opened.global_generator)
            ]
        )
    eight, full = np.array(answers)
    assert not np.array_equal(eight, full)
    assert np.abs(eight - full).mean() < 0.01 < np.abs(full[:, :, 0] - mask).mean()


def test_another_device_than_a_cpu_takes_the_network_in_32_bits(monkeypatch):
    opened = []

    def open_session(path, providers, threads, allow_fp16):
        opened.append(path.name)
        return real(path, CPU, threads, allow_fp16)

    real = session.open_session
    monkeypatch.setattr(session, "open_session", open_session)
    for providers in (CPU, ("CUDAExecutionProvider", *CPU)):
        models.open_coarse(models.coarse_model("wisp"), providers, 1)
        models.open_refiner(models.refiner_model("wisp"), providers, 1)
    assert opened == ["coarse_int8.onnx", "refiner_int8.onnx", "coarse.onnx", "refiner.onnx"]


def test_a_file_takes_its_names_and_size_from_itself(tmp_path):
    path = networks.stage1(tmp_path / "a.onnx", side=64)
    _, card = models.open_coarse(models.coarse_model(str(path)), CPU, 1)
    assert (card.input, card.output, card.size) == ("input", "d0", (64, 64))


@pytest.mark.parametrize("lookup", [models.coarse_model, models.refiner_model])
def test_an_unknown_name_says_what_there_is(lookup):
    with pytest.raises(ModelMissing, match=r"no model 'nonesuch'.*wisp"):
        lookup("nonesuch")


@pytest.mark.parametrize("content", [b"", b"not onnx", bytes(1000)])
def test_a_file_that_is_no_network(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelInvalid, match="bad.onnx"):
        models.open_coarse(models.coarse_model(str(path)), CPU, 1)


def test_a_network_of_another_shape(tmp_path):
    one = networks.stage1(tmp_path / "one.onnx")
    two = networks.stage2(tmp_path / "two.onnx")
    with pytest.raises(ModelInvalid, match=r"stage 1 needs one input of shape \(N, 3, H, W\)"):
        models.open_coarse(models.coarse_model(str(two)), CPU, 1)
    with pytest.raises(ModelInvalid, match="stage 2 needs float32 'patches'"):
        models.open_refiner(models.refiner_model(str(one)), CPU, 1)
    rgb = save(
        tmp_path / "rgb.onnx",
        [helper.make_node("Sigmoid", ["input"], ["out"])],
        [value("input", ["n", 3, 320, 320])],
        [value("out", ["n", 3, 320, 320])],
    )
    with pytest.raises(ModelInvalid, match=r"first output of stage 1 must be \(N, 1, H, W\)"):
        models.open_coarse(models.coarse_model(str(rgb)), CPU, 1)


def test_a_file_of_two_generators(tmp_path):
    file = networks.two_stage2(tmp_path / "both.onnx")
    opened = models.open_refiner(models.refiner_model(str(file)), CPU, 1)
    patches = np.random.default_rng(0).random((2, 4, 128, 128), np.float32)
    near, afar = (
        generator.run(session, patches)
        for session in (opened.local_generator, opened.global_generator)
    )
    assert np.array_equal(near, patches[:, [3, 0, 1, 2]])
    assert (afar == 1).all()
    single = networks.stage2(tmp_path / "one.onnx")
    opened = models.open_refiner(models.refiner_model(str(single)), CPU, 1)
    assert opened.local_generator is opened.global_generator
    strange = networks.two_stage2(tmp_path / "strange.onnx", TensorProto.FLOAT)
    with pytest.raises(ModelInvalid, match="at most a bool 'afar'"):
        models.open_refiner(models.refiner_model(str(strange)), CPU, 1)


def test_an_accelerator_that_is_not_there_is_an_error(tmp_path):
    path = networks.stage1(tmp_path / "a.onnx")
    with pytest.raises(ProviderMissing, match="TensorrtExecutionProvider"):
        models.open_coarse(models.coarse_model(str(path)), ("TensorrtExecutionProvider",), 1)


def test_preparation_is_the_published_one():
    image = np.random.default_rng(0).integers(0, 200, (320, 320, 3), np.uint8)
    card = models.CoarseModel(models.WEIGHTS / "coarse.onnx", "", "", "")
    tensor = coarse.prepare(image, card)
    expected = (image / image.max() - np.array(card.mean)) / np.array(card.std)
    assert tensor.shape == (1, 3, 320, 320)
    assert tensor.dtype == np.float32
    assert np.allclose(tensor[0], expected.transpose(2, 0, 1), atol=1e-6)


def test_a_black_photo_divides_by_nothing():
    card = models.COARSE["wisp"]
    assert np.isfinite(coarse.prepare(np.zeros((5, 9, 3), np.uint8), card)).all()


@pytest.mark.parametrize(
    ("answer", "meant"), [(0.0, 0.0), (0.04, 0.0), (0.5, 0.5), (0.96, 1.0), (1.0, 1.0)]
)
def test_what_a_u2net_is_all_but_sure_of_is_sure(tmp_path, answer, meant):
    path = networks.constant_stage1(tmp_path / "a.onnx", answer)
    session, card = models.open_coarse(models.coarse_model(str(path)), CPU, 1)
    raw = coarse.predict(session, card, np.zeros((9, 9, 3), np.uint8))
    assert np.allclose(raw, meant, atol=1e-6)


def test_a_map_of_one_pixel_is_no_mask(tmp_path):
    path = networks.single_stage1(tmp_path / "one.onnx")
    with pytest.raises(ModelInvalid, match="at least 16 px"):
        models.open_coarse(models.coarse_model(str(path)), CPU, 1)
