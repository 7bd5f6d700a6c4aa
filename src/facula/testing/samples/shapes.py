"""Views, and what changes the arrangement of elements."""

from __future__ import annotations

from facula.testing.samples.arrays import (
    CUBE,
    MASK,
    ROW,
    SCALAR,
    SPECIAL,
    SQUARE,
    WHOLE,
    Dtype,
    Sample,
    X,
    Y,
    call,
    normal,
)

_PAIRS = normal(3, 4, 2)
SAMPLES: dict[str, list[Sample]] = {}


def _each(names: str, samples: list[Sample]) -> None:
    for name in names.split():
        SAMPLES[name] = samples


# ---- views -------------------------------------------------------------------------------------

_each(
    "Tensor.view reshape",
    [call(X, (2, 6)), call(X, (-1,)), call(CUBE, (6, -1)), call(CUBE, (2, 1, 12))],
)
SAMPLES["Tensor.view"] = [*SAMPLES["Tensor.view"], call(X, Dtype("int32"))]
_each("Tensor.view_as Tensor.reshape_as", [call(X, CUBE[0].reshape(4, 3)), call(X, ROW.repeat(3))])
_each("view_copy", [call(X, (2, 6))])
_each("flatten", [call(CUBE), call(CUBE, 1), call(CUBE, 0, 1), call(SCALAR)])
_each("ravel", [call(CUBE), call(SCALAR)])
_each("unflatten", [call(X, 1, (2, 2)), call(X, -1, (2, -1))])
_each("permute permute_copy", [call(CUBE, (2, 0, 1)), call(X, (1, 0)), call(CUBE, (-1, 0, 1))])
_each(
    "transpose transpose_copy swapaxes swapdims",
    [call(CUBE, 0, 2), call(X, 0, 1), call(CUBE, -1, -2)],
)
_each("movedim moveaxis", [call(CUBE, 0, 2), call(CUBE, (0, 1), (2, 0))])
_each("t t_copy", [call(X), call(ROW)])
_each("adjoint", [call(X), call(CUBE)])
_each(
    "squeeze squeeze_copy",
    [call(X[None]), call(X[:, None], 1), call(X, 0), call(X[None, :, None], (0, 2))],
)
_each("unsqueeze unsqueeze_copy", [call(X, 0), call(X, -1), call(X, 1)])
_each(
    "Tensor.expand expand_copy",
    [call(X, (2, 3, 4)), call(X[:, :1], (3, 4)), call(ROW, (3, -1)), call(SCALAR, (2,))],
)
_each("broadcast_to", [call(X, (2, 3, 4)), call(X[:, :1], (3, 4))])
_each("Tensor.expand_as", [call(ROW, X), call(X[:, :1], X)])
_each("broadcast_tensors", [call(X, ROW, SCALAR), call(X[:, :1], ROW)])
_each("select select_copy", [call(CUBE, 1, 2), call(X, 0, -1)])
_each("narrow narrow_copy", [call(X, 1, 1, 2), call(CUBE, 0, 0, 1), call(X, -1, -3, 2)])
_each(
    "diagonal diagonal_copy",
    [call(X), call(X, 1), call(X, -1), call(CUBE, 0, 1, 2), call(CUBE, 1, 2, 0)],
)
_each("linalg.diagonal", [call(X), call(CUBE, offset=1), call(CUBE, dim1=0, dim2=1)])
_each(
    "as_strided as_strided_copy",
    [call(X, (2, 3), (4, 1)), call(X, (2, 2), (1, 5), 2), call(X, (3, 2), (1, 1))],
)
_each(
    "Tensor.unfold unfold_copy",
    [call(X, 1, 2, 1), call(CUBE, 2, 3, 1), call(X, 0, 2, 2), call(ROW, 0, 3, 1)],
)
_each("split split_copy unsafe_split", [call(X, 2), call(X, 3, 1)])
SAMPLES["split"] = [*SAMPLES["split"], call(X, [1, 2]), call(X, (1, 3), -1)]
_each(
    "split_with_sizes split_with_sizes_copy unsafe_split_with_sizes",
    [call(X, [1, 2]), call(X, [1, 3], 1)],
)
_each("chunk unsafe_chunk", [call(X, 2), call(X, 3, 1)])
_each("tensor_split", [call(X, 2), call(X, 3, 1), call(X, (1, 2), 1), call(X, [2])])
_each("hsplit", [call(X, 2), call(ROW, 2), call(X, (1, 2))])
_each("vsplit", [call(X, 3), call(X, (1,))])
_each("dsplit", [call(CUBE, 2), call(CUBE, (1, 3))])
_each("unbind unbind_copy", [call(X), call(CUBE, 1)])
_each("atleast_1d atleast_2d atleast_3d", [call(SCALAR), call(ROW), call(X), call(SCALAR, ROW)])
_each("alias_copy", [call(X)])
_each("detach detach_copy", [call(X).flat()])
_each("view_as_complex view_as_complex_copy", [call(_PAIRS).flat()])
_each("view_as_real view_as_real_copy", [call(_PAIRS[..., 0] + 1j * _PAIRS[..., 1]).flat()])
_each(
    "Tensor.__getitem__",
    [
        call(X, 1),
        call(X, (slice(None), 2)),
        call(X, slice(None, None, 2)),
        call(X, (Ellipsis, None, -1)),
        call(X, MASK),
        call(X, WHOLE[0] % 3),
        call(CUBE, (slice(None), WHOLE[0] % 3, slice(1, 3))),
        call(CUBE, (WHOLE[0] % 2, slice(None), WHOLE[1] % 4)),
        call(X, ([0, 2], [1, 1])),
        call(X, ()),
    ],
)

