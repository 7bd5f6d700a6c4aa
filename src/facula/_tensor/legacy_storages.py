"""`torch.FloatStorage` and its kind, of programs from before tensors' memory had no type: they make a `TypedStorage`
of their dtype, and `isinstance` asks whether one is of that dtype."""

from __future__ import annotations

import os
from typing import Any

import facula
from facula import dtypes
from facula._tensor.mapped_files import mapped
from facula._tensor.storages import TypedStorage, UntypedStorage
from facula.dtypes import dtype


class _OfDtype(type):
    def __instancecheck__(cls, other: Any) -> bool:
        return isinstance(other, TypedStorage) and other.dtype is getattr(cls, "dtype", other.dtype)

    def __subclasscheck__(cls, other: Any) -> bool:
        return other is TypedStorage or super().__subclasscheck__(other)


class _LegacyStorage(metaclass=_OfDtype):
    """What they have in common."""

    dtype: dtype

    def __new__(cls, *args: Any, wrap_storage: Any = None, **options: Any) -> Any:
        """A storage of no elements, of `args[0]` elements, of the numbers of a sequence, or over other memory."""
        if options or len(args) > 1:
            what = f"Keyword argument {next(iter(options))!r} is not one of these" if options else \
                "Too many positional arguments"
            raise RuntimeError(_expected(cls, what))
        if wrap_storage is not None and args:
            raise RuntimeError(_expected(cls, "No positional arguments should be given when using 'wrap_storage'"))
        given = args[0] if args else 0
        if isinstance(given, UntypedStorage) or isinstance(given, facula.Tensor) and given.dim():
            raise TypeError(_expected(cls, f"Argument type not recognized: {type(given)}"))
        if wrap_storage is not None:
            return TypedStorage(wrap_storage=wrap_storage, dtype=cls.dtype)
        return TypedStorage(facula.empty(given, dtype=cls.dtype) if isinstance(given, int)
                            else facula.tensor(given, dtype=cls.dtype))

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, size: int = 0) -> TypedStorage:
        """The first `size` elements of a file as memory: see `UntypedStorage.from_file`."""
        memory = UntypedStorage(mapped(filename, shared, size * cls.dtype.itemsize))
        made = TypedStorage(wrap_storage=memory, dtype=cls.dtype)
        made._filename = os.fspath(filename)
        return made


def _expected(cls: type, what: str) -> str:
    return (f"<class 'torch.{cls.__name__}'>.__new__ received an invalid combination of arguments. Expected one of:\n"
            f" * no arguments\n * (int size)\n * (Sequence data)\n * (*, UntypedStorage wrap_storage)\n{what}")


def _of(name: str, of: dtype) -> Any:
    return type(name, (_LegacyStorage,), {"dtype": of, "__module__": "torch"})


BoolStorage, ByteStorage = _of("BoolStorage", dtypes.bool_), _of("ByteStorage", dtypes.uint8)
CharStorage, ShortStorage = _of("CharStorage", dtypes.int8), _of("ShortStorage", dtypes.int16)
IntStorage, LongStorage = _of("IntStorage", dtypes.int32), _of("LongStorage", dtypes.int64)
HalfStorage, BFloat16Storage = _of("HalfStorage", dtypes.float16), _of("BFloat16Storage", dtypes.bfloat16)
FloatStorage, DoubleStorage = _of("FloatStorage", dtypes.float32), _of("DoubleStorage", dtypes.float64)
ComplexFloatStorage = _of("ComplexFloatStorage", dtypes.complex64)
ComplexDoubleStorage = _of("ComplexDoubleStorage", dtypes.complex128)
