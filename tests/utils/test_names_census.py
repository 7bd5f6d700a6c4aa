"""Names that programs ask for: recurrent networks, losses, dropout at torch's root, what is kept or removed."""

import importlib
import inspect
import mmap

import pytest

import docstrings
import facula
from facula.ops import listening
from nn_oracle import arrays, close, numbers

# ---- recurrent networks ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("form", ["time first", "batch first", "packed", "without biases"])
def test_recurrent_networks_as_functions(oracle, name, both, form):
    def found(library):
        gates, biased = {"lstm": 4, "gru": 3}.get(name, 1), form != "without biases"
        params = []
        for layer in range(2):
            for _ in range(2 if both else 1):
                wide = 3 if not layer else 8 if both else 4
                shapes = [(4 * gates, wide), (4 * gates, 4), (4 * gates,), (4 * gates,)][:4 if biased else 2]
                params += [numbers(library, *s, by=0.3 + 0.01 * len(params)).requires_grad_() for s in shapes]
        h = numbers(library, 4 if both else 2, 2, 4)
        state = (h, h * 0.5) if name == "lstm" else h
        options = params, biased, 2, 0.0, True, both
        if form == "packed":
            x = numbers(library, 8, 3).requires_grad_()
            results = getattr(library, name)(x, library.tensor([2, 2, 2, 1, 1]), state, *options)
        else:
            first = form == "batch first"
            x = numbers(library, *((2, 5, 3) if first else (5, 2, 3))).requires_grad_()
            results = getattr(library, name)(x, state, *options, first)
        sum((r * r).sum() for r in results).backward()
        return arrays(*results, x.grad, params[0].grad, params[-1].grad)
    close(found(facula), oracle(found, name, both, form))


@pytest.mark.parametrize("name", ["lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"])
@pytest.mark.parametrize("biased", [False, True])
def test_cells_as_functions(oracle, name, biased):
    def found(library):
        rows = 4 * {"lstm_cell": 4, "gru_cell": 3}.get(name, 1)
        weights = [numbers(library, rows, 3, by=0.3), numbers(library, rows, 4, by=0.4)]
        weights += [numbers(library, rows, by=by) for by in (0.5, 0.6)] if biased else []
        h = numbers(library, 2, 4)
        out = getattr(library, name)(numbers(library, 2, 3), (h, h * 0.5) if name == "lstm_cell" else h, *weights)
        return arrays(*(out if isinstance(out, tuple) else (out,)))
    close(found(facula), oracle(found, name, biased))


def test_what_recurrent_functions_refuse():
    x, h, w = facula.ones(5, 2, 3), facula.ones(1, 2, 4), [facula.ones(4, 3), facula.ones(4, 4)]
    for call, error, words in (
            (lambda: facula.rnn_tanh(x, h, w, False, 1), TypeError, "9 arguments"),
            (lambda: facula.rnn_tanh(x, h, w, True, 1, 0.0, False, False, False), RuntimeError, "number of RNN param"),
            (lambda: facula.lstm(x, (h,), w, False, 1, 0.0, False, False, False), RuntimeError, "two hidden states"),
            (lambda: facula.rnn_relu_cell(x[0, :, :2], h[0], *w), RuntimeError, "inconsistent input_size"),
            (lambda: facula.rnn_relu_cell(x[:3, 0], h[0], *w), RuntimeError, "batch size 3"),
            (lambda: facula.rnn_relu_cell(x[0], h[0, :, :2], *w), RuntimeError, "inconsistent hidden_size"),
            (lambda: facula.rnn_relu_cell(x, h[0], *w), RuntimeError, "expected an input")):
        with pytest.raises(error, match=words):
            call()


# ---- losses, dropout, lookups ---------------------------------------------------------------------------------------

