"""ops/random/sampling.py with torch's tensors in the place of ours: layouts, and parameters that are tensors.

So what they give has torch's strides and torch's arithmetic to the bit, and what is compared is the drawing alone.
"""

from __future__ import annotations

import pytest

from facula import dtypes
from facula.ops.random import sampling as ops
from facula.rng import Engine
from recorded import torch_or_none

torch = torch_or_none()
pytestmark = pytest.mark.torch
BY_TORCH = {getattr(torch, d.name): d for d in dtypes.ALL if torch}


class Stand:
    """A torch tensor that calls its dtype by Facula's name."""

    def __init__(self, tensor):
        self.tensor = tensor
        self.dtype = BY_TORCH[tensor.dtype]

    def __getattr__(self, name):
        found = getattr(self.tensor, name)
        if name in ("shape", "device"):
            return found

        def call(*args):
            result = found(*(a.tensor if isinstance(a, Stand) else a for a in args))
            return Stand(result) if isinstance(result, torch.Tensor) else result
        return call

    def __ge__(self, other):
        return Stand(self.tensor >= other)

    def __bool__(self):
        return bool(self.tensor)


def options_for_torch(options):
    if isinstance(options.get("dtype"), dtypes.dtype):
        options["dtype"] = getattr(torch, options["dtype"].name)
    return {key: value for key, value in options.items() if value is not None}


@pytest.fixture(autouse=True)
def seam(monkeypatch):
    def overwrite(stand, values):
        source = torch.from_numpy(values.copy())
        bits = stand.tensor.dtype == torch.bfloat16
        stand.tensor.copy_(source.view(torch.bfloat16) if bits else source)
        return stand

    def values_of(stand):
        x = stand.tensor.contiguous()
        return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()

    def empty(*size, **options):
        return Stand(torch.empty(*size, **options_for_torch(options)))

    def empty_like(stand, **options):
        return Stand(torch.empty_like(stand.tensor, **options_for_torch(options)))

    def require(stand, holds, error, message):  # a check of the graph, which torch's tensors are no part of
        if not holds(stand.tensor).all():
            raise error(message)

    monkeypatch.setattr(ops, "empty", empty)
    monkeypatch.setattr(ops, "empty_like", empty_like)
    monkeypatch.setattr(ops, "values_of", values_of)
    monkeypatch.setattr(ops, "overwrite", overwrite)
    monkeypatch.setattr(ops, "is_meta", lambda t: False)
    monkeypatch.setattr(ops, "require", require)
    monkeypatch.setattr(ops, "severed", lambda out, *inputs, name: out)  # torch's tensors have no tape of ours
    engine = Engine(11)
    monkeypatch.setattr(ops, "default_engine", lambda *_: engine)
    torch.manual_seed(11)
    return engine


def check(seam, ours, theirs):
    assert ours.tensor.dtype == theirs.dtype
    assert ours.tensor.stride() == theirs.stride()
    assert torch.equal(ours.tensor, theirs)
    assert (seam.get_state() == torch.get_rng_state().numpy()).all()


def layouts():
    yield torch.empty(3, 4)
    yield torch.empty(30, 4).t()
    yield torch.empty(2, 3, 4).permute(2, 0, 1)
    yield torch.empty(2, 3, 8)[:, :, ::2].transpose(0, 2)
    yield torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last)
    yield torch.empty(())
    yield torch.empty(0, 3)


def test_like(seam):
    for x in layouts():
        check(seam, ops.rand_like(Stand(x)), torch.rand_like(x))
        check(seam, ops.randn_like(Stand(x)), torch.randn_like(x))
        check(seam, ops.randint_like(Stand(x), 9), torch.randint_like(x, 9))
        check(seam, ops.randint_like(Stand(x), 3, 9), torch.randint_like(x, 3, 9))


@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16", "float16"])
def test_tensor_arguments(seam, kind):
    kind = getattr(torch, kind)
    p = torch.linspace(0, 1, 30, dtype=kind).reshape(5, 6)
    for weights in (p, p.t()):
        s = Stand(weights)
        check(seam, ops.bernoulli(s), torch.bernoulli(weights))
        check(seam, ops.bernoulli(s, 0.3), torch.bernoulli(weights, 0.3))
        x, y = torch.empty(6, 5, dtype=kind).t(), torch.empty(6, 5, dtype=kind).t()
        check(seam, ops.bernoulli_(Stand(x), Stand(p)), y.bernoulli_(p))
        check(seam, ops.bernoulli_(Stand(x), Stand(p[:1])), y.bernoulli_(p[:1]))
        check(seam, ops.poisson(s), torch.poisson(weights))
        check(seam, ops.multinomial(s, 7, True), torch.multinomial(weights, 7, True))
        check(seam, ops.multinomial(s, 1), torch.multinomial(weights, 1))
        if kind.itemsize > 2:  # else equal scores, whose order torch leaves open
            check(seam, ops.multinomial(s, 4), torch.multinomial(weights, 4))
        check(seam, ops.normal(s, 2.0), torch.normal(weights, 2.0))
        check(seam, ops.normal(2.0, s), torch.normal(2.0, weights))
        check(seam, ops.normal(s, Stand(p[:1, :1])), torch.normal(weights, p[:1, :1]))
    check(seam, ops.multinomial(Stand(p[1]), 3, True), torch.multinomial(p[1], 3, True))
