import math

import pytest
import torch

from tracker.training.losses import LOSSES, contrast, enhance, enme, l2, le, log_cosh, nme, wing

TRUTH = torch.tensor([[[0.0, 0.0], [10.0, 0.0]], [[5.0, 5.0], [6.0, 6.0]]], dtype=torch.float64)
FOUND = TRUTH + torch.tensor([[[3.0, 4.0], [0.0, 1.0]], [[0.5, 0.0], [0.0, -1.5]]], dtype=torch.float64)


def naive(x: float, alpha: float = 2.0) -> float:
    return (alpha + 1) * abs(x) - alpha * math.log(math.cosh(x))


def test_golden_values() -> None:
    assert nme(FOUND, TRUTH).item() == pytest.approx((3 + 1) / 2, abs=1e-5)  # faces of mean distance 3 and 1
    assert enme(FOUND, TRUTH).item() == pytest.approx((naive(3) + naive(1)) / 2, abs=1e-5)
    assert l2(FOUND, TRUTH).item() == pytest.approx((math.sqrt(26) / 2 + math.sqrt(2.5) / 2) / 2)
    deltas = [3, 4, 0, 1, 0.5, 0, 0, 1.5]
    assert le(FOUND, TRUTH).item() == pytest.approx(sum(map(naive, deltas)) / 8)
    assert LOSSES["l1"](FOUND, TRUTH).item() == pytest.approx(10 / 8)
    assert LOSSES["smooth-l1"](FOUND, TRUTH).item() == pytest.approx((2.5 + 3.5 + 0.5 + 0.125 + 1) / 8)
    wings = [2 * math.log(1 + d) if d < 2 else d - (2 - 2 * math.log(3)) for d in deltas]
    assert wing(FOUND, TRUTH, 2, 1).item() == pytest.approx(sum(wings) / 8)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients(name: str) -> None:
    assert torch.autograd.gradcheck(lambda found: LOSSES[name](found, TRUTH), FOUND.clone().requires_grad_())
    exact = TRUTH.clone().requires_grad_()
    LOSSES[name](exact, TRUTH).backward()
    assert torch.isfinite(exact.grad).all(), "an exact point has a finite gradient"
    assert LOSSES[name](TRUTH, TRUTH).item() == pytest.approx(0, abs=1e-6)


KNOWN = torch.tensor([[True, False], [True, True], [False, False]])
BLIND = torch.tensor([[[0.0, 0.0], [10.0, 0.0]], [[5.0, 5.0], [6.0, 6.0]], [[1.0, 1.0], [2.0, 2.0]]]).double()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_only_known_points_count(name: str) -> None:
    loss = LOSSES[name]
    offsets = torch.tensor([[[3.0, 4.0], [7.0, 1.0]], [[0.5, 0.1], [0.2, -1.5]], [[9.0, 9.0], [9.0, 9.0]]]).double()
    found = (BLIND + offsets).requires_grad_()
    value = loss(found, BLIND, known=KNOWN)
    first, second = (loss(found[i : i + 1, :n], BLIND[i : i + 1, :n]) for i, n in ((0, 1), (1, 2)))
    assert value.item() == pytest.approx((first + second).item() / 2), "each face's mean, then the mean of the two"
    elsewhere = BLIND + 1000 * (~KNOWN)[..., None]
    assert loss(found, elsewhere, known=KNOWN).item() == value.item(), "what stands where nothing is known is not read"
    value.backward()
    assert found.grad[~KNOWN].abs().max() == 0
    assert found.grad[KNOWN].abs().min() > 0
    assert torch.autograd.gradcheck(lambda points: loss(points, BLIND, known=KNOWN), found.detach().requires_grad_())


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_mask_that_hides_nothing_changes_nothing(name: str) -> None:
    everything = torch.ones(2, 2, dtype=torch.bool)
    assert LOSSES[name](FOUND, TRUTH, known=everything).item() == pytest.approx(LOSSES[name](FOUND, TRUTH).item())
    found = FOUND.clone().requires_grad_()
    nothing = LOSSES[name](found, TRUTH, known=~everything)
    nothing.backward()
    assert nothing.item() == 0
    assert found.grad.abs().max() == 0, "a batch in which nothing is known moves nothing"
    exact = TRUTH.clone().requires_grad_()
    LOSSES[name](exact, TRUTH, known=torch.tensor([[True, False], [False, False]])).backward()
    assert torch.isfinite(exact.grad).all()


def test_log_cosh_does_not_overflow() -> None:
    assert log_cosh(torch.tensor(1e4)).item() == pytest.approx(1e4 - math.log(2))
    assert torch.isfinite(enhance(torch.tensor([0.0, 1e4, -1e4]), 4)).all()


def test_the_slope_of_the_enhanced_loss_falls_from_alpha_plus_one_to_one() -> None:
    error = torch.tensor([1e-6, 50.0], requires_grad=True)
    enhance(error, 3.0).sum().backward()
    assert error.grad.tolist() == pytest.approx([4, 1], abs=1e-4)


def test_contrast_is_low_where_maps_are_high_near_landmarks_and_knows_what_is_not_known() -> None:
    points = torch.full((2, 68, 2), 63.5)
    points[1] = -50.0  # beside the crop: no place is near
    near = torch.zeros(2, 64, 64)
    near[0, 28:36, 28:36] = 1
    right, wrong = (contrast([values[:1]], points[:1], 128) for values in (near, 1 - near))
    assert right < -0.95
    assert wrong > 0.95
    assert contrast([near[:1], near[:1]], points[:1], 128) == 2 * right
    assert contrast([near[1:]], points[1:], 128) == 0
    assert contrast([near[:1]], points[:1], 128, torch.zeros(1, 68, dtype=torch.bool)) > 0, "no point is known"
    even = torch.full((2, 8, 8), 0.5, requires_grad=True)
    value = contrast([even], points, 128)
    value.backward()
    assert even.grad is not None
    assert even.grad[0, 3, 3] < 0 < even.grad[0, 0, 0]
