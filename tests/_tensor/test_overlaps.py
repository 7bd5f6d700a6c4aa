"""Writes into memory that an operand partly shares, or that a tensor has several times over: refused as by torch."""

import pytest

import facula

# `a` and `b` are two parts of one memory: the first and the last four of six elements.
PARTLY = """a.add_(b)
a.copy_(b)
t.mul(b, 2, out=a)
t.mul(a, b, out=a)
t.sin(b, out=a)
t.cat([b], out=a)
t.cumsum(b, 0, out=a)
a.__setitem__(slice(0, 4), b)
a.index_add_(0, t.tensor([0, 1, 2, 3]), b)
t.index_select(b, 0, t.tensor([0, 1, 2, 3]), out=a)
t.gather(b, 0, t.tensor([0, 1, 2, 3]), out=a)
t.where(b > 3, b, b, out=a)
a.scatter_(0, t.tensor([0, 1, 2, 3]), b)
a.addcmul_(b, b)
a.lerp_(b, 0.5)
t.take(b, t.tensor([0, 1, 2, 3]), out=a)
a.clamp_(b)
a.mul_(a[0])
a.view(2, 2).add_(a.view(2, 2).t())
a.view(2, 2).copy_(a.view(2, 2).t())
a.view(2, 2).copy_(a.view(2, 2)[0])
a.view(2, 2).sub_(a.view(2, 2)[0])
t.sort(b, out=(a, t.empty(0, dtype=t.int64)))""".splitlines()
FINE = """a.add_(a)
a.add_(a[:4])
a.mul_(a.detach())
a.copy_(a.flip(0))
a[:2].add_(b[2:])
a.__setitem__(slice(0, 2), b[:2])
a.masked_fill_(b > 3, 0.0)
t.cumsum(a, 0, out=a)
a.view(2, 2).__setitem__(slice(None), a.view(2, 2)[0])
a.__setitem__(slice(None), a[0])""".splitlines()
TWICE = """w.add_(1)
w.mul_(t.ones(3, 2))
w.copy_(t.ones(3, 2))
w.__setitem__(0, 5.0)
w.index_add_(0, t.tensor([0]), t.ones(1, 2))
w.exp_()
w.cumsum_(0)
w.uniform_(2, 2)
t.sin(t.ones(3, 2), out=w)
t.mm(t.ones(3, 3), t.ones(3, 2), out=w)""".splitlines()


def answer(library, call):
    memory = library.arange(1.0, 7.0)
    names = {"t": library, "a": memory[:4], "b": memory[2:], "w": memory[:3].unsqueeze(1).expand(3, 2)}
    try:
        eval(call, names)  # texts of this file
    except RuntimeError as error:
        return str(error)
    return memory.tolist()


@pytest.mark.parametrize("call", PARTLY + FINE + TWICE)
def test_overlapping_writes(oracle, call):
    ours = answer(facula, call)
    theirs = oracle(lambda torch: answer(torch, call), call)
    if isinstance(theirs, str) or call in PARTLY:
        assert isinstance(ours, str) and ours.startswith("unsupported operation"), ours
    if isinstance(theirs, list) or call not in TWICE:
        assert ours == theirs


def _apart(x, i):
    """What reads while it writes in PyTorch: calls with an operand as `out`."""
    f = facula
    mask = x > 0
    return [lambda: f.gather(x, 0, i, out=x), lambda: f.take(x, i, out=x), lambda: f.take(i.clone(), i, out=i),
            lambda: f.index_select(x, 0, i, out=x), lambda: f.index_select(i.clone(), 0, index=i, out=i),
            lambda: f.masked_select(x, mask, out=x), lambda: f.masked_select(mask.clone(), mask, out=mask),
            lambda: f.kthvalue(x, 1, out=(x, i.clone())), lambda: f.median(x, 0, out=(x, i.clone())),
            lambda: f.cat([x, x], out=x), lambda: f.stack([x, x], out=x[:]), lambda: f.hstack([x, x], out=x),
            lambda: f.nonzero(i, out=i)]


def test_an_operand_as_out_is_refused_where_torch_reads_while_it_writes():
    x, i = facula.arange(6.0), facula.zeros(6, dtype=facula.int64)
    for call in _apart(x, i):
        with pytest.raises(RuntimeError, match="some elements of the input tensor and the written-to tensor refer"):
            call()
    assert x.tolist() == [0, 1, 2, 3, 4, 5] and i.tolist() == [0] * 6  # nothing was written, nor resized
    empty = facula.zeros(0)
    with pytest.raises(RuntimeError, match="single memory location"):
        facula.cat([empty, x], out=empty)
    assert facula.gather(facula.arange(6), 0, i, out=i) is i and facula.sort(x, out=(x, i))[0] is x
    repeated = facula.zeros(1, 6).expand(2, 6)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        facula.index_select(facula.ones(3, 6), 1, facula.tensor([0, 1]), out=repeated)  # of another shape: not resized
    assert repeated.shape == (2, 6)
