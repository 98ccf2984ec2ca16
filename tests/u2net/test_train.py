import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard", reason="training needs the train extra")

import train_u2net  # noqa: E402
from pipeline.errors import SettingsError  # noqa: E402
from u2net import export, steps, teacher  # noqa: E402
from u2net.network import SMALL, TINY, U2Net, fused  # noqa: E402
from u2net.settings import PRESETS, changed  # noqa: E402

TINY_RUN = PRESETS["tiny"]
# Hints and blocks need the teacher's channels: as small as they can be made otherwise.
BLOCKS = dataclasses.replace(TINY_RUN, phase="blocks", widths="p", size=32, full_size_share=1.0)
CHAIN = dataclasses.replace(BLOCKS, phase="chain", folded=True, workers=1, soap=True)
HINTS = dataclasses.replace(
    TINY_RUN, widths="p", size=32, workers=1, hint=0.5, overlap=0.5, gain=2.0
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
    settings = dataclasses.replace(TINY_RUN, steps=40, batch=4, lr=5e-3, trust=1.0, every=40)
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
    weights = [k for k in first["ema"] if k.endswith("weight")]
    assert all(torch.equal(first["ema"][k], second["model"][k]) for k in weights)


def test_start_from_an_exported_network(prepared, teacher_file, tmp_path):
    export.write_fp32(fused(U2Net()), tmp_path / "coarse.onnx", 32)
    settings = dataclasses.replace(HINTS, steps=1, lr=0.0)
    state = run(settings, prepared, teacher_file, tmp_path / "a", init=tmp_path / "coarse.onnx")
    exported = teacher.load(tmp_path / "coarse.onnx").state_dict()
    convolutions = [k for k in exported if ".conv." in k]
    assert all(torch.equal(state["model"][k], exported[k]) for k in convolutions)


def test_a_folded_run_goes_on_from_either(prepared, teacher_file, tmp_path):
    """From a checkpoint with normalisations, or one without, the answer stays what it was."""
    first = run(BLOCKS, prepared, teacher_file, tmp_path / "a", stop=1)
    assert any("running_mean" in name for name in first["ema"])
    still = dataclasses.replace(CHAIN, lr=0.0, weight_decay=0.0)
    run(still, prepared, teacher_file, tmp_path / "b", init=tmp_path / "a" / "last.pt", stop=1)
    folded = export.read_average(tmp_path / "b" / "last.pt")
    assert not folded.normalised
    photo = torch.rand(1, 3, 32, 32)
    expected = export.read_checkpoint(tmp_path / "a" / "last.pt")(photo)[0]
    torch.testing.assert_close(folded(photo)[0], expected, atol=1e-3, rtol=1e-3)
    # And back: an unfolded run takes a folded checkpoint as it takes an export.
    again = dataclasses.replace(BLOCKS, lr=0.0)
    state = run(again, prepared, teacher_file, tmp_path / "c", init=tmp_path / "b" / "last.pt")
    weights = [k for k in folded.state_dict() if k.endswith("conv.weight")]
    assert all(torch.equal(state["ema"][k], folded.state_dict()[k]) for k in weights)


def test_a_chained_block_is_fed_what_the_student_says(prepared, teacher_file, tmp_path):
    """With the first block silenced, the second learns from silence, and not from the teacher."""
    torch.manual_seed(0)
    model, guide = U2Net(SMALL, norm=False), teacher.load(teacher_file).to(torch.bfloat16)
    for name, value in model.named_parameters():
        if name.startswith(("encoder.0.cin.", "encoder.0.dec.5.")):
            torch.nn.init.constant_(value, 0.0 if name.endswith("weight") else -1.0)
    batch = (torch.randn(2, 3, 32, 32), torch.zeros(2, 1, 32, 32), torch.ones(2))
    with ThreadPoolExecutor(1) as pool:
        log = steps.chain_step([model], guide, batch, CHAIN, pool)
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


def test_twins_share_weights_and_not_gradients():
    model, twin = steps.twins(U2Net(TINY), 2)
    twin(torch.rand(2, 3, 64, 64))[0].mean().backward()
    assert twin.blocks[0].cin.conv.weight.grad is not None
    assert model.blocks[0].cin.conv.weight.grad is None
    with torch.no_grad():
        model.out.weight.add_(3)
    assert torch.equal(model.out.weight, twin.out.weight)


def test_refusals(prepared, teacher_file, tmp_path):
    with pytest.raises(SettingsError, match="resume"):
        run(TINY_RUN, prepared, teacher_file, tmp_path / "none", resume=True)
    run(TINY_RUN, prepared, teacher_file, tmp_path / "a", stop=1)
    other = dataclasses.replace(TINY_RUN, lr=1.0)
    with pytest.raises(SettingsError, match="other settings"):
        run(other, prepared, teacher_file, tmp_path / "a", resume=True)
    with pytest.raises(SettingsError, match="no setting"):
        changed(TINY_RUN, ("speed=1",))
    with pytest.raises(SettingsError, match="steps"):
        changed(TINY_RUN, ("steps=many",))


def test_settings_are_changed_by_name():
    s = changed(TINY_RUN, ("steps=7", "lr=1e-4", "phase=blocks", "folded=yes"))
    assert (s.steps, s.lr, s.phase) == (7, 1e-4, "blocks")
    assert s.folded and not changed(s, ("folded=no",)).folded
    with pytest.raises(SettingsError, match="folded=perhaps"):
        changed(TINY_RUN, ("folded=perhaps",))


def test_rate_rises_and_falls():
    s = dataclasses.replace(TINY_RUN, steps=100, warmup=10, lr=1.0)
    rates = [train_u2net.rate(s, step) for step in range(100)]
    assert rates[0] < 0.2 and max(rates) > 0.9 and rates[-1] < 0.05
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_average_follows_at_its_pace():
    ema, model = U2Net(TINY), U2Net(TINY)
    with torch.no_grad():
        ema.out.weight.zero_()
        model.out.weight.fill_(1)
    train_u2net.average(ema, model, 0.9, step=10_000)
    assert ema.out.weight[0, 0].item() == pytest.approx(0.1)


def test_commands(folder: Path, teacher_file: Path, tmp_path: Path):
    from click.testing import CliRunner

    out, name = tmp_path / "prepared", str(tmp_path / "run")
    say = CliRunner().invoke(
        train_u2net.main, ["prepare", "--data", str(folder), "--out", str(out), "--composites", "2"]
    )
    assert say.exit_code == 0 and "composites 2" in say.output
    base = ["train", "--prepared", str(out), "--teacher", str(teacher_file), "--preset", "tiny"]
    say = CliRunner().invoke(train_u2net.main, [*base, "--run", name, "--set", "steps=1"])
    assert say.exit_code == 0, say.output
    say = CliRunner().invoke(train_u2net.main, [*base, "--run", name, "--set", "wrong=1"])
    assert say.exit_code == 1 and "no setting 'wrong'" in say.output


def test_workers_do_not_change_what_is_learned_in_the_blocks_phase(
    prepared, teacher_file, tmp_path
):
    one = dataclasses.replace(BLOCKS, workers=1)
    a = run(one, prepared, teacher_file, tmp_path / "a", stop=1)["model"]
    b = run(BLOCKS, prepared, teacher_file, tmp_path / "b", stop=1)["model"]
    # Only the teacher's kernels may round differently for another batch size.
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=2e-2) for k in a)
