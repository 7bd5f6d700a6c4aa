"""Bad input raises torch's exception type, at the call, whatever is pending; nothing ends the process."""

import os
import subprocess
import sys

import numpy as np
import pytest

# Expressions over a library L. Whatever they make is not looked at: the error has to come from the call.
BAD = """
L.zeros(2, 3) + L.zeros(2)
L.zeros(2, 3) @ L.zeros(2, 3)
L.zeros(3) @ L.zeros(4)
L.zeros(5, 2, 3) @ L.zeros(4, 3, 2)
L.mm(L.zeros(2, 3), L.zeros(2, 3))
L.bmm(L.zeros(2, 3), L.zeros(2, 3, 2))
L.dot(L.zeros(2), L.zeros(3))
L.einsum("ij,jk->ik", L.zeros(2, 3), L.zeros(2, 3))
L.zeros(2, 3).view(4)
L.zeros(2, 3).view(-1, -1)
L.zeros(2, 3).reshape(-1, 4)
L.zeros(2, 3).t().view(6)
L.zeros(2, 3).expand(4, 3)
L.zeros(2, 3).transpose(0, 2)
L.zeros(2, 3).permute(0, 0)
L.zeros(2, 3).permute(0)
L.zeros(2, 3).squeeze(3)
L.zeros(2, 3).unsqueeze(4)
L.zeros(2, 3).sum(2)
L.zeros(2, 3).sum((0, 0))
L.zeros(2, 3).mean(-3)
L.zeros(2, 3).softmax(2)
L.zeros(2, 3).argmax(5)
L.zeros(0).max()
L.zeros(0).argmax()
L.zeros(2, 0).max(1)
L.zeros(2, 3).topk(4)
L.zeros(2, 3).kthvalue(1.5)
L.zeros(2, 3).narrow(1, 2, 2)
L.zeros(2, 3).narrow(1, 0, 1.5)
L.zeros(2, 3).unfold(1, 1.5, 1)
L.zeros(2, 3).diagonal(0.5)
L.zeros(2, 3).split([1, 1], 1)
L.zeros(2, 3).chunk(0)
L.zeros(4).split(0)
L.zeros(-1)
L.zeros(2.5)
L.ones(2, -3)
L.arange(0, -5)
L.arange(0, 5, 0)
L.linspace(0, 1, -1)
L.tril_indices(-1, 3)
L.zeros((2, 3), dtype=L.int64, out=L.empty(0))
L.cat([L.zeros(2), L.zeros(2, 2)])
L.cat([L.zeros(2, 3), L.zeros(3, 2)])
L.cat([])
L.cat(L.zeros(2))
L.stack([L.zeros(2), L.zeros(3)])
L.stack([])
L.zeros(3)[5]
L.zeros(3)[-4]
L.zeros(3)[0, 0]
L.tensor(1)[0]
L.zeros(3)[1.5]
L.zeros(3)["a"]
L.zeros(3)[L.tensor([3])]
L.zeros(3)[L.tensor([1]) + 2].tolist()
L.zeros(3)[L.tensor([True, False])]
L.zeros(3)[L.tensor([1.0])]
L.zeros(2, 3)[:, 3]
L.zeros(5)[::-1]
L.zeros(5)[::0]
L.zeros(3).gather(0, L.tensor([3]))
L.zeros(3).gather(0, L.tensor([-1]) * 1).tolist()
L.zeros(3).gather(0, L.tensor([0.0]))
L.zeros(3).index_select(0, L.tensor([3]))
L.zeros(3).scatter_(0, L.tensor([3]), 1.0)
L.zeros(3).index_add_(0, L.tensor([3]), L.ones(1))
L.zeros(3).take(L.tensor([3]))
L.zeros(3).masked_select(L.tensor([1, 0, 1]))
L.zeros(2, 3).masked_fill(L.tensor([True, False]), 1.0)
L.zeros(3).masked_fill(L.tensor([1, 0, 1]), 1.0)
L.nn.functional.embedding(L.tensor([3]), L.zeros(3, 2))
L.nn.functional.embedding(L.tensor([1]) - 2, L.zeros(3, 2)).tolist()
L.nn.functional.embedding(L.tensor([1.0]), L.zeros(3, 2))
L.nn.functional.one_hot(L.tensor([3]), 3)
L.bincount(L.tensor([-1]))
L.multinomial(L.zeros(3), 1)
L.multinomial(L.ones(3), 4)
L.bernoulli(L.tensor([2.0]))
L.randint(5, 5, (2,))
L.randperm(-1)
L.normal(0.0, -1.0, (2,))
L.tensor([1, 2]).mean()
L.tensor([1, 2]).softmax(0)
L.tensor([True]) - L.tensor([True])
-L.tensor([True])
L.tensor([1, 2]) ** -1
L.tensor([1.5]) & 1
~L.tensor([1.5])
L.tensor([1.5]) << 1
L.tensor([5]) // 0
L.tensor([5]) % 0
L.tensor([5]) // L.tensor([0])
(L.tensor([5, 6]) // (L.tensor([1, 2]) - 1)).tolist()
L.tensor([5, 6]) % L.tensor(0)
7 // L.tensor([1, 0])
7 % L.tensor([1, 0])
L.tensor([5]).fmod(L.tensor([0]))
L.div(L.tensor([5]), L.tensor([0]), rounding_mode="trunc")
L.div(L.tensor([5]), L.tensor([0]), rounding_mode="floor")
L.div(L.tensor([5]), 2, rounding_mode="up")
L.tensor([5]).floor_divide_(L.tensor([0]))
L.tensor([5]).remainder_(0)
L.full((2,), 300, dtype=L.uint8)
L.full((2,), 2**70)
L.full((2,), 1e39)
L.full_like(L.zeros(2, dtype=L.int32), 2**40)
L.zeros(2, dtype=L.int8).fill_(300)
L.zeros(2, dtype=L.int64).fill_(float("nan"))
L.zeros(2, dtype=L.int64).masked_fill(L.tensor([True, False]), 1e300)
L.tensor(2**70)
L.tensor("abc")
L.tensor([[1, 2], [3]])
L.tensor(None)
L.from_numpy([1])
L.from_numpy(np.arange(3)[::-1])
L.from_numpy(np.array(["a"]))
L.zeros(2, 3).item()
L.zeros(0).item()
bool(L.zeros(2))
bool(L.zeros(0))
int(L.zeros(2))
float(L.zeros(2, 2))
len(L.tensor(1))
list(L.tensor(1))
range(L.tensor(1.0))
L.zeros(2, requires_grad=True).numpy()
L.zeros(2, dtype=L.long, requires_grad=True)
L.zeros(2).backward()
L.zeros(2, requires_grad=True).backward()
L.zeros(2, requires_grad=True).add_(1)
L.ones(2, requires_grad=True)[0].fill_(1)
L.zeros(2).requires_grad_().sum().backward(gradient=L.ones(3))
L.zeros(3).copy_(L.zeros(2))
L.zeros(3).add_(L.zeros(2, 3))
L.zeros(3, dtype=L.long).add_(1.5)
L.zeros(3, dtype=L.long).div_(2)
L.zeros(3, dtype=L.long) @ L.zeros(3)
L.zeros(2, 3, dtype=L.double) @ L.zeros(3, 2)
L.nn.Linear(2, 3)(L.zeros(2, 3))
L.nn.Linear(2, 3)(L.zeros(2, 2, dtype=L.double))
L.nn.Linear(2, 3)(L.zeros(2, 2, dtype=L.long))
L.nn.LayerNorm(3)(L.zeros(2, 3, dtype=L.double))
L.nn.LayerNorm(3)(L.zeros(2, 4))
L.nn.BatchNorm1d(3)(L.zeros(4, 3, dtype=L.double))
L.nn.BatchNorm1d(3)(L.zeros(4, 2))
L.nn.BatchNorm1d(3)(L.zeros(1, 3))
L.nn.BatchNorm2d(3)(L.zeros(4, 3))
L.nn.PReLU()(L.zeros(2, dtype=L.double))
L.nn.Embedding(3, 2)(L.zeros(2))
L.nn.Sequential(L.nn.Linear(2, 3), L.nn.Linear(2, 3))(L.zeros(1, 2))
L.nn.functional.mse_loss(L.zeros(2), L.zeros(3))
L.nn.functional.cross_entropy(L.zeros(2, 3), L.zeros(3, dtype=L.long))
L.nn.functional.cross_entropy(L.zeros(2, 3), L.zeros(2))
L.nn.functional.cross_entropy(L.zeros(2, 3), L.tensor([0, 3]))
L.nn.functional.cross_entropy(L.zeros(2, 3), L.tensor([0, 2]) - 1).item()
L.nn.functional.nll_loss(L.zeros(2, 3), L.tensor([0, -1]))
L.nn.functional.binary_cross_entropy(L.zeros(2), L.zeros(2, 1))
L.nn.functional.mse_loss(L.zeros(2), L.zeros(2), reduction="bogus")
L.nn.functional.scaled_dot_product_attention(L.zeros(1, 2, 3), L.zeros(1, 2, 3), L.zeros(1, 2, 3, dtype=L.double))
L.nn.functional.kl_div(L.zeros(2, dtype=L.long), L.zeros(2))
L.nn.functional.dropout(L.zeros(2), 1.5)
L.nn.Dropout(-0.5)
L.nn.MultiheadAttention(5, 2)
L.nn.Linear(-1, 2)
L.optim.SGD([], lr=0.1)
L.optim.SGD(L.zeros(2), lr=0.1)
L.optim.SGD([L.zeros(2, requires_grad=True)], lr=-1)
L.optim.SGD([L.zeros(2, requires_grad=True) * 2], lr=0.1)
L.optim.Adam([L.zeros(2, requires_grad=True)], betas=(1.5, 0.9))
L.zeros(2, device="cuda")
L.zeros(2).cuda()
L.zeros(2).to("cuda:0")
L.zeros(2).to("nowhere")
L.device("nowhere")
L.zeros(2, dtype="float32")
L.zeros(2).type(5)
L.abs(None)
L.sqrt(2.0)
L.sum([1, 2])
L.matmul(np.ones((2, 2)), L.zeros(2, 2))
L.maximum(L.zeros(2), 1.0)
L.where(L.zeros(2), 1.0, 2.0)
L.clamp(L.zeros(2))
L.tril(None)
L.cumsum(None, 0)
L.zeros(2, 3).flip("a")
L.zeros(2) + None
L.zeros(2) + "a"
L.zeros(2, dtype=L.complex64) < 1
L.zeros(2, dtype=L.complex64).sort()
L.zeros(2, dtype=L.complex64).max()
L.zeros(2, dtype=L.complex64) // 2
L.maximum(L.zeros(2, dtype=L.complex64), L.zeros(2))
L.zeros(2, dtype=L.complex64).relu()
L.zeros(2, dtype=L.complex64).median()
L.zeros(2, dtype=L.complex64).clamp(0)
L.zeros(2, dtype=L.bool).topk(1)
L.cdist(L.zeros(2, 3, dtype=L.long), L.zeros(2, 3))
L.lerp(L.zeros(2), L.ones(2), L.ones(2, dtype=L.double))
L.linalg.inv(L.zeros(2, 3))
L.linalg.inv(L.zeros(2, 2))
L.linalg.cholesky(-L.eye(2))
L.linalg.solve(L.zeros(2, 2), L.ones(2))
""".strip().splitlines()


