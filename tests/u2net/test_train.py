import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard", reason="training needs the train extra")

from click.testing import CliRunner  # noqa: E402

import train_u2net  # noqa: E402
from pipeline.errors import SettingsError  # noqa: E402
from training import recipe  # noqa: E402
from u2net import export, phases, weights  # noqa: E402
from u2net.dataset import Prepared  # noqa: E402
from u2net.network import SMALL, TINY, U2Net, fused  # noqa: E402
from u2net.settings import Settings  # noqa: E402

TINY_RUN = Settings(widths="tiny", size=64, steps=4, batch=2, hint=0.0, validate_every=2, warmup=1)
# Hints and blocks need the teacher's channels: as small as they can be made otherwise.
BLOCKS = dataclasses.replace(TINY_RUN, phase="blocks", widths="p", size=32, full_size_share=1.0)
CHAIN = dataclasses.replace(BLOCKS, phase="chain", folded=True, workers=1, optimizer="soap")
HINTS = dataclasses.replace(
    TINY_RUN, widths="p", size=32, workers=1, hint=0.5, overlap=0.5, teacher_gain=2.0
)


def run(settings, prepared, teacher_file, folder, **options):
    path = train_u2net.train(settings, prepared, teacher_file, folder, quiet=True, **options)
    return torch.load(path, weights_only=True)


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("settings", [TINY_RUN, BLOCKS, CHAIN], ids=["whole", "blocks", "chain"])
def test_resumed_run_equals_the_unbroken_one(settings, prepared, teacher_file, tmp_path):
    whole = run(settings, prepared, teacher_file, tmp_path / "a")
    half = run(settings, prepared, teacher_file, tmp_path / "b", stop=2)
    assert half["step"] == 2 and not same(half["model"], whole["model"])
    rest = run(settings, prepared, teacher_file, tmp_path / "b", resume=True)
    assert rest["step"] == whole["step"] == 4
    assert same(rest, whole)  # weights, average, moments, all to the last bit


