"""Convolutions, pooling, resampling, and the native forms of normalisation: (N, C, space)."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.testing.samples.arrays import Sample, between, call, distinct, normal

SAMPLES: dict[str, list[Sample]] = {}
_LINE, _IMAGE, _VOLUME = distinct(1, 2, 6), distinct(1, 2, 4, 5), distinct(1, 1, 3, 4, 4)


def _each(names: str, samples: list[Sample]) -> None:
    for name in names.split():
        SAMPLES[name] = samples


# ---- convolutions ------------------------------------------------------------------------------

_B2, _B4 = normal(2), normal(4)
_each(
    "conv1d",
    [
        call(_LINE, normal(2, 2, 3), _B2),
        call(_LINE, normal(4, 1, 2), _B4, stride=2, padding=1, dilation=2, groups=2),
        call(_LINE[0], normal(2, 2, 3), padding="same"),
    ],
)
_each(
    "conv2d",
    [
        call(_IMAGE, normal(2, 2, 3, 2), _B2),
        call(_IMAGE, normal(4, 1, 2, 2), _B4, (2, 1), (1, 0), (1, 2), 2),
    ],
)
_each("conv3d", [call(_VOLUME, normal(2, 1, 2, 2, 2), _B2), call(_VOLUME, normal(1, 1, 2, 3, 1))])
_each(
    "conv_transpose1d",
    [
        call(_LINE, normal(2, 2, 3), _B2),
        call(_LINE, normal(2, 2, 2), _B4, stride=2, padding=1, output_padding=1, groups=2),
    ],
)
_each(
    "conv_transpose2d",
    [
        call(_IMAGE, normal(2, 2, 2, 3), _B2),
        call(_IMAGE, normal(2, 1, 2, 2), _B2, 2, 1, 1, 2, (1, 2)),
    ],
)
_each("conv_transpose3d", [call(_VOLUME, normal(1, 2, 2, 1, 2), _B2)])
_each(
    "convolution",
    [
        call(_LINE, normal(2, 2, 3), None, [1], [1], [1], False, [0], 1),
        call(_LINE, normal(2, 2, 3), _B2, [2], [0], [1], True, [1], 1),
    ],
)

# ---- pooling -----------------------------------------------------------------------------------

_each(
    "avg_pool1d", [call(_LINE, 2), call(_LINE, 3, 2, 1, True), call(_LINE, 3, 2, 1, False, False)]
)
_each(
    "nn.functional.avg_pool2d",
    [call(_IMAGE, 2), call(_IMAGE, (2, 3), 1, 1, divisor_override=3), call(_IMAGE[0], 3, 2, 1)],
)
_each("nn.functional.avg_pool3d", [call(_VOLUME, 2), call(_VOLUME, 2, 1, 1, True, False)])
_each("adaptive_avg_pool1d", [call(_LINE, 4), call(_LINE[0], 1)])
_each("nn.functional.adaptive_avg_pool2d", [call(_IMAGE, (3, 2)), call(_IMAGE, 1)])
_each("nn.functional.adaptive_avg_pool3d", [call(_VOLUME, (2, None, 3))])
for _n, _x in ((1, _LINE), (2, _IMAGE), (3, _VOLUME)):
    _pooled = [call(_x, 2), call(_x, 3, 2, 1, 1, True)]
    if _n < 3:
        _pooled += [call(_x[0], 2, 1, 0, 2)]
    _each(f"max_pool{_n}d nn.functional.max_pool{_n}d_with_indices", _pooled)
    _each(f"nn.functional.adaptive_max_pool{_n}d", [call(_x, 2), call(_x, 3, return_indices=True)])
    _each(f"nn.functional.adaptive_max_pool{_n}d_with_indices", [call(_x, 2)])
_each(
    "nn.functional.lp_pool1d",
    [call(np.abs(_LINE), 2, 2), call(np.abs(_LINE), 3.0, 3, 2, True)],
)
_each("nn.functional.lp_pool2d", [call(np.abs(_IMAGE), 2, 2), call(np.abs(_IMAGE), 1.0, (2, 3), 1)])
_each("nn.functional.lp_pool3d", [call(np.abs(_VOLUME), 2, 2)])


def _at(*shape: int) -> Any:
    return np.arange(int(np.prod(shape[2:]))).reshape(shape) * 2


_each("nn.functional.max_unpool1d", [call(normal(1, 1, 3), _at(1, 1, 3), 2)])
_each("nn.functional.max_unpool2d", [call(normal(1, 1, 2, 3), _at(1, 1, 2, 3), 2, 2, 0, (5, 6))])
_each("nn.functional.max_unpool3d", [call(normal(1, 1, 2, 1, 2), _at(1, 1, 2, 1, 2), 2)])

# ---- resampling --------------------------------------------------------------------------------

_each(
    "nn.functional.interpolate",
    [
        call(_LINE, 9),
        call(_LINE, scale_factor=1.5, mode="linear"),
        call(_IMAGE, (3, 7), mode="bilinear", align_corners=True),
        call(_IMAGE, scale_factor=(1.5, 0.6), mode="nearest-exact"),
        call(_IMAGE, (6, 4), mode="bicubic", align_corners=False),
        call(_IMAGE, (2, 2), mode="area"),
        call(_VOLUME, 3, mode="trilinear"),
    ],
)
_each(
    "nn.functional.upsample",
    [call(_IMAGE, scale_factor=2), call(_LINE, 9), call(_IMAGE, 5, None, "bilinear")],
)
_each("nn.functional.upsample_nearest", [call(_IMAGE, scale_factor=2), call(_LINE, 9)])
_each("nn.functional.upsample_bilinear", [call(_IMAGE, (5, 7))])
_THETA = np.array([[[0.9, 0.2, 0.05], [-0.3, 1.1, 0.1]]])
_each(
    "nn.functional.affine_grid",
    [call(_THETA, (1, 2, 3, 4), False), call(_THETA, (1, 2, 3, 4), align_corners=True)],
)
_GRID = between(-0.93, 0.93, 1, 3, 2, 2)
_each(
    "nn.functional.grid_sample",
    [
        call(_IMAGE, _GRID, align_corners=False),
        call(_IMAGE, _GRID * 1.4, "bilinear", "border", True),
        call(_IMAGE, _GRID * 1.4, "nearest", "reflection", False),
        call(_IMAGE, _GRID, "bicubic", "zeros", False),
    ],
)
_each("grid_sampler", [call(_IMAGE, _GRID, 0, 0, False)])
_each("nn.functional.unfold", [call(_IMAGE, 2), call(_IMAGE, (2, 3), 1, (1, 0), (2, 1))])
_each(
    "nn.functional.fold",
    [call(normal(1, 8, 6), (3, 4), 2), call(normal(1, 4, 4), (4, 3), 2, 1, (0, 1), (2, 2))],
)

# ---- normalisation, with its statistics --------------------------------------------------------

_W, _B = between(0.5, 1.5, 2), normal(2)
_each(
    "native_layer_norm",
    [call(_LINE, [6], normal(6), normal(6), 1e-5), call(_LINE, [2, 6], None, None, 1e-3)],
)
_each("native_group_norm", [call(_LINE, _W, _B, 1, 2, 6, 2, 1e-5)])
_each(
    "native_batch_norm",
    [
        call(normal(3, 2, 2), _W, _B, None, None, True, 0.1, 1e-5),
        call(normal(3, 2, 2), _W, None, normal(2), _W + 0.3, False, 0.1, 1e-5).flat(),
    ],
)

_each(
    "_native_batch_norm_legit",
    [
        call(_LINE, _W, _B, True, 0.1, 1e-5),
        call(_LINE, _W, None, _B, _W, False, 0.1, 1e-5).flat(),
    ],
)

# ---- fractional pools --------------------------------------------------------------------------

_each(
    "nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool2d_with_indices",
    [
        call(_IMAGE, 2, output_size=(2, 3), _random_samples=np.array([[[0.3, 0.7], [0.9, 0.0]]])).flat(),
        call(_IMAGE, (2, 3), output_ratio=(0.5, 0.5), return_indices=True),
        call(_IMAGE[0], 2, 1),
    ],
)
_each(
    "nn.functional.fractional_max_pool3d nn.functional.fractional_max_pool3d_with_indices",
    [
        call(_VOLUME, 2, output_size=(1, 2, 2), _random_samples=between(0, 1, 2, 1, 3)).flat(),
        call(_VOLUME, (2, 1, 2), output_ratio=(0.5, 0.6, 0.5), return_indices=True),
        call(_VOLUME[0], 2, 1),
    ],
)
