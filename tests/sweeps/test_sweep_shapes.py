"""Every operation on empty tensors, on 0-d ones, and on tensors whose elements do not lie one after
another."""

import numpy as np
import pytest

import facula
from facula.testing.samples import SAMPLES
from sweep import OPERATIONS, ask, assert_same, changed, expanded, expected, single, tensors_of

# ---- empty, 0-d: answers and refusals as PyTorch's ---------------------------------------------


def without_rows(array):
    return array[:0] if array.ndim else array


def without_columns(array):
    return array[..., :0] if array.ndim else array


def as_number(array):
    return np.asarray(array.reshape(-1)[0])


# torch.cholesky gives back what is not square if it is empty; it is an error to linalg.cholesky,
# and here. `resize_` that grows: memory that nobody has filled. The others PyTorch refuses by
# accident of how it computes them, or answers (the pools, batch norm) though it has no elements to
# average, or takes back statistics of no channels.
NOT_COMPARED = {
    "cholesky",
    "Tensor.resize_",
    "norm_except_dim",
    "index_put",
    "fft.fftshift",
    "fft.ifftshift",
    "adaptive_avg_pool1d",
    "nn.functional.adaptive_avg_pool2d",
    "native_batch_norm",
    # Here PyTorch reads memory that nobody filled (the margin losses of no rows), gives back its
    # input as it is, trips over its own chunks, or does not see that the mask has no rows.
    "nn.functional.multi_margin_loss",
    "nn.functional.multilabel_margin_loss",
    "nn.functional.pixel_unshuffle",
    "nn.functional.embedding_bag",
    "nn.functional.multi_head_attention_forward",
    "nn.functional.scaled_dot_product_attention",
    # These crash there: a number has no dimension to be cut along, an index into nothing no end to be moved to.
    "_chunk_cat",
    "_native_batch_norm_legit",
    "_unsafe_masked_index",
    "_unsafe_masked_index_put_accumulate",
}


@pytest.mark.parametrize("change", [without_rows, without_columns, as_number])
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in NOT_COMPARED])
def test_extreme_shapes(name, change, oracle):
    for sample in SAMPLES[name]:
        if any(True for _ in tensors_of([sample.args, sample.kwargs])):
            call = name, changed(sample.args, change), changed(sample.kwargs, change), sample.of
            theirs = expected(oracle, *call)
            if "MKL FFT error" not in str(theirs):  # its library refuses to transform nothing
                assert_same(ask(facula, *call), theirs, f"{name}{sample}")


# ---- layouts: the same as of the contiguous tensor ---------------------------------------------


def transposed(library, array):
    """Column-major."""
    turned = single(library, np.ascontiguousarray(array.T))  # from_numpy would keep array.T's strides
    return turned.permute(tuple(reversed(range(array.ndim)))) if array.ndim else single(library, array)


def strided(library, array):
    """Every other element of a larger tensor, from the second on."""
    if not array.ndim:
        return single(library, np.stack([array, array]))[1]
    wide = np.repeat(array, 2, axis=-1)
    wide[..., ::2] = 0
    return single(library, wide)[..., 1::2]


def repeated(array):
    return np.broadcast_to(array[:1], array.shape) if array.ndim else array


# What speaks of the layout itself, or of the storage behind it.
OF_LAYOUT = {
    "Tensor.stride",
    "Tensor.storage_offset",
    "Tensor.is_contiguous",
    "Tensor.dim_order",
    "Tensor.is_set_to",
    "Tensor.view",
    "as_strided",
    "as_strided_copy",
    "as_strided_scatter",
    "view_copy",
    "Tensor.view_as",
    "Tensor.set_",
    "Tensor.resize_",
    "Tensor.resize_as_",
    "view_as_complex",
    "view_as_complex_copy",
}
LAID_OUT = [name for name in OPERATIONS if name not in OF_LAYOUT]
# Chance fills elements in the order of memory: compared with PyTorch, which does so too.
BY_CHANCE = {
    "bernoulli",
    "multinomial",
    "normal",
    "poisson",
    "_standard_gamma",
    "_sample_dirichlet",
    "binomial",
    "rand_like",
    "randn_like",
    "randint_like",
    *(
        f"nn.functional.{n}"
        for n in (
            "alpha_dropout",
            "dropout",
            "dropout1d",
            "dropout2d",
            "dropout3d",
            "feature_alpha_dropout",
            "gumbel_softmax",
            "rrelu",
        )
    ),
    *(
        f"Tensor.{n}_"
        for n in (
            "bernoulli",
            "cauchy",
            "exponential",
            "geometric",
            "log_normal",
            "normal",
            "random",
            "uniform",
        )
    ),
}
WRITES = BY_CHANCE | {name for name in OPERATIONS if name.endswith("_")}
# Statistics that run along, and rows of a table that are too long.
WRITES |= {f"nn.functional.{n}" for n in ("batch_norm", "embedding", "instance_norm")}


@pytest.mark.parametrize("name", [name for name in LAID_OUT if name not in BY_CHANCE])
def test_layouts(name):
    for sample in SAMPLES[name]:
        for place in (transposed, strided):
            call = name, sample.args, sample.kwargs, sample.of
            ours, plain = ask(facula, *call, place=place), ask(facula, *call)
            assert_same(ours, plain, f"{name}{sample} {place.__name__}")


@pytest.mark.parametrize("name", sorted(BY_CHANCE))
def test_layouts_that_chance_fills(name, oracle):
    for sample in SAMPLES[name]:
        for place in (transposed, strided):
            call = name, sample.args, sample.kwargs, sample.of
            ours, theirs = ask(facula, *call, place=place), expected(oracle, *call, place=place)
            assert_same(ours, theirs, f"{name}{sample} {place.__name__}")


@pytest.mark.parametrize("name", [name for name in LAID_OUT if name not in WRITES])
def test_expanded(name):
    for sample in SAMPLES[name]:
        if sample.kwargs.get("inplace"):
            continue  # elements that share memory are not written
        args, kwargs = changed((sample.args, sample.kwargs), repeated)
        assert_same(
            ask(facula, name, sample.args, sample.kwargs, sample.of, place=expanded),
            ask(facula, name, args, kwargs, sample.of),
            f"{name}{sample}",
        )


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.add_(1),
        lambda x: x.copy_(x + 1),
        lambda x: x.uniform_(),
        lambda x: x.__setitem__((slice(None), 2), 5.0),
    ],
    ids=["add_", "copy_", "uniform_", "setitem"],
)
def test_elements_that_share_memory_are_not_written(write):
    x = facula.arange(4.0).expand(3, 4)
    with pytest.raises(
        RuntimeError,
        match="more than one element of the written-to tensor refers to a single memory",
    ):
        write(x)
    assert x[0].tolist() == [0, 1, 2, 3]
