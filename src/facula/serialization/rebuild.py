"""The functions that pickles of tensors call, under the names that torch's pickles use (`torch._utils`)."""

from __future__ import annotations

from collections import OrderedDict
from pickle import UnpicklingError
from typing import Any

from facula.dtypes import dtype
from facula.layouts import LAYOUTS, layout
from facula.serialization import tensors
from facula.serialization.limits import shown
from facula.serialization.storages import LoadedStorage, check_numbers
from facula.size import Size


def _numbers(value: Any) -> tuple[int, ...]:
    """A size or a stride: of few numbers, and nothing that counts up what it has itself."""
    if type(value) not in (tuple, list, Size) or len(value) > 64:
        raise UnpicklingError(f"the pickle has {shown(value)} in the place of a tensor's size or stride")
    return tuple(value)


def _tensor(value: Any) -> Any:
    if not isinstance(value, tensors.tensor_class()):
        raise UnpicklingError(f"the pickle has {shown(value)} in the place of a tensor")
    return value


def _storage(value: Any) -> LoadedStorage:
    if type(value) is not LoadedStorage:
        raise UnpicklingError(f"the pickle has {shown(value)} in the place of a storage")
    return value


def _rebuild_tensor(storage: LoadedStorage, storage_offset: int, size: Any, stride: Any) -> Any:
    return tensors.from_storage(_storage(storage), storage.dtype, storage_offset, _numbers(size), _numbers(stride))


def _rebuild_tensor_v2(storage: LoadedStorage, storage_offset: int, size: Any, stride: Any,
                       requires_grad: bool, backward_hooks: Any,
                       metadata: dict[str, bool] | None = None) -> Any:
    return _rebuild_tensor_v3(storage, storage_offset, size, stride, requires_grad, backward_hooks,
                              _storage(storage).dtype, metadata)


def _rebuild_tensor_v3(storage: LoadedStorage, storage_offset: int, size: Any, stride: Any,
                       requires_grad: bool, backward_hooks: Any, dtype: dtype,
                       metadata: dict[str, bool] | None = None) -> Any:
    conj = neg = False
    if type(metadata) is dict:  # torch conjugates and negates lazily; here the values are computed
        conj, neg = metadata.get("conj") is True, metadata.get("neg") is True
        if (conj or neg) and not _storage(storage).filled:
            raise RuntimeError("the file has a lazily conjugated tensor in torch's older format, which is "
                               "not read; "
                               "save it with PyTorch in the zip format")
    tensor = tensors.from_storage(_storage(storage), dtype, storage_offset, _numbers(size), _numbers(stride), conj, neg)
    return tensor.requires_grad_() if requires_grad else tensor


def _rebuild_parameter(data: Any, requires_grad: bool, backward_hooks: Any) -> Any:
    return _parameter_class()(_tensor(data), bool(requires_grad))


def _rebuild_parameter_with_state(data: Any, requires_grad: bool, backward_hooks: Any, state: Any) -> Any:
    parameter = _parameter_class()(_tensor(data), bool(requires_grad))
    set_attributes(parameter, state)
    return parameter


def _rebuild_from_type_v2(func: Any, new_type: type, args: tuple[Any, ...], state: Any) -> Any:
    if not any(func is one for one in REBUILDERS.values()) or not isinstance(new_type, type):
        raise UnpicklingError(f"_rebuild_from_type_v2 of unrecognized function {shown(func)}")
    tensor = _tensor(func(*args))
    if type(tensor) is not new_type:
        tensor = tensor.as_subclass(new_type)
    set_attributes(tensor, state)
    return tensor


def _rebuild_meta_tensor_no_storage(dtype: dtype, size: Any, stride: Any, requires_grad: bool) -> Any:
    import facula
    if type(dtype) is not facula.dtype:
        raise UnpicklingError(f"the pickle has {shown(dtype)} in the place of a dtype")
    size, stride = _numbers(size), _numbers(stride)
    check_numbers(0, size, stride)
    return facula.empty_strided(size, stride, dtype=dtype, device="meta", requires_grad=bool(requires_grad))


