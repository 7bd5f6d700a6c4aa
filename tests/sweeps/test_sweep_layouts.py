"""How the results of every operation lie in memory, whatever its operands look like: as PyTorch's do.

Strides, offset in the storage, and what `is_contiguous` says. (That the values do not depend on the
layout is tested in test_sweep_shapes.py.)
"""

import warnings

import numpy as np
import pytest

import facula
from facula.ops.op import operations
from facula.ops.result_layouts import RULES
from facula.testing.samples import SAMPLES
from sweep import OPERATIONS, REFUSALS, expanded, given, look_up, single


def plain(library, array):
    return single(library, array)


def turned(library, array):
    """The last two dimensions lie the other way round."""
    if array.ndim < 2:
        return single(library, array)
    swapped = np.ascontiguousarray(np.swapaxes(array, -1, -2))
    return single(library, swapped).transpose(-1, -2)


def channels_last(library, array):
    """The second dimension innermost."""
    if array.ndim < 3:
        return single(library, array)
    order = (0, *range(2, array.ndim), 1)
    back = (0, array.ndim - 1, *range(1, array.ndim - 1))
    return single(library, np.ascontiguousarray(array.transpose(order))).permute(back)


def strided(library, array):
    """Every other element, from the second on."""
    if not array.ndim:
        return single(library, np.stack([array, array]))[1]
    return single(library, np.repeat(array, 2, axis=-1))[..., 1::2]


PLACES = {f.__name__: f for f in (plain, turned, channels_last, strided, expanded)}
FORMATS = "contiguous_format", "channels_last", "channels_last_3d"

# (operation, place), "*" for all places, and why they are not compared.
NOT_COMPARED = {
    # conj is a view there, a value here; nonzero and where give columns of one matrix there.
    ("conj", "strided"), ("conj", "expanded"),
    ("nonzero", "*"), ("where", "*"), ("unravel_index", "*"),
    ("histogramdd", "strided"), ("histogramdd", "expanded"),  # gives back the edges it was given
    # Parts of larger matrices of LAPACK's; sums over dimensions that were moved.
    ("linalg.lstsq", "*"), ("nuclear_norm", "*"), ("stft", "turned"),
    ("linalg.ldl_solve", "*"),  # ends the process in torch 2.13
    # Elements that share memory: torch writes, or factors singular matrices without a word.
    *[(name, "expanded") for name in (
        "Tensor.__setitem__", "Tensor.apply_", "Tensor.fill_diagonal_", "Tensor.map_",
        "cholesky_inverse", "cholesky_solve", "linalg.cond", "linalg.inv_ex", "linalg.solve_ex",
        "linalg.solve_triangular", "triangular_solve", "nn.functional.batch_norm",
        "nn.functional.embedding", "nn.functional.threshold")],
}


def geometry(library, result):
    """(strides, offset, is it contiguous in each format) of every tensor in a result."""
    if isinstance(result, library.Tensor):
        formats = [result.is_contiguous(memory_format=getattr(library, f)) for f in FORMATS]
        return [(tuple(result.stride()), result.storage_offset(), *formats)]
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        return [found for part in result for found in geometry(library, part)]
    return []


