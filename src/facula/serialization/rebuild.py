"""The functions that pickles of tensors call, under the names that torch's pickles use (`torch._utils`)."""

from __future__ import annotations

from collections import OrderedDict
from pickle import UnpicklingError
from typing import Any

from facula.dtypes import dtype
from facula.layouts import LAYOUTS, layout
from facula.serialization import tensors
from facula.serialization.storages import LoadedStorage


def _rebuild_tensor(storage: LoadedStorage, storage_offset: int, size: Any, stride: Any) -> Any:
    return tensors.from_storage(storage, storage.dtype, storage_offset, tuple(size), tuple(stride))


def _rebuild_tensor_v2(storage: LoadedStorage, storage_offset: int, size: Any, stride: Any,
                       requires_grad: bool, backward_hooks: Any,
                       metadata: dict[str, bool] | None = None) -> Any:
    return _rebuild_tensor_v3(storage, storage_offset, size, stride, requires_grad, backward_hooks,
                              storage.dtype, metadata)


def _rebuild_tensor_v3(storage: LoadedStorage, storage_offset: int, size: Any, stride: Any,
                       requires_grad: bool, backward_hooks: Any, dtype: dtype,
                       metadata: dict[str, bool] | None = None) -> Any:
    tensor = tensors.from_storage(storage, dtype, storage_offset, tuple(size), tuple(stride))
    if metadata:  # torch conjugates and negates lazily; here the values are computed
        if not storage.filled:
            raise RuntimeError("the file has a lazily conjugated tensor in torch's older format, which is "
                               "not read; "
                               "save it with PyTorch in the zip format")
        if metadata.get("conj"):
            tensor = tensor.conj()
        if metadata.get("neg"):
            tensor = tensor.neg()
        tensor = tensor.detach()
    return tensor.requires_grad_() if requires_grad else tensor


def _rebuild_parameter(data: Any, requires_grad: bool, backward_hooks: Any) -> Any:
    return _parameter_class()(data, requires_grad)


def _rebuild_parameter_with_state(data: Any, requires_grad: bool, backward_hooks: Any, state: Any) -> Any:
    parameter = _parameter_class()(data, requires_grad)
    set_attributes(parameter, state)
    return parameter


def _rebuild_from_type_v2(func: Any, new_type: type, args: tuple[Any, ...], state: Any) -> Any:
    if not any(func is one for one in REBUILDERS.values()) or not isinstance(new_type, type):
        raise UnpicklingError(f"_rebuild_from_type_v2 of unrecognized function {func}")
    tensor = func(*args)
    if type(tensor) is not new_type:
        tensor = tensor.as_subclass(new_type)
    set_attributes(tensor, state)
    return tensor


def _rebuild_meta_tensor_no_storage(dtype: dtype, size: Any, stride: Any, requires_grad: bool) -> Any:
    import facula
    return facula.empty_strided(tuple(size), tuple(stride), dtype=dtype, device="meta",
                                requires_grad=requires_grad)


def _rebuild_device_tensor_from_cpu_tensor(data: Any, dtype: dtype, device: str, requires_grad: bool) -> Any:
    tensor = data.to(dtype=dtype)
    return tensor.requires_grad_() if requires_grad else tensor


def _get_layout(name: str) -> layout:
    return LAYOUTS[name]


def set_attributes(tensor: Any, state: Any) -> None:
    """Set the attributes that the program had hung on a tensor; never one that Tensor itself has."""
    parts = state if isinstance(state, tuple) else (state,)
    if len(parts) > 2 or not all(part is None or type(part) is dict for part in parts):
        raise UnpicklingError(f"Invalid serialized state: {state}")
    for part in parts:
        for name, value in (part or {}).items():
            if type(name) is not str or hasattr(type(tensor), name):
                raise UnpicklingError(f"the pickle sets {name!r} of a tensor, which is Tensor's own "
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
        _rebuild_parameter_with_state,
        _rebuild_meta_tensor_no_storage, _rebuild_device_tensor_from_cpu_tensor)}
REBUILDERS["torch._tensor._rebuild_from_type_v2"] = _rebuild_from_type_v2
REBUILDERS["torch.serialization._get_layout"] = _get_layout