LOSSES = {
    "kl_div": lambda t, x, y, s, *r: t.kl_div(x.log_softmax(1), y.softmax(1), *r),
    "cosine_embedding_loss": lambda t, x, y, s, *r: t.cosine_embedding_loss(x, y, s, 0.1, *r),
    "hinge_embedding_loss": lambda t, x, y, s, *r: t.hinge_embedding_loss(x[:, 0], s, 1.0, *r),
    "margin_ranking_loss": lambda t, x, y, s, *r: t.margin_ranking_loss(x[:, 0], y[:, 0], s, 0.2, *r),
    "poisson_nll_loss": lambda t, x, y, s, *r: t.poisson_nll_loss(x, y.abs() * 5, True, True, 1e-8, *(r or [0])),
    "triplet_margin_loss": lambda t, x, y, s, *r: t.triplet_margin_loss(x, y, x * y, 1.0, 2.0, 1e-6, True, *r),
    "binary_cross_entropy_with_logits": lambda t, x, y, s, *r: t.binary_cross_entropy_with_logits(
        x, y.sigmoid(), None, t.tensor([1.0, 2, 3]), *r),
    "ctc_loss": lambda t, x, y, s, *r: t.ctc_loss(numbers(t, 6, 2, 4).log_softmax(2), t.tensor([[1, 2, 3], [2, 2, 1]]),
                                                  [6, 5], [3, 2], 0, *r),
}


@pytest.mark.parametrize("name", list(LOSSES))
def test_losses_take_numbers_for_reductions(oracle, name):
    def found(library):
        x, y = numbers(library, 4, 3), numbers(library, 4, 3, by=0.9)
        sign = library.tensor([1.0, -1, 1, -1], dtype=library.float64)
        return arrays(*[LOSSES[name](library, x, y, sign, *r) for r in ((), (0,), (1,), (2,))])
    close(found(facula), oracle(found, name))


def test_reductions_are_numbers():
    with pytest.raises(TypeError, match="must be int"):
        facula.kl_div(facula.ones(2), facula.ones(2), "mean")
    with pytest.raises(TypeError, match="must be int, not bool"):
        facula.kl_div(facula.ones(2), facula.ones(2), True)


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("padding", [None, 4])
def test_bags_of_embeddings_at_the_root(oracle, mode, padding):
    def found(library):
        more = (False, padding) if padding is not None else ()
        return arrays(*library.embedding_bag(
            numbers(library, 6, 3), library.tensor([1, 2, 4, 5, 4, 3]), library.tensor([0, 2, 2]), False, mode, False,
            None, *more))
    close(found(facula), oracle(found, mode, padding))


def test_other_functions_at_the_root(oracle):
    def found(library):
        w = numbers(library, 6, 3)
        norms = library.embedding_renorm_(w, library.tensor([0, 2]), 0.5, 2.0)
        assert norms is w
        return arrays(
            norms, library.affine_grid_generator(numbers(library, 2, 2, 3), [2, 1, 3, 4], True),
            library.conv_tbc(numbers(library, 5, 2, 3), numbers(library, 3, 3, 4, by=0.3), numbers(library, 4), 1),
            library.slice_copy(w, 0, 1, 5, 2), library.slice_copy(w, 1, -2), *library.native_dropout(w, 0.5, False),
            *library.native_dropout(w, 1.0, True), library.feature_dropout(w, 0.5, False))
    close(found(facula), oracle(found))


def test_dropout_of_values_and_channels():
    x = facula.ones(60, 50)
    out, mask = facula.native_dropout(x, 0.25, True)
    assert mask.dtype is facula.bool and facula.allclose(out, mask / 0.75) and 0.65 < mask.float().mean() < 0.85
    channels = facula.feature_dropout(facula.ones(20, 30, 4), 0.5, True)
    assert (channels == channels[:, :, :1]).all() and set(channels.flatten().tolist()) == {0.0, 2.0}
    for name in ("dropout_", "alpha_dropout_", "feature_dropout_", "feature_alpha_dropout_"):
        y = facula.ones(20, 30, 2)
        assert getattr(facula, name)(y, 0.5, True) is y and len(set(y.flatten().tolist())) == 2
    with pytest.raises(RuntimeError, match="2 dimensions"):
        facula.feature_dropout(facula.ones(3), 0.5, True)
    with pytest.raises(RuntimeError, match="input channels"):
        facula.conv_tbc(facula.ones(5, 2, 3), facula.ones(3, 2, 4), facula.ones(4))


