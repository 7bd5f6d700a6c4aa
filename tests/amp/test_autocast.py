"""autocast: its regions and settings, gradients, kept casts, forms, custom functions, checkpoints, other threads."""

import contextlib
import functools
import importlib
import threading
import warnings
import weakref

import numpy as np
import pytest

import children
import docstrings
import facula
from facula.amp import autocast_mode, switches
from facula.ops import autocasting, listening
from nn_oracle import error_of
from recorded import snapshot

# What five roundings to bfloat16 may make of a number, which has eight bits there.
ROUNDED = 5 * 2.0**-8


def named(library, *values):
    return [str(v).replace("facula.", "torch.") if isinstance(v, library.dtype) else v for v in values]


def grid(library, *shape):
    return (library.arange(float(np.prod(shape))).reshape(shape) / 7 - 0.3)


def assert_computed_in_float32(w):
    """The gradient of `(w @ w).sum()` has been, though autocast was on when it was asked for."""
    np.testing.assert_allclose(w.grad.numpy(), (w.detach().sum(1) + w.detach().sum(0)[:, None]).numpy(), rtol=1e-6)


def agree(oracle, run, *arguments):
    ours, theirs = oracle.both(run, *arguments)
    assert ours == theirs
    return ours


# ---- regions and settings --------------------------------------------------------------------------------------

def test_regions(oracle):
    def run(library):
        a, b = grid(library, 3, 4), grid(library, 4, 3)
        told = []

        def tell():
            told.append(named(library, (a @ b).dtype, library.is_autocast_enabled("cpu"),
                              library.get_autocast_dtype("cpu"), library.is_autocast_cache_enabled()))
        tell()
        with library.autocast("cpu") as entered:
            told.append(type(entered).__name__)
            tell()
            with library.autocast("cpu", dtype=library.float16, cache_enabled=False):
                tell()
                with library.autocast("cpu", enabled=False):
                    tell()
                    with library.autocast("cpu:0"):
                        tell()
                tell()
            with contextlib.suppress(KeyError), library.autocast("cpu", library.float16):
                raise KeyError
            tell()
        tell()

        @library.autocast("cpu")
        def decorated(x, y):
            return x @ y

        told += named(library, decorated(a, b).dtype, decorated.__name__, (a @ b).dtype)
        return told

    agree(oracle, run)


def test_a_region_that_is_entered_twice_is_left_twice():
    region, x = facula.autocast("cpu"), facula.ones(2, 2)  # PyTorch would leave it once
    with region:
        with region:
            assert (x @ x).dtype is facula.bfloat16
        assert (x @ x).dtype is facula.bfloat16
    assert (x @ x).dtype is facula.float32 and not facula.is_autocast_enabled("cpu")


def test_settings(oracle):
    def run(library):
        a = grid(library, 3, 3)
        told = []
        library.set_autocast_enabled("cpu", True)
        try:
            told.append((a @ a).dtype)
            library.set_autocast_dtype("cpu", library.float16)
            told += [(a @ a).dtype, library.is_autocast_enabled("cpu"), library.is_autocast_enabled()]
        finally:
            library.set_autocast_enabled("cpu", False)
            library.set_autocast_dtype("cpu", library.bfloat16)
        told += [(a @ a).dtype, library.autocast_increment_nesting(), library.autocast_decrement_nesting()]
        library.set_autocast_cache_enabled(False)
        told.append(library.is_autocast_cache_enabled())
        library.set_autocast_cache_enabled(True)
        library.set_autocast_enabled(True)
        told += [library.is_autocast_enabled(), library.is_autocast_enabled("cuda"), library.is_autocast_enabled("cpu")]
        library.set_autocast_enabled(False)
        told += [library.get_autocast_dtype(kind) for kind in ("cpu", "cuda", "xpu", "mps", "hpu", "xla")]
        told += [library.amp.is_autocast_available(kind) for kind in ("cpu", "cuda", "xpu", "meta", "vulkan")]
        return named(library, *told)

    agree(oracle, run)