def call(expression, library):
    return eval(expression, {"L": library, "np": np})


def failure(expression, library):
    """(the exception's type, its text)"""
    with pytest.raises(Exception) as got:
        call(expression, library)
    return type(got.value).__name__, str(got.value)


@pytest.mark.parametrize("expression", BAD)
def test_type_of_the_exception(oracle, facula, expression):
    expected = oracle(lambda torch: failure(expression, torch)[0])
    got, text = failure(expression, facula)
    assert got == expected, text


NAMING = {  # what the message has to say
    "L.zeros(2, 3) + L.zeros(2)": ["(3)", "(2)", "dimension 1"],
    "L.zeros(2, 3) @ L.zeros(2, 3)": ["2x3 and 2x3"],
    "L.nn.Linear(2, 3)(L.zeros(4, 5))": ["4x5 and 2x3"],
    "L.zeros(2, 3).view(4)": ["[4]", "6"],
    "L.cat([L.zeros(2, 3), L.zeros(3, 2)])": ["dimension 0", "3", "2", "number 1"],
    "L.abs(None)": ["abs()", "'input'", "NoneType"],
    "L.cumsum(L.zeros(2), 'a')": ["cumsum()", "'dim'", "int", "str"],
    "L.nn.functional.cross_entropy(L.zeros(2, 3), L.tensor([0, 7]))": ["Target 7 is out of bounds"],
    "L.full((2,), 300, dtype=L.uint8)": ["uint8_t without overflow"],
}


