"""`FloatTensor` and its kin: constructors of one dtype, and `isinstance` by dtype."""

from __future__ import annotations

from typing import Any

from facula import dtypes
from facula._tensor.handle import Tensor, is_meta
from facula._tensor.writing import construct
from facula.defaults import set_default_dtype


class _Typed(type):
    dtype: dtypes.dtype

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype and not is_meta(instance)

    def __call__(cls, *args: Any, **options: Any) -> Any:
        return construct(cls.dtype, args)

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"


def _make(name: str, of: dtypes.dtype) -> Any:
    return _Typed(name, (), {"dtype": of, "__module__": "torch", "is_cuda": False})


FloatTensor = _make("FloatTensor", dtypes.float32)
DoubleTensor = _make("DoubleTensor", dtypes.float64)
HalfTensor = _make("HalfTensor", dtypes.float16)
BFloat16Tensor = _make("BFloat16Tensor", dtypes.bfloat16)
LongTensor = _make("LongTensor", dtypes.int64)
IntTensor = _make("IntTensor", dtypes.int32)
ShortTensor = _make("ShortTensor", dtypes.int16)
CharTensor = _make("CharTensor", dtypes.int8)
ByteTensor = _make("ByteTensor", dtypes.uint8)
BoolTensor = _make("BoolTensor", dtypes.bool_)


def set_default_tensor_type(t: Any) -> None:
    """Make `t` (FloatTensor, "torch.DoubleTensor", ...) what tensors of Python floats are. Old: `set_default_dtype`."""
    if isinstance(t, str):
        found = globals().get(t.removeprefix("torch."))
        if found is None:
            raise TypeError(f"invalid type: {t!r}")
        t = found
    set_default_dtype(t.dtype)
