"""What a sample is, and the arrays that samples are made of: NumPy's, so that any library can be
asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class Sample:
    """One call of an operation. Arrays among the arguments stand for tensors, `Dtype` for a dtype.

    `gradient`: whether finite differences can confirm its gradients (not where a step of 1e-6
    changes which element is the largest, or the number of results). `of` maps a result to what is
    determined: the absolute values of eigenvectors, whose signs are not.
    """

    __slots__ = ("args", "kwargs", "gradient", "of")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.gradient = True
        self.of: Callable[[Any], Any] = _whole

    def flat(self) -> Sample:
        """Without the check of gradients."""
        self.gradient = False
        return self

    def only(self, of: Callable[[Any], Any]) -> Sample:
        self.of = of
        return self

    def __repr__(self) -> str:
        def shown(x: Any) -> str:
            if isinstance(x, np.ndarray):
                return f"{x.dtype}{list(x.shape)}"
            if isinstance(x, (list, tuple)):
                return "[" + ", ".join(map(shown, x)) + "]"
            return repr(x)

        return (
            "("
            + ", ".join(
                [*map(shown, self.args), *(f"{k}={shown(v)}" for k, v in self.kwargs.items())]
            )
            + ")"
        )


def _whole(result: Any) -> Any:
    return result


class Fixed(np.ndarray[Any, Any]):
    """An array that stands for a tensor without a gradient: the weights of a loss, running means."""


def fixed(array: Any) -> Any:
    return np.asarray(array).view(Fixed)


class Dtype(str):
    """The name of a dtype, to be looked up in the library that is asked."""


def call(*args: Any, **kwargs: Any) -> Sample:
    return Sample(args, kwargs)


def all_of(samples: list[Sample], change: Callable[[Sample], Sample]) -> list[Sample]:
    return [change(sample) for sample in samples]


_rng = np.random.default_rng(20)


def normal(*shape: int, rng: Any = _rng) -> Any:
    return np.asarray(rng.standard_normal(shape))


def between(low: float, high: float, *shape: int, rng: Any = _rng) -> Any:
    return np.asarray(rng.uniform(low, high, shape))


def distinct(*shape: int, rng: Any = _rng) -> Any:
    """Elements that are far from each other and from integers and halves: no ties, no kinks."""
    n = int(np.prod(shape))
    return ((rng.permutation(n) - n // 2) * 0.3713 + 0.1127).reshape(shape)


X, Y, Z = distinct(3, 4), distinct(3, 4) + 0.05, normal(3, 4)
ROW, COLUMN, SCALAR = normal(4), normal(3, 1), np.asarray(0.7)  # each broadcasts with X
POSITIVE, UNIT = between(0.5, 2.0, 3, 4), between(-0.9, 0.9, 3, 4)
CUBE = distinct(2, 3, 4)
BATCH = normal(2, 4, 3)
SQUARE = normal(3, 3) + 3 * np.eye(3)
SQUARES = normal(2, 3, 3) + 3 * np.eye(3)
SPD = SQUARE @ SQUARE.T + np.eye(3)
WHOLE = _rng.integers(1, 9, (3, 4))
SMALL = _rng.integers(0, 3, (3, 4))  # usable as an index of X along dimension 0
MASK = np.array([[True, False, True, False], [False, False, True, True], [True, True, False, True]])
COMPLEX = normal(3, 4) + 1j * normal(3, 4)
CELL = np.asarray(-1.3)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e30])
