"""What is timed. A case is written once, against a module `T` that is PyTorch or Facula.

`@case(name, group)` decorates a function of T that prepares and returns `step`, the work to be timed. A step
ends with asking for a value (`.item()`), or the returned pair `(step, finish)` says how to: finish runs once
after a block of steps, inside its time. `settle(x)` waits for x, which is free in PyTorch and makes a lazy
library compute it. A step of a `self_timed` case returns the seconds that count.
"""

import math
import sys
import time
from dataclasses import dataclass, field

CASES = []


@dataclass(frozen=True)
class Case:
    """One row. `limit`: the ratio to PyTorch's time that the project has promised, or None."""

    name: str
    group: str
    make: object = field(repr=False)
    limit: float | None = None
    self_timed: bool = False
    like_with_like: bool = False  # the limit holds at one thread against one, and at two against two


def case(name, group, **options):
    def register(make):
        CASES.append(Case(name, group, make, **options))
        return make
    return register


def settle(x):
    """Have `x` computed. (Its address would be asked for more quickly, but a tensor whose address is known is written
    at each call.)"""
    sys.modules[type(x).__module__.partition(".")[0]].cpu.synchronize()


# ------------------------------------------------------------ the seeds' programs, an iteration

def _sine(T):
    x = T.linspace(-math.pi, math.pi, 2000)
    return x, T.sin(x)


@case("poly manual", "seeds", limit=0.9)
def poly_manual(T):
    x, y = _sine(T)
    a, b, c, d = (T.randn(()) for _ in range(4))

    def step():
        nonlocal a, b, c, d
        y_pred = a + b * x + c * x ** 2 + d * x ** 3
        loss = (y_pred - y).pow(2).sum().item()
        grad_y_pred = 2.0 * (y_pred - y)
        grad_a = grad_y_pred.sum()
        grad_b = (grad_y_pred * x).sum()
        grad_c = (grad_y_pred * x ** 2).sum()
        grad_d = (grad_y_pred * x ** 3).sum()
        a -= 1e-6 * grad_a
        b -= 1e-6 * grad_b
        c -= 1e-6 * grad_c
        d -= 1e-6 * grad_d
        return loss
    return step, lambda: settle(d)


@case("poly autograd", "seeds", limit=0.7)
def poly_autograd(T):
    x, y = _sine(T)
    a, b, c, d = (T.randn((), requires_grad=True) for _ in range(4))

    def step():
        nonlocal a, b, c, d
        y_pred = a + b * x + c * x ** 2 + d * x ** 3
        loss = (y_pred - y).pow(2).sum()
        loss.backward()
        with T.no_grad():
            a -= 1e-6 * a.grad
            b -= 1e-6 * b.grad
            c -= 1e-6 * c.grad
            d -= 1e-6 * d.grad
            a.grad = None
            b.grad = None
            c.grad = None
            d.grad = None
    return step, lambda: settle(d)


def _cubic_layer(T):
    x, y = _sine(T)
    xx = x.unsqueeze(-1).pow(T.tensor([1, 2, 3]))
    return xx, y, T.nn.Sequential(T.nn.Linear(3, 1), T.nn.Flatten(0, 1)), T.nn.MSELoss(reduction="sum")


@case("poly nn", "seeds", limit=0.6)
def poly_nn(T):
    xx, y, model, loss_fn = _cubic_layer(T)

    def step():
        loss = loss_fn(model(xx), y)
        model.zero_grad()
        loss.backward()
        with T.no_grad():
            for param in model.parameters():
                param -= 1e-6 * param.grad
    return step, lambda: settle(model[0].weight)


