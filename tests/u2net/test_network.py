import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pipeline.errors import ModelInvalid, ModelMissing  # noqa: E402
from u2net import weights  # noqa: E402
from u2net.network import (  # noqa: E402
    FULL,
    RSU,
    SMALL,
    TINY,
    Conv,
    U2Net,
    fused,
    normalise,
    parameter_count,
    unfused,
)


def test_parameter_counts_are_the_papers():
    assert parameter_count(U2Net(SMALL)) == 1_131_181
    assert parameter_count(U2Net(FULL)) == 44_009_869


@pytest.mark.parametrize("size", [(64, 64), (70, 45)])
def test_seven_maps_at_the_photos_size(size):
    model = U2Net(TINY).eval()
    maps = model(torch.rand(2, 3, *size))
    assert len(maps) == 7
    assert all(d.shape == (2, 1, *size) for d in maps)


def test_features_halve_level_by_level():
    model = U2Net(TINY)
    features = model.features(torch.rand(1, 3, 64, 64))
    sizes = [f.shape[2] for f in features]
    assert sizes == [64, 32, 16, 8, 4, 2, 4, 8, 16, 32, 64]
    assert sizes == [64 >> model.block_level(k) for k in range(11)]


def test_blocks_fed_one_by_one_give_the_whole_forward():
    model = U2Net(TINY).eval()
    x = torch.rand(1, 3, 48, 48)
    features = model.features(x)
    for k, block in enumerate(model.blocks):
        assert torch.equal(block(model.block_input(k, x, features[:k])), features[k])


def test_unfused_answers_as_the_folded_network_and_can_be_folded_again():
    folded = fused(U2Net(SMALL))
    x = torch.randn(2, 3, 64, 64)
    model = unfused(folded, x).eval()
    with torch.no_grad():
        for again in (model, fused(model)):
            for ours, theirs in zip(again(x), folded(x), strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        # In training, on the photos that it was measured on, too: that is what goes on from there.
        torch.testing.assert_close(model.train()(x)[0], folded(x)[0], atol=1e-3, rtol=1e-3)


def test_rsu_is_residual():
    block = RSU(5, 3, 4, 6).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        block.ends[1].weight.zero_()
        block.ends[1].bias.zero_()
    assert torch.equal(block(x), block.cin(x))


def test_dilated_rsu_does_not_pool():
    layers = RSU(0, 3, 4, 6)
    convolutions = [m for m in layers.enc.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [c.dilation[0] for c in convolutions] == [1, 2, 4, 8]
    # With nothing pooled, a picture of one pixel goes through.
    assert layers.eval()(torch.rand(1, 3, 1, 1)).shape == (1, 6, 1, 1)


def test_folding_changes_no_map():
    torch.manual_seed(0)
    model = U2Net(TINY)
    for _ in range(3):  # statistics that are not 0 and 1
        model(torch.rand(4, 3, 64, 64))
    model.eval()
    x = torch.rand(1, 3, 64, 64)
    folded = fused(model)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert isinstance(model.encoder[0].cin, Conv)  # the model itself is left alone
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    for a, b in zip(model(x), folded(x), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_normalise_divides_by_the_brightest_value():
    image = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    image[0, :, 0, 0] = 100
    x = normalise(image)
    assert x[0, 0, 0, 0].item() == pytest.approx((1 - 0.485) / 0.229, rel=1e-5)
    assert x[1, 2, 3, 3].item() == pytest.approx(-0.406 / 0.225, rel=1e-5)  # black: no 0/0


def test_published_names_find_their_place(teacher_file: Path):
    loaded = weights.load_onnx(teacher_file)
    torch.manual_seed(1)
    expected = U2Net(SMALL, norm=False).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in loaded.state_dict().items())
    assert not any(p.requires_grad for p in loaded.parameters())


def test_wrong_teachers_are_refused(tmp_path: Path):
    with pytest.raises(ModelMissing):
        weights.load_onnx(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ModelInvalid, match=r"bad\.onnx"):
        weights.load_onnx(tmp_path / "bad.onnx")


def test_published_weights_give_the_published_maps():
    path = Path(os.environ.get("WISP_TEACHER", "u2netp.onnx"))
    if not path.is_file():
        pytest.skip("the published weights are not here (WISP_TEACHER=FILE)")
    onnxruntime = pytest.importorskip("onnxruntime")
    x = np.random.default_rng(0).normal(size=(1, 3, 320, 320)).astype(np.float32)
    theirs = onnxruntime.InferenceSession(str(path)).run(None, {"input": x})
    with torch.no_grad():
        ours = [d.sigmoid().numpy() for d in weights.load_onnx(path)(torch.from_numpy(x))]
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a - b).max() < 1e-4
