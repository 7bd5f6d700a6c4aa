"""Every operation on meta tensors: what it gives on the cpu, without the elements."""

import warnings

import numpy as np
import pytest

import facula
from facula.engine import realize
from facula.testing.samples import SAMPLES, Sample
from sweep import (
    OPERATIONS,
    REFUSALS,
    changed,
    flat,
    given,
    has_out,
    in_place_form,
    is_variable,
    look_up,
    single,
    tensors_of,
)
from test_sweep_gradients import DIFFERENTIABLE
from test_sweep_shapes import as_number, strided, without_columns, without_rows

# What cannot be said without elements. PyTorch refuses each of these, too.
NEEDS_ELEMENTS = {
    "Tensor.__contains__",
    "Tensor.cpu",
    "Tensor.is_nonzero",
    "Tensor.item",
    "Tensor.tolist",
    "allclose",
    "argwhere",
    "bincount",
    "equal",
    "geqrf",
    "histogram",
    "histogramdd",
    "linalg.lstsq",
    "masked_select",
    "nonzero",
    "unique",
    "unique_consecutive",
}
# Of some of its samples only: a mask as the index (of `index_put`, one without dimensions), repeats
# or weights that are tensors, a number of classes that is to be found, `where` with one argument,
# `to("cpu")`.
NEEDS_ELEMENTS_AT_TIMES = {
    "Tensor.__getitem__",
    "Tensor.__setitem__",
    "Tensor.to",
    "cov",
    "index_put",
    "istft",
    "nn.functional.one_hot",
    "repeat_interleave",
    "where",
}
REFUSED = "no data", "item() cannot", "meta tensor"
# Values that only the elements can show to be wrong: indices that are out of bounds, weights that
# add up to nothing.
UNCHECKED = {
    "cov",
    "index_add",
    "index_copy",
    "index_fill",
    "index_reduce",
    "index_select",
    "multinomial",
    "nn.functional.cross_entropy",
    "nn.functional.multi_margin_loss",
    "nn.functional.multilabel_margin_loss",
    "nn.functional.nll_loss",
    "put",
    "take",
    "take_along_dim",
}


def on_meta(library, array):
    return single(library, array).to("meta")


def strided_on_meta(library, array):
    """As `strided` of test_sweep_shapes."""
    if not array.ndim:
        return on_meta(library, np.stack([array, array]))[1]
    return on_meta(library, np.repeat(array, 2, axis=-1))[..., 1::2]


def face(result):
    """What there is to say of a result beside its elements."""
    if isinstance(result, facula.Tensor):
        return tuple(result.shape), result.dtype, result.stride(), result.device
    if isinstance(result, (list, tuple)) and type(result).__name__ != "Size":
        return [face(part) for part in result]
    return None if hasattr(result, "__next__") else result


def on(device, result):
    """The same of a tensor on that device."""
    if isinstance(result, list):
        return [on(device, part) for part in result]
    if isinstance(result, tuple) and result and isinstance(result[-1], facula.device):
        return (*result[:-1], device)
    return result


