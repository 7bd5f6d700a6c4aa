"""What a type checker is told of Tensor, whose methods the registry sets while Facula is imported.

There is no module of that name when Facula runs. Named here are attributes, operators, and the methods
that give a Tensor by their own word (`-> Tensor`): those are written by `tools/generate.py`. All else is
Any, so a misspelt method is found by the tests and not by mypy.
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

    # ---- from here on written by tools/generate.py ----
    __rdiv__: _Method
    abs: _Method
    abs_: _Method
    absolute: _Method
    absolute_: _Method
    acos: _Method
    acos_: _Method
    acosh: _Method
    acosh_: _Method
    add: _Method
    add_: _Method
    addbmm: _Method
    addbmm_: _Method
    addcdiv: _Method
    addcdiv_: _Method
    addcmul: _Method
    addcmul_: _Method
    addmm: _Method
    addmm_: _Method
    addmv: _Method
    addmv_: _Method
    addr: _Method
    addr_: _Method
    adjoint: _Method
    all: _Method
    amax: _Method
    amin: _Method
    angle: _Method
    any: _Method
    apply_: _Method
    arccos: _Method
    arccos_: _Method
    arccosh: _Method
    arccosh_: _Method
    arcsin: _Method
    arcsin_: _Method
    arcsinh: _Method
    arcsinh_: _Method
    arctan: _Method
    arctan2: _Method
    arctan2_: _Method
    arctan_: _Method
    arctanh: _Method
    arctanh_: _Method
    argmax: _Method
    argmin: _Method
    argsort: _Method
    argwhere: _Method
    as_strided: _Method
    as_strided_: _Method
    as_strided_scatter: _Method
    asin: _Method
    asin_: _Method
    asinh: _Method
    asinh_: _Method
    atan: _Method
    atan2: _Method
    atan2_: _Method
    atan_: _Method
    atanh: _Method
    atanh_: _Method
    baddbmm: _Method
    baddbmm_: _Method
    bernoulli: _Method
    bernoulli_: _Method
    bfloat16: _Method
    bincount: _Method
    bitwise_and: _Method
    bitwise_and_: _Method
    bitwise_left_shift: _Method
    bitwise_left_shift_: _Method
    bitwise_not: _Method
    bitwise_not_: _Method
    bitwise_or: _Method
    bitwise_or_: _Method
    bitwise_right_shift: _Method
    bitwise_right_shift_: _Method
    bitwise_xor: _Method
    bitwise_xor_: _Method
    bmm: _Method
    bool: _Method
    broadcast_to: _Method
    byte: _Method
    cauchy_: _Method
    cdouble: _Method
    ceil: _Method
    ceil_: _Method
    cfloat: _Method
    char: _Method
    cholesky: _Method
    cholesky_inverse: _Method
    cholesky_solve: _Method
    clamp: _Method
    clamp_: _Method
    clamp_max: _Method
    clamp_max_: _Method
    clamp_min: _Method
    clamp_min_: _Method
    clip: _Method
    clip_: _Method
    clone: _Method
    conj: _Method
    conj_physical: _Method
    conj_physical_: _Method
    contiguous: _Method
    copy_: _Method
    copysign: _Method
    copysign_: _Method
    corrcoef: _Method
    cos: _Method
    cos_: _Method
    cosh: _Method
    cosh_: _Method
    count_nonzero: _Method
    cov: _Method
    cross: _Method
    cumprod: _Method
    cumprod_: _Method
    cumsum: _Method
    cumsum_: _Method
    deg2rad: _Method
    deg2rad_: _Method
    det: _Method
    detach: _Method
    detach_: _Method
    diag: _Method
    diag_embed: _Method
    diagflat: _Method
    diagonal: _Method
    diagonal_scatter: _Method
    diff: _Method
    digamma: _Method
    digamma_: _Method
    dist: _Method
    div: _Method
    div_: _Method
    divide: _Method
    divide_: _Method
    dot: _Method
    double: _Method
    eq: _Method
    eq_: _Method
    erf: _Method
    erf_: _Method
    erfc: _Method
    erfc_: _Method
    erfinv: _Method
    erfinv_: _Method
    exp: _Method
    exp2: _Method
    exp2_: _Method
    exp_: _Method
    expand: _Method
    expand_as: _Method
    expm1: _Method
    expm1_: _Method
    exponential_: _Method
    fill_: _Method
    fill_diagonal_: _Method
    fix: _Method
    fix_: _Method
    flatten: _Method
    flip: _Method
    fliplr: _Method
    flipud: _Method
    float: _Method
    float_power: _Method
    float_power_: _Method
    floor: _Method
    floor_: _Method
    floor_divide: _Method
    floor_divide_: _Method
    fmax: _Method
    fmin: _Method
    fmod: _Method
    fmod_: _Method
    frac: _Method
    frac_: _Method
    gather: _Method
    gcd: _Method
    gcd_: _Method
    ge: _Method
    ge_: _Method
    geometric_: _Method
    ger: _Method
    greater: _Method
    greater_: _Method
    greater_equal: _Method
    greater_equal_: _Method
    gt: _Method
    gt_: _Method
    half: _Method
    hardshrink: _Method
    heaviside: _Method
    heaviside_: _Method
    histc: _Method
    hypot: _Method
    hypot_: _Method
    i0: _Method
    i0_: _Method
    igamma: _Method
    igamma_: _Method
    igammac: _Method
    igammac_: _Method
    index_add: _Method
    index_add_: _Method
    index_copy: _Method
    index_copy_: _Method
    index_fill: _Method
    index_fill_: _Method
    index_put: _Method
    index_put_: _Method
    index_reduce: _Method
    index_reduce_: _Method
    index_select: _Method
    inner: _Method
    int: _Method
    inverse: _Method
    isclose: _Method
    isfinite: _Method
    isinf: _Method
    isnan: _Method
    isneginf: _Method
    isposinf: _Method
    isreal: _Method
    istft: _Method
    kron: _Method
    lcm: _Method
    lcm_: _Method
    ldexp: _Method
    ldexp_: _Method
    le: _Method
    le_: _Method
    lerp: _Method
    lerp_: _Method
    less: _Method
    less_: _Method
    less_equal: _Method
    less_equal_: _Method
    lgamma: _Method
    lgamma_: _Method
    log: _Method
    log10: _Method
    log10_: _Method
    log1p: _Method
    log1p_: _Method
    log2: _Method
    log2_: _Method
    log_: _Method
    log_normal_: _Method
    log_softmax: _Method
    logaddexp: _Method
    logaddexp2: _Method
    logcumsumexp: _Method
    logdet: _Method
    logical_and: _Method
    logical_and_: _Method
    logical_not: _Method
    logical_not_: _Method
    logical_or: _Method
    logical_or_: _Method
    logical_xor: _Method
    logical_xor_: _Method
    logit: _Method
    logit_: _Method
    logsumexp: _Method
    long: _Method
    lt: _Method
    lt_: _Method
    lu_solve: _Method
    map2_: _Method
    map_: _Method
    masked_fill: _Method
    masked_fill_: _Method
    masked_scatter: _Method
    masked_scatter_: _Method
    masked_select: _Method
    matmul: _Method
    matrix_exp: _Method
    matrix_power: _Method
    maximum: _Method
    mean: _Method
    minimum: _Method
    mm: _Method
    moveaxis: _Method
    movedim: _Method
    msort: _Method
    mul: _Method
    mul_: _Method
    multinomial: _Method
    multiply: _Method
    multiply_: _Method
    mv: _Method
    mvlgamma: _Method
    mvlgamma_: _Method
    nan_to_num: _Method
    nan_to_num_: _Method
    nanmean: _Method
    nanquantile: _Method
    nansum: _Method
    narrow: _Method
    ne: _Method
    ne_: _Method
    neg: _Method
    neg_: _Method
    negative: _Method
    negative_: _Method
    new: _Method
    new_empty: _Method
    new_empty_strided: _Method
    new_full: _Method
    new_ones: _Method
    new_tensor: _Method
    new_zeros: _Method
    nextafter: _Method
    nextafter_: _Method
    nonzero_static: _Method
    norm: _Method
    normal_: _Method
    not_equal: _Method
    not_equal_: _Method
    orgqr: _Method
    ormqr: _Method
    outer: _Method
    permute: _Method
    pin_memory: _Method
    pinverse: _Method
    polygamma: _Method
    polygamma_: _Method
    positive: _Method
    pow: _Method
    pow_: _Method
    prelu: _Method
    prod: _Method
    put: _Method
    put_: _Method
    quantile: _Method
    rad2deg: _Method
    rad2deg_: _Method
    random_: _Method
    ravel: _Method
    reciprocal: _Method
    reciprocal_: _Method
    relu: _Method
    relu_: _Method
    remainder: _Method
    remainder_: _Method
    renorm: _Method
    renorm_: _Method
    repeat: _Method
    repeat_interleave: _Method
    requires_grad_: _Method
    reshape: _Method
    reshape_as: _Method
    resize: _Method
    resize_: _Method
    resize_as: _Method
    resize_as_: _Method
    resolve_conj: _Method
    resolve_neg: _Method
    roll: _Method
    rot90: _Method
    round: _Method
    round_: _Method
    rsqrt: _Method
    rsqrt_: _Method
    rsub: _Method
    scatter: _Method
    scatter_: _Method
    scatter_add: _Method
    scatter_add_: _Method
    scatter_reduce: _Method
    scatter_reduce_: _Method
    select: _Method
    select_scatter: _Method
    set_: _Method
    sgn: _Method
    sgn_: _Method
    share_memory_: _Method
    short: _Method
    sigmoid: _Method
    sigmoid_: _Method
    sign: _Method
    sign_: _Method
    signbit: _Method
    sin: _Method
    sin_: _Method
    sinc: _Method
    sinc_: _Method
    sinh: _Method
    sinh_: _Method
    slice_scatter: _Method
    softmax: _Method
    sqrt: _Method
    sqrt_: _Method
    square: _Method
    square_: _Method
    squeeze: _Method
    squeeze_: _Method
    stft: _Method
    sub: _Method
    sub_: _Method
    subtract: _Method
    subtract_: _Method
    sum: _Method
    sum_to_size: _Method
    swapaxes: _Method
    swapaxes_: _Method
    swapdims: _Method
    swapdims_: _Method
    t: _Method
    t_: _Method
    take: _Method
    take_along_dim: _Method
    tan: _Method
    tan_: _Method
    tanh: _Method
    tanh_: _Method
    tile: _Method
    to_dense: _Method
    trace: _Method
    transpose: _Method
    transpose_: _Method
    tril: _Method
    tril_: _Method
    triu: _Method
    triu_: _Method
    true_divide: _Method
    true_divide_: _Method
    trunc: _Method
    trunc_: _Method
    type_as: _Method
    unflatten: _Method
    unfold: _Method
    uniform_: _Method
    unsqueeze: _Method
    unsqueeze_: _Method
    vdot: _Method
    view: _Method
    view_as: _Method
    view_as_complex: _Method
    view_as_real: _Method
    where: _Method
    xlogy: _Method
    xlogy_: _Method
    zero_: _Method