def test_dropout_at_the_root_trains_where_nothing_is_said_and_checks_its_probability():
    x = facula.ones(60, 50)
    assert 0.65 < facula.native_dropout(x, 0.25, None)[1].float().mean() < 0.85
    facula.manual_seed(0)
    facula.native_dropout(x, 0.0, True)  # draws all the same, as in torch
    after = facula.rand(1)
    facula.manual_seed(0)
    assert after != facula.rand(1)
    assert facula.feature_dropout(x, 0.5, False) is x
    for p in (-0.5, 1.5):
        for name in ("dropout_", "alpha_dropout_", "feature_dropout", "feature_dropout_", "feature_alpha_dropout_"):
            with pytest.raises(RuntimeError, match="between 0 and 1"):
                getattr(facula, name)(x.clone(), p, False)


def test_bags_of_embeddings_refuse_and_wrap_what_torch_does():
    w, index, starts = facula.arange(12.0).reshape(6, 2), facula.tensor([0, 1, 5]), facula.tensor([0, 2])
    by_end, by_start = (facula.embedding_bag(w, index, starts, False, 1, False, None, False, k) for k in (-1, 5))
    assert [t.tolist() for t in by_end] == [t.tolist() for t in by_start] and by_end[2].tolist() == [2, 0]
    for mode in (-1, 3):
        with pytest.raises(RuntimeError, match="must be sum, mean, or max"):
            facula.embedding_bag(w, index, starts, False, mode)
    with pytest.raises(RuntimeError, match="-6 through 5"):
        facula.embedding_bag(w, index, starts, False, 1, False, None, False, 6)
    with pytest.raises(RuntimeError, match="leaf"):
        facula.embedding_renorm_(w.requires_grad_(), index, 0.5, 2.0)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_gradients_of_softmax_are_rounded_once(name, dtype):
    of = getattr(facula, dtype)
    x = numbers(facula, 3, 40).requires_grad_()
    grad, out = numbers(facula, 3, 40, by=0.7).to(of), getattr(x, name)(1)
    kept = out.detach().to(of)
    found = getattr(facula, f"_{name}_backward_data")(grad, kept, 1, of)
    g, y = grad.float(), kept.float()
    if of is facula.float64:
        expected, = facula.autograd.grad(out, x, grad)
        return close(arrays(found), arrays(expected))
    exact = (g - (g * y).sum(1, keepdim=True)) * y if name == "softmax" else g - y.exp() * g.sum(1, keepdim=True)
    assert found.dtype is of and facula.equal(found, exact.to(of))


@pytest.mark.parametrize("mode, gates", [("lstm", 4), ("rnn_tanh", 1), ("rnn_relu", 1), ("gru", 3)])
def test_cells_with_one_bias_add_it(mode, gates):
    x, h = numbers(facula, 2, 3), numbers(facula, 2, 4, by=0.7)
    w, bias = (numbers(facula, 4 * gates, 3), numbers(facula, 4 * gates, 4)), numbers(facula, 4 * gates, by=0.3)
    hx, nothing = (h, h) if mode == "lstm" else h, facula.zeros(4 * gates, dtype=facula.float64)
    cell = getattr(facula, f"{mode}_cell")
    for one, both in (((bias,), (bias, nothing)), ((None, bias), (nothing, bias))):
        found, expected = (cell(x, hx, *w, *b) for b in (one, both))
        close(arrays(*(found if mode == "lstm" else [found])), arrays(*(expected if mode == "lstm" else [expected])))


def test_networks_refuse_states_of_other_sizes():
    net, x = facula.nn.GRU(2, 3), facula.ones(4, 2, 2)
    packed = facula.nn.utils.rnn.pack_padded_sequence(x, [4, 2])
    for layers, count in ((1, 1), (2, 2), (1, 3)):
        hx = facula.zeros(layers, count, 3)
        for first in ((x, hx), (packed.data, packed.batch_sizes, hx)):
            options = (net.all_weights[0], True, 1, 0.0, False, False, *[False] * (len(first) == 2))
            with pytest.raises(RuntimeError, match="expected states"):
                facula.gru(*first, *options)


# ---- convolutions' gradients, rearranging, control flow -------------------------------------------------------------

