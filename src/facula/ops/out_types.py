"""Of which dtype a tensor given as `out=` has to be. Most operations convert to it whatever may be converted."""

from __future__ import annotations

from typing import Any

from facula.dtypes import CPP_NAMES, DTYPE_NAMES, dtype

_PLAIN = "Expected out tensor to have dtype {c_wanted}, but got {c_given} instead"
_FOUND = "Found dtype {given} but expected {wanted}"
_ONLY_BOOL = "{name} does not support non-boolean outputs."
_TRUTH = "{name} only supports bool tensor for result, got: {given}"
_SCALAR = "{name}(): self and result must have the same scalar type"
_FLOATS = "{name} expects a floating point output tensor, but got {given}"
_SPECIAL = "expected scalar_type {wanted} but found {given}"
_KIN = "result dtype {given} does not match input dtype {wanted}"
_NORM = "linalg.{name} expected out tensor dtype {wanted} but got: {given}"
_PLACES = ("torch.searchsorted(): output tensor's dtype is wrong, it can only be Int(int32) or Long(int64) depending "
           "on whether out_int32 flag is True, but we got output tensor's dtype {given} and out_int32 flag is {narrow}")
# What is refused, operation by operation, with torch's words for it.
_MATCH = {name: words for names, words in (
    ("""addmm addmv baddbmm addbmm bmm mm mv matmul aminmax argmax argmin max min msort sort topk cross
        diag gather index_add index_copy index_reduce scatter scatter_add scatter_reduce take_along_dim tril triu isin
        inverse inv cholesky det eig eigh eigvals eigvalsh ldl_factor ldl_factor_ex ldl_solve lu lu_factor lu_factor_ex
        lu_solve lu_unpack qr slogdet solve solve_ex inv_ex cholesky_ex svd svdvals vector_norm triangular_solve
        softmax log_softmax renorm nanmedian median kthvalue slice_scatter avg_pool2d avg_pool3d
        view_copy transpose_copy t_copy permute_copy select_copy squeeze_copy unsqueeze_copy expand_copy diagonal_copy
        as_strided_copy detach_copy alias_copy unbind_copy split_copy split_with_sizes_copy unfold_copy
        view_as_real_copy view_as_complex_copy cumsum cumprod""", _PLAIN),
    ("abs bitwise_not ceil clamp clamp_max clamp_min conj_physical floor frac hardshrink neg round sgn sign softplus "
     "softshrink trunc", _FOUND),
    ("isposinf isneginf signbit", _ONLY_BOOL), ("any all", _TRUTH),
    ("index_select masked_select", _SCALAR), ("hfft hfft2 hfftn irfft irfft2 irfftn", _FLOATS),
    ("cummax cummin logcumsumexp", _SPECIAL), ("dot vdot", _KIN), ("matrix_norm norm", _NORM),
    ("bucketize searchsorted", _PLACES),
    ("amax amin", "Expected the dtype for input and out to match, but got {wanted} for input's dtype and {given} for "
                  "out's dtype."),
    ("float_power", "the output given to float_power has dtype {given} but the operation's result requires dtype "
                    "{wanted}"),
    ("frexp", "torch.frexp() expects its results to have dtypes of its own, {wanted} where {given} was given"),
    ("heaviside", "heaviside is not yet implemented for tensors with different dtypes."),
    ("histc", "torch.histogram: input tensor and hist tensor should have the same dtype, but got input {c_wanted} and "
              "hist {c_given}"),
    ("inner tensordot", "tensordot: Expected the output tensor to have dtype {wanted}, but got an output tensor with "
                        "dtype {given}"),
    ("multi_dot", "multi_dot(): expected out tensor to have dtype {c_wanted} but got {c_given}"),
    ("logsigmoid solve_triangular", "expected scalar type {wanted} but found {given}"),
    ("vecdot", "linalg.vecdot: Expected out of dtype{wanted} but found {given}"),
    ("mode", "expected scalar type '{wanted}' but got '{given}' for values output"),
    ("nan_to_num", "nan_to_num: dtype of out: {given} should be same as input: {wanted}"),
    ("quantile nanquantile", "{name}() out tensor must be same dtype as the input tensor"),
    ("nonzero nonzero_static", "{name}: Expected out tensor to have scalar type {wanted} but got scalar type{given}"),
    ("ormqr", "torch.ormqr: Expected input and result to have the same dtype, but input has dtype{wanted} and result "
              "has dtype {given}"),
    ("take", "take(): self and out expected to have the same dtype, but got self.dtype = {wanted} and out.dtype = "
             "{given}"),
    ("complex polar", "Expected object of scalar type {wanted} but got scalar type {given} for argument 'out'"),
    ("where", "Expected out type to be {wanted} but got {given}"),
) for name in names.split()}
# These read while they write in torch, and refuse an operand as `out`; gather may be given its index.
APART = frozenset("""cat concat concatenate stack hstack vstack dstack column_stack row_stack gather take index_select
    masked_select kthvalue median nanmedian nonzero cross""".split())
# These compute in the dtype of `out`.
COMPUTES_IN_IT = frozenset(("sum", "prod", "cumsum", "cumprod"))


# Of more tensors, from this place on, these are other operations, which convert. (So are max and min of all elements.)
_SEVERAL = {"clamp": 1, "clamp_max": 1, "clamp_min": 1}


def converts(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Is this call, with one tensor as `out`, that of an operation that converts, though others of its name do not?"""
    if name in ("max", "min"):
        return True
    place = _SEVERAL.get(name)
    return place is not None and any(hasattr(x, "dtype") for x in (*args[place:], *kwargs.values()))


def check_out(name: str, wanted: dtype, given: dtype) -> None:
    """Refuse `out` of dtype `given` where the operation's result is `wanted`. RuntimeError."""
    if wanted is given:
        return
    words = _MATCH.get(name)
    if words is None or words is _TRUTH and given.name == "uint8" or words is _FLOATS and given.is_floating_point:
        return
    raise RuntimeError(words.format(
        name=name, wanted=DTYPE_NAMES[wanted.name], given=DTYPE_NAMES[given.name], c_wanted=CPP_NAMES[wanted.name],
        c_given=CPP_NAMES[given.name], narrow=wanted.name == "int32"))
