"""What a tensor takes along: through pickle its layout and its memory, through `swap_tensors` everything."""

import pickle
import weakref

import pytest

import facula


def through_pickle(x, protocol):
    return pickle.loads(pickle.dumps(x, protocol))


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.t(),
        lambda x: x[:, 1],
        lambda x: x[1:, ::2],
        lambda x: x.expand(2, 3, 4),
        lambda x: x[1:1],
        lambda x: x.reshape(1, 3, 2, 2).to(memory_format=facula.channels_last),
        lambda x: x[2, 3],
        lambda x: x,
        lambda x: x.view(facula.int32)[1],
        lambda x: x.view(facula.int16)[:, ::3],
    ],
)
def test_pickle_keeps_layouts(view, protocol):
    x = view(facula.arange(12.0).reshape(3, 4))
    y = through_pickle(x, protocol)
    assert y.tolist() == x.tolist()
    assert (y.stride(), y.storage_offset(), y.dtype) == (x.stride(), x.storage_offset(), x.dtype)
    assert y.untyped_storage().nbytes() == x.untyped_storage().nbytes()
    if x.numel():
        y.view(-1).zero_() if y.is_contiguous() and 0 not in y.stride() else None
        assert x.sum() != 0 or not y.is_contiguous()


def test_pickle_keeps_what_hangs_on_a_tensor():
    x = facula.nn.Parameter(facula.arange(6.0).reshape(2, 3).t())
    y = through_pickle(x, 5)
    assert type(y) is facula.nn.Parameter
    assert y.requires_grad
    assert y.stride() == (1, 3)
    y.sum().backward()
    assert y.grad.tolist() == [[1, 1], [1, 1], [1, 1]]


def test_swap_tensors():
    a, b = facula.nn.Parameter(facula.ones(2)), facula.zeros(3, dtype=facula.int64)[1:]
    a.note = "here"
    view = a.detach()
    facula.utils.swap_tensors(a, b)
    assert (a.tolist(), a.dtype, a.storage_offset(), a.requires_grad) == ([0, 0], facula.int64, 1, False)
    assert (type(b), b.requires_grad, b.note) == (facula.nn.Parameter, True, "here")
    assert not hasattr(a, "note")
    view[0] = 5
    assert b.tolist() == [5, 1]
    (b * 2).sum().backward()
    assert b.grad.tolist() == [2, 2]
    held = weakref.ref(a)
    with pytest.raises(RuntimeError, match="weakref"):
        facula.utils.swap_tensors(a, b)
    assert held() is a


def test_parameters_replaced_on_conversion():
    layer = facula.nn.Linear(2, 2)
    weight = layer.weight
    assert layer.double().weight is weight
    facula.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        assert layer.float().weight is not weight
        assert layer.weight.dtype is facula.float32
        assert weight.dtype is facula.float64
    finally:
        facula.__future__.set_overwrite_module_params_on_conversion(False)
