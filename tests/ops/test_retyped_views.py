"""Complex numbers as pairs, written under autograd; `view(dtype)` and `unique` on the tape: as torch has it."""

import numpy as np
import pytest

pytestmark = pytest.mark.oracle


def whole(m, c, w):
    m.view_as_real(c).mul_(w)


def base_after(m, c, w):
    r = m.view_as_real(c)
    c.mul_(2)
    return r.sum() * 3


WRITES = {
    "view_as_real": whole, "number": lambda m, c, w: m.view_as_real(c).mul_(2),
    "real": lambda m, c, w: c.real.mul_(3), "imag": lambda m, c, w: c.imag.add_(w[0]),
    "row": lambda m, c, w: m.view_as_real(c)[0].mul_(w[1]), "copy": lambda m, c, w: c.real.copy_(w[0]),
    "set": lambda m, c, w: setattr(c, "real", w[0]), "zero": lambda m, c, w: c.imag.zero_(),
    "part": lambda m, c, w: c[1:].imag.mul_(4), "element": lambda m, c, w: m.view_as_real(c)[1, 0].fill_(5.0),
    "twice": lambda m, c, w: (c.real.mul_(w[0]), c.imag.mul_(w[1]), c.mul_(2)) and None, "base after": base_after,
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_writes_into_complex_numbers(oracle, name, dtype):
    def run(m):
        b = m.tensor([1 + 2j, 3 - 1j], dtype=getattr(m, dtype), requires_grad=True)
        w = m.tensor([[2.0, 3.0], [4.0, 5.0]], dtype=b.real.dtype, requires_grad=True)
        c = b * 1
        more = WRITES[name](m, c, w)
        loss = (c * c).abs().sum()
        (loss if more is None or more.shape else loss + more).backward()
        return [c.detach(), b.grad, w.grad]

    mine, theirs = oracle.both(run)
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a[0] == b[0]
            np.testing.assert_allclose(a[1], b[1], rtol=1e-6)


def test_complex_view_of_real_numbers(oracle):
    def run(m):
        f = m.ones(2, 2, requires_grad=True)
        g = f * 2
        m.view_as_complex(g).mul_(1j)
        (g * g * m.arange(4).reshape(2, 2)).sum().backward()
        return [g.detach(), f.grad]

    mine, theirs = oracle.both(run)
    assert str(mine) == str(theirs)


def test_second_derivative_through_a_write(oracle):
    def run(m):
        b = m.tensor([1 + 2j, 3 - 1j], dtype=m.complex128, requires_grad=True)
        c = b * b
        c.real.mul_(3)
        g, = m.autograd.grad((c * c).abs().sum(), b, create_graph=True)
        g.abs().sum().backward()
        return [g.detach(), b.grad]

    mine, theirs = oracle.both(run)
    assert [t[0] for t in mine] == [t[0] for t in theirs]
    for a, b in zip(mine, theirs, strict=True):
        assert abs(a[1] - b[1]).max() < 1e-9


def test_another_dtype_has_no_history(oracle):
    def run(m):
        found = []
        for a in ("float32", "float64", "bfloat16", "complex64"):
            for b in ("int32", "int64", "float32", "float64", "complex64", "uint8", "float16", "bfloat16"):
                x = m.ones(4, dtype=getattr(m, a), requires_grad=True)
                v = x.view(getattr(m, b))
                found.append((v.requires_grad, v.grad_fn is None, tuple(v.shape)))
        y = m.ones(4, requires_grad=True) * 2
        y.view(m.int32)[0] = 0
        return found, y.detach(), y.requires_grad

    mine, theirs = oracle.both(run)
    assert str(mine) == str(theirs)


def test_unique_is_on_the_tape_and_refuses(oracle):
    def run(m):
        x = m.tensor([[1.0, 2.0], [2.0, 2.0]], requires_grad=True)
        found = []
        for call in (lambda: m.unique(x), lambda: x.unique(dim=0), lambda: x.unique(return_inverse=True)[0],
                     lambda: m.unique_consecutive(x), lambda: m.unique_consecutive(x, dim=0),
                     lambda: x.unique(return_counts=True)[1], lambda: x.detach().unique()):
            r = call()
            found.append((r.requires_grad, r.grad_fn and r.grad_fn.name()))
            try:
                r.sum().backward()
            except (NotImplementedError, RuntimeError) as error:
                found.append((type(error).__name__, str(error)))
        return found

    mine, theirs = oracle.both(run)
    assert str(mine) == str(theirs)