def answer(name, sample, place):
    """The face of the result, or the exception."""
    facula.manual_seed(5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            args, kwargs = given(facula, (sample.args, sample.kwargs), place)
            result = look_up(facula, name)(*args, **kwargs)
            realize.flush()  # what is wrong with elements is told when they are computed
            return face(args[0] if result is None else result)
    except REFUSALS as refusal:
        return refusal


def assert_meta(ours, expected, name, what):
    """`ours` is `expected`, on the meta device."""
    if isinstance(expected, Exception):
        assert isinstance(ours, Exception) or name in UNCHECKED, f"{what}: {ours}, not {expected!r}"
    elif isinstance(ours, Exception):
        assert name in NEEDS_ELEMENTS | NEEDS_ELEMENTS_AT_TIMES, f"{what}: refused: {ours!r}"
        assert any(why in str(ours) for why in REFUSED), f"{what}: {ours!r}"
    else:
        wanted = on(facula.device("meta"), expected)
        assert ours == wanted, f"{what}: {ours}, not {wanted}"


def with_tensors(name):
    return [s for s in SAMPLES[name] if any(True for _ in tensors_of([s.args, s.kwargs]))]


SWEPT = [name for name in OPERATIONS if with_tensors(name)]


@pytest.mark.parametrize("name", SWEPT)
def test_results_are_meta(name):
    for sample in with_tensors(name):
        assert_meta(
            answer(name, sample, on_meta), answer(name, sample, single), name, f"{name}{sample}"
        )


@pytest.mark.parametrize("name", SWEPT)
def test_results_of_views_are_meta(name):
    for sample in with_tensors(name):
        assert_meta(
            answer(name, sample, strided_on_meta),
            answer(name, sample, strided),
            name,
            f"{name}{sample}",
        )


@pytest.mark.parametrize("change", [without_rows, without_columns, as_number])
@pytest.mark.parametrize("name", SWEPT)
def test_extreme_shapes_are_meta(name, change):
    for sample in with_tensors(name):
        extreme = Sample(changed(sample.args, change), changed(sample.kwargs, change))
        assert_meta(
            answer(name, extreme, on_meta), answer(name, extreme, single), name, f"{name}{extreme}"
        )


@pytest.mark.parametrize("name", sorted(NEEDS_ELEMENTS))
def test_what_needs_elements_refuses(name):
    for sample in with_tensors(name):
        assert isinstance(answer(name, sample, on_meta), Exception), f"{name}{sample}"


@pytest.mark.parametrize("name", [name for name in SWEPT if in_place_form(name)])
def test_in_place_forms_stay_meta(name):
    form = in_place_form(name)
    for sample in with_tensors(name):
        if isinstance(sample.args[0], np.ndarray):
            assert_meta(
                answer(form, sample, on_meta), answer(form, sample, single), name, f"{form}{sample}"
            )


@pytest.mark.parametrize("name", [name for name in SWEPT if has_out(name)])
def test_out_forms(name):
    for sample in with_tensors(name):
        plain = answer(name, sample, on_meta)
        if isinstance(plain, Exception):
            continue
        several = isinstance(plain, list)

        def written(device, place, plain=plain, several=several, sample=sample):
            outs = tuple(
                facula.empty(shape, dtype=dtype, device=device)
                for shape, dtype, *_ in (plain if several else [plain])
            )
            kwargs = {**sample.kwargs, "out": outs if several else outs[0]}
            return answer(name, Sample(sample.args, kwargs), place)

        ours = written("meta", on_meta)
        assert [part[:2] for part in (ours if several else [ours])] == [
            part[:2] for part in (plain if several else [plain])
        ]
        assert all(part[3].type == "meta" for part in (ours if several else [ours]))
        assert isinstance(written("cpu", on_meta), RuntimeError), f"{name}{sample}"
        assert isinstance(written("meta", single), RuntimeError), f"{name}{sample}"


def gradients(name, sample, device):
    """The faces of the first gradients, and of the second ones."""
    leaves = []

    def place(library, array):
        t = library.from_numpy(array.copy()).to(device)
        if is_variable(array):
            leaves.append(t.requires_grad_())
        return t

    def grads(outs, **options):
        seeds = [facula.ones_like(o) for o in outs]
        return facula.autograd.grad(outs, leaves, seeds, allow_unused=True, **options)

    facula.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args, kwargs = given(facula, (sample.args, sample.kwargs), place)
        outs = [o for o in flat(look_up(facula, name)(*args, **kwargs)) if o.requires_grad]
        if not outs or not leaves:
            return None
        first = grads(outs, create_graph=True)
        again = [g.abs() for g in first if g is not None and g.requires_grad]
        return face(first), face(grads(again)) if again else None


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_meta(name):
    for sample in SAMPLES[name]:
        if not sample.gradient:
            continue
        expected = gradients(name, sample, "cpu")
        if expected is None:
            continue
        try:
            ours = gradients(name, sample, "meta")
        except REFUSALS as refusal:
            ours = refusal
        if isinstance(ours, Exception):
            assert_meta(ours, None, name, f"{name}{sample}")
        else:
            ours, expected = list(ours), on(facula.device("meta"), list(expected))
            assert ours == expected, f"{name}{sample}: {ours}, not {expected}"


# They make tensors out of what they are given, where the default device says.
MAKES = {"as_tensor", "asarray"}


@pytest.mark.parametrize("name", [name for name in SWEPT if name not in MAKES])
def test_the_default_device_is_for_factories_alone(name):
    """What an operation makes on its way is where its tensors are."""
    for sample in with_tensors(name):
        made = list(tensors_in(given(facula, (sample.args, sample.kwargs), single)))

        def kept(library, array, made=made):
            return made.pop(0)

        expected = answer(name, sample, single)
        with facula.device("meta"):
            ours = answer(name, sample, kept)
        if isinstance(expected, Exception):
            assert isinstance(ours, Exception), f"{name}{sample}: {ours}"
        else:
            assert ours == expected, f"{name}{sample}: {ours}, not {expected}"


def tensors_in(value):
    if isinstance(value, facula.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
