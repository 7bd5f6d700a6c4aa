"""How the results of an operation lie in memory: rules that they are registered with (`RULES`).

Elementwise formulas, casts and copies need none: what they record is laid out already (`_tensor/layout.py`). A rule
looks at the result and at the tensors among the arguments. Where all of these are row-major it changes nothing; a
result that is a view, or an argument itself, is left as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula._tensor.assigning import assign
from facula._tensor.handle import Tensor, strides_of
from facula._tensor.layout import CHANNELS_LAST, Layout, in_memory_format, is_row_major, pointwise, suggested
from facula._tensor.reading import lay, lay_in, layout_of, read, share_nothing
from facula.layouts import contiguous_format

Rule = Callable[[Tensor, list[Tensor]], Any]


# What `out` is given of these is row-major if it was resized, however the result would lie without `out`.
ROW_MAJOR_OUT = frozenset("""
    stack kron quantile nanquantile matrix_power tensorinv ndtr rfft irfft hfft fft2 ifft2 fftn ifftn
    rfftn ihfft2 ihfftn""".split())


def ruled(body: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`body`, whose results are laid out by the rule for the operation of that name; itself if there is none."""
    rule = RULES.get(name)
    if rule is None:
        return body

    @functools.wraps(body)
    def laid_out(*args: Any, **kwargs: Any) -> Any:
        found = body(*args, **kwargs)
        operands = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
        for t in found if isinstance(found, tuple) else (found,):
            if isinstance(t, Tensor) and not any(t is x or t._base is not None and (t._base is x or t._base is x._base)
                                                 for x in operands):
                rule(t, operands)
        return found
    return laid_out


def plain(out: Tensor, operands: list[Tensor]) -> None:
    """Row-major, whatever the operands look like."""
    if out._storage is not None:
        lay(out, None)


def like_operands(out: Tensor, operands: list[Tensor]) -> None:
    """As of an elementwise formula of all operands."""
    if out._storage is None and all(t._storage is None for t in operands):
        return
    lay(out, pointwise(out.shape, tuple([(t.shape, strides_of(t)) for t in operands])))


def like_input(out: Tensor, operands: list[Tensor]) -> None:
    """As a copy of the first operand, which has the same shape."""
    if out.shape == operands[0].shape:
        lay(out, layout_of(operands[0]))


def like_images(out: Tensor, operands: list[Tensor]) -> None:
    """In the memory format that the first operand's strides suggest; row-major if it is no batch of images."""
    lay(out, format_of(out.shape, operands[:1]))


def like_gapless_images(out: Tensor, operands: list[Tensor]) -> None:
    """`like_images`, but row-major where the first operand is that, too (images of one point)."""
    x = operands[0]
    lay(out, None if x._storage is None or is_row_major(x.shape, x._strides) else format_of(out.shape, [x]))


def like_lines(out: Tensor, operands: list[Tensor]) -> None:
    """`like_images` for one dimension of positions: (C, L) and (N, C, L) count as (1, C, 1, L) and (N, C, 1, L)."""
    if operands[0]._storage is not None:
        lay(out, line_layout(out.shape, operands[:1]))


def matrices_by_column(out: Tensor, operands: list[Tensor]) -> None:
    """As LAPACK returns matrices: each of them column after column. Vectors that come with them are left."""
    if len(out.shape) == len(operands[0].shape):
        by_column(out)


def elements_by_column(out: Tensor, operands: list[Tensor]) -> None:
    """`by_column`; row-major if there are no elements."""
    if 0 in out.shape:
        lay(out, None)
    else:
        by_column(out)


def by_column(out: Tensor, operands: Any = None) -> Tensor:
    """Each matrix column after column."""
    n = len(out.shape)
    return out if n < 2 else lay_in(out, (*range(n - 2), n - 1, n - 2))


def in_place_of_input(out: Tensor, operands: list[Tensor]) -> None:
    """With the strides, gaps and offset of the first operand; as a copy of it if its elements overlap."""
    x = operands[0]
    if x._storage is None:
        return
    if any(not step and n > 1 for n, step in zip(x.shape, x._strides, strict=True)):
        lay(out, layout_of(x))
        return
    node = read(out)
    share_nothing(out, x)
    assign(out, node)


def format_of(shape: tuple[int, ...], tensors: list[Tensor]) -> Layout | None:
    """The layout of images of that shape: channels_last if the strides of one of the tensors look like it."""
    for t in tensors:
        if t._storage is not None and len(t.shape) == len(shape):
            found = suggested(t.shape, t._strides)
            if found is not contiguous_format:
                return in_memory_format(shape, found)
    return None


