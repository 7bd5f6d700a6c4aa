"""What a type checker is told of Tensor, whose methods the registry sets while Facula is imported.

There is no module of that name when Facula runs. Named here are the methods that Facula's own code
calls and that give a Tensor for certain; all else is Any, so a misspelt method is found by the
tests and not by mypy.
"""

from collections.abc import Callable, Iterator
from typing import Any

from facula._tensor.handle import Tensor
from facula.dtypes import dtype as _dtype
from facula.size import Size

_Method = Callable[..., Tensor]


class Declared:
    """The base class that Tensor has for type checkers; at run time it has none."""

    shape: Size
    dtype: _dtype
    _rg: bool
    _seen: int
    _strides: tuple[int, ...]
    _offset: int
    # Of `_node` and `_storage` one is None, and which one is seldom checked twice: no Optional.
    _node: Any
    _storage: Any
    _grad_fn: Any
    _cached: Any
    _base: Any  # the tensor that this is a view of, or None
    _grad_version: int  # of a view: the storage's version at which its _grad_fn was made
    _device: Any

    T: Tensor
    mT: Tensor
    H: Tensor
    mH: Tensor
    real: Tensor
    imag: Tensor
    data: Tensor
    ndim: int
    requires_grad: bool
    is_leaf: bool

    def __getattr__(self, name: str) -> Any: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Tensor]: ...
    def __contains__(self, item: object) -> bool: ...
    def __getitem__(self, index: Any) -> Tensor: ...
    def __setitem__(self, index: Any, value: Any) -> None: ...
    def __bool__(self) -> bool: ...
    def __int__(self) -> int: ...
    def __float__(self) -> float: ...
    def __complex__(self) -> complex: ...
    def __index__(self) -> int: ...
    def __neg__(self) -> Tensor: ...
    def __pos__(self) -> Tensor: ...
    def __abs__(self) -> Tensor: ...
    def __invert__(self) -> Tensor: ...
    def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
    def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
    def __lt__(self, other: Any) -> Tensor: ...
    def __le__(self, other: Any) -> Tensor: ...
    def __gt__(self, other: Any) -> Tensor: ...
    def __ge__(self, other: Any) -> Tensor: ...
    def __add__(self, other: Any) -> Tensor: ...
    def __radd__(self, other: Any) -> Tensor: ...
    def __iadd__(self, other: Any) -> Tensor: ...
    def __sub__(self, other: Any) -> Tensor: ...
    def __rsub__(self, other: Any) -> Tensor: ...
    def __isub__(self, other: Any) -> Tensor: ...
    def __mul__(self, other: Any) -> Tensor: ...
    def __rmul__(self, other: Any) -> Tensor: ...
    def __imul__(self, other: Any) -> Tensor: ...
    def __truediv__(self, other: Any) -> Tensor: ...
    def __rtruediv__(self, other: Any) -> Tensor: ...
    def __itruediv__(self, other: Any) -> Tensor: ...
    def __floordiv__(self, other: Any) -> Tensor: ...
    def __rfloordiv__(self, other: Any) -> Tensor: ...
    def __ifloordiv__(self, other: Any) -> Tensor: ...
    def __mod__(self, other: Any) -> Tensor: ...
    def __rmod__(self, other: Any) -> Tensor: ...
    def __imod__(self, other: Any) -> Tensor: ...
    def __pow__(self, other: Any) -> Tensor: ...
    def __rpow__(self, other: Any) -> Tensor: ...
    def __ipow__(self, other: Any) -> Tensor: ...
    def __matmul__(self, other: Any) -> Tensor: ...
    def __rmatmul__(self, other: Any) -> Tensor: ...
    def __and__(self, other: Any) -> Tensor: ...
    def __rand__(self, other: Any) -> Tensor: ...
    def __iand__(self, other: Any) -> Tensor: ...
    def __or__(self, other: Any) -> Tensor: ...
    def __ror__(self, other: Any) -> Tensor: ...
    def __ior__(self, other: Any) -> Tensor: ...
    def __xor__(self, other: Any) -> Tensor: ...
    def __rxor__(self, other: Any) -> Tensor: ...
    def __ixor__(self, other: Any) -> Tensor: ...
    def __lshift__(self, other: Any) -> Tensor: ...
    def __rlshift__(self, other: Any) -> Tensor: ...
    def __ilshift__(self, other: Any) -> Tensor: ...
    def __rshift__(self, other: Any) -> Tensor: ...
    def __rrshift__(self, other: Any) -> Tensor: ...
    def __irshift__(self, other: Any) -> Tensor: ...
    @classmethod
    def _from_memory(cls, array: Any, of: _dtype) -> Tensor: ...
    @staticmethod
    def _make_subclass(cls: Any, data: Tensor, requires_grad: bool = False) -> Any: ...
    def dim(self) -> int: ...
    def numel(self) -> int: ...
    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]: ...
    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]: ...
    def split(self, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]: ...
    def is_contiguous(self, *, memory_format: Any = ...) -> bool: ...

    abs: _Method
    add: _Method
    add_: _Method
    addcdiv_: _Method
    addcmul: _Method
    addcmul_: _Method
    addmm: _Method
    adjoint: _Method
    all: _Method
    amax: _Method
    amin: _Method
    any: _Method
    argmax: _Method
    argmin: _Method
    argsort: _Method
    argwhere: _Method
    as_strided: _Method
    bernoulli: _Method
    bernoulli_: _Method
    bfloat16: _Method
    bincount: _Method
    broadcast_to: _Method
    cauchy_: _Method
    ceil: _Method
    cholesky: _Method
    clamp: _Method
    clamp_: _Method
    clamp_min: _Method
    clip: _Method
    clone: _Method
    coalesce: _Method
    conj: _Method
    contiguous: _Method
    copy_: _Method
    copysign: _Method
    cos: _Method
    cumprod: _Method
    cumsum: _Method
    det: _Method
    detach: _Method
    detach_: _Method
    diag: _Method
    diagonal: _Method
    diff: _Method
    div: _Method
    div_: _Method
    dot: _Method
    double: _Method
    eq: _Method
    erf: _Method
    erfc: _Method
    exp: _Method
    expand: _Method
    expand_as: _Method
    exponential_: _Method
    fill_: _Method
    flatten: _Method
    flip: _Method
    floor: _Method
    floor_divide: _Method
    fmod: _Method
    gather: _Method
    geometric_: _Method
    hardshrink: _Method
    i0: _Method
    index_add: _Method
    index_copy_: _Method
    index_select: _Method
    isclose: _Method
    isfinite: _Method
    isinf: _Method
    isnan: _Method
    lerp: _Method
    lerp_: _Method
    less: _Method
    lgamma: _Method
    log: _Method
    log1p: _Method
    log2: _Method
    log_normal_: _Method
    log_softmax: _Method
    logaddexp: _Method
    logical_or: _Method
    logical_xor: _Method
    logsumexp: _Method
    masked_fill: _Method
    masked_fill_: _Method
    matmul: _Method
    maximum: _Method
    mean: _Method
    minimum: _Method
    moveaxis: _Method
    movedim: _Method
    mul: _Method
    mul_: _Method
    multinomial: _Method
    multiply: _Method
    narrow: _Method
    ne: _Method
    neg: _Method
    new_empty: _Method
    new_full: _Method
    new_ones: _Method
    new_tensor: _Method
    new_zeros: _Method
    norm: _Method
    normal_: _Method
    outer: _Method
    permute: _Method
    pow: _Method
    prelu: _Method
    prod: _Method
    random_: _Method
    ravel: _Method
    relu: _Method
    relu_: _Method
    remainder: _Method
    repeat: _Method
    repeat_interleave: _Method
    requires_grad_: _Method
    reshape: _Method
    resize_: _Method
    round: _Method
    rsqrt: _Method
    rsqrt_: _Method
    scatter_: _Method
    scatter_reduce: _Method
    select: _Method
    share_memory_: _Method
    sigmoid: _Method
    sign: _Method
    signbit: _Method
    sin: _Method
    softmax: _Method
    sqrt: _Method
    sqrt_: _Method
    square: _Method
    square_: _Method
    squeeze: _Method
    squeeze_: _Method
    sub: _Method
    subtract: _Method
    sum: _Method
    swapaxes: _Method
    t: _Method
    take: _Method
    take_along_dim: _Method
    tan: _Method
    tanh: _Method
    to_dense: _Method
    transpose: _Method
    tril: _Method
    triu: _Method
    trunc: _Method
    unflatten: _Method
    unfold: _Method
    uniform_: _Method
    unsqueeze: _Method
    unsqueeze_: _Method
    view: _Method
    view_as: _Method
    view_as_real: _Method
    where: _Method
    xlogy: _Method
    zero_: _Method
