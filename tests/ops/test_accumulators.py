"""What scans and scatters add up in: doubles for float32, float32 for 16-bit types. On every target."""

import numpy as np
import pytest

import facula
from facula.testing import backends

LONG = 1_000_000
SCANS = {
    "cumsum": lambda m, x: x.cumsum(0), "cumprod": lambda m, x: (x * 1e-6 + 1).cumprod(0),
    "cumulative_trapezoid": lambda m, x: m.cumulative_trapezoid(x), "logcumsumexp": lambda m, x: x.logcumsumexp(0),
    "strided": lambda m, x: x.reshape(-1, 2).cumsum(0),
}


@pytest.mark.parametrize("name", SCANS)
def test_long_scans_have_the_accuracy_of_float32(name):
    found = []
    for dtype in (facula.float32, facula.float64):
        x = facula.full((LONG,), 0.1, dtype=dtype)
        x = (x + facula.arange(LONG, dtype=dtype) % 3 / 7).float().to(dtype).requires_grad_()
        y = SCANS[name](facula, x)
        y.mean().backward()
        found.append((y.detach().double().numpy(), x.grad.double().numpy()))
    (y, g), (wide_y, wide_g) = found
    np.testing.assert_allclose(y, wide_y, rtol=3e-7 if name != "cumprod" else 1e-1)
    if name != "cumprod":  # whose factors are not the same numbers in float32
        np.testing.assert_allclose(g, wide_g, rtol=2e-5 if name == "logcumsumexp" else 1e-6, atol=1e-12)


@pytest.mark.parametrize("op", ["cumsum", "cumprod"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
@pytest.mark.parametrize("target", [backends.interpreter, backends.evaluator], ids=lambda t: t.__name__)
def test_every_target_goes_on_in_the_same_type(target, op, dtype):
    x = facula.tensor(facula.linspace(0.9, 1.1, 3000).reshape(3, 1000).tolist()).to(getattr(facula, dtype))
    compiled = getattr(x, op)(1)
    with target():
        assert facula.equal(getattr(x.clone(), op)(1), compiled)


SCATTERS = {
    "scatter_add": lambda m, i, one: m.zeros(1, dtype=one.dtype).scatter_add(0, i, one),
    "scatter_reduce": lambda m, i, one: m.zeros(1, dtype=one.dtype).scatter_reduce(0, i, one, "sum"),
    "scatter_reduce mean": lambda m, i, one: m.zeros(1, dtype=one.dtype).scatter_reduce(0, i, one, "mean") * 3001,
    "index_add": lambda m, i, one: m.zeros(1, dtype=one.dtype).index_add(0, i, one),
    "index_put": lambda m, i, one: m.zeros(1, dtype=one.dtype).index_put((i,), one, accumulate=True),
    "put": lambda m, i, one: m.zeros(1, dtype=one.dtype).put(i, one, accumulate=True),
    "embedding_bag": lambda m, i, one: m.nn.functional.embedding_bag(
        i, m.ones(1, 1, dtype=one.dtype), m.tensor([0]), mode="sum"),
    "segment_reduce": lambda m, i, one: m.segment_reduce(one, "sum", lengths=m.tensor([len(one)])),
}
GRADIENTS = {
    "gather": lambda m, w, i: w.gather(0, i), "take": lambda m, w, i: w.take(i), "[index]": lambda m, w, i: w[i],
    "index_select": lambda m, w, i: w.index_select(0, i),
    "embedding": lambda m, w, i: m.nn.functional.embedding(i, w.reshape(1, 1)),
    "as_strided": lambda m, w, i: w.as_strided((3000,), (0,)), "expand": lambda m, w, i: w.expand(3000),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", [*SCATTERS, *GRADIENTS])
def test_16_bits_add_up_in_float32(name, dtype):
    of = getattr(facula, dtype)
    i, one = facula.tensor([0] * 3000), facula.ones(3000, dtype=of)
    if name in SCATTERS:
        result = SCATTERS[name](facula, i, one)
    else:
        w = facula.ones(1, dtype=of, requires_grad=True)
        GRADIENTS[name](facula, w, i).sum().backward()
        result = w.grad
    assert result.dtype is of
    assert abs(result.item() - 3000) <= 16  # as near as the type has it