def test_older_names_and_what_is_switched_off_warn(oracle):
    def run(library):
        told = []
        for make in (
                lambda: library.cpu.amp.autocast(), lambda: library.cuda.amp.autocast(),
                lambda: library.autocast("cuda"), lambda: library.autocast("cuda", enabled=False),
                lambda: library.autocast("cpu", dtype=library.float32),
                lambda: library.autocast("cpu", dtype=library.float32, enabled=False),
                lambda: library.autocast("xpu"), lambda: library.autocast("xpu", dtype=library.float64),
                lambda: library.cuda.amp.custom_fwd(len) and library.autocast("cpu"),
                lambda: library.cuda.amp.custom_bwd(len) and library.autocast("cpu")):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                made = make()
            told.append((*named(library, made.fast_dtype, made.device, made._enabled, made._cache_enabled),
                         [(type(w.message).__name__, str(w.message)) for w in caught]))
        for name in ("is_autocast_cpu_enabled", "get_autocast_cpu_dtype", "get_autocast_gpu_dtype",
                     "is_autocast_xla_enabled", "get_autocast_ipu_dtype"):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                told += named(library, getattr(library, name)())
            told += [(type(w.message).__name__, str(w.message).partition(" (Triggered")[0]) for w in caught]
        return told

    agree(oracle, run)


def test_refusals(oracle):
    def run(library):
        calls = (lambda: library.autocast(3), lambda: library.autocast(None), lambda: library.autocast(),
                 lambda: library.autocast("nothing"), lambda: library.is_autocast_enabled(3),
                 lambda: library.set_autocast_enabled("cpu"), lambda: library.set_autocast_enabled("cpu", 1),
                 lambda: library.set_autocast_enabled("nothing", True), lambda: library.set_autocast_dtype("cpu", 1),
                 lambda: library.is_autocast_enabled(library.device("cpu")),
                 lambda: library.amp.custom_fwd(device_type=3), lambda: library.amp.custom_fwd(),
                 lambda: library.amp.custom_bwd(device_type=None), lambda: library.amp.is_autocast_available("nothing"))
        return [error_of(call)[0] for call in calls]

    agree(oracle, run)
    for kind in ("meta", "vulkan"):
        with pytest.raises(RuntimeError, match=f"unsupported autocast device_type '{kind}'"):
            facula.autocast(kind)


@pytest.mark.processes  # of its own: a class with an answer, of another test, listens as long as it lives
def test_nothing_is_on_the_way_outside():
    children.printed("""
        import facula
        from facula.ops import listening

        form = facula.nn.functional.linear
        code = form.__code__
        with facula.autocast("cpu", enabled=False), facula.autocast("xpu"):
            assert form.__code__ is code
        with facula.autocast("cpu"):
            assert form.__code__ is not code
            with facula.autocast("cpu", enabled=False):
                assert form.__code__ is code
        assert form.__code__ is code and listening.state.cast is None
    """)


def test_other_threads_are_left_alone():
    x, found = facula.ones(2, 2), []

    def run(kind):
        with facula.autocast("cpu", dtype=kind) if kind else contextlib.nullcontext():
            found.append(((x @ x).dtype, facula.is_autocast_enabled("cpu")))

    with facula.autocast("cpu"):
        for kind in (None, facula.float16):
            thread = threading.Thread(target=run, args=(kind,))
            thread.start()
            thread.join()
        assert (x @ x).dtype is facula.bfloat16
    assert found == [(facula.float32, False), (facula.float16, True)]


def dtype_or_error(call):
    try:
        return str(call().dtype).rpartition(".")[2]
    except RuntimeError as error:
        return type(error).__name__


# ---- which forms, and which tensors ------------------------------------------------------------------------------

