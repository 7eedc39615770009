"""What a real camera does to light: exposure, white balance, vignetting, blur, noise, JPEG."""

import cv2
import numpy as np


def photograph(linear_rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn linear RGB (H, W, 3) into a picture (H, W, 3) uint8 with a cheap camera's faults."""
    level = np.nanquantile(linear_rgb.mean(-1), rng.uniform(0.5, 0.85))
    rgb = np.nan_to_num(linear_rgb) * rng.uniform(0.18, 0.8) / max(float(level), 1e-3)
    rgb = rgb * rng.uniform(0.88, 1.12, 3)
    height, width = rgb.shape[0], rgb.shape[1]
    rgb = rgb * _vignette((height, width), rng.uniform(0, 0.5))[..., None]
    if rng.random() < 0.5:
        rgb = rgb / (1 + 0.4 * rgb)  # a soft shoulder
    rgb = _blur(rgb.astype(np.float32), rng)
    noise = rng.choice([0.002, rng.uniform(0, 0.02)])
    rgb = rgb + noise * rng.standard_normal(rgb.shape) * np.sqrt(rgb.clip(0.05, 1))
    picture = 255 * np.clip(rgb, 0, 1) ** (1 / rng.uniform(1.9, 2.4))
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 97))]
    jpeg = cv2.imencode('.jpg', picture[..., ::-1].round().astype(np.uint8), quality)[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR))[..., ::-1])


def _vignette(shape: tuple[int, int], strength: float) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return 1 - strength * ((x**2 + y**2) / 2) ** 1.5


def _blur(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Slight defocus always, motion blur sometimes."""
    rgb = cv2.GaussianBlur(rgb, (0, 0), rng.choice([0.5, rng.uniform(0.5, 1.3)]))
    if rng.random() < 0.1:
        length, angle = rng.uniform(2, 7), rng.uniform(0, np.pi)
        kernel = np.zeros((9, 9), np.float32)
        step = length / 2 * np.array([np.cos(angle), np.sin(angle)])
        ends = [[int(v) for v in np.round(4 + sign * step)] for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        rgb = cv2.filter2D(rgb, -1, kernel / kernel.sum())
    return rgb
