"""DLPack: memory shared with NumPy and torch, both ways, and what cannot be shared said clearly."""

import numpy as np
import pytest

import facula
from facula import dtypes
from facula.utils.dlpack import from_dlpack, to_dlpack
from recorded import torch_or_none

torch = torch_or_none()
needs_torch = pytest.mark.torch
SHARED = [d for d in dtypes.ALL if d is not dtypes.bfloat16]


@pytest.mark.parametrize("dtype", SHARED, ids=lambda d: d.name)
def test_numpy_both_ways(dtype):
    tensor = facula.ones(2, 3, dtype=dtype).t()
    array = np.from_dlpack(tensor)
    assert array.dtype == dtype.numpy and array.shape == (3, 2) and array.strides == (array.itemsize,
                                                                                      array.strides[1])
    array = np.zeros((2, 3), dtype.numpy).T
    again = from_dlpack(array)
    assert again.dtype is dtype and again.stride() == (1, 3)
    array[1, 0] = 1
    assert again[1, 0] == 1  # one memory
    again[2, 1] = 1
    assert array[2, 1] == 1


@needs_torch
def test_torch_both_ways():
    ours = facula.arange(6.0).reshape(2, 3)
    theirs = torch.from_dlpack(ours)
    theirs[0, 0] = 7
    assert ours[0, 0] == 7
    back = facula.from_dlpack(theirs)
    back[1, 1] = 9
    assert ours[1, 1] == 9


class OfTheFirstVersion:
    """Knows DLPack before 1.0, which does not say whether memory may be written."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, stream=None):
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return 1, 0


def test_capsules_and_memory_of_the_first_version_may_be_written(recwarn):
    x = facula.ones(2)
    from_dlpack(to_dlpack(x))[0] = 5
    assert x.tolist() == [5, 1]
    array = np.zeros(2, np.float32)
    from_dlpack(OfTheFirstVersion(array))[1] = 3
    assert array.tolist() == [0, 3]
    assert not recwarn.list


def test_capsules():
    x = facula.ones(2)
    y = from_dlpack(to_dlpack(x))
    y[0] = 5
    assert x[0] == 5
    with pytest.raises(ValueError, match="already a DLPack capsule"):
        from_dlpack(to_dlpack(x), copy=True)


def test_copy():
    array = np.zeros(2, np.float32)
    copied = from_dlpack(array, copy=True)
    array[0] = 1
    assert copied[0] == 0


def test_what_cannot_be_shared():
    with pytest.raises(BufferError, match="require gradient, use tensor.detach"):
        facula.ones(2, requires_grad=True).__dlpack__()
    with pytest.raises(BufferError, match="bfloat16"):
        facula.ones(2, dtype=facula.bfloat16).__dlpack__()
    with pytest.raises(BufferError, match="stream"):
        facula.ones(2).__dlpack__(stream=1)
    with pytest.raises(AttributeError, match="__dlpack__"):
        from_dlpack(3)
    with pytest.raises(AssertionError, match="CUDA"):
        from_dlpack(np.zeros(2), device="cuda")
    assert facula.ones(2).__dlpack_device__() == (1, 0)
    with pytest.raises(RuntimeError, match="uint32"):
        from_dlpack(np.zeros(2, np.uint32))