def test_forms(oracle):
    def run(library):
        a, b, ones = grid(library, 3, 4), grid(library, 4, 3), library.ones(3, 3)
        half = a.bfloat16()
        calls = (lambda: a @ b, lambda: a.__matmul__(b), lambda: a.matmul(b), lambda: library.matmul(a, other=b),
                 lambda: a.double() @ b.double(), lambda: a.long() @ b.long(), lambda: (a + 0j) @ (b + 0j),
                 lambda: a.double() @ b, lambda: a.long() @ b, lambda: library.mm(a, b, out=ones.clone()),
                 lambda: library.matmul(a, b, out=ones.clone()), lambda: ones.clone().addmm_(a, b),
                 lambda: ones.bfloat16().addmm_(a, b), lambda: library.addmm(ones.double(), a, b),
                 lambda: library.stack([a, half]), lambda: library.cat([a, half]), lambda: library.cat([half, half]),
                 lambda: library.cat([a.double(), half]), lambda: library.cat([a.long(), half]),
                 lambda: library.cat([a, half], out=library.zeros(6, 4)), lambda: library.hstack([a, half]),
                 lambda: a.index_copy(0, library.tensor([0]), half[:1]),
                 lambda: a.clone().index_copy_(0, library.tensor([0]), half[:1]),
                 lambda: half.prod(), lambda: half.prod(dtype=library.bfloat16), lambda: library.prod(half, 0),
                 lambda: library.einsum("ij,jk", a, half.t()), lambda: library.einsum("i,i->i", a[0], half[0]),
                 lambda: library.einsum("i,j->ij", a[0], a[0]), lambda: library.einsum("ij->i", a),
                 lambda: library.einsum("ij,jk", a, b.double()), lambda: library.tensordot(a, b, 1),
                 lambda: library.tensordot(a, a, 2), lambda: library.inner(a, half), lambda: library.inner(a, a),
                 lambda: a.mv(b[:, 0]), lambda: a[0].dot(a[0]), lambda: a[0] @ a[0], lambda: library.outer(a[0], a[0]),
                 lambda: library.cdist(half, half), lambda: library.linalg.norm(half), lambda: half.cumsum(0),
                 lambda: half.softmax(0), lambda: a.to("meta") @ b.to("meta"))
        with library.autocast("cpu"):
            return [dtype_or_error(call) for call in calls]

    agree(oracle, run)


def test_a_pair_of_16_bit_types_is_joined_in_float32():
    x = facula.ones(2)  # PyTorch refuses what is not of its dtype
    with facula.autocast("cpu"):
        assert facula.cat([x.half(), x.bfloat16()]).dtype is facula.float32
        assert facula.stack([x.half(), x.half()]).dtype is facula.float16


def test_pads_and_pools(oracle):
    def run(library):
        pad, found = library.nn.functional.pad, []
        with library.autocast("cpu"):
            for mode in ("reflect", "replicate", "circular", "constant"):
                for shape, amounts in (((1, 2, 3), 2), ((1, 3, 3), 4), ((1, 1, 3, 3, 3), 6)):
                    x = library.ones(shape, dtype=library.bfloat16)
                    found.append(pad(x, (1,) * amounts, mode=mode).dtype)
            x = library.ones(1, 1, 4, 4, 4, dtype=library.bfloat16)
            F = library.nn.functional
            found += [F.max_pool3d(x, 2).dtype, F.max_pool3d(x, 2, return_indices=True)[0].dtype,
                      F.adaptive_max_pool3d(x, 2, True)[0].dtype, F.max_pool2d(x[0], 2).dtype]
            y = x[0, 0, 0]
            found += [f(y, y, weight=y).dtype for f in (F.mse_loss, F.l1_loss, F.huber_loss)]
        return named(library, *found)

    agree(oracle, run)


# ---- gradients -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("inside", [False, True])
def test_gradients_have_the_type_of_the_leaf(oracle, inside):
    def run(library):
        a, w = grid(library, 3, 4).requires_grad_(), grid(library, 4, 3).requires_grad_()
        seen = []

        class Product(library.autograd.Function):
            @staticmethod
            def forward(ctx, x, y):
                ctx.save_for_backward(x, y)
                return x @ y

            @staticmethod
            def backward(ctx, g):
                x, y = ctx.saved_tensors
                seen.extend(((y @ y.t()).dtype, library.is_autocast_enabled("cpu")))
                return g @ y.t().to(g.dtype), x.t().to(g.dtype) @ g

        with library.autocast("cpu"):
            out = Product.apply(a @ w, w.t() * 1)
            out.register_hook(lambda g: seen.append((w @ w.t()).dtype))
            loss = out.float().square().mean()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        return named(library, *seen, out.dtype), a.grad, w.grad

    ours, theirs = oracle.both(run)
    assert ours[0] == theirs[0]
    for (kind, got), (_, wanted) in zip(ours[1:], theirs[1:], strict=True):
        assert kind == "float32"
        np.testing.assert_allclose(got, wanted, rtol=ROUNDED, atol=ROUNDED * np.abs(wanted).max())


def test_what_was_computed_in_float32_has_exact_gradients_wherever_they_are_asked_for():
    w = grid(facula, 3, 3).requires_grad_()
    with facula.autocast("cpu"):  # PyTorch computes the gradient's products in bfloat16
        with facula.autocast("cpu", enabled=False):
            loss = (w @ w).sum()
        loss.backward()
    assert_computed_in_float32(w)


