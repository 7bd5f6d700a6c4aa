"""A sum's bits follow from its reduced axes and their extents: not from what it was fused with, nor from how its
operand lies in memory. Random views, formulas and reductions, computed lazily, step by step, and of a copy.
"""

import numpy as np
import pytest

import facula as F

pytestmark = [pytest.mark.compiled, pytest.mark.filterwarnings("ignore:var")]
SIZES = (1, 2, 3, 5, 7, 10, 16, 17, 31, 64, 65, 100, 133, 300)
LONG = (20_000, 66_000, 70_000)  # cut in pieces, in chunks
MOST = 300_000


class Draw:
    """Views of a tensor of `shape`, as functions; `self.shape` is what they come to."""

    def __init__(self, rng):
        self.rng = rng
        self.base = self._shape()
        self.shape = list(self.base)
        self.views = []
        for _ in range(rng.integers(0, 4)):
            getattr(self, rng.choice(["permute", "slice", "expand", "window", "flip", "flatten"]))()

    def _shape(self):
        rng = self.rng
        if rng.random() < 0.06:
            return [int(rng.choice(LONG)), int(rng.choice([1, 2, 4]))]
        while True:
            shape = [int(n) for n in rng.choice(SIZES, rng.integers(1, 5))]
            if np.prod(shape) <= MOST:
                return shape

    def dim(self):
        return int(self.rng.integers(len(self.shape)))

    def permute(self):
        order = [int(d) for d in self.rng.permutation(len(self.shape))]
        self.shape = [self.shape[d] for d in order]
        self.views.append(lambda x: x.permute(*order))

    def slice(self):
        d, rng = self.dim(), self.rng
        start, step = int(rng.integers(self.shape[d])) // 3, int(rng.choice([1, 1, 2, 3]))
        cut = (slice(None),) * d + (slice(start, int(rng.integers(start + 1, self.shape[d] + 1)), step),)
        self.shape[d] = len(range(*cut[-1].indices(self.shape[d])))
        self.views.append(lambda x: x[cut])

    def expand(self):
        d, n = int(self.rng.integers(len(self.shape) + 1)), int(self.rng.choice([2, 3, 17, 70]))
        if len(self.shape) < 5 and np.prod(self.shape) * n <= MOST:
            self.shape.insert(d, n)
            shape = tuple(self.shape)
            self.views.append(lambda x: x.unsqueeze(d).expand(shape))

    def window(self):
        d, step = self.dim(), int(self.rng.integers(1, 3))
        size = int(self.rng.integers(1, min(self.shape[d], 9) + 1))
        count = (self.shape[d] - size) // step + 1
        if len(self.shape) < 5 and np.prod(self.shape) // self.shape[d] * count * size <= MOST:
            self.shape[d] = count
            self.shape.append(size)
            self.views.append(lambda x: x.unfold(d, size, step))

    def flip(self):
        d = self.dim()
        self.views.append(lambda x: x.flip(d))

    def flatten(self):
        if len(self.shape) > 1:
            d = self.dim() % (len(self.shape) - 1)
            self.shape[d:d + 2] = [self.shape[d] * self.shape[d + 1]]
            self.views.append(lambda x: x.flatten(d, d + 1))

    def of(self, x):
        for view in self.views:
            x = view(x)
        return x


FORMULAS = {
    "itself": lambda x, w, v, step: x,
    "square": lambda x, w, v, step: step(x * x),
    "scaled": lambda x, w, v, step: step(step(x * 0.37) + 1),
    "times a row": lambda x, w, v, step: step(x * w),
    "plus a column": lambda x, w, v, step: step(x + v),
    "both": lambda x, w, v, step: step(step(x * w) - v),
    "exp": lambda x, w, v, step: step(F.exp(x * 0.1)),
    "with its mirror image": lambda x, w, v, step: step(x + step(x.flip(-1))),
}
REDUCTIONS = {
    "sum": lambda x, dims, step: x.sum(dims),
    "mean": lambda x, dims, step: x.mean(dims, keepdim=True),
    "prod": lambda x, dims, step: x.prod(dims[0]),
    "var": lambda x, dims, step: x.var(dims),
    "norm": lambda x, dims, step: F.linalg.vector_norm(x, 2, dim=dims),
    "softmax": lambda x, dims, step: F.softmax(x, dims[0]),
    "logsumexp": lambda x, dims, step: F.logsumexp(x, dims),
    "amax": lambda x, dims, step: x.amax(dims),
    "two, and where the largest is": lambda x, dims, step: [x.sum(dims), step(x * x).sum(dims), x.argmax()],
    "of what is left": lambda x, dims, step: step(step(x - step(x.mean(dims, keepdim=True))) ** 2).sum(dims),
}


def computed(x):
    x.data_ptr()
    return x


@pytest.mark.parametrize("seed", range(70))
def test_the_bits_of_a_sum(seed):
    rng = np.random.default_rng(seed)
    drawn = Draw(rng)
    dtype = getattr(F, rng.choice(["float32", "float32", "float64", "bfloat16"]))
    formula, reduction = FORMULAS[rng.choice(list(FORMULAS))], REDUCTIONS[rng.choice(list(REDUCTIONS))]
    rank = len(drawn.shape)
    dims = sorted(int(d) for d in rng.choice(rank, rng.integers(1, rank + 1), replace=False))

    def made(*shape):
        return computed(F.from_numpy((rng.standard_normal(shape) * 0.5 + 1).astype(np.float32)).to(dtype))

    base, w, v = made(*drawn.base), made(drawn.shape[-1]), made(drawn.shape[0], *[1] * (rank - 1))

    def bits(x, step):
        found = reduction(formula(x, w, v, step), dims, step)
        return [r.float().numpy().tobytes() for r in (found if isinstance(found, list) else [found])]

    lazily = bits(drawn.of(base), lambda x: x)
    assert bits(drawn.of(base), computed) == lazily, "step by step"
    assert bits(computed(computed(drawn.of(base).contiguous()) * 1), lambda x: x) == lazily, "of a copy"


@pytest.mark.parametrize("kernel, stride", [(3, 2), (2, 2), ((5, 4), 1)])
def test_pools_are_sums_of_windows(kernel, stride):
    x = computed(F.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 17, 19)).astype(np.float32)))
    high, wide = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    windows = computed(x.unfold(2, high, stride).unfold(3, wide, stride).contiguous())
    wanted = windows.sum((-2, -1)) / (high * wide)
    assert F.nn.functional.avg_pool2d(x, kernel, stride).numpy().tobytes() == wanted.numpy().tobytes()


def test_the_same_loops_of_other_sums():
    """Twice the same sizes and strides: once of two reduced axes with a kept one between, once of one in two parts.
    What remembers kernels by their loops must tell them apart (`Nest.runs`)."""
    x = computed(F.from_numpy(np.random.default_rng(0).standard_normal((40, 20, 5)).astype(np.float32)))
    first, second = computed(x.sum((0, 2))), computed(x.permute(0, 2, 1).sum((0, 1)))
    copies = [computed(x * 1).sum((0, 2)), computed(x.permute(0, 2, 1).contiguous()).sum((0, 1))]
    assert [first.numpy().tobytes(), second.numpy().tobytes()] == [c.numpy().tobytes() for c in copies]
    assert first.numpy().tobytes() != second.numpy().tobytes()
