"""`torch.cond`, `while_loop`, `map`, `scan`, `associative_scan`: what they give, in what functions have to agree."""

from __future__ import annotations

import importlib

import pytest

import facula

CALLS = """torch.cond(T, lambda x: x + 1, lambda x: x - 1, (x,))
torch.cond(F, lambda x: {"a": x + 1, "b": [x * 2]}, lambda x: {"a": x - 1, "b": [x * 3]}, [x])
torch.cond(torch.tensor([1.5]), lambda d: d["y"] * 2, lambda d: d["y"] + 1, ({"y": y},))
torch.cond(True, lambda x: x + 1, lambda x: x - 1, (x,))
torch.cond(F, lambda: torch.ones(2), lambda: torch.zeros(2))
torch.cond(T, lambda x: 3, lambda x: 4, (x,))
torch.cond(T, lambda x: x[:1] + 1, lambda x: x - 1, (x,))
torch.cond(T, lambda x: torch.cond(x.sum() > 9, lambda x: x * 3, lambda x: x * 5, (x,)), lambda x: x + 1, (x,))
torch.ops.higher_order.cond(F, lambda x: (x + 1,), lambda x: (x - 1,), (x,))
torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (i, x))
torch.while_loop(lambda i, x: i < 3, lambda i, x: [i + 1, x * 2], [i, x])
torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (0, x))
torch.while_loop(lambda i: i < 3, lambda i: i + 1, (i,))
torch.while_loop(lambda i, x: i < 0, lambda i, x: (i + 1, x * 2), (i, x))
torch.while_loop(lambda d: d["i"] < 3, lambda d: ({"i": d["i"] + 1},), ({"i": i},))
torch.ops.higher_order.while_loop(lambda i, z: i < 3, lambda i, z: (i + z,), (i,), (i + 2,))
map(lambda a, b: a + b, y, x)
map(lambda d, n: {"q": d["a"] * n}, {"a": y}, 3)
scan(lambda c, a: (c + a, c * a), x, y)
scan(lambda c, a: (c + a[0], c * a[0]), x[0], y, dim=1, reverse=True)
scan(lambda c, a: ({"q": c["q"] + a["z"]}, c["q"] * 2), {"q": x}, {"z": y})
scan(lambda c, a: (c + 1, []), x, y)
scan(lambda c, a: (c + a, c * a), x, [])
associative_scan(lambda a, b: a + b, y, 1, combine_mode="generic")
associative_scan(lambda a, b: a + b, y, 0, reverse=True, combine_mode="generic")
associative_scan(lambda a, b: a - b, torch.arange(1.0, 8.0), 0, combine_mode="generic")
torch.vmap(lambda x: torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,)))(y - 2)"""

ERRORS = """torch.cond(x, lambda x: x + 1, lambda x: x - 1, (x,))
torch.cond(None, lambda x: x + 1, lambda x: x - 1, (x,))
torch.cond(T, lambda x: x + 1, lambda x: x - 1, x)
torch.cond(T, lambda x, n: x + n, lambda x, n: x - n, (x, 3))
torch.cond(T, 3, lambda x: x, (x,))
torch.cond(T, lambda x: (x + 1, x + 2), lambda x: [x - 1, x + 2], (x,))
torch.cond(T, lambda x: (x + 1).double(), lambda x: x - 1, (x,))
torch.cond(T, lambda x: (x + 1).sum(), lambda x: x - 1, (x,))
torch.cond(T, lambda x: None, lambda x: None, (x,))
torch.cond(T, lambda x: x + 1, lambda x: x, (x,))
torch.cond(T, lambda x: x + 1, lambda x: x[:1], (x,))
torch.cond(F, lambda x: x.add_(1), lambda x: x - 1, (x,))
torch.cond(F, lambda z: x.mul_(2), lambda z: z - 1, (y,))
torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x.double()), (i, x))
torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, torch.cat([x, x])), (i, x))
torch.while_loop(lambda i, x: i < 3, lambda i, x: i + 1, (i, x))
torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x), (i, x))
torch.while_loop(lambda i: True, lambda i: (i + 1,), (i,))
torch.while_loop(3, lambda i: (i + 1,), (i,))
torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (0.5, x))
map(lambda a: a, y)
map(lambda a: a + 1, 3)
map(lambda d: d["a"], {"a": y, "b": x})
map(lambda a: a + 1, torch.ones(0, 2))
scan(lambda c, a: (c + a.double(), c * a), x, y)
scan(lambda c, a: (c, c * a), x, y)
scan(lambda c, a: (c + a, c * a), 3, y)
scan(lambda c, a: (c + a, c * a), x, torch.ones(0, 2))
associative_scan(lambda a, b: a + b, y, 0)
associative_scan(lambda a, b: (a + b).sum(), y, 0, combine_mode="generic")
associative_scan(lambda a, b: a + b, torch.ones(0, 2), 0, combine_mode="generic")
associative_scan(lambda a, b: a + b, y, 0, combine_mode="x")"""