def test_a_parameter_is_converted_once_in_a_region(oracle):
    def run(library):
        a, w, told = grid(library, 3, 4), grid(library, 4, 3).requires_grad_(), []

        def place(y):
            return y.grad_fn.next_functions[1][0]

        with library.autocast("cpu"):
            first = place(a @ w)
            told += [first.name(), place(a @ w) is first]
            with library.autocast("cpu"):
                told.append(place(a @ w) is first)
            v = w * 1
            told.append(place(a @ v) is place(a @ v))
            library.clear_autocast_cache()
            told.append(place(a @ w) is first)
        with library.autocast("cpu", cache_enabled=False):
            told.append(place(a @ w) is place(a @ w))
        sums = []
        for keeps in (True, False):
            w.grad = None
            with library.autocast("cpu", cache_enabled=keeps):
                loss = (a @ w).sum() * 0.37 + ((a @ w) ** 2).sum()
            loss.backward()
            sums.append(w.grad.clone())
        with library.autocast("cpu"):
            with library.no_grad():
                told.append((a @ w).requires_grad)
            told.append((a @ w).requires_grad)
        return told, *sums

    ours, theirs = oracle.both(run)
    assert ours[0] == theirs[0]
    for got, wanted in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(got[1], wanted[1], rtol=ROUNDED / 2)
    assert (ours[1][1] != ours[2][1]).any()  # rounded once, and at each use


class Budget:
    """With what casts are kept in so many bytes."""

    def __init__(self, monkeypatch):
        self.patch = monkeypatch

    def __call__(self, nbytes):
        self.patch.setattr(autocasting, "_MOST", nbytes)
        facula.clear_autocast_cache()


@pytest.fixture
def budget(monkeypatch):
    return Budget(monkeypatch)


def test_what_is_kept_in_a_region_is_bounded_in_bytes(budget):
    """A program that makes leaf after leaf within one region: a float32 and a bfloat16 of each is kept alive."""
    budget(10 * 12 * 6)
    a, leaves = grid(facula, 3, 4), []
    with facula.autocast("cpu"):
        steady = facula.nn.Parameter(grid(facula, 4, 3))
        place = (a @ steady).grad_fn.next_functions[1][0]
        for _ in range(40):
            leaf = facula.nn.Parameter(grid(facula, 4, 3))
            leaves.append(weakref.ref(leaf))
            a @ leaf
            assert (a @ steady).grad_fn.next_functions[1][0] is place  # what is used again stays
            kept = autocasting.thread.kept
            assert kept.held <= kept.most + 200 and len(kept) <= 10
        del leaf, kept
        alive = sum(ref() is not None for ref in leaves)
        assert 1 <= alive < 10
    assert autocasting.thread.kept is None and all(ref() is None for ref in leaves)


def test_results_are_the_same_where_nothing_is_kept(budget):
    def run():
        facula.manual_seed(0)
        net = facula.nn.Sequential(facula.nn.Linear(4, 8), facula.nn.Tanh(), facula.nn.Linear(8, 2))
        with facula.autocast("cpu"):
            out = net(grid(facula, 3, 4))
            again = net(grid(facula, 3, 4))
            told = len(autocasting.thread.kept)
        out.float().square().sum().backward()
        return told, out.tolist(), again.tolist(), [p.grad.tolist() for p in net.parameters()]

    with_all = run()
    budget(1)
    with_none = run()
    assert (with_all[0], with_none[0]) == (4, 0) and with_all[1:] == with_none[1:]


def test_an_interrupt_on_the_way_out_of_a_region_leaves_nothing_kept(monkeypatch):
    a, w = grid(facula, 3, 4), grid(facula, 4, 3).requires_grad_()

    def comes():
        assert facula.is_autocast_enabled("cpu") is autocasting.thread.listens is False
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), facula.autocast("cpu"):
        a @ w
        assert autocasting.thread.kept
        monkeypatch.setattr(listening, "look_again", comes)
    monkeypatch.undo()
    listening.look_again()
    assert autocasting.thread.kept is None and autocasting.thread.depth == 0


def test_a_parameter_that_is_written_is_converted_anew():
    a, w = grid(facula, 3, 4), facula.nn.Parameter(grid(facula, 4, 3))  # PyTorch goes on with what it was
    optimizer = facula.optim.SGD([w], lr=0.5)
    with facula.autocast("cpu"):
        def fresh():
            return bool(((a @ w) == a.bfloat16() @ w.detach().bfloat16()).all())
        assert fresh()
        with facula.no_grad():
            w.mul_(2)
        assert fresh()
        w.data = w.data + 1
        assert fresh()
        (a @ w).float().sum().backward()
        optimizer.step()
        assert fresh()
        shared = w.detach().numpy()
        shared[0] = 5.0
        assert fresh()


