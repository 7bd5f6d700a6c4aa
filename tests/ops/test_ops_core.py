"""Everyday expressions against torch, values and gradients: under each of the three ways of computing."""

import numpy as np
import pytest

# of `t` (torch or Facula), x (3, 4), y (4,), m (4, 5), p (3, 4) positive, i (3, 4) int64
EXPRESSIONS = [
    "x + y", "x - 2 * y", "x * y / p", "x ** 2", "p ** 0.5", "-x", "x.abs()", "x.exp()", "p.log()",
    "p.sqrt()", "x.sin() + x.cos()", "x.tanh()", "x.sigmoid()", "x.relu()", "x.clamp(-0.5, 0.5)",
    "x.round()", "x.floor()", "t.where(x > 0, x, y)", "t.maximum(x, y)", "x @ m", "x.matmul(y)", "x.sum()",
    "x.sum(0)", "x.sum(1, True)", "x.mean()", "x.mean(1)", "x.var(1)", "x.std()", "x.amax(1)", "x.max()",
    "x.max(1)[0]", "x.argmax(1)", "x.prod(1)", "x.softmax(1)", "x.log_softmax(1)", "x.logsumexp(1)",
    "x.cumsum(1)", "x.t()", "x.reshape(2, 6)", "x.view(-1)", "x.permute(1, 0)", "x.transpose(0, 1) @ x",
    "x[1]", "x[:, 1:3]", "x[::2]", "x[x > 0]", "x.unsqueeze(1)", "x.expand(2, 3, 4)", "x.flatten()",
    "t.cat([x, p])", "t.stack([x, p], 1)", "x.norm()", "t.zeros(2, 3)", "t.ones(3).sum()",
    "t.arange(5) * 2", "t.full((2, 2), 1.5)", "i + 1", "i // 3", "i % 3", "i.float() / 2", "x > y",
    "(x > 0).sum()", "(x > 0).any(1)", "i.sum(0)", "x.gather(1, i % 4)", "x.sort(1)[0]", "x.topk(2, 1)[0]",
    "x.tril()", "x.chunk(2, 1)[1]", "x.double().sum()", "x.squeeze()", "t.einsum('ij,jk->ik', x, m)",
    "x.flip(0)", "x.roll(1, 1)", "x.repeat(2, 1)", "t.outer(y, y)", "x.masked_fill(x > 0, 0.0)",
    "x.index_select(0, i[0] % 3)",
]


def inputs(library, gradients):
    rng = np.random.default_rng(3)
    floats = {"x": rng.standard_normal((3, 4)), "y": rng.standard_normal(4), "m": rng.standard_normal((4, 5)),
              "p": rng.uniform(0.5, 2, (3, 4))}
    names = {name: library.tensor(value.astype(np.float32).tolist(), requires_grad=gradients)
             for name, value in floats.items()}
    return names | {"i": library.tensor(rng.integers(0, 9, (3, 4)).tolist()), "t": library}


def run(expression, library, gradients):
    """The value of an expression and, where it has them, the gradients of its inputs."""
    names = inputs(library, gradients)
    value = eval(expression, names)
    found = [value.detach().numpy()]
    if gradients and value.requires_grad:
        (value * value).sum().backward()
        found += [names[n].grad.numpy() for n in "xymp" if names[n].grad is not None]
    return found


@pytest.mark.parametrize("gradients", [False, True], ids=["value", "gradient"])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_same_as_torch(expression, gradients, facula, oracle):
    got, want = run(expression, facula, gradients), oracle(lambda torch: run(expression, torch, gradients))
    assert len(got) == len(want)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-5)


def test_writes_in_place_reach_every_view(facula):
    x = facula.zeros(3, 4)
    row, flat = x[1], x.view(-1)
    row += 2
    flat[0] = 5.0
    x[:, 3] = 1.0
    assert x.tolist() == [[5, 0, 0, 1], [2, 2, 2, 1], [0, 0, 0, 1]]
    assert row.tolist() == [2, 2, 2, 1] and flat[7].item() == 1