@pytest.mark.parametrize("expression", NAMING)
def test_message(libraries, expression):
    for library in libraries:
        for part in NAMING[expression]:
            assert part in failure(expression, library)[1]


def test_what_was_pending_survives_an_error(facula):
    x = facula.arange(4.0)
    y = x * 2
    for expression in ("L.zeros(3)[L.tensor([1]) + 2].tolist()", "(L.tensor([5]) // (L.tensor([1]) - 1)).tolist()"):
        z = y + 1
        with pytest.raises((IndexError, RuntimeError)):
            call(expression, facula)
        assert z.tolist() == [1, 3, 5, 7]


def test_extreme_integers(facula):
    """int min / -1 is a trap of the processor; torch dies of it in one of these."""
    for name in ("int8", "int16", "int32", "int64"):
        of = getattr(facula, name)
        low = facula.iinfo(of).min
        for n in (1, 3, 100):
            x, y = facula.full((n,), low, dtype=of) + 0, facula.full((n,), -1, dtype=of) + 0
            assert (x // y).tolist() == [low] * n
            assert (x % y).tolist() == [0] * n
            assert x.fmod(y).tolist() == [0] * n
            assert facula.div(x, y, rounding_mode="trunc").tolist() == [low] * n
            assert (x // -1).tolist() == [low] * n
            assert (-x).tolist() == [low] * n
            assert x.abs().tolist() == [low] * n


def test_integer_division_by_zero_of_nothing(libraries):
    for library in libraries:
        empty = library.zeros(0, dtype=library.long)
        assert (empty // library.tensor([0])).shape == (0,)
        assert (library.tensor([5]) // library.tensor([0.0])).tolist() == [float("inf")]


STRANGE = """
import facula as F
x = F.arange(2.0 ** 12).reshape((2,) * 12 + (1,) * 8)
y = x.permute(*reversed(range(20)))
print((y * 2 + x.transpose(0, -1)).sum((0, 5, 19)).sum().item() > 0, y.contiguous().flatten().sum().item())
z = F.rand(64)
for i in range(1500):
    z = (z + 0.5, z * 0.99, z.sin(), z.abs(), F.where(z > 0, z, -z))[i % 5]
print(z.sum().item() == z.sum().item())
many = [F.full((3,), float(i)) for i in range(300)]
print(F.stack([m * 2 for m in many]).sum().item(), F.cat(many).max().item(), sum(many).sum().item())
for shape in ((0, 5, 3), (5, 0, 3), (5, 3, 0), (0, 0)):
    e = F.zeros(shape, requires_grad=True)
    (e * 2).exp().sum().backward()
    assert e.grad.shape == shape and F.cat([e, e]).sum().item() == 0
    for k in range(len(shape)):
        e.softmax(k).tolist(), e.cumsum(k).tolist(), e.sum(k).tolist(), e.sort(k)[0].tolist(), e.flip(k).tolist()
print("done")
"""


@pytest.mark.processes
def test_strange_graphs_do_not_end_the_process(python_environment):
    done = subprocess.run([sys.executable, "-W", "error", "-c", STRANGE], env=python_environment, text=True,
                          capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "8386560.0", "True", "269100.0", "299.0", "134550.0", "done"]


@pytest.mark.processes
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_after_kernels_ran(facula):
    x = facula.rand(300, 300)
    (x @ x).sum().item()
    pending = x * 2
    child = os.fork()
    if child == 0:
        status = 1
        try:
            w = x.clone().requires_grad_()
            (w * 2).sum().backward()
            assert w.grad.sum().item() == 180000.0
            assert abs((pending - x - x).sum().item()) == 0.0
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_meta_tensor_has_no_values():
    import facula
    for ask in (lambda t: t.item(), lambda t: t.tolist(), bool, float):
        with pytest.raises((RuntimeError, TypeError), match="meta"):
            ask(facula.ones((), device="meta"))