def _other_memory(leaf, k):  # the storage of two before is gone, and this one may be where it was
    leaf.data = facula.full((4, 3), k + 1.0)
    leaf.data = facula.full((4, 3), k + 2.0)


def _looked_at(leaf, k):  # nobody shares its elements: it has no storage any more
    leaf.data = facula.full((4, 3), float(k))
    leaf.sum().item()


@functools.cache
def whole():
    return facula.arange(8.0).repeat_interleave(12)


def _part_of_another(leaf, k):
    leaf.data = whole()[12 * (k % 8):12 * (k % 8) + 12].view(4, 3)


@pytest.mark.parametrize("give", [_other_memory, _looked_at, _part_of_another])
def test_a_parameter_that_is_given_other_memory_is_converted_anew(give):
    a, w = grid(facula, 3, 4), facula.nn.Parameter(grid(facula, 4, 3))
    with facula.autocast("cpu"):
        for k in range(60):
            give(w, k)
            product = a @ w
            assert product.tolist() == (a.bfloat16() @ w.detach().bfloat16()).tolist(), k
            place = product.grad_fn.next_functions[1][0]
            assert (a @ w).grad_fn.next_functions[1][0] is place


def test_second_gradients(oracle):
    def run(library):
        x = grid(library, 3, 3).requires_grad_()
        with library.autocast("cpu"):
            g, = library.autograd.grad((x @ x).sum(), x, create_graph=True)
            (g ** 2).sum().backward()
        return g.detach(), x.grad

    for (kind, got), (wanted_kind, wanted) in zip(*oracle.both(run), strict=True):
        assert kind == wanted_kind == "float32"
        np.testing.assert_allclose(got, wanted, rtol=ROUNDED)


@pytest.mark.parametrize("cast", [None, "float32", "float16"])
def test_custom_functions(oracle, cast):
    def run(library):
        seen = []

        class Product(library.autograd.Function):
            @staticmethod
            @library.amp.custom_fwd(device_type="cpu", cast_inputs=cast and getattr(library, cast))
            def forward(ctx, x, y, *, extra=None):
                ctx.save_for_backward(x, y)
                seen.extend((x.dtype, y.dtype, (x @ y).dtype, library.is_autocast_enabled("cpu"),
                             ctx._fwd_used_autocast, ctx._dtype))
                return x @ y

            @staticmethod
            @library.amp.custom_bwd(device_type="cpu")
            def backward(ctx, g):
                x, y = ctx.saved_tensors
                seen.extend((g.dtype, (y @ y.t()).dtype, library.is_autocast_enabled("cpu")))
                return g @ y.t().to(g.dtype), x.t().to(g.dtype) @ g

        a, w = grid(library, 3, 4).requires_grad_(), grid(library, 4, 3).requires_grad_()
        for region in (library.autocast("cpu"), contextlib.nullcontext()):
            with region:
                y = Product.apply(a, w)
            seen.append(y.dtype)
            y.float().sum().backward()
            seen.append(a.grad.dtype)
        return named(library, *seen)

    agree(oracle, run, cast)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_runs_again_as_it_ran(oracle, reentrant):
    def run(library):
        checkpoint = importlib.import_module(f"{library.__name__}.utils.checkpoint").checkpoint
        a, w, told = grid(library, 3, 4).requires_grad_(), grid(library, 4, 3).requires_grad_(), []

        def part(x):
            y = x @ w
            told.append(named(library, y.dtype, library.is_autocast_enabled("cpu"), library.get_autocast_dtype("cpu"),
                              library.is_autocast_cache_enabled()))
            return y.tanh()

        with library.autocast("cpu", dtype=library.float16, cache_enabled=False):
            loss = checkpoint(part, a, use_reentrant=reentrant).float().sum()
        loss.backward()
        told.append(library.is_autocast_enabled("cpu"))
        found = w.grad.clone()
        if reentrant:  # the other form stops when it has what it needs
            loss = checkpoint(part, a, use_reentrant=reentrant).sum()
            with library.autocast("cpu"):
                loss.backward()
        return told, found

    (told, got), (wanted_told, wanted) = oracle.both(run, reentrant)
    assert [t for t in told if t] == [t for t in wanted_told if t] and got[0] == "float32"
    np.testing.assert_allclose(got[1], wanted[1], rtol=5e-3)  # ten roundings to float16, of eleven bits


