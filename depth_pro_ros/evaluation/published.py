"""What the Depth Pro paper says of itself and its peers (arXiv 2410.02073v2, tables 1, 2 and 4)."""

from __future__ import annotations

NAMES = ('delta1', 'abs_rel', 'log10', 'delta2', 'delta3', 'si_log')
"""Order of the figures below; deltas in percent."""

DEPTH: dict[str, dict[str, tuple[float, ...]]] = {
    'booster': {
        'Depth Pro': (46.6, 0.336, 0.118, 79.429, 96.524, 4.616),
        'Depth Anything v2': (59.5, 0.315, 0.110, 76.239, 94.276, 7.056),
        'Metric3D v2': (39.4, 0.417, 0.140, 75.783, 92.833, 3.932),
        'PatchFusion': (22.6, 0.719, 0.213, 49.387, 72.892, 14.128),
        'UniDepth': (27.6, 0.500, 0.166, 60.904, 89.213, 7.436),
        'ZoeDepth': (21.6, 0.610, 0.195, 52.655, 75.508, 10.551),
    },
    'eth3d': {
        'Depth Pro': (41.5, 0.327, 0.193, 61.309, 71.228, 10.170),
        'Depth Anything v2': (36.3, 0.370, 0.173, 64.657, 86.256, 9.683),
        'Metric3D v2': (87.7, 0.124, 0.053, 99.553, 99.900, 6.197),
        'PatchFusion': (51.8, 0.256, 0.106, 88.378, 97.306, 11.023),
        'UniDepth': (25.3, 0.457, 0.186, 57.670, 81.483, 7.729),
        'ZoeDepth': (34.2, 0.500, 0.176, 64.452, 81.434, 13.250),
    },
    'middlebury': {
        'Depth Pro': (60.5, 0.251, 0.089, 93.169, 96.401, 8.610),
        'Depth Anything v2': (37.2, 0.262, 0.141, 72.074, 90.549, 9.639),
        'Metric3D v2': (29.9, 0.450, 0.152, 73.321, 88.610, 5.519),
        'PatchFusion': (49.9, 0.250, 0.108, 87.166, 98.154, 14.641),
        'UniDepth': (31.9, 0.324, 0.127, 80.047, 99.621, 7.379),
        'ZoeDepth': (53.8, 0.214, 0.115, 77.683, 90.860, 10.448),
    },
    'nuscenes': {
        'Depth Pro': (49.1, 0.287, 0.164, 73.836, 84.252, 29.548),
        'Depth Anything v2': (17.7, 0.614, 0.326, 31.837, 47.265, 29.737),
        'Metric3D v2': (82.6, 0.197, 0.080, 93.252, 95.736, 27.032),
        'PatchFusion': (20.4, 0.392, 0.226, 48.742, 76.035, 31.171),
        'UniDepth': (83.6, 0.138, 0.060, 93.006, 96.415, 21.801),
        'ZoeDepth': (28.1, 0.498, 0.182, 64.947, 82.704, 31.501),
    },
    'sintel': {
        'Depth Pro': (40.0, 0.508, 0.230, 59.247, 71.138, 27.494),
        'Depth Anything v2': (5.9, 2.226, 0.494, 18.696, 33.820, 41.923),
        'Metric3D v2': (38.3, 0.370, 0.216, 62.915, 76.866, 25.312),
        'PatchFusion': (14.0, 0.617, 0.391, 35.515, 51.443, 36.806),
        'UniDepth': (16.5, 0.869, 0.301, 35.722, 57.256, 42.837),
        'ZoeDepth': (7.8, 0.946, 0.392, 22.698, 44.969, 40.217),
    },
    'sunrgbd': {
        'Depth Pro': (89.0, 0.113, 0.049, 98.506, 99.547, 7.841),
        'Depth Anything v2': (72.4, 0.182, 0.070, 97.645, 99.462, 8.390),
        'Metric3D v2': (75.6, 0.156, 0.076, 96.348, 99.548, 7.433),
        'PatchFusion': (53.6, 0.466, 0.961, 60.145, 60.651, 69.647),
        'UniDepth': (95.8, 0.087, 0.037, 99.330, 99.804, 6.968),
        'ZoeDepth': (85.7, 0.123, 0.053, 97.954, 99.505, 8.964),
    },
}
"""Source -> method -> zero-shot metric depth."""

BOUNDARY_F1: dict[str, dict[str, float]] = {
    'sintel': {
        'Depth Pro': 0.409,
        'Depth Anything v2': 0.228,
        'Metric3D v2': 0.321,
        'PatchFusion': 0.312,
        'UniDepth': 0.316,
        'ZoeDepth': 0.027,
    },
    'ibims': {
        'Depth Pro': 0.176,
        'Depth Anything v2': 0.111,
        'Metric3D v2': 0.096,
        'PatchFusion': 0.134,
        'UniDepth': 0.039,
        'ZoeDepth': 0.035,
    },
}
"""Source -> method -> F1 of occluding contours."""


def published(source: str) -> dict[str, dict[str, float]]:
    """Give the paper's figures of a data set: row heading -> figures; empty where it has none."""
    depth, edges = DEPTH.get(source, {}), BOUNDARY_F1.get(source, {})
    rows: dict[str, dict[str, float]] = {}
    for method in depth or edges:
        figures = dict(zip(NAMES, depth.get(method, ())))
        figures |= {key: value / 100 for key, value in figures.items() if key.startswith('delta')}
        if method in edges:
            figures['boundary_f1'] = edges[method]
        rows[f'{method} (paper)'] = figures
    return rows