def test_training_lowers_the_loss(prepared, teacher_file, tmp_path):
    """On the same tiny data the maps come closer to the truth."""
    settings = dataclasses.replace(
        TINY_RUN, steps=40, batch=4, lr=5e-3, truth_weight=1.0, validate_every=40
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(settings, prepared, teacher_file, tmp_path / "a")
    events = EventAccumulator(str(tmp_path / "a")).Reload()
    values = [e.value for e in events.Scalars("maps")]
    assert values[-1] < 0.7 * values[0]
    assert (tmp_path / "a" / "preview.png").is_file()


def test_hints_and_start_from_another_run(prepared, teacher_file, tmp_path):
    first = run(BLOCKS, prepared, teacher_file, tmp_path / "a", stop=1)
    settings = dataclasses.replace(HINTS, steps=1, lr=0.0, ema=0.0)
    second = run(settings, prepared, teacher_file, tmp_path / "b", init=tmp_path / "a" / "last.pt")
    names = [k for k in first["ema"] if k.endswith("weight")]
    assert all(torch.equal(first["ema"][k], second["model"][k]) for k in names)


def test_start_from_an_exported_network(prepared, teacher_file, tmp_path):
    export.write_fp32(fused(U2Net()), tmp_path / "coarse.onnx", 32)
    settings = dataclasses.replace(HINTS, steps=1, lr=0.0)
    state = run(settings, prepared, teacher_file, tmp_path / "a", init=tmp_path / "coarse.onnx")
    exported = weights.load_onnx(tmp_path / "coarse.onnx").state_dict()
    convolutions = [k for k in exported if ".conv." in k]
    assert all(torch.equal(state["model"][k], exported[k]) for k in convolutions)


def test_a_folded_run_goes_on_from_either(prepared, teacher_file, tmp_path):
    """From a checkpoint with normalisations, or one without, the answer stays what it was."""
    first = run(BLOCKS, prepared, teacher_file, tmp_path / "a", stop=1)
    assert any("running_mean" in name for name in first["ema"])
    still = dataclasses.replace(CHAIN, lr=0.0, weight_decay=0.0)
    run(still, prepared, teacher_file, tmp_path / "b", init=tmp_path / "a" / "last.pt", stop=1)
    folded = weights.load(tmp_path / "b" / "last.pt")
    assert not folded.normalised
    photo = torch.rand(1, 3, 32, 32)
    expected = fused(weights.load(tmp_path / "a" / "last.pt"))(photo)[0]
    torch.testing.assert_close(folded(photo)[0], expected, atol=1e-3, rtol=1e-3)
    # And back: an unfolded run takes a folded checkpoint as it takes an export.
    again = dataclasses.replace(BLOCKS, lr=0.0)
    state = run(again, prepared, teacher_file, tmp_path / "c", init=tmp_path / "b" / "last.pt")
    names = [k for k in folded.state_dict() if k.endswith("conv.weight")]
    assert all(torch.equal(state["ema"][k], folded.state_dict()[k]) for k in names)


def test_a_chained_block_is_fed_what_the_student_says(prepared, teacher_file, tmp_path):
    """With the first block silenced, the second learns from silence, and not from the teacher."""
    torch.manual_seed(0)
    model, teacher = U2Net(SMALL, norm=False), weights.load_onnx(teacher_file).to(torch.bfloat16)
    for name, value in model.named_parameters():
        if name.startswith(("encoder.0.cin.", "encoder.0.dec.5.")):
            torch.nn.init.constant_(value, 0.0 if name.endswith("weight") else -1.0)
    photos = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    pictures = Prepared(prepared, "train")
    phase = phases.Chain(model, teacher, pictures, np.ones(len(pictures)), CHAIN)
    log = phase.step(0, (photos, torch.zeros(2, 1, 32, 32), torch.ones(2)))
    phase.close()
    taught = {n for n, value in model.named_parameters() if torch.as_tensor(value.grad).any()}
    assert "encoder.1.cin.conv.weight" not in taught  # it was fed zeros
    assert "encoder.1.cin.conv.bias" in taught
    assert {f"block/{k}" for k in range(11)} <= log.keys()


def test_folded_weights_move_by_a_share_of_their_size(prepared, teacher_file, tmp_path):
    settings = dataclasses.replace(CHAIN, lr=1e-3, warmup=1, weight_decay=0.0)
    torch.manual_seed(settings.seed)
    before = U2Net(SMALL, norm=False).state_dict()
    after = run(settings, prepared, teacher_file, tmp_path / "a", stop=1)["model"]
    for name in (n for n in before if n.endswith("weight")):
        size = before[name].square().mean().sqrt()
        assert (after[name] - before[name]).abs().max() <= 1.01e-3 * size + 1e-7, name


def test_a_student_starts_from_random_weights(prepared, teacher_file, tmp_path):
    """Nothing of the teacher is in the first weights: they are those of the seed."""
    settings = dataclasses.replace(BLOCKS, lr=0.0, weight_decay=0.0)
    state = run(settings, prepared, teacher_file, tmp_path / "a", stop=1)["model"]
    torch.manual_seed(settings.seed)
    fresh = U2Net().state_dict()
    convolutions = [k for k in fresh if ".conv." in k]
    assert convolutions and all(torch.equal(state[k], fresh[k]) for k in convolutions)


def test_replicas_share_weights_and_not_gradients():
    model, replica = phases.replicas(U2Net(TINY), 2)
    replica(torch.rand(2, 3, 64, 64))[0].mean().backward()
    assert replica.blocks[0].cin.conv.weight.grad is not None
    assert model.blocks[0].cin.conv.weight.grad is None
    with torch.no_grad():
        model.out.weight.add_(3)
    assert torch.equal(model.out.weight, replica.out.weight)


def test_refusals(prepared, teacher_file, tmp_path):
    with pytest.raises(SettingsError, match="resume"):
        run(TINY_RUN, prepared, teacher_file, tmp_path / "none", resume=True)
    run(TINY_RUN, prepared, teacher_file, tmp_path / "a", stop=1)
    other = dataclasses.replace(TINY_RUN, lr=1.0)
    with pytest.raises(SettingsError, match="other settings"):
        run(other, prepared, teacher_file, tmp_path / "a", resume=True)


def test_the_commands_of_a_whole_recipe(folder: Path, teacher_file: Path, tmp_path: Path):
    """From a folder of pictures to two ONNX files; what is done is not done again."""
    base = ["--recipe", "tiny", "--teacher", str(teacher_file), "--out", str(tmp_path)]
    base += ["--data", str(folder), "--set", "steps=2"]
    first = CliRunner().invoke(train_u2net.main, base)
    assert first.exit_code == 0, first.output
    assert {"coarse.onnx", "coarse_int8.onnx"} <= {p.name for p in tmp_path.iterdir()}
    again = CliRunner().invoke(train_u2net.main, base)
    assert again.exit_code == 1 and "--resume" in again.output
    before = (tmp_path / "whole/last.pt").stat().st_mtime_ns
    resumed = CliRunner().invoke(train_u2net.main, [*base, "--resume", "--quiet"])
    assert resumed.exit_code == 0, resumed.output
    assert (tmp_path / "whole/last.pt").stat().st_mtime_ns == before
    other = CliRunner().invoke(train_u2net.main, [*base, "--set", "wrong=1"])
    assert other.exit_code == 1 and "no setting 'wrong'" in other.output


def test_the_recipes_can_be_run_and_use_every_phase():
    recipes = [recipe.load("u2net", name, Settings()) for name in ("bundled", "guided")]
    used = {s.phase for one in recipes for s in one.phases.values()}
    assert used == set(train_u2net.PHASES)


def test_workers_do_not_change_what_is_learned_in_the_blocks_phase(
    prepared, teacher_file, tmp_path
):
    one = dataclasses.replace(BLOCKS, workers=1)
    a = run(one, prepared, teacher_file, tmp_path / "a", stop=1)["model"]
    b = run(BLOCKS, prepared, teacher_file, tmp_path / "b", stop=1)["model"]
    # Only the teacher's kernels may round differently for another batch size.
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=2e-2) for k in a)