def test_transforms_subclasses_and_modes(oracle):
    def run(library):
        x, told = library.ones(2, 3, 3), []

        class Mine(library.Tensor):
            pass

        overrides = importlib.import_module(f"{library.__name__}.overrides")
        seen = []

        class Mode(overrides.TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                seen.extend(str(a.dtype)[-8:] for a in args if isinstance(a, library.Tensor))
                return func(*args, **(kwargs or {}))

        with library.autocast("cpu"):
            told.append(library.func.vmap(lambda y: y @ y)(x).dtype)
            told.append(library.func.grad(lambda y: (y @ y).float().sum())(x[0]).dtype)
            told += [t.dtype for t in library.func.jvp(lambda y: y @ y, (x[0],), (x[1],))]
            mine = x[0].as_subclass(Mine)
            told += [type(mine @ mine).__name__, (mine @ mine).dtype]
            with library.inference_mode():
                told.append((x @ x).dtype)
            first = x[0]
            with Mode():
                y = library.nn.functional.linear(x, first)
        told.append(y.dtype)
        return named(library, *told), seen

    agree(oracle, run)


# ---- a training ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind, scale", [("float16", 2.0**20), ("bfloat16", 2.0**10)])
def test_a_training_with_a_scaler(oracle, kind, scale):
    rng = np.random.default_rng(0)
    shapes = ((16, 6), (16,), (16,), (16,), (3, 16), (3,))
    weights = [rng.standard_normal(shape).astype(np.float32) * 0.3 for shape in shapes]
    data, labels = rng.standard_normal((32, 6)).astype(np.float32), rng.integers(0, 3, 32)

    def run(library):
        nn = library.nn
        net = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3))
        with library.no_grad():
            for p, w in zip(net.parameters(), weights, strict=True):
                p.copy_(library.from_numpy(w.copy()))
        optimizer = library.optim.AdamW(net.parameters(), lr=0.01)
        scaler = library.amp.GradScaler("cpu", init_scale=scale, growth_interval=3)
        x, y, trail = library.from_numpy(data.copy()), library.from_numpy(labels.copy()), []
        for _ in range(8):
            optimizer.zero_grad()
            with library.autocast("cpu", dtype=getattr(library, kind)):
                scores = net(x)
                loss = nn.functional.cross_entropy(scores, y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            trail.append((str(scores.dtype)[-8:], loss.item(), min(norm.item(), 1e9), scaler.get_scale()))
        return trail, [snapshot(library, p) for p in net.parameters()]

    (ours, mine), (theirs, wanted) = run(facula), oracle(run, kind, scale, weights, data, labels)
    for (dtype, loss, norm, now), (a, b, c, d) in zip(ours, theirs, strict=True):
        # A mean and a norm of many numbers that were rounded to eight bits or eleven: these errors cancel in part.
        assert (dtype, now) == (a, d) and abs(loss - b) < 2e-3 and abs(norm - c) < 5e-3
    assert kind == "bfloat16" or theirs[0][2] == 1e9  # a step was left out
    for (dtype, p), (_, w) in zip(mine, wanted, strict=True):
        assert dtype == "float32"
        np.testing.assert_allclose(p, w, atol=5e-3)  # half a step of AdamW's: its size is lr, however small a gradient


def test_parts_of_a_model_in_threads_are_in_the_region_too():
    x, layers = facula.ones(2, 4), [facula.nn.Linear(4, 3) for _ in range(2)]
    with facula.autocast("cpu"):
        inside = facula.nn.parallel.parallel_apply(layers, [x, x])
    outside = facula.nn.parallel.parallel_apply(layers, [x, x])
    assert [y.dtype for y in inside + outside] == [facula.bfloat16] * 2 + [facula.float32] * 2


def test_examples():
    for module in (autocast_mode, switches):
        docstrings.check(module, least=1)


def test_a_backward_pass_of_a_subclass_converts_nothing():
    class Mine(facula.Tensor):
        pass

    w = grid(facula, 3, 3).requires_grad_()
    with facula.autocast("cpu"):
        with facula.autocast("cpu", enabled=False):
            loss = (w.as_subclass(Mine) @ w).sum()
        assert type(loss) is Mine
        loss.backward()
    assert_computed_in_float32(w)
