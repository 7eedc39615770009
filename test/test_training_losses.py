"""The losses against cases worked out by hand."""

import pytest
import torch

from depth_pro_ros.training import losses


def ramp(slope: float, size: int = 16) -> torch.Tensor:
    """Give (1, 1, size, size) that rises by `slope` a pixel to the right."""
    return (slope * torch.arange(size, dtype=torch.float32)).expand(1, 1, size, size).clone()


def test_log_error_and_what_sky_costs_at_most():
    c, target = torch.tensor([[0.45, 0.95, 0.1]]), torch.tensor([[0.2, 0.0, torch.nan]])
    expected = torch.tensor((2.0, 20.0)).log().mean()
    error = losses.log_error(c, target, torch.tensor([1.0]), floor=0.05)
    torch.testing.assert_close(error, expected)
    error = losses.log_error(c, target, torch.tensor([0.5]), floor=0.05)
    torch.testing.assert_close(error, torch.tensor(2.0).log())


@pytest.mark.parametrize('loss', [losses.trimmed_absolute_error, losses.log_error])
def test_what_is_unknown_pulls_at_nothing(loss):
    c = torch.full((2, 1, 1, 3), 0.5, requires_grad=True)
    target = torch.tensor([0.1, torch.nan, 0.2, torch.nan, torch.nan, torch.nan]).view(2, 1, 1, 3)
    for images in (slice(0, 2), slice(1, 2)):
        loss(c[images], target[images], torch.tensor([1.0, 1.0])[images]).backward()
    assert c.grad is not None
    assert (c.grad != 0).flatten().tolist() == [True, False, True, False, False, False]


def test_trimmed_absolute_error_drops_the_worst_of_each_image():
    target = torch.zeros(2, 1, 1, 5)
    target[1, 0, 0, 4] = torch.nan
    c = torch.tensor([[1.0, 2.0, 3.0, 4.0, 90.0], [1.0, 2.0, 3.0, 70.0, 5.0]]).view(2, 1, 1, 5)
    error = losses.trimmed_absolute_error(c, target, torch.tensor([0.8, 0.75]))
    torch.testing.assert_close(error, torch.tensor((10 / 4 + 6 / 3) / 2))
    everything = losses.trimmed_absolute_error(c[:1], target[:1], torch.tensor([1.0]))
    torch.testing.assert_close(everything, torch.tensor(20.0))


def test_gradient_error_of_a_ramp_is_half_its_slope():
    # Scharr / 32 of a ramp is its slope in x and 0 in y: mean over both is half the slope.
    error = losses.gradient_error(ramp(0.4), torch.zeros(1, 1, 16, 16), scales=1)
    torch.testing.assert_close(error, torch.tensor(0.2))


def test_squared_gradient_error_of_a_ramp():
    error = losses.squared_gradient_error(ramp(0.4), torch.zeros(1, 1, 16, 16), scales=1)
    torch.testing.assert_close(error, torch.tensor(0.08))


def test_laplace_error_of_a_ramp_is_zero_and_of_a_parabola_constant():
    zero = torch.zeros(1, 1, 16, 16)
    assert losses.laplace_error(ramp(0.4), zero, scales=1) < 1e-6
    # x^2 has second difference 2; the kernel is weighted by 1/8.
    error = losses.laplace_error(ramp(1.0) ** 2, zero, scales=1)
    torch.testing.assert_close(error, torch.tensor(0.25))


def test_halving_doubles_the_slope():
    one = losses.gradient_error(ramp(0.4), torch.zeros(1, 1, 16, 16), scales=1)
    blurred = torch.zeros(1, 1, 16, 16)
    both = losses.gradient_error(ramp(0.4), blurred, scales=2)
    # Scale two sees 0.8 a pixel, but for the first column, whose replicated edge flattens it.
    assert both.item() == pytest.approx((one.item() + 0.4) / 2, rel=0.05)


def test_normalise_by_median_and_mean_deviation():
    c = torch.tensor([0.0, 1.0, 5.0]).view(1, 1, 1, 3)
    expected = torch.tensor([-1.0, 0.0, 4.0]).view(1, 1, 1, 3) / (5 / 3)
    torch.testing.assert_close(losses.normalise(c), expected)


def test_scale_and_shift_do_not_matter():
    c = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    same = losses.scale_shift_invariant_gradient_error(c, 3 * c + 0.7, scales=4)
    other = losses.scale_shift_invariant_gradient_error(c, c.flip(-1), scales=4)
    assert same < 1e-5 < 0.01 < other
