import pytest

torch = pytest.importorskip("torch")

from u2net import losses  # noqa: E402


def test_feature_loss_is_relative_to_the_teachers_variance():
    torch.manual_seed(0)
    theirs = torch.randn(8, 4, 16, 16) * torch.tensor([1.0, 10, 1, 1]).view(1, 4, 1, 1)
    assert losses.feature_loss(theirs, theirs) == 0
    mean = theirs.mean((0, 2, 3), keepdim=True).expand_as(theirs)
    assert 0.1 < losses.feature_loss(mean, theirs).item() < 1
    # Scaling both changes nothing.
    a = losses.feature_loss(theirs + 1, theirs)
    assert torch.allclose(losses.feature_loss(10 * (theirs + 1), 10 * theirs), a, rtol=1e-3)


def test_feature_loss_of_a_part_of_the_batch_uses_the_variance_of_all():
    theirs = torch.cat((torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)))
    loss = losses.feature_loss(theirs[:1] + 1, theirs)
    variance = theirs.var((0, 2, 3))[0]
    assert loss.item() == pytest.approx(1 / (1.1 * variance.item()), rel=1e-3)


def test_sharpen_moves_away_from_a_half():
    p = torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0])
    sharp = losses.sharpen(p, 2)
    assert sharp[[0, 2, 4]].tolist() == [0, 0.5, 1]
    assert sharp[1] < 0.2 and sharp[3] > 0.8
    assert torch.allclose(torch.logit(sharp[3]), 2 * torch.logit(p[3]))
    assert torch.allclose(losses.sharpen(p, 1), p)


def test_truth_counts_only_where_there_is_some():
    teacher = [torch.full((2, 1, 4, 4), 0.3)] * 7
    truth = torch.ones(2, 1, 4, 4)
    targets = losses.targets(teacher, truth, torch.tensor([1.0, 0.0]), truth_weight=0.9, gain=1)
    assert len(targets) == 7
    assert torch.allclose(targets[0][0], torch.tensor(0.93))
    assert torch.allclose(targets[0][1], torch.tensor(0.3))


@pytest.mark.parametrize("overlap", [0.0, 1.0])
def test_map_loss_is_least_at_the_target(overlap):
    target = (torch.rand(2, 1, 16, 16, generator=torch.manual_seed(0)) > 0.5).float()
    right = [(2 * target - 1) * 12] * 7
    wrong = [d.clone() for d in right]
    wrong[3] = -wrong[3]
    assert losses.map_loss(right, [target] * 7, overlap) < 1e-2
    assert losses.map_loss(wrong, [target] * 7, overlap) > 1


def test_map_loss_of_a_soft_target_has_its_minimum_at_zero():
    target = [torch.full((1, 1, 8, 8), 0.3)] * 7
    at = losses.map_loss([torch.logit(t) for t in target], target, 0)
    assert abs(at.item()) < 1e-5
    assert losses.map_loss([torch.logit(t) + 0.5 for t in target], target, 0) > 0.05


def test_every_side_map_is_supervised():
    logits = [torch.zeros(1, 1, 8, 8, requires_grad=True) for _ in range(7)]
    losses.map_loss(logits, [torch.ones(1, 1, 8, 8)] * 7, 0.5).backward()
    assert all(d.grad is not None and (d.grad < 0).all() for d in logits)


def test_an_empty_scene_costs_nothing_when_left_empty():
    empty = [torch.zeros(1, 1, 8, 8)] * 7
    assert losses.map_loss([torch.full((1, 1, 8, 8), -20.0)] * 7, empty, 1.0) < 1e-4


def test_truth_error_leaves_out_photos_without_truth():
    logits = [torch.tensor([-50.0, 50.0]).view(2, 1, 1, 1)]
    truth = torch.ones(2, 1, 1, 1)
    assert losses.truth_error(logits, truth, torch.tensor([1.0, 0.0])) == 1
    assert losses.truth_error(logits, truth, torch.tensor([0.0, 1.0])) == 0
    assert losses.truth_error(logits, truth, torch.zeros(2)) == 0