@case("poly optim", "seeds", limit=0.6)
def poly_optim(T):
    xx, y, model, loss_fn = _cubic_layer(T)
    optimizer = T.optim.RMSprop(model.parameters(), lr=1e-3)

    def step():
        loss = loss_fn(model(xx), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return step, lambda: settle(model[0].weight)


N, D_IN, H, D_OUT = 64, 1000, 100, 10


@case("two-layer manual", "seeds", limit=0.9)
def two_layer_manual(T):
    x, y, w1, w2 = T.randn(N, D_IN), T.randn(N, D_OUT), T.randn(D_IN, H), T.randn(H, D_OUT)

    def step():
        nonlocal w1, w2
        h = x.mm(w1)
        h_relu = h.clamp(min=0)
        y_pred = h_relu.mm(w2)
        loss = (y_pred - y).pow(2).sum()
        grad_y_pred = 2.0 * (y_pred - y)
        grad_w2 = h_relu.t().mm(grad_y_pred)
        grad_h_relu = grad_y_pred.mm(w2.t())
        grad_h = grad_h_relu.clone()
        grad_h[h < 0] = 0
        grad_w1 = x.t().mm(grad_h)
        w1 -= 1e-6 * grad_w1
        w2 -= 1e-6 * grad_w2
        return loss.item()
    return step


def _two_layer_step(T, activation):
    x, y = T.randn(N, D_IN), T.randn(N, D_OUT)
    w1, w2 = T.randn(D_IN, H, requires_grad=True), T.randn(H, D_OUT, requires_grad=True)

    def step():
        loss = (activation(x.mm(w1)).mm(w2) - y).pow(2).sum()
        loss.backward()
        w1.data -= 1e-6 * w1.grad.data
        w2.data -= 1e-6 * w2.grad.data
        w1.grad.data.zero_()
        w2.grad.data.zero_()
        return loss.item()
    return step


@case("two-layer autograd", "seeds", limit=0.6)
def two_layer_autograd(T):
    return _two_layer_step(T, lambda h: h.clamp(min=0))


@case("two-layer custom Function", "seeds", limit=0.6)
def two_layer_function(T):
    class MyReLU(T.autograd.Function):
        @staticmethod
        def forward(ctx, input):
            ctx.save_for_backward(input)
            return input.clamp(min=0)

        @staticmethod
        def backward(ctx, grad_output):
            input, = ctx.saved_tensors
            grad_input = grad_output.clone()
            grad_input[input < 0] = 0
            return grad_input
    return _two_layer_step(T, MyReLU.apply)


def _two_layer_model(T):
    model = T.nn.Sequential(T.nn.Linear(D_IN, H), T.nn.ReLU(), T.nn.Linear(H, D_OUT))
    return T.randn(N, D_IN), T.randn(N, D_OUT), model, T.nn.MSELoss(reduction="sum")


@case("two-layer nn", "seeds", limit=0.6)
def two_layer_nn(T):
    x, y, model, loss_fn = _two_layer_model(T)

    def step():
        loss = loss_fn(model(x), y)
        model.zero_grad()
        loss.backward()
        for param in model.parameters():
            param.data -= 1e-4 * param.grad.data
        return loss.item()
    return step


@case("two-layer Adam", "seeds", limit=0.6)
def two_layer_adam(T):
    x, y, model, loss_fn = _two_layer_model(T)
    optimizer = T.optim.Adam(model.parameters(), lr=1e-4)

    def step():
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


# ------------------------------------------------------------ overheads

CHAIN = 40


def _chain(x, y):
    for _ in range(CHAIN // 4):
        x = x + y
        x = x * y
        x = x - y
        x = x * 0.5
    return x


def _register_chain(grad, limit):
    label = "with" if grad else "without"

    @case(f"record {CHAIN} ops on 4 elements {label} grad", "overheads", limit=limit, self_timed=True)
    def record(T):
        x, y = T.ones(4, requires_grad=grad), T.ones(4)

        def step():
            start = time.perf_counter()
            result = _chain(x, y)
            seconds = time.perf_counter() - start
            settle(result)
            return seconds
        return step

    @case(f"record and compute {CHAIN} ops on 4 elements {label} grad", "overheads")
    def record_and_compute(T):
        x, y = T.ones(4, requires_grad=grad), T.ones(4)
        return lambda: settle(_chain(x, y))


_register_chain(False, 1.2)
_register_chain(True, 1.0)


@case("small add", "overheads")
def small_add(T):
    x, y = T.ones(4), T.ones(4)
    return lambda: settle(x + y)


# ------------------------------------------------------------ kernels

def _register_pointwise(size):
    @case(f"gelu(a x + b), {size:.0e}".replace("e+0", "e"), "pointwise", limit=0.7)
    def gelu_chain(T):
        x = T.randn(size)
        return lambda: settle(T.nn.functional.gelu(x * 1.5 + 0.5))

    @case(f"x (1 - tanh(x)) + sigmoid(x), {size:.0e}".replace("e+0", "e"), "pointwise")
    def tanh_chain(T):
        x = T.randn(size)
        return lambda: settle(x * (1 - T.tanh(x)) + T.sigmoid(x))

    @case(f"sum, {size:.0e}".replace("e+0", "e"), "reductions")
    def total(T):
        x = T.randn(size)
        return lambda: x.sum().item()


for _size in (1_000, 10_000, 100_000, 1_000_000, 10_000_000):
    _register_pointwise(_size)


def _register_rows(rows, columns):
    @case(f"softmax {rows}x{columns}", "reductions", limit=0.7)
    def softmax(T):
        x = T.randn(rows, columns)
        return lambda: settle(T.softmax(x * 0.5, dim=-1))

    @case(f"layer norm {rows}x{columns}", "reductions", limit=0.7)
    def layer_norm(T):
        x, weight, bias = T.randn(rows, columns), T.randn(columns), T.randn(columns)
        return lambda: settle(T.nn.functional.layer_norm(x * 0.5, (columns,), weight, bias))

    @case(f"sum over columns {rows}x{columns}", "reductions")
    def column_sums(T):
        x = T.randn(rows, columns)
        return lambda: settle(x.sum(0))


_register_rows(64, 1024)
_register_rows(4096, 1024)


def _register_matmul(size):
    limit = 1.15 if size >= 128 else None

    @case(f"mm {size}", "matmul", limit=limit, like_with_like=True)
    def product(T):
        a, b = T.randn(size, size), T.randn(size, size)
        return lambda: settle(a @ b)

    if size <= 512:
        @case(f"mm {size}, b transposed", "matmul", limit=limit, like_with_like=True)
        def transposed(T):
            a, b = T.randn(size, size), T.randn(size, size)
            return lambda: settle(a @ b.t())


for _size in (64, 128, 256, 512, 1024, 2048):
    _register_matmul(_size)


@case("(64x1000)(1000x100)(100x10) and gradients", "matmul")
def seed_products(T):
    x = T.randn(N, D_IN)
    w1, w2 = T.randn(D_IN, H, requires_grad=True), T.randn(H, D_OUT, requires_grad=True)

    def step():
        g1, g2 = T.autograd.grad(x.mm(w1).mm(w2).sum(), (w1, w2))
        settle(g1)
        settle(g2)
    return step


@case("sin 10000x10000", "large")
def large_sin(T):
    x = T.rand(10000, 10000)
    return lambda: settle(T.sin(x))


@case("copy 10000x10000 into memory in use", "large")
def large_copy(T):
    import numpy
    source = T.rand(10000, 10000).numpy()  # NumPy's copy for both: what the sine above has to keep up with
    target = numpy.zeros_like(source)
    return lambda: numpy.copyto(target, source)