@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_of_convolutions(oracle, dims, groups):
    def found(library):
        grad = importlib.import_module(f"{library.__name__}.nn.grad")
        x, w = numbers(library, 2, 4, *(7, 6, 5)[:dims], by=0.3), numbers(library, 4, 4 // groups, *[3] * dims)
        out = getattr(library.nn.functional, f"conv{dims}d")(x, w, None, 2, 1, 1, groups)
        back = numbers(library, *out.shape, by=0.7).requires_grad_()
        by_input = getattr(grad, f"conv{dims}d_input")(x.shape, w, back, 2, 1, 1, groups)
        by_weight = getattr(grad, f"conv{dims}d_weight")(x, w.shape, back, 2, 1, 1, groups)
        (by_input.square().sum() + by_weight.square().sum()).backward()
        return arrays(by_input, by_weight, back.grad)
    close(found(facula), oracle(found, dims, groups))


PATTERNS = [((2, 3, 4), "a b c -> c (a b)", {}), ((6, 4), "(a b) c -> b a c", {"a": 2}), ((6, 4), "a b -> a b 1", {}),
            ((2, 3, 4), "a ... -> ... a", {}), ((2, 1, 3), "a 1 b -> b a", {}), ((2, 3), "a b -> a () b", {}),
            ((2, 3, 4), "a ... -> (a ...)", {}), ((2, 6, 4), "a (b1 b2) c -> b1 b2 a c", {"b2": 3})]


def test_rearranging(oracle):
    def found(library):
        rearrange = importlib.import_module(f"{library.__name__}.func").rearrange
        results = [rearrange(numbers(library, *shape), pattern, **sizes) for shape, pattern, sizes in PATTERNS]
        return [[list(r.shape), r.tolist()] for r in results]
    assert found(facula) == oracle(found)


def test_an_ellipsis_alone_in_brackets_joins():
    assert facula.func.rearrange(facula.ones(2, 3, 4), "a ... -> a (...)").shape == (2, 12)
    with pytest.raises(ValueError, match="brackets on the left"):
        facula.func.rearrange(facula.ones(2, 3, 4), "a (...) -> a (...)")


@pytest.mark.parametrize("shape, pattern, sizes, words", [
    ((2, 3), "a b c -> a", {}, "only on one side"), ((2, 3), "a b -> a", {}, "only on one side"),
    ((2, 3), "a b", {}, "single '->'"), ((2, 3), "a b c -> c b a", {}, "do not match"),
    ((2, 3), "a (b c) -> a b c", {}, "infer sizes"), ((2, 3), "a (b c) -> a b c", {"c": 2}, "divisible"),
    ((2, 3), "a b -> a b", {"c": 2}, "no dimension"), ((2, 3), "a a -> a a", {}, "unique"),
    ((2, 3), "a 2 -> a 2", {}, "anonymous"), ((2, 3), "a (b -> a b", {}, "balanced"),
    ((2, 3), "a 1 -> a", {}, "have 1"),
    ((2, 3), "a, b -> a b", {}, "Unexpected character")])
def test_patterns_that_do_not_fit(shape, pattern, sizes, words):
    with pytest.raises(ValueError, match=words):
        facula.func.rearrange(facula.ones(shape), pattern, **sizes)


# ---- what was, what is kept, what is said ---------------------------------------------------------------------------

def test_removed_functions_say_what_to_write():
    x = facula.eye(2)
    for name, instead in (("eig", "linalg.eig"), ("lstsq", "linalg.lstsq"), ("solve", "linalg.solve"),
                          ("symeig", "linalg.eigh"), ("matrix_rank", "linalg.matrix_rank")):
        arguments = (x, x) if name in ("lstsq", "solve") else (x,)
        with pytest.raises(RuntimeError, match=f"now removed.*{instead}".replace(".*", "(.|\n)*")):
            getattr(facula, name)(*arguments)
        if name != "matrix_rank":
            with pytest.raises(RuntimeError, match="now removed"):
                getattr(x, name)(*arguments[1:])
    with pytest.raises(RuntimeError, match="torch.distributions"):
        x.reinforce(1)
    with pytest.raises(RuntimeError, match="torch.tensor"):
        facula.autograd.variable(x)


def test_former_methods():
    x = facula.arange(4.0)
    with pytest.warns(UserWarning, match="non-inplace resize is deprecated"):
        assert x.resize(2, 2).tolist() == [[0, 1], [2, 3]] and x.shape == (4,)
    with pytest.warns(UserWarning, match="resize_as"):
        assert x.resize_as(facula.ones(2, 2)).shape == (2, 2)
    for sizes in ((3, 3), (1, 2), (-1,)):
        with pytest.warns(UserWarning, match="resize"), pytest.raises(RuntimeError, match="requested resize to"):
            x.resize(*sizes)
    with pytest.warns(UserWarning, match="resize"):
        assert facula.tensor([[0, 1, 2], [3, 4, 5]]).t().resize(2, 3).tolist() == [[0, 3, 1], [4, 2, 5]]
        assert x.resize(2, 2).data_ptr() == x.data_ptr()
        assert facula.ones(4, requires_grad=True).resize(2, 2).requires_grad
    with pytest.warns(UserWarning, match="volatile"):
        assert x.volatile is False
    y = facula.ones(2, 3)
    assert y.map2_(facula.ones(3), facula.full((2, 1), 2.0), lambda a, b, c: a + b * c) is y
    assert y.tolist() == [[3.0] * 3] * 2 and y.storage_type() is facula.FloatStorage and y.grad_dtype is y.dtype
    with pytest.raises(RuntimeError, match="requires grad"):
        y.requires_grad_().map2_(y, y, max)
    other = facula.zeros(4, dtype=facula.float64)
    taken, written = x.module_load(other.requires_grad_(), assign=True), x.module_load(other.detach())
    assert taken.data_ptr() == other.data_ptr() and not taken.requires_grad
    assert written.data_ptr() == x.data_ptr() and written.dtype is facula.float32 and x.tolist() == [0.0] * 4
    with pytest.raises(RuntimeError, match="leaf"):
        facula.ones(4, requires_grad=True).module_load(x)
    with pytest.raises(RuntimeError, match="parameter type"):
        x.record_stream(None)
    for call, error in ((x.ipu, RuntimeError), (x.mtia, AssertionError)):
        with pytest.raises(error, match="not"):
            call()


def test_facts_kept_by_name():
    assert facula.compiled_with_cxx11_abi() and facula.has_lapack and not facula.has_mkl
    assert not facula.is_vulkan_available() and not facula.is_distributed(1) and not facula.cudnn_is_acceptable(1)
    assert isinstance(facula.per_tensor_affine, facula.qscheme)
    assert repr(facula.per_channel_symmetric) == "torch.per_channel_symmetric"
    assert repr(facula.Tag.core) == "<Tag.core: 0>"
    assert facula.int4.itemsize == 1 and facula.int4.is_signed and not facula.uint4.is_signed
    assert facula.bit is facula.uint1 and issubclass(facula.AcceleratorError, RuntimeError)
    with pytest.raises(NotImplementedError, match="torch.int4"):
        facula.zeros(2, dtype=facula.int4)
    x = numbers(facula, 3, 4).requires_grad_()
    for name in ("softmax", "log_softmax"):
        out, back = getattr(x, name)(1), numbers(facula, 3, 4, by=0.3)
        want, = facula.autograd.grad(out, x, back)
        assert facula.allclose(getattr(facula, f"_{name}_backward_data")(back, out, 1, x.dtype), want)


def test_switches_of_serialization():
    s = facula.serialization
    assert s.get_crc32_options() and s.get_default_load_endianness() is None
    s.set_crc32_options(False)
    assert not s.get_crc32_options()
    s.set_crc32_options(True)
    s.set_default_load_endianness(s.LoadEndianness.LITTLE)
    assert s.get_default_load_endianness() is s.LoadEndianness.LITTLE
    s.set_default_load_endianness(None)
    with s.set_default_mmap_options(mmap.MAP_PRIVATE):
        assert s.get_default_mmap_options() == mmap.MAP_PRIVATE
    for call, error in ((lambda: s.set_default_load_endianness(3), TypeError),
                        (lambda: s.set_default_load_endianness(s.LoadEndianness.BIG), NotImplementedError),
                        (lambda: s.set_default_mmap_options(7), ValueError),
                        (lambda: s.set_default_mmap_options(mmap.MAP_SHARED), NotImplementedError),
                        (lambda: s.skip_data().__enter__(), NotImplementedError)):
        with pytest.raises(error):
            call()


def test_tables_of_overrides_are_the_same_whoever_listens():
    get = facula.overrides.get_testing_overrides
    get.cache_clear()
    try:
        with listening.listening():
            assert list(inspect.signature(get()[facula.positive]).parameters) == ["input"]
    finally:
        get.cache_clear()


def test_tables_of_overrides():
    table, ignored = facula.overrides.get_testing_overrides(), facula.overrides.get_ignored_functions()
    assert facula.sin in table and facula.Tensor.add in table and facula.zeros in ignored and facula.zeros not in table
    assert table[facula.sin](1) == -1 and "input" in inspect.signature(table[facula.sin]).parameters
    with facula.overrides.enable_reentrant_dispatch():
        pass
    with pytest.raises(NotImplementedError, match="redispatch_function"):
        facula.overrides.redispatch_function(1)


def test_names_of_modules():
    nn = facula.nn
    assert nn.attention.SDPBackend and nn.functional.grad is nn.grad and nn.common_types._size_2_t
    assert nn.factory_kwargs({"dtype": None, "device": "cpu"}) == {"dtype": None, "device": "cpu"}
    assert nn.factory_kwargs({"factory_kwargs": {"device": "cpu"}}) == {"device": "cpu"}
    assert nn.factory_kwargs(None) == {}
    for wrong in ({"x": 1}, {"device": 1, "factory_kwargs": {"device": 2}}):
        with pytest.raises(TypeError):
            nn.factory_kwargs(wrong)
    nn.functional.assert_int_or_pair([1, 2], "k", "{} is wrong")
    with pytest.raises(AssertionError, match="k is wrong"):
        nn.functional.assert_int_or_pair([1, 2, 3], "k", "{} is wrong")
    assert nn.functional.has_torch_function is facula.overrides.has_torch_function
    assert facula.jit.Future is facula.futures.Future and issubclass(facula.jit.TracerWarning, Warning)
    assert "architecture" in facula.cpu.get_capabilities() and not facula.backends.kleidiai.is_available()
    assert not facula.backends.miopen.immediate and not facula.backends.cuda.is_ck_sdpa_available()
    assert facula.backends.cuda.SDPAParams(1, 2, 3).key == 2
    assert facula.utils.deterministic.fill_uninitialized_memory
    assert not facula.utils.backcompat.broadcast_warning.enabled
    thing = type("Thing", (), {})
    facula.utils.set_module(thing, "torch.things")
    assert thing.__module__ == "torch.things"


def test_what_transformers_imports():
    from facula.distributed import checkpoint, fsdp, tensor
    from facula.distributed._composable.fsdp import fully_shard
    assert callable(fully_shard) and callable(tensor.distribute_tensor) and callable(checkpoint.save)
    from facula.distributed._functional_collectives import wait_tensor
    x = facula.ones(1)
    assert not isinstance(x, (tensor.DTensor, fsdp.FSDPModule)) and wait_tensor(x) is x
    assert [str(p) for p in (tensor.Shard(1), tensor.Replicate(), tensor.Partial("avg"))] == ["S(1)", "R", "P(avg)"]
    assert tensor.Shard(1) == tensor.Shard(1) and tensor.Shard(1).is_shard() and not tensor.Shard(1).is_shard(0)
    assert tensor.Replicate().is_replicate() and tensor.Partial().is_partial("sum")
    for call in (lambda: checkpoint.hf_storage.HuggingFaceStorageReader("x"),
                 lambda: tensor.placement_types._StridedShard(0),
                 lambda: checkpoint.hf_storage.HuggingFaceStorageWriter()):
        with pytest.raises(NotImplementedError, match="not in Facula yet"):
            call()


@pytest.mark.parametrize("name", [
    "_higher_order_ops", "build_facts", "cpu", "distributed._functional_collectives", "distributed.tensor",
    "distributed.tensor.placement_types", "func.rearranging", "nn", "nn.functional.at_the_root", "nn.grad",
    "nn.recurrent.functions", "override_tables", "removed", "serialization.options", "_tensor.former_methods"])
def test_examples(name):
    docstrings.check(importlib.import_module(f"facula.{name}"))