def run(torch, text):
    package = torch.__name__ + "._higher_order_ops"
    names = {name: getattr(importlib.import_module(f"{package}.{name}"), name)
             for name in ("map", "scan", "associative_scan")}
    return eval(text, names | {"torch": torch, "x": torch.tensor([1.0, 2.0]), "T": torch.tensor(True),
                               "F": torch.tensor(False), "i": torch.tensor(0), "y": torch.arange(6.0).view(3, 2)})


def told(torch, text):
    """A result as Python's containers: only trees, types and numbers count."""
    leaves, spec = torch.utils._pytree.tree_flatten(run(torch, text))
    return [[[leaf.tolist(), str(leaf.dtype)] if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves],
            spec.num_leaves, spec.num_children]


def test_calls(oracle):
    calls = CALLS.split("\n")
    answers = oracle(lambda torch: [told(torch, text) for text in calls], calls)
    assert len(answers) == len(calls)
    for text, answer in zip(calls, answers, strict=True):
        assert told(facula, text) == answer, text


@pytest.mark.parametrize("text", ERRORS.split("\n"))
def test_errors(text):
    """(All of them are PyTorch's, too.)"""
    with pytest.raises((RuntimeError, ValueError, AssertionError)):
        run(facula, text)


def test_what_an_error_says():
    for number, word in ((5, "same pytree structure"), (6, "same dtype"), (7, "same dim"), (9, "aliasing"),
                         (11, "input mutation"), (13, "dtype: torch.float64 vs torch.float32"), (14, "shape"),
                         (15, "same number of outputs"), (17, "infinite loop"), (24, "same metadata")):
        with pytest.raises(facula._dynamo.exc.UncapturedHigherOrderOpError, match=word):
            run(facula, ERRORS.split("\n")[number])


def test_nothing_is_written_while_functions_are_compared():
    x, drawn = facula.ones(2), facula.random.get_rng_state()
    with pytest.raises(RuntimeError, match="input mutation"):
        facula.cond(facula.tensor(True), lambda y: y + facula.rand(2), lambda y: x.zero_() + y, (facula.ones(2),))
    assert x.tolist() == [1.0, 1.0] and facula.equal(drawn, facula.random.get_rng_state())


def test_what_cannot_be_described_runs():
    class Twice(facula.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return facula.from_numpy(x.detach().numpy() * 2)

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = facula.tensor([3.0], requires_grad=True)
    facula.cond(facula.tensor(True), Twice.apply, lambda x: x * 5, (x,)).backward()
    assert x.grad.tolist() == [2.0]
    found = facula.while_loop(lambda i: i.item() < 3, lambda i: (i + 1,), (facula.tensor(0),))
    assert found[0].item() == 3


def test_gradients():
    w = facula.tensor([3.0], requires_grad=True)
    for pred, slope in ((True, 6.0), (False, 1.0)):
        w.grad = None
        x = facula.tensor([2.0], requires_grad=True)
        facula.cond(facula.tensor(pred), lambda x: x * w * 3, lambda x: x + w, (x,)).backward()
        assert (w.grad.item(), x.grad.item()) == (slope, 9.0 if pred else 1.0)
    x = facula.tensor([2.0], requires_grad=True)
    facula.while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, x * x), (facula.tensor(0), x))[1].backward()
    assert x.grad.item() == 32.0
    # The branch that ran has none: there is nothing to go back to, but it may be tried.
    w.grad = None
    facula.cond(facula.tensor(False), lambda x: x * w, lambda x: x * 2, (facula.ones(1),)).sum().backward()
    assert w.grad is None


def test_functions_are_compared_once_for_each_kind():
    from facula._higher_order_ops._agreement import above
    above.looked.clear()
    for k in range(5):
        facula.cond(facula.tensor(True), lambda x, k=k: x + k, lambda x: x - 1, (facula.ones(2) * k,))
    assert len(above.looked) == 5  # k is part of the function
    for k in range(5):
        facula.cond(facula.tensor(True), lambda x: x + 1, lambda x: x - 1, (facula.ones(2) * k,))
    assert len(above.looked) == 6


def test_names():
    from facula._higher_order_ops import cond, while_loop
    from facula._higher_order_ops.cond import cond_op
    assert cond is facula.cond and while_loop is facula.while_loop
    assert cond_op is facula.ops.higher_order.cond and repr(cond_op) == cond_op.name() == "cond"
    with pytest.raises(AttributeError):
        facula.ops.higher_order.nothing  # noqa: B018
