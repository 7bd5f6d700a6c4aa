#!/usr/bin/env python3
"""Digests of about 100 results: equal on every machine whose processor has fused multiply-add, whatever its vectors.

    python tools/digests.py > here.txt             on one machine
    python tools/digests.py --against here.txt     on another one, under an emulator, with other settings
    python tools/digests.py --sweep                every operation over its samples, instead
    FACULA_CACHE_DIR=$(mktemp -d) qemu-x86_64 -cpu Haswell .venv/bin/python tools/digests.py --against here.txt

Of the bits of NaN only that it is NaN counts: processors differ in its sign. Inputs are made of whole numbers, so that
nothing but Facula has computed them. Exit status 1 if a digest differs from the file's, or a result is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import facula as T
import facula.nn.functional as F

Result = Callable[[], Any]
FLOATS = ("float32", "float64", "bfloat16", "float16")


def numbers(*shape: int, seed: int = 0, low: float = -4.0, high: float = 4.0, dtype: str = "float32") -> Any:
    """Multiples of 2**-20 between `low` and `high`, the same everywhere."""
    count = int(np.prod(shape))
    state = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed * 7919)) * np.uint64(0x9E3779B97F4A7C15)
    state ^= state >> np.uint64(29)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    steps = (state >> np.uint64(32)) % np.uint64(int((high - low) * 2**20))
    values = low + steps.astype(np.float64) / 2.0**20
    return T.from_numpy(values.reshape(shape)).to(getattr(T, dtype))


def elementwise() -> Iterator[tuple[str, Result]]:
    """Functions of one and two arguments, where they are interesting."""
    everywhere = ("exp", "expm1", "tanh", "sigmoid", "sin", "cos", "tan", "erf", "erfc", "atan", "sinh", "cosh",
                  "asinh", "exp2", "rsqrt", "log", "log2", "log10", "log1p", "lgamma", "digamma")
    for name in everywhere:
        positive = name in ("rsqrt", "log", "log2", "log10", "log1p", "lgamma", "digamma")
        low, high = (2.0**-20, 40.0) if positive else (-12.0, 12.0)
        for dtype in ("float32", "float64"):
            yield f"{name} {dtype}", lambda n=name, a=low, b=high, d=dtype: getattr(T, n)(
                numbers(2011, low=a, high=b, dtype=d))
    for name in ("asin", "acos", "atanh", "erfinv"):
        yield name, lambda n=name: getattr(T, n)(numbers(1003, low=-1.0, high=1.0))
    for name in ("gelu", "silu", "softplus", "mish", "elu", "logsigmoid"):
        yield name, lambda n=name: getattr(F, n)(numbers(1777, low=-9.0, high=9.0))
    for dtype in ("float32", "float64"):
        yield f"pow {dtype}", lambda d=dtype: (numbers(999, low=0.01, high=30.0, dtype=d)
                                               ** numbers(999, seed=1, dtype=d))
        yield f"atan2 {dtype}", lambda d=dtype: T.atan2(numbers(999, dtype=d), numbers(999, seed=1, dtype=d))
        yield f"fmod {dtype}", lambda d=dtype: T.fmod(numbers(999, dtype=d), numbers(999, seed=1, dtype=d))
    for dtype in ("bfloat16", "float16"):
        yield f"a formula in {dtype}", lambda d=dtype: T.exp(numbers(777, dtype=d)) / 3 + T.sin(numbers(777, dtype=d))
    yield "complex", lambda: (T.exp(T.complex(numbers(501), numbers(501, seed=1)))
                              * T.complex(numbers(501, seed=2), numbers(501, seed=3)))


def reductions() -> Iterator[tuple[str, Result]]:
    """Sums along each dimension, of odd sizes."""
    for dtype in FLOATS:
        for dim in (0, 1, 2, None, (0, 2)):
            yield f"sum {dtype} {dim}", lambda d=dtype, k=dim: numbers(7, 61, 133, dtype=d).sum(k)
    for n in (1, 15, 17, 63, 257, 4099, 70_001, 300_007):
        yield f"sum of {n}", lambda n=n: numbers(n).sum()
    yield "sum of few columns", lambda: numbers(20_011, 3).sum(0)
    yield "sum of a transposed", lambda: numbers(301, 95).t().sum(1)
    yield "sum of all of a transposed", lambda: numbers(61, 7, 133).transpose(0, 2).sum()
    yield "sum of a slice", lambda: numbers(301, 95)[:, 3:77].sum()
    yield "sum of windows", lambda: numbers(301, 95).unfold(1, 9, 2).sum((1, 2))
    yield "mean of all of a product", lambda: (numbers(3001, 95) * numbers(95, seed=1)).mean()
    yield "sum of a product", lambda: (numbers(301, 95) * numbers(95, seed=1)).sum(1)
    for name in ("mean", "var", "std", "prod", "logsumexp", "argmax", "amax", "norm"):
        yield f"{name} of rows", lambda n=name: getattr(T, n)(numbers(37, 211, low=0.5, high=1.5), dim=1)
    yield "complex sum", lambda: T.complex(numbers(37, 211), numbers(37, 211, seed=1)).sum(1)
    yield "softmax", lambda: T.softmax(numbers(37, 211), dim=1)
    yield "softmax of columns", lambda: T.softmax(numbers(211, 37, dtype="float64"), dim=0)
    yield "log_softmax", lambda: T.log_softmax(numbers(37, 1001), dim=1)
    yield "layer_norm", lambda: F.layer_norm(numbers(37, 211), (211,), numbers(211, seed=1), numbers(211, seed=2))
    yield "batch_norm", lambda: F.batch_norm(numbers(9, 5, 7, 7), None, None, training=True)
    yield "group_norm", lambda: F.group_norm(numbers(3, 6, 5, 5), 3)
    yield "cumsum", lambda: T.cumsum(numbers(37, 211), 1)
    yield "cumprod", lambda: T.cumprod(numbers(37, 33, low=0.5, high=1.5), 0)
    yield "sort", lambda: list(T.sort(numbers(13, 301), dim=1))
    yield "index_add", lambda: T.zeros(11, 19).index_add_(0, T.arange(300) % 11, numbers(300, 19))


def products() -> Iterator[tuple[str, Result]]:
    """Matrix products of many sizes, in every layout."""
    sizes = ((1, 1, 1), (3, 5, 7), (17, 33, 65), (64, 64, 64), (130, 97, 263), (200, 310, 1030), (20, 40, 50_001))
    for m, n, k in sizes:
        for layout in ("NN", "NT", "TN"):
            def product(m: int = m, n: int = n, k: int = k, layout: str = layout, dtype: str = "float32") -> Any:
                a = numbers(m, k, dtype=dtype) if layout[0] == "N" else numbers(k, m, dtype=dtype).t()
                b = numbers(k, n, seed=1, dtype=dtype) if layout[1] == "N" else numbers(n, k, seed=1, dtype=dtype).t()
                return a @ b
            yield f"product {m}x{n}x{k} {layout}", product
    yield "product float64", lambda: product(33, 47, 129, "NT", "float64")
    yield "product bfloat16", lambda: product(33, 47, 129, "NN", "bfloat16")
    yield "product float16", lambda: product(33, 47, 129, "NN", "float16")
    for k, n in ((5, 3), (40, 7), (333, 9), (333, 16), (333, 40), (3001, 20), (2000, 1500), (130_001, 5)):
        yield f"vector x matrix {k}x{n}", lambda k=k, n=n: numbers(k) @ numbers(k, n, seed=1)
        yield f"matrix x vector {n}x{k}", lambda k=k, n=n: numbers(n, k) @ numbers(k, seed=1)
    for k in (3, 31, 500, 70_003):
        yield f"dot of {k}", lambda k=k: numbers(k) @ numbers(k, seed=1)
    yield "batched product", lambda: numbers(5, 33, 41) @ numbers(5, 41, 29, seed=1)
    yield "linear and gelu", lambda: F.gelu(F.linear(numbers(33, 65), numbers(47, 65, seed=1) / 8, numbers(47, seed=2)))
    yield "attention", lambda: F.scaled_dot_product_attention(
        numbers(2, 3, 19, 16), numbers(2, 3, 23, 16, seed=1), numbers(2, 3, 23, 16, seed=2))
    yield "conv2d", lambda: F.conv2d(numbers(2, 3, 17, 19), numbers(5, 3, 3, 3, seed=1), numbers(5, seed=2), padding=1)
    yield "conv1d", lambda: F.conv1d(numbers(2, 4, 63), numbers(6, 2, 5, seed=1), stride=2, groups=2)
    yield "avg_pool2d", lambda: F.avg_pool2d(numbers(2, 3, 17, 19), 3, 2)


def trained(optimizer: str, dtype: str) -> list[Any]:
    """The losses and parameters of a small network after ten steps."""
    T.manual_seed(3)
    of = getattr(T, dtype)
    net = T.nn.Sequential(T.nn.Linear(20, 33), T.nn.LayerNorm(33), T.nn.GELU(), T.nn.Linear(33, 10)).to(of)
    settings = {"SGD": {"lr": 0.05, "momentum": 0.9}, "AdamW": {"lr": 0.01}}[optimizer]
    how = getattr(T.optim, optimizer)(net.parameters(), **settings)
    x, y = T.randn(40, 20, dtype=of), T.randint(0, 10, (40,))
    losses = []
    for _ in range(10):
        how.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        how.step()
        losses.append(loss.detach())
    return losses + list(net.parameters())


def convolutional() -> list[Any]:
    """A loss and the gradients of convolutions, a norm and a pool."""
    T.manual_seed(4)
    net = T.nn.Sequential(T.nn.Conv2d(1, 6, 3, padding=1), T.nn.BatchNorm2d(6), T.nn.ReLU(), T.nn.MaxPool2d(2),
                          T.nn.Conv2d(6, 4, 3), T.nn.Flatten(), T.nn.Linear(4 * 5 * 5, 10))
    loss = F.cross_entropy(net(numbers(6, 1, 14, 14)), T.arange(6))
    loss.backward()
    return [loss, *(p.grad for p in net.parameters())]


def programs() -> Iterator[tuple[str, Result]]:
    """Random numbers, and small networks trained ten steps."""
    def seeded(draw: Callable[[], Any]) -> Any:
        T.manual_seed(5)
        return draw()

    yield "randn", lambda: seeded(lambda: T.randn(2003))
    yield "randn of many", lambda: seeded(lambda: T.randn(200_003))
    yield "rand and dropout", lambda: seeded(lambda: F.dropout(T.rand(1001), 0.3))
    yield "randperm", lambda: seeded(lambda: T.randperm(1001))
    for optimizer in ("SGD", "AdamW"):
        for dtype in ("float32", "float64"):
            yield f"ten steps of {optimizer} {dtype}", lambda o=optimizer, d=dtype: trained(o, d)
    yield "gradients of convolutions", convolutional


def results() -> Iterator[tuple[str, Result]]:
    for family in (elementwise, reductions, products, programs):
        yield from family()


def samples(part: int, parts: int) -> Iterator[tuple[str, Result]]:
    """The operations of the sweeps over their samples, each `parts`-th beginning with `part`. What draws random
    numbers is seeded; what NumPy computes on the host, with its own kernels for each processor, is left out."""
    from facula.testing.samples import SAMPLES, operations

    for name in sorted(n for n in operations() if n in SAMPLES)[part::parts]:
        if not name.startswith(BY_NUMPY):
            yield name, lambda n=name, s=SAMPLES[name]: [_asked(n, sample) for sample in s]


# Beginnings of names: computed by NumPy, with other kernels on other processors, and seen to differ between them
BY_NUMPY = ("fft.", "kaiser_window")


def _asked(name: str, sample: Any) -> Any:
    sys.path[:0] = [path for path in [str(__file__).rsplit("tools", 1)[0] + "tests/support"] if path not in sys.path]
    from sweep import ask

    T.manual_seed(6)
    return ask(T, name, sample.args, sample.kwargs, sample.of)


def digest(value: Any) -> str:
    """Of all that `value` holds: dtypes, shapes, bits."""
    state = hashlib.sha256()
    for part in _flat(value):
        if isinstance(part, T.Tensor):
            part = part.detach()
            state.update(f"{part.dtype} {tuple(part.shape)} ".encode())
            state.update(_bits(part).tobytes())
        elif isinstance(part, np.ndarray):
            state.update(f"{part.dtype} {part.shape} ".encode())
            state.update(_bits(T.from_numpy(np.array(part))).tobytes())
        else:
            state.update(f"{type(part).__name__} {part!r} ".encode())
    return state.hexdigest()[:16]


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _flat(part)
    elif isinstance(value, dict):
        yield from _flat([part for item in value.items() for part in item])
    else:
        yield value


def _bits(tensor: Any) -> np.ndarray:
    if tensor.dtype is T.bfloat16:
        tensor = tensor.float()  # exact
    array = np.ascontiguousarray(tensor.resolve_conj().numpy() if tensor.is_complex() else tensor.numpy())
    if array.dtype.kind == "c":
        array = array.view(array.real.dtype)
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
    return array


def machine() -> str:
    """One line on what computes here."""
    from facula.engine.runtime.cpu import target

    host = target.host()
    return f"{platform.machine()} {host.cpu}, vectors of {host.vector_bytes} bytes, {T.get_num_threads()} threads"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help="a file that this script wrote")
    parser.add_argument("--sweep", action="store_true", help="all operations over their samples")
    parser.add_argument("--part", default="0/1", help="k/n: each n-th of the operations, from the k-th on")
    parser.add_argument("names", nargs="*", help="parts of names: those results only")
    asked = parser.parse_args(arguments)
    part, parts = map(int, asked.part.split("/"))
    found: dict[str, str] = {}
    warnings.filterwarnings("error", message="facula. the compiler failed")  # NumPy's results are not meant
    print(f"# {machine()}", flush=True)
    for name, compute in samples(part, parts) if asked.sweep else results():
        if not asked.names or any(word in name for word in asked.names):
            found[name] = digest(compute())
            print(f"{found[name]}  {name}", flush=True)
    if asked.against is None:
        return 0
    with open(asked.against) as file:
        before = {line.rstrip("\n")[18:]: line[:16] for line in file if not line.startswith("#")}
    wrong = [name for name in found if before.get(name) != found[name]]
    print(f"# {len(found) - len(wrong)} of {len(found)} are the same as in {asked.against}")
    for name in wrong:
        print(f"# differs: {name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
