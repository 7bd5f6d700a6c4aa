"""Methods that overwrite their tensor and are not the in-place form of a function."""

from __future__ import annotations

from facula.testing.samples.arrays import CUBE, ROW, SCALAR, UNIT, WHOLE, Sample, X, Y, call

SAMPLES: dict[str, list[Sample]] = {
    "Tensor.copy_": [call(X, Y), call(X, ROW), call(WHOLE, X), call(X, WHOLE), call(X, 2.5)],
    "Tensor.fill_diagonal_": [call(X, 2.5), call(X.T.repeat(3, 0), 1.0, True)],
    "zero_": [call(X), call(WHOLE)],
    "Tensor.apply_": [call(X, lambda x: x * 2 + 1)],
    "Tensor.map_": [call(X, Y, lambda x, y: x - y)],
    "Tensor.resize_": [call(X, 2, 3), call(X, (3, 4)), call(WHOLE, 2)],
    "Tensor.resize_as_": [call(X, ROW)],
    "Tensor.__setitem__": [
        call(X, 1, 5.0),
        call(X, (slice(None), 2), ROW[:3]),
        call(X, slice(None, None, 2), Y[::2]),
        call(X, WHOLE > 4, -1.0),
        call(X, ([0, 2], [1, 1]), ROW[:2]),
        call(CUBE, (Ellipsis, WHOLE[0] % 2), 3),
    ],
    "Tensor.bernoulli_": [call(X), call(X, 0.3), call(WHOLE, 0.3), call(X, UNIT * UNIT)],
    "Tensor.cauchy_": [call(X), call(X, 1.0, 2.0)],
    "Tensor.exponential_": [call(X), call(X, 2.0)],
    "Tensor.geometric_": [call(X, 0.3), call(WHOLE, 0.3)],
    "Tensor.log_normal_": [call(X), call(X, 0.5, 0.5)],
    "Tensor.normal_": [call(X), call(X, 1.0, 0.5)],
    "Tensor.random_": [call(X), call(WHOLE, 10), call(X, 2, 7)],
    "Tensor.uniform_": [call(X), call(X, -1.0, 3.0)],
    "Tensor.set_": [call(X, Y), call(X)],
    "Tensor.requires_grad_": [call(X, False), call(SCALAR, False)],
}
for _samples in SAMPLES.values():
    for _sample in _samples:
        _sample.flat()
