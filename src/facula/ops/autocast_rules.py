"""Which operations autocast converts for on the cpu, and to what: PyTorch's lists, as it was seen to behave.

What is in no table is called with what it is given; the operations that it is made of are asked in their turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.ops.op import Operation, operation_of

# Products: operands in the type of autocast, and so is the result.
LOWER = frozenset((
    "addbmm", "addmm", "baddbmm", "bmm", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "linalg.matmul", "linalg.vecdot", "matmul", "mm", "nn.functional.linear", "prelu",
    "nn.functional.scaled_dot_product_attention"))
# What is not computed, or not well enough, in 16 bits: losses, decompositions, transforms, some pools.
SINGLE = frozenset((
    "cdist", "cholesky", "cholesky_inverse", "cholesky_solve", "fake_quantize_per_tensor_affine", "fft.fft", "fft.fft2",
    "fft.fftn", "fft.hfft", "fft.ifft", "fft.ifft2", "fft.ifftn", "fft.ihfft", "fft.irfft", "fft.irfft2", "fft.irfftn",
    "fft.rfft", "fft.rfft2", "fft.rfftn", "geqrf", "grid_sampler", "inverse", "linalg.cholesky", "linalg.cholesky_ex",
    "linalg.cond", "linalg.eig", "linalg.eigh", "linalg.eigvals", "linalg.eigvalsh", "linalg.inv", "linalg.inv_ex",
    "linalg.lstsq", "linalg.matrix_rank", "linalg.qr", "linalg.solve", "linalg.solve_triangular", "linalg.svd",
    "linalg.svdvals",
    "linalg.tensorinv", "linalg.tensorsolve", "lu", "lu_solve", "nn.functional.adaptive_avg_pool3d",
    "nn.functional.adaptive_max_pool3d", "nn.functional.adaptive_max_pool3d_with_indices", "nn.functional.avg_pool3d",
    "nn.functional.binary_cross_entropy", "nn.functional.binary_cross_entropy_with_logits",
    "nn.functional.cosine_embedding_loss", "nn.functional.cross_entropy", "nn.functional.ctc_loss",
    "nn.functional.fractional_max_pool2d", "nn.functional.fractional_max_pool2d_with_indices",
    "nn.functional.fractional_max_pool3d", "nn.functional.fractional_max_pool3d_with_indices",
    "nn.functional.grid_sample", "nn.functional.hinge_embedding_loss", "nn.functional.huber_loss",
    "nn.functional.kl_div", "nn.functional.l1_loss", "nn.functional.margin_ranking_loss",
    "nn.functional.max_unpool1d", "nn.functional.max_unpool2d", "nn.functional.max_unpool3d",
    "nn.functional.mse_loss", "nn.functional.multi_margin_loss", "nn.functional.multilabel_margin_loss",
    "nn.functional.nll_loss", "nn.functional.poisson_nll_loss", "nn.functional.smooth_l1_loss",
    "nn.functional.soft_margin_loss", "nn.functional.triplet_margin_loss", "nanquantile", "orgqr", "ormqr", "pinverse",
    "polar", "prod", "qr", "quantile", "stft", "svd", "trace", "triangular_solve", "view_as_complex",
    "view_as_complex_copy"))
# Operands in the widest type among them.
WIDEST = frozenset(("cat", "index_copy", "stack"))
# Made of others here, and not in PyTorch: nothing is converted within.
SEALED: frozenset[str] = frozenset(())

LOWERED, SINGLED, WIDENED, APART = "lower", "single", "widest", "apart"


def _pad(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    mode = args[2] if len(args) > 2 else kwargs.get("mode", "constant")
    amounts = args[1] if len(args) > 1 else kwargs.get("pad", ())
    return SINGLED if mode == "replicate" or mode == "reflect" and len(amounts) < 5 else None


def _weighted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Losses that PyTorch composes of others if they have weights."""
    return None if kwargs.get("weight") is not None else SINGLED


def _max_pool3d(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    return None if (args[6] if len(args) > 6 else kwargs.get("return_indices")) else SINGLED


SPECIAL: dict[str, Callable[[tuple[Any, ...], dict[str, Any]], str | None]] = {
    "nn.functional.pad": _pad, "nn.functional.l1_loss": _weighted, "nn.functional.mse_loss": _weighted,
    "nn.functional.max_pool3d": _max_pool3d}
_TABLES = ((LOWER, LOWERED), (SINGLE, SINGLED), (WIDEST, WIDENED), (SEALED, APART))


def rule_of(form: Any) -> Any:
    """What becomes of the operands of a public function: a word for a table above, a function of the arguments that
    says it, or None."""
    operation: Operation | None = operation_of(form)
    if operation is None:
        return None
    for name in operation.spellings:
        rule = SPECIAL.get(name) or next((word for table, word in _TABLES if name in table), None)
        if rule is not None:
            # PyTorch converts for functions that give a new tensor. Other forms are given what they were given.
            return APART if any(form is f for f in operation.in_place.values()) else rule
    return None