# ---- copies ------------------------------------------------------------------------------------

_each("clone Tensor.contiguous", [call(X), call(CUBE), call(SCALAR)])
_each(
    "cat", [call([X, Y]), call([X, Y[:, :2]], 1), call([X, Y, CUBE[0]], dim=-1), call([X, WHOLE])]
)
_each("_chunk_cat", [call([X, Y[:2]], 0, 2), call([X, Y, CUBE[0]], -1, 3)])
_each("stack", [call([X, Y]), call([X, Y], 1), call([X, Y], -1)])
_each(
    "hstack vstack dstack column_stack row_stack",
    [call([X, Y]), call([ROW, ROW]), call([SCALAR, SCALAR])],
)
_each("block_diag", [call(X, SQUARE), call(ROW, X, SCALAR)])
_each("cartesian_prod", [call(ROW, ROW[:2]), call(ROW)])
_each("combinations", [call(ROW), call(ROW, 3), call(ROW, 2, True)])
_each("meshgrid", [call(ROW, ROW[:3], indexing="ij"), call(ROW, ROW[:2], SCALAR, indexing="xy")])
_each("flip", [call(X, (0,)), call(CUBE, (0, 2)), call(X, (-1,))])
_each("fliplr flipud", [call(X), call(CUBE)])
_each("roll", [call(X, 1), call(X, 2, 1), call(CUBE, (1, -1), (0, 2)), call(X, 5, 0)])
_each("rot90", [call(X), call(X, 2), call(CUBE, 1, (1, 2)), call(X, -1)])
_each("Tensor.repeat tile", [call(X, (2, 1)), call(ROW, (2, 3)), call(X, (2, 1, 2))])
_each(
    "repeat_interleave",
    [call(X, 2), call(X, 2, 1), call(X, WHOLE[0], 1), call(X, WHOLE[:, 0] % 3, dim=0)],
)
_each(
    "constant_pad_nd nn.functional.pad",
    [call(X, (1, 2)), call(X, (1, 0, 2, 1), value=0.5), call(X, (-1, 1))],
)
SAMPLES["nn.functional.pad"] = [
    *SAMPLES["nn.functional.pad"],
    call(CUBE, (1, 2), mode="reflect"),
    call(CUBE, (2, 1), mode="replicate"),
    call(CUBE, (1, 1), mode="circular"),
]
_each("tril triu", [call(X), call(X, 1), call(CUBE, -1)])
_each("diag", [call(X), call(ROW), call(X, 1), call(ROW, -1)])
_each("diagflat", [call(ROW), call(X[:2, :2]), call(ROW, 1)])
_each("diag_embed", [call(X), call(X, 1), call(X, 0, 0, 2)])
_each("slice_scatter", [call(X, Y[:2], 0, 1), call(X, Y[:, :2], 1, 0, 4, 2)])
_each("select_scatter", [call(X, ROW, 0, 1), call(X, ROW[:3], 1, -1)])
_each("diagonal_scatter", [call(X, ROW[:3]), call(X, ROW[:3], 1)])
_each(
    "as_strided_scatter",
    [call(X, SQUARE[:2, :2], (2, 2), (4, 1)), call(X, SQUARE[:2, :2], (2, 2), (1, 5), 2)],
)
_each("trace", [call(X), call(SQUARE), call(WHOLE)])
_each("Tensor.sum_to_size", [call(X, (1, 4)), call(CUBE, (3, 1)), call(X, (3, 4))])
_each("Tensor.__len__", [call(X), call(CUBE)])
_each("Tensor.__iter__", [call(ROW).only(list), call(X).only(list)])
_each("Tensor.__contains__", [call(WHOLE, 3), call(SPECIAL, 1.0), call(X, 99.0)])