def line_layout(shape: tuple[int, ...], tensors: list[Tensor]) -> Layout | None:
    """`format_of` for (C, L) and (N, C, L)."""
    for t in tensors:
        old, strides = tuple(t.shape), strides_of(t)
        if len(old) == 2:
            old, strides = (1, *old), (strides[0] * old[0], *strides)
        found = suggested((*old[:2], 1, old[2]), (*strides[:2], strides[2] * old[2], strides[2]))
        if found is not contiguous_format:
            whole = in_memory_format((*(1,) * (3 - len(shape)), *shape[:-1], 1, shape[-1]), found)
            order = (0, 2, 1) if len(shape) == 3 else (1, 0)
            return None if whole is None else (order, (*whole[1][:2], whole[1][3])[3 - len(shape):])
    return None


def same_format(shape: tuple[int, ...], tensors: list[Tensor]) -> Layout | None:
    """The layout of what tensors are joined to: channels_last if that is what all of them suggest."""
    if len(shape) not in CHANNELS_LAST or any(t._storage is None for t in tensors):
        return None
    found = {suggested(t.shape, t._strides) for t in tensors}
    return in_memory_format(shape, found.pop()) if len(found) == 1 else None


def _named(names: str, prefix: str = "") -> list[str]:
    return [prefix + name for name in names.split()]


_POINTWISE = [
    *_named("""gcd lcm frexp igamma igammac polygamma Tensor.polygamma i0 addr complex polar conj"""),
    *_named("""airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 modified_bessel_i0 modified_bessel_i1
            modified_bessel_k0 modified_bessel_k1 scaled_modified_bessel_k0 scaled_modified_bessel_k1
            spherical_bessel_j0
            chebyshev_polynomial_t chebyshev_polynomial_u chebyshev_polynomial_v chebyshev_polynomial_w
            shifted_chebyshev_polynomial_t shifted_chebyshev_polynomial_u shifted_chebyshev_polynomial_v
            shifted_chebyshev_polynomial_w hermite_polynomial_h hermite_polynomial_he laguerre_polynomial_l
            legendre_polynomial_p erfcx i0e i1 i1e log_ndtr ndtri zeta""", "special."),
]
_LIKE_INPUT = [
    *_named("sort argsort msort flip fill index_fill index_put put isreal"),
    *_named("huber_loss binary_cross_entropy_with_logits", "nn.functional."),
]
_IN_PLACE = _named("select_scatter slice_scatter diagonal_scatter as_strided_scatter")
_PLAIN = [
    *_named("""diag tril triu renorm mvlgamma repeat_interleave masked_fill instance_norm narrow_copy
            alias_copy grid_sampler lu_unpack unfold_copy native_layer_norm"""),
    *_named("""logsigmoid rrelu grid_sample instance_norm avg_pool3d adaptive_avg_pool3d adaptive_max_pool3d
            adaptive_max_pool3d_with_indices lp_pool3d""", "nn.functional."),
    *[name + "_copy" for name in _named("""view transpose t permute select squeeze unsqueeze expand diagonal as_strided
                                         detach unbind split split_with_sizes view_as_real view_as_complex narrow""")],
]
_IMAGES = [
    *_named("native_group_norm group_norm"),
    *_named("""max_pool2d max_pool3d adaptive_avg_pool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices avg_pool2d
            max_pool2d_with_indices max_pool3d_with_indices max_unpool2d lp_pool2d channel_shuffle pixel_shuffle
            pixel_unshuffle interpolate upsample upsample_bilinear upsample_nearest group_norm""",
            "nn.functional."),
]
_GAPLESS_IMAGES = ["batch_norm", "native_batch_norm", "nn.functional.batch_norm", "nn.functional.rms_norm"]
_LINES = _named("""avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d adaptive_max_pool1d_with_indices
                max_pool1d_with_indices max_unpool1d lp_pool1d""", "nn.functional.")
_COLUMN_MAJOR = [
    *_named("cholesky_inverse cholesky_solve geqrf lu lu_solve ormqr qr triangular_solve"),
    *_named("""cholesky cholesky_ex eig eigh inv inv_ex ldl_factor ldl_factor_ex ldl_solve lu_factor lu_factor_ex
            qr solve_ex solve_triangular svd
            householder_product""", "linalg."),
]
RULES: dict[str, Rule] = {
    **dict.fromkeys(_POINTWISE, like_operands), **dict.fromkeys(_LIKE_INPUT, like_input),
    **dict.fromkeys(_IN_PLACE, in_place_of_input), **dict.fromkeys(_PLAIN, plain),
    **dict.fromkeys(_IMAGES, like_images), **dict.fromkeys(_GAPLESS_IMAGES, like_gapless_images),
    **dict.fromkeys(_LINES, like_lines),
    **dict.fromkeys(_COLUMN_MAJOR, matrices_by_column), "cholesky": elements_by_column,
}