def ask(library, name, sample, place):
    library.manual_seed(5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            args, kwargs = given(library, sample.args, place), given(library, sample.kwargs, place)
            result = look_up(library, name)(*args, **kwargs)
            return geometry(library, args[0] if result is None else result)
    except REFUSALS as refusal:
        return refusal


@pytest.mark.parametrize("name", OPERATIONS)
def test_layouts_of_results(name, oracle):
    for place in PLACES:
        if (name, place) in NOT_COMPARED or (name, "*") in NOT_COMPARED:
            continue
        for sample in SAMPLES[name]:
            call = name, sample, PLACES[place]
            theirs = oracle(lambda torch, call=call: ask(torch, *call), place, sample.args,
                            sample.kwargs)
            if not isinstance(theirs, Exception):
                ours = ask(facula, *call)
                assert ours == theirs, f"{name}{sample} {place}: {ours}, not {theirs}"


SEEN = {
    "reshape": lambda r: r.reshape(-1), "reversed": lambda r: r.reshape(r.shape[::-1]),
    "flatten": lambda r: r.flatten(),
    "contiguous": lambda r: r.contiguous(), "ravel": lambda r: r.ravel(), "view": lambda r: r.view(-1),
    "in two": lambda r: r.reshape(2, -1), "unsqueezed": lambda r: r.unsqueeze(0).flatten(0, 1)}


def firsts(library, result):
    """The tensors of a result."""
    if isinstance(result, library.Tensor):
        return [result]
    if isinstance(result, dict):
        result = list(result.values())
    return [t for part in result for t in firsts(library, part)] if isinstance(result, (list, tuple)) else []


def shared(library, name, sample, place):
    """For each tensor of the result and each way to see it: is a write into that seen in the tensor? None: refused."""
    library.manual_seed(5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            args, kwargs = given(library, sample.args, place), given(library, sample.kwargs, place)
            result = look_up(library, name)(*args, **kwargs)
    except REFUSALS as refusal:
        return refusal
    found = []
    for r in firsts(library, args[0] if result is None else result)[:2]:
        if not r.numel() or r.requires_grad:
            continue
        for how in SEEN.values():
            try:
                y = how(r)
                before = r.flatten()[0].item()
                number = 0 if before == 1 else 1
                y.fill_(number)
            except REFUSALS:
                found.append(None)
                continue
            after = r.flatten()[0].item()
            found.append(after == number)
            if library is facula:  # all of it, or nothing
                wanted = np.full(tuple(r.shape), number, r.numpy().dtype)
                assert np.array_equal(y.numpy(), wanted.reshape(y.shape)), (name, sample)
                assert after == number and np.array_equal(r.numpy(), wanted) or after == before or before != before
    return found


# One of each way in which results come to lie: whether a write is seen follows from strides, which the sweep above
# compares for all operations.
WRITTEN = """add relu where lerp clone softmax cumsum sort flip index_fill gather tril cat stack matmul addmm sum mean
    amax masked_fill select_scatter permute expand roll conv1d conv2d nn.functional.max_pool2d nn.functional.avg_pool2d
    nn.functional.batch_norm nn.functional.group_norm nn.functional.layer_norm nn.functional.interpolate
    nn.functional.pad linalg.inv linalg.qr linalg.solve linalg.svd linalg.cholesky rand_like zeros_like
    empty_like""".split()


@pytest.mark.parametrize("name", [name for name in WRITTEN if name in OPERATIONS])
def test_writes_into_what_results_are_seen_as(name, oracle):
    for place in ("turned", "channels_last"):
        if (name, place) in NOT_COMPARED or (name, "*") in NOT_COMPARED:
            continue
        for sample in SAMPLES[name][:2]:
            call = name, sample, PLACES[place]
            theirs = oracle(lambda torch, call=call: shared(torch, *call), "shared", place, sample.args, sample.kwargs)
            if not isinstance(theirs, Exception):
                assert shared(facula, *call) == theirs, f"{name}{sample} {place}"


def test_rules_are_for_operations():
    """A rule under a name that no operation has would be none."""
    facula.dropout, facula.nn.functional.relu  # noqa: B018  (what is defined when first asked for)
    assert not RULES.keys() - {operation.name for operation in operations()}


# ---- images ------------------------------------------------------------------------------------

SHAPES = (2, 4, 6, 6), (2, 4, 3, 6, 5), (1, 4, 6, 6)


def images(library):
    """(name, images in every layout): as they are, channels last, two dimensions exchanged, gaps."""
    for shape in SHAPES:
        n = len(shape)
        array = (np.arange(np.prod(shape), dtype=np.float32) % 7).reshape(shape) / 7
        last = (0, *range(2, n), 1)
        turns = {"channels_last": last, "batch": (1, 0, *range(2, n)),
                 "last": (*range(n - 2), n - 1, n - 2)}
        yield "plain", library.from_numpy(array.copy())
        for name, order in turns.items():
            back = tuple(np.argsort(order).tolist())
            memory = np.array(array.transpose(order), order="C").reshape([shape[d] for d in order])
            yield name, library.from_numpy(memory).permute(back)
        yield "gaps", library.from_numpy(np.repeat(array, 2, -1))[..., ::2]


def of_images(n):
    """What networks do with images of `n` dimensions of positions: (name, f(library, x))."""
    def named(name):
        return lambda L: getattr(L.nn.functional, f"{name}{n}d")

    def ones(L, *shape):
        return L.ones(*shape)
    window = (2,) * n
    around = (1, 1) * n
    line = "bilinear" if n == 2 else "trilinear"
    return {
        "convolution": lambda L, x: named("conv")(L)(x, ones(L, 3, 4, *window), ones(L, 3)),
        "transposed": lambda L, x: named("conv_transpose")(L)(x, ones(L, 4, 3, *window)),
        # (Of three dimensions torch decides by the number of threads.)
        "grouped": lambda L, x: L.nn.functional.conv2d(x, ones(L, 4, 1, 1, 1), groups=4),
        "weight": lambda L, x: named("conv")(L)(ones(L, *x.shape), x[(..., *(slice(0, 2),) * n)] * 1),
        "max_pool": lambda L, x: named("max_pool")(L)(x, 2),
        "avg_pool": lambda L, x: named("avg_pool")(L)(x, 2),
        "adaptive_avg": lambda L, x: named("adaptive_avg_pool")(L)(x, 2),
        "adaptive_max": lambda L, x: named("adaptive_max_pool")(L)(x, 2),
        "batch_norm": lambda L, x: L.nn.functional.batch_norm(x, L.zeros(4), L.ones(4)),
        "group_norm": lambda L, x: L.nn.functional.group_norm(x, 2),
        "instance_norm": lambda L, x: L.nn.functional.instance_norm(x),
        "layer_norm": lambda L, x: L.nn.functional.layer_norm(x, x.shape[1:]),
        "nearest": lambda L, x: L.nn.functional.interpolate(x, scale_factor=2),
        "linear": lambda L, x: L.nn.functional.interpolate(x, scale_factor=2, mode=line),
        "pad": lambda L, x: L.nn.functional.pad(x, around),
        "crop": lambda L, x: L.nn.functional.pad(x, (-1, -1)),
        "reflect": lambda L, x: L.nn.functional.pad(x, around, mode="reflect"),
        "replicate": lambda L, x: L.nn.functional.pad(x, around, mode="replicate"),
        "circular": lambda L, x: L.nn.functional.pad(x, around, mode="circular"),
        "dropout": lambda L, x: L.nn.functional.dropout(x, 0.5),
        "channels dropped": lambda L, x: named("dropout")(L)(x, 0.5),
        "prelu": lambda L, x: L.nn.functional.prelu(x, ones(L, 4)),
        "glu": lambda L, x: L.nn.functional.glu(x, 1),
        "softmax": lambda L, x: x.softmax(1),
        "cat": lambda L, x: L.cat([x, x], 1),
        "cat with plain": lambda L, x: L.cat([x, x.contiguous()], 1),
        "shuffle": lambda L, x: L.nn.functional.channel_shuffle(x, 2),
        "scaled": lambda L, x: x * ones(L, 4, *(1,) * n) + 1,
        "bias": lambda L, x: ones(L, x.shape[-1]) + x,
        "relu": lambda L, x: x.relu(),
        "expanded": lambda L, x: x.mean(1, True).expand(x.shape) * x,
        "sum": lambda L, x: x.sum(1, True),
        "max": lambda L, x: x.max(1)[0],
        "mask": lambda L, x: x.masked_fill(x > 0.5, 0.0),
        "where": lambda L, x: L.where(x > 0.5, x, 0.0),
        "index": lambda L, x: x[[0, 0]],
        "index of channels": lambda L, x: x[:, [0, 2]],
        "two indices": lambda L, x: x[[0, 0], :, [1, 2]],
        "index_select": lambda L, x: x.index_select(1, L.tensor([0, 2])),
        "sort": lambda L, x: x.sort(1),
        "flip": lambda L, x: x.flip(1),
        "roll": lambda L, x: x.roll(1, 1),
        "einsum": lambda L, x: L.einsum("bc...,bd...->bcd...", x, x),
        "product": lambda L, x: x @ x.transpose(-1, -2),
        "half and back": lambda L, x: x.half().float(),
        "out": lambda L, x: L.add(x, x, out=L.empty(0)),
        "like": lambda L, x: [L.rand_like(x), L.full_like(x, 2.0), L.zeros_like(x).add_(1)],
        "clone": lambda L, x: [x.clone(), x.contiguous(), x.detach().clone()],
        "flatten": lambda L, x: [x.flatten(1), x.reshape(x.shape[0], -1), x.ravel()],
        "in place": lambda L, x: x.clone().mul_(2).relu_(),
    }


@pytest.mark.parametrize("name", list(of_images(2)))
def test_images(name, oracle):
    def run(library):
        found = []
        for _, x in images(library):
            try:
                found.append(geometry(library, of_images(x.dim() - 2)[name](library, x)))
            except REFUSALS:
                found.append(None)
        return found
    theirs = oracle(run)
    for (place, x), ours, expected in zip(images(facula), run(facula), theirs, strict=True):
        assert ours == expected, f"{place} {x.shape}: {ours}, not {expected}"


# ---- what shares memory, and what does not -----------------------------------------------------

@pytest.mark.parametrize("step", [
    "reshape(-1)", "flatten()", "contiguous()", "ravel()", "view_as(x)", "reshape(x.shape)",
    "to(memory_format=L.contiguous_format)", "t().reshape(-1)", "t().flatten()", "t().contiguous()",
    "mT.ravel()", "clone()", "expand(x.shape)", "squeeze()", "t().t().reshape(-1)"])
@pytest.mark.parametrize("make", ["x * 2", "x.t() * 2", "x.t().square() + x.t()", "x.t().clone()",
                                  "L.zeros_like(x.t())", "x.t().double().float()"])
def test_copies_are_copies(make, step, oracle):
    """A write to what comes out is seen in the tensor if, and only if, torch's is a view of it."""
    def run(L):
        x = L.arange(6.0).reshape(2, 3)
        x = eval(make, {"L": L, "x": x})
        y = eval(f"x.{step}", {"L": L, "x": x})
        y.add_(100)
        return [x.tolist(), y.tolist(), *geometry(L, [x, y])]
    assert run(facula) == oracle(run)


def test_gradients_lie_as_their_leaves(oracle):
    def run(L):
        found = []
        for turn in (lambda t: t, lambda t: t.t(), lambda t: t[:, ::2], lambda t: t[:1].expand(4, 4)):
            x = turn(L.arange(16.0).reshape(4, 4) / 10).requires_grad_()
            for _ in range(3):  # the third time it is a replay
                (x * x).exp().sum().backward()
                found.append([list(x.grad.stride()), [round(v, 2) for v in x.grad[0].tolist()]])
            x.grad = None
            (x * 2).t().contiguous().sum().backward()
            found.append(list(x.grad.stride()))
        return found
    assert run(facula) == oracle(run)


def test_writes_under_autograd_to_views_of_turned_bases(oracle):
    def run(L):
        x = (L.arange(12.0).reshape(3, 4) / 10).t().requires_grad_()
        y = (x * x).exp() * x
        y[1].mul_(3)
        y.t()[0].copy_(x.detach()[:, 1])
        y.t().reshape(-1)[2:5].add_(y.detach().t().reshape(-1)[:3].clone())
        (y * L.arange(12.0).reshape(4, 3)).sum().backward()
        return [[round(v, 3) for v in row] for row in [*y.tolist(), *x.grad.tolist()]]
    assert run(facula) == oracle(run)
