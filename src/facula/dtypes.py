"""Element types and PyTorch's promotion rules.

`numpy` is the NumPy dtype that carries a type's elements in memory. NumPy has no bfloat16: its
elements travel as `uint16` bit patterns, and whoever computes with them widens them first
(`engine/runtime/interpreter.py` does so in one place).
"""

from __future__ import annotations

from typing import Any

import numpy as np

BOOL, UNSIGNED, SIGNED, FLOAT, COMPLEX = range(5)  # categories, in promotion order


class dtype:
    """An element type, such as `facula.float32`. Compare with `is` or `==`; there is one object each.

    Example:
        >>> import facula
        >>> facula.tensor([1, 2]).dtype
        torch.int64
    """

    __slots__ = (
        "name", "itemsize", "category", "numpy", "index", "is_floating_point", "is_complex",
        "is_signed", "char", "compute",
    )

    name: str
    itemsize: int
    category: int
    numpy: np.dtype[Any]
    index: int
    is_floating_point: bool
    is_complex: bool
    is_signed: bool
    compute: dtype

    def __init__(self, name: str, itemsize: int, category: int, carrier: str, index: int) -> None:
        self.name = name
        self.itemsize = itemsize
        self.category = category
        self.numpy = np.dtype(carrier)
        self.index = index
        self.is_floating_point = category == FLOAT
        self.is_complex = category == COMPLEX
        self.is_signed = category in (SIGNED, FLOAT, COMPLEX)

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return "bool_" if self.name == "bool" else self.name

    def to_complex(self) -> dtype:
        """The complex type of the same precision."""
        return {float16: complex64, bfloat16: complex64, float32: complex64, float64: complex128}.get(
            self, self if self.is_complex else complex64)

    def to_real(self) -> dtype:
        """The real type of the same precision."""
        return {complex64: float32, complex128: float64}.get(self, self)


uint8 = dtype("uint8", 1, UNSIGNED, "uint8", 0)
int8 = dtype("int8", 1, SIGNED, "int8", 1)
int16 = dtype("int16", 2, SIGNED, "int16", 2)
int32 = dtype("int32", 4, SIGNED, "int32", 3)
int64 = dtype("int64", 8, SIGNED, "int64", 4)
float16 = dtype("float16", 2, FLOAT, "float16", 5)
float32 = dtype("float32", 4, FLOAT, "float32", 6)
float64 = dtype("float64", 8, FLOAT, "float64", 7)
complex64 = dtype("complex64", 8, COMPLEX, "complex64", 8)
complex128 = dtype("complex128", 16, COMPLEX, "complex128", 9)
bool_ = dtype("bool", 1, BOOL, "bool", 10)
bfloat16 = dtype("bfloat16", 2, FLOAT, "uint16", 11)

ALL = (uint8, int8, int16, int32, int64, float16, float32, float64, complex64, complex128, bool_,
       bfloat16)
FLOATS = (float16, bfloat16, float32, float64)

for _d in ALL:  # arithmetic on the two 16-bit floats happens in float32, rounded after each operation
    _d.compute = float32 if _d in (float16, bfloat16) else _d


class Lacking(dtype):
    """A type that torch has and Facula does not compute with: a name to compare with. Whatever would make elements of
    it raises NotImplementedError."""

    __slots__ = ()

    def __init__(self, name: str, itemsize: int, floating: bool = False, signed: bool = True) -> None:
        self.name = name
        self.itemsize = itemsize
        self.is_floating_point = floating
        self.is_complex = name.startswith("complex")
        self.is_signed = signed

    def _refuse(self) -> Any:
        raise NotImplementedError(f"torch.{self.name}: elements of this type are not in Facula yet")

    category = numpy = index = compute = char = property(_refuse)  # type: ignore[assignment]


