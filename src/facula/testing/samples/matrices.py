"""Products and decompositions of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.testing.samples.arrays import (
    BATCH,
    CUBE,
    ROW,
    SPD,
    SQUARE,
    SQUARES,
    Sample,
    X,
    Y,
    call,
    normal,
)

SAMPLES: dict[str, list[Sample]] = {}
_WIDE, _NARROW, _THREE = normal(4, 5), normal(4, 2), normal(3)
_LOWER = SQUARE.copy()
_LOWER[[0, 0, 1], [1, 2, 2]] = 0.0


def _each(names: str, samples: list[Sample]) -> None:
    for name in names.split():
        SAMPLES[name] = samples


# ---- products ----------------------------------------------------------------------------------

_each(
    "matmul linalg.matmul",
    [
        call(X, _WIDE),
        call(X, ROW),
        call(ROW, _WIDE),
        call(ROW, ROW),
        call(CUBE, BATCH),
        call(CUBE, _WIDE),
        call(X, CUBE.transpose(0, 2, 1)),
        call(CUBE, ROW),
        call(SQUARES[:, None], SQUARES),
    ],
)
_each("mm", [call(X, _WIDE), call(X.T, Y)])
_each("mv", [call(X, ROW)])
_each("bmm", [call(CUBE, BATCH)])
_each("dot vdot", [call(ROW, X[0])])
_each("inner", [call(X, Y), call(ROW, X[0]), call(CUBE, X)])
_each("outer", [call(ROW, _THREE)])
_each("addr", [call(X, _THREE, ROW), call(ROW, _THREE, ROW, beta=0.5, alpha=2)])
_each(
    "addmm",
    [call(SQUARE, X, X.T), call(_THREE, X, X.T, beta=2, alpha=3), call(SQUARE, X, X.T, beta=0)],
)
_each("addmv", [call(_THREE, X, ROW), call(_THREE, X, ROW, beta=0.5, alpha=2)])
_each("addbmm", [call(SQUARE, CUBE, BATCH), call(SQUARE, CUBE, BATCH, beta=0.5, alpha=2)])
_each("baddbmm", [call(SQUARES, CUBE, BATCH), call(SQUARE, CUBE, BATCH, beta=0.5, alpha=2)])
_each("chain_matmul", [call(X, _WIDE), call(X, _WIDE, _WIDE.T)])
_each(
    "linalg.multi_dot",
    [call([X, _WIDE]), call([X, _WIDE, _WIDE.T]), call([ROW, _WIDE, _WIDE.T, ROW])],
)
_each(
    "tensordot",
    [call(X, Y), call(X, Y, ([1], [1])), call(CUBE, X, ((1, 2), (0, 1))), call(X, _WIDE, 1)],
)
_each("kron", [call(X, SQUARE[:2, :2]), call(ROW, X)])
_each(
    "einsum",
    [
        call("ij,jk->ik", X, _WIDE),
        call("ij->ji", X),
        call("bij,bjk->bik", CUBE, BATCH),
        call("ii->i", SQUARE),
        call("ij,ij", X, Y),
        call("...i,i", CUBE, ROW),
        call("i,j->ij", ROW, _THREE),
    ],
)
_each(
    "nn.functional.linear",
    [call(X, _WIDE.T), call(X, _WIDE.T, normal(5)), call(CUBE, _WIDE.T, normal(5))],
)
_each("linalg.vecdot", [call(X, Y), call(X, Y, dim=0)])
_each("linalg.cross", [call(SQUARE, SQUARE[::-1].copy()), call(X, Y, dim=0)])
_each("linalg.vander", [call(ROW), call(ROW, N=3)])

# ---- functions of a square matrix --------------------------------------------------------------

_each("det linalg.det logdet", [call(SPD), call(SPD[:2, :2])])
SAMPLES["linalg.det"] = SAMPLES["det"] = [*SAMPLES["det"], call(SQUARES)]
_each("slogdet linalg.slogdet", [call(SPD), call(SQUARES)])
_each("inverse linalg.inv linalg.inv_ex", [call(SQUARE), call(SQUARES)])
_each(
    "linalg.solve",
    [call(SQUARE, X), call(SQUARE, _THREE), call(SQUARES, CUBE), call(SQUARE, X.T, left=False)],
)
_each(
    "linalg.solve_triangular",
    [
        call(_LOWER, X, upper=False),
        call(_LOWER.T, X, upper=True),
        call(_LOWER, X.T, upper=False, left=False),
    ],
)
_each(
    "matrix_power linalg.matrix_power",
    [call(SQUARE, 2), call(SQUARE, 3), call(SQUARES, -1), call(SQUARE, 0)],
)
_each("matrix_exp linalg.matrix_exp", [call(SQUARE / 4), call(SQUARES / 4)])
_each("linalg.matrix_rank", [call(X), call(SQUARES)])

# ---- decompositions ----------------------------------------------------------------------------


def _symmetric(fn_samples: list[Sample]) -> list[Sample]:
    """A step of finite differences leaves the symmetric matrices, where these functions are not
    defined."""
    return [s.flat() for s in fn_samples]


def _unsigned(result: Any) -> Any:
    """Singular and eigenvectors are determined but for their sign."""
    return tuple(part.abs() for part in result)


_each(
    "cholesky linalg.cholesky linalg.cholesky_ex",
    _symmetric([call(SPD), call(SPD, upper=True), call(SQUARES @ SQUARES.transpose(0, 2, 1))]),
)
# Of factors the gradients are PyTorch's, which are not those of what is read: tests/ops/test_triangles.py.
_each("cholesky_inverse", [call(_LOWER).flat(), call(_LOWER.T, upper=True).flat()])
_each("cholesky_solve", [call(X, _LOWER).flat(), call(X, _LOWER.T, upper=True).flat()])
_each(
    "linalg.eigh",
    [s.only(_unsigned) for s in _symmetric([call(SPD), call(SQUARES), call(SPD, UPLO="U")])],
)
_each("linalg.eigvalsh", _symmetric([call(SPD), call(SQUARES)]))
_each("linalg.eig", [call(SPD).only(lambda r: r[0].real.sort()[0]).flat()])
_each("linalg.eigvals", [call(SPD).only(lambda r: r.real.sort()[0]).flat()])
_each("qr linalg.qr", [call(SQUARE), call(X.T), call(SQUARES)])
_each("svd", [call(X).only(_unsigned), call(SQUARE).only(_unsigned)])
_each("linalg.svd", [call(X, False).only(_unsigned), call(SQUARE).only(_unsigned)])
_each("linalg.svdvals", [call(X), call(SQUARES)])
_each("pinverse linalg.pinv", [call(X), call(SQUARE)])
_each("linalg.lstsq", [call(X.T, _NARROW).only(lambda r: r[0])])
_each("linalg.cond", [call(SQUARE), call(X), call(SQUARE, 1), call(SQUARE, "fro")])
_each(
    "linalg.matrix_norm",
    [
        call(X),
        call(X, 1),
        call(X, float("inf")),
        call(CUBE, "fro", (0, 1)),
        call(X, "nuc"),
        call(X, 2),
    ],
)
_each(
    "linalg.norm",
    [call(X), call(X, 1), call(ROW, 3), call(X, 2, 1), call(X, "fro"), call(CUBE, dim=(0, 1))],
)

# ---- LU, and other names of the above ----------------------------------------------------------

_LU, _PIVOTS = _LOWER + np.triu(SQUARE, 1), np.array([2, 3, 3], np.int32)
_each("lu linalg.lu_factor", [call(SQUARE), call(SQUARES)])
_each("linalg.lu linalg.lu_factor_ex", [call(SQUARE), call(SQUARES), call(X.T)])
_each("lu_solve", [call(X, _LU, _PIVOTS)])
_each("linalg.lu_solve", [call(_LU, _PIVOTS, X), call(_LU, _PIVOTS, X, adjoint=True)])
_each("lu_unpack", [call(_LU, _PIVOTS)])
_each("linalg.solve_ex", [call(SQUARE, X), call(SQUARES, CUBE)])
_each("triangular_solve", [call(X, _LOWER.T), call(X, _LOWER, upper=False, transpose=True)])
_each("linalg.tensorinv", [call(normal(2, 3, 6)), call(normal(4, 2, 2), ind=1)])
_each("linalg.tensorsolve", [call(normal(2, 3, 6), normal(2, 3))])
_REFLECTORS, _TAU = normal(4, 2), normal(2)
_each("orgqr", [call(_REFLECTORS, _TAU).flat()])
_each("ormqr", [call(_REFLECTORS, _TAU, X.T).flat()])
_each("geqrf", [call(X).flat(), call(SQUARES).flat()])
_each("frobenius_norm", [call(X, 1), call(CUBE, (0, 1), True)])
_each("nuclear_norm", [call(X), call(CUBE, (0, 1), True)])
_each("cross", [call(SQUARE, SQUARE[::-1].copy()), call(X, Y, 0)])
_each("vander", [call(ROW), call(ROW, 3, True)])

# ---- of low rank -------------------------------------------------------------------------------


def _singular_values(result: Any) -> Any:
    return result[1]  # the vectors' signs are not determined


SAMPLES["svd_lowrank"] = [
    call(X, 3).only(_singular_values),
    call(BATCH, q=3, niter=1).only(_singular_values),
    call(X, q=2, M=ROW).only(_singular_values).flat(),  # of less than the rank: random
]
SAMPLES["pca_lowrank"] = [
    call(X, 2).only(_singular_values),
    call(BATCH, center=False).only(_singular_values),
]

# ---- LDL ---------------------------------------------------------------------------------------

_INDEFINITE = np.array([[0.0, 1.5, -2.0], [1.5, 0.2, 0.7], [-2.0, 0.7, -0.1]])
_LDL = np.array([[0.0, 0.0, 0.0], [-2.0, -0.1, 0.0], [0.5, 0.3, 1.7]]), np.array([-3, -3, 3])
_each(
    "linalg.ldl_factor linalg.ldl_factor_ex",
    [call(_INDEFINITE).flat(), call(SQUARES, hermitian=True).flat(), call(SPD).flat()],
)
SAMPLES["linalg.ldl_solve"] = [
    call(*_LDL, normal(3, 2)).flat(),
    call(*_LDL, normal(2, 3, 1), hermitian=True).flat(),
]