def _rebuild_device_tensor_from_cpu_tensor(data: Any, dtype: dtype, device: str, requires_grad: bool) -> Any:
    tensor = _tensor(data)
    if tensor.dtype is not dtype:  # a conversion could be asked for again and again
        raise UnpicklingError(f"the pickle has a tensor of {shown(dtype)} whose elements are {tensor.dtype}: not read")
    return tensor.requires_grad_() if requires_grad else tensor


def _rebuild_sparse_tensor(of: layout, data: Any) -> Any:
    """A sparse tensor of its parts: (indices, values, size, coalesced), or (pointers, indices, values, size)."""
    import facula
    if type(data) is not tuple or len(data) not in (3, 4) or not isinstance(of, layout):
        raise UnpicklingError(f"the pickle has {shown(data)} in the place of a sparse tensor's parts")
    try:
        if str(of) == "torch.sparse_coo":
            i, v, size, whole = (*data, None) if len(data) == 3 else data
            return facula.sparse_coo_tensor(i, v, size, is_coalesced=bool(whole), check_invariants=True)
        return facula.sparse_compressed_tensor(*data, layout=of, check_invariants=True)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UnpicklingError(f"the pickle's sparse tensor is damaged: {error}") from None


def _get_layout(name: str) -> layout:
    if type(name) is not str or name not in LAYOUTS:
        raise UnpicklingError(f"the pickle has {shown(name)} in the place of a layout's name")
    return LAYOUTS[name]


def set_attributes(tensor: Any, state: Any) -> None:
    """Set the attributes that the program had hung on a tensor; never one that Tensor itself has."""
    parts = state if isinstance(state, tuple) else (state,)
    if len(parts) > 2 or not all(part is None or type(part) is dict for part in parts):
        raise UnpicklingError(f"Invalid serialized state: {shown(state)}")
    for part in parts:
        for name, value in (part or {}).items():
            if type(name) is not str or hasattr(type(tensor), name):
                raise UnpicklingError(f"the pickle sets {shown(name)} of a tensor, which is Tensor's own "
                                      f"attribute")
            setattr(tensor, name, value)


def attributes_of(tensor: Any) -> dict[str, Any]:
    """The attributes that the program has hung on a tensor."""
    own = getattr(tensor, "__dict__", {})
    return {name: value for name, value in own.items() if name[:1] != "_" or name == "_is_param"}


def reduce_tensor(tensor: Any, storage: Any) -> tuple[Any, ...]:
    """How a file names `tensor`: a function, and its arguments, among them `storage` for its elements."""
    layout_of = tensors.geometry(tensor)
    arguments: tuple[Any, ...] = (storage, *layout_of, bool(tensor.requires_grad), OrderedDict())
    state = attributes_of(tensor)
    if type(tensor) is tensors.tensor_class() and not state:
        return _rebuild_tensor_v2, arguments
    return _rebuild_from_type_v2, (_rebuild_tensor_v2, type(tensor), arguments, state)


def reduce_meta_tensor(tensor: Any) -> tuple[Any, ...]:
    """The same for a meta tensor, which has no storage."""
    arguments = tensor.dtype, tuple(tensor.shape), tuple(tensor.stride()), bool(tensor.requires_grad)
    state = attributes_of(tensor)
    if type(tensor) is tensors.tensor_class() and not state:
        return _rebuild_meta_tensor_no_storage, arguments
    return _rebuild_from_type_v2, (_rebuild_meta_tensor_no_storage, type(tensor), arguments, state)


def reduce_parameter(parameter: Any) -> tuple[Any, ...]:
    """How a file names a Parameter: a function and its arguments."""
    arguments: tuple[Any, ...] = (parameter.data, bool(parameter.requires_grad), OrderedDict())
    state = attributes_of(parameter)
    if state:
        return _rebuild_parameter_with_state, (*arguments, state)
    return _rebuild_parameter, arguments


def _parameter_class() -> type:
    from facula.nn.parameter import Parameter
    return Parameter


REBUILDERS: dict[str, Any] = {
    f"torch._utils.{function.__name__}": function for function in (
        _rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3, _rebuild_parameter,
        _rebuild_parameter_with_state, _rebuild_sparse_tensor,
        _rebuild_meta_tensor_no_storage, _rebuild_device_tensor_from_cpu_tensor)}
REBUILDERS["torch._tensor._rebuild_from_type_v2"] = _rebuild_from_type_v2
REBUILDERS["torch.serialization._get_layout"] = _get_layout