LACKING = {of.name: of for of in (
    *[Lacking(f"float8_{form}", 1, True, form != "e8m0fnu")
      for form in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")],
    Lacking("float4_e2m1fn_x2", 1, True), Lacking("complex32", 4),
    *[Lacking(f"uint{bits}", bits // 8, signed=False) for bits in (16, 32, 64)],
    Lacking("quint8", 1, signed=False), Lacking("qint8", 1), Lacking("qint32", 4),
    Lacking("quint4x2", 1, signed=False), Lacking("quint2x4", 1, signed=False),
    *[Lacking(f"{sign}int{bits}", 1, signed=not sign) for sign in ("", "u") for bits in range(1, 8)],
    *[Lacking(name, 2 if name == "bits16" else 1) for name in ("bits1x8", "bits2x4", "bits4x2", "bits8", "bits16")])}
globals().update(LACKING)

half, double, short, long, cfloat, cdouble = float16, float64, int16, int64, complex64, complex128

# What PyTorch's errors call a type where C++ speaks.
DTYPE_NAMES = {"uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
               "float16": "Half", "float32": "Float", "float64": "Double", "complex64": "ComplexFloat",
               "complex128": "ComplexDouble", "bool": "Bool", "bfloat16": "BFloat16"}
CPP_NAMES = {
    "uint8": "unsigned char", "int8": "signed char", "int16": "short int", "int32": "int",
    "int64": "long int", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float",
    "float64": "double", "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
    "bool": "bool",
}

_BY_NUMPY = {d.numpy: d for d in ALL if d is not bfloat16}


def from_numpy_dtype(numpy_dtype: object) -> dtype:
    """The dtype whose elements NumPy stores as `numpy_dtype`; TypeError if there is none."""
    found = _BY_NUMPY.get(np.dtype(numpy_dtype))  # type: ignore[call-overload]
    if found is None:
        if not np.dtype(numpy_dtype).isnative:  # type: ignore[call-overload]
            raise ValueError("given numpy array has byte order different from the native byte order. Conversion "
                             "between byte orders is currently not supported.")
        raise TypeError(
            f"can't convert np.ndarray of type numpy.{np.dtype(numpy_dtype).type.__name__}. "  # type: ignore[call-overload]
            "The only supported types are: "
            "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint8, and bool."
        )
    return found


def _promote(a: dtype, b: dtype) -> dtype:
    if a is b:
        return a
    low, high = sorted((a, b), key=lambda d: d.category)
    if high.category == COMPLEX:
        if low.category == FLOAT:
            return complex128 if float64 in (low, high) or complex128 in (low, high) else complex64
        return complex128 if complex128 in (low, high) else complex64
    if high.category == FLOAT:
        if low.category != FLOAT:
            return high
        return float32 if a.itemsize == b.itemsize else max(a, b, key=lambda d: d.itemsize)
    if low.category == BOOL:
        return high
    if low.category == UNSIGNED:  # uint8 with a signed type: the next type that holds both
        return int16 if high is int8 else high
    return max(a, b, key=lambda d: d.itemsize)


class _Promotion(dict[tuple[dtype, dtype], dtype]):
    def __missing__(self, pair: tuple[dtype, dtype]) -> dtype:
        for of in pair:
            of.category  # noqa: B018  # refuses what is lacking
        raise KeyError(pair)


PROMOTION = _Promotion({(a, b): _promote(a, b) for a in ALL for b in ALL})


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest type that both can be converted to.

    Example:
        >>> import facula
        >>> facula.promote_types(facula.int32, facula.float32)
        torch.float32
    """
    return PROMOTION[type1, type2]


def can_cast(from_: dtype, to: dtype) -> bool:
    """May an in-place result of type `from_` be stored into a tensor of type `to`?

    Categories may only go up: float into an integer, or complex into a float, is refused.
    """
    if from_.category == COMPLEX and to.category != COMPLEX:
        return False
    if from_.category == FLOAT and to.category < FLOAT:
        return False
    return not (from_.category != BOOL and to.category == BOOL)
