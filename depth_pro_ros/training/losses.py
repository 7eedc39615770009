"""The losses of Depth Pro (arXiv 2410.02073, section 3.2), as pure functions of (B, 1, H, W).

All work on canonical inverse depth C = f_px / (W * depth_m) and return one number.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SCHARR = ((-3.0, 0.0, 3.0), (-10.0, 0.0, 10.0), (-3.0, 0.0, 3.0))
LAPLACE = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
BLUR = ((1.0, 2.0, 1.0), (2.0, 4.0, 2.0), (1.0, 2.0, 1.0))


def trimmed_absolute_error(c: Tensor, target: Tensor, keep: Tensor) -> Tensor:
    """MAE, mean |C - C*|, without each image's worst pixels (section 3.2: real data loses a fifth).

    target: NaN where unknown; an image without known pixels does not count. keep: share of the
    known pixels that count, (B,).
    """
    return _trimmed_mean((c - target).abs(), keep)


def log_error(c: Tensor, target: Tensor, keep: Tensor, floor: float = 0.05) -> Tensor:
    """Mean |log((C + floor) / (C* + floor))|: lets far surfaces count, which plain MAE hardly sees.

    target, keep: as for `trimmed_absolute_error`.

    Not in the paper, which has images enough for both. The floor bounds what a pixel of sky can
    cost; an error relative to C* alone would let windows outweigh the whole room.
    """
    return _trimmed_mean(((c + floor).log() - (target + floor).log()).abs(), keep)


def gradient_error(c: Tensor, target: Tensor, scales: int = 6) -> Tensor:
    """MAGE (section 3.2): mean absolute error of Scharr gradients over blurred, halved scales."""
    return _multi_scale(c, target, scales, (SCHARR, _transposed(SCHARR)), 1 / 32, power=1)


def laplace_error(c: Tensor, target: Tensor, scales: int = 6) -> Tensor:
    """MALE (section 3.2): mean absolute error of Laplacians over blurred, halved scales."""
    return _multi_scale(c, target, scales, (LAPLACE,), 1 / 8, power=1)


def squared_gradient_error(c: Tensor, target: Tensor, scales: int = 6) -> Tensor:
    """MSGE (section 3.2): mean squared error of Scharr gradients over blurred, halved scales."""
    return _multi_scale(c, target, scales, (SCHARR, _transposed(SCHARR)), 1 / 32, power=2)


def normalise(c: Tensor) -> Tensor:
    """Subtract each image's median and divide by its mean absolute deviation from it."""
    flat = c.flatten(1)
    median = flat.median(dim=1, keepdim=True).values
    deviation = (flat - median).abs().mean(dim=1, keepdim=True).clamp(min=1e-6)
    return ((flat - median) / deviation).view_as(c)


def scale_shift_invariant_gradient_error(c: Tensor, target: Tensor, scales: int = 6) -> Tensor:
    """SSI-MAGE (section 3.2, stage 1): MAGE of images normalised by median and mean deviation."""
    return gradient_error(normalise(c), normalise(target), scales)


def _multi_scale(
    c: Tensor, target: Tensor, scales: int, kernels: tuple, weight: float, power: int
) -> Tensor:
    """Compare filter answers, `weight` times them, at `scales` scales; both filters are linear."""
    difference = c - target
    bank = weight * torch.tensor(kernels, dtype=c.dtype, device=c.device).unsqueeze(1)
    blur = torch.tensor(BLUR, dtype=c.dtype, device=c.device).view(1, 1, 3, 3) / 16
    total = c.new_zeros(())
    for _ in range(scales):
        total = total + F.conv2d(difference, bank).abs().pow(power).mean()
        difference = F.conv2d(F.pad(difference, (1, 1, 1, 1), mode='replicate'), blur, stride=2)
    return total / scales


def _trimmed_mean(errors: Tensor, keep: Tensor) -> Tensor:
    """Mean over images of the mean of each one's smallest known errors (B, ...), `keep` of them."""
    ranked = [e[e.isfinite()].sort().values for e in errors.flatten(1)]
    counts = [round(len(e) * k) for e, k in zip(ranked, keep.tolist(), strict=True)]
    means = [e[:n].mean() for e, n in zip(ranked, counts, strict=True) if n]
    return torch.stack(means).mean() if means else 0 * errors.nansum()


def _transposed(kernel: tuple) -> tuple:
    return tuple(zip(*kernel, strict=True))
