"""`torch.nn.attention.flex_attention`: attention whose scores and masks are functions of positions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import facula
from facula import errors
from facula._tensor.handle import is_meta
from facula._tensor.reading import lay_in
from facula.func import vmap
from facula.nn.attention.block_mask import (
    _BLOCK,
    BlockMask,
    MaskMod,
    block_mask_of,
    dense,
    noop_mask,
)

__all__ = ["AuxOutput", "AuxRequest", "BlockMask", "FlexKernelOptions", "and_masks", "create_block_mask", "create_mask",
           "flex_attention", "noop_mask", "or_masks"]

_DEFAULT_SPARSE_BLOCK_SIZE = _BLOCK  # libraries import it


class AuxRequest(NamedTuple):
    """What `flex_attention` is to return besides the attention."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What an AuxRequest has asked for; None of what it has not."""

    lse: Any = None
    max_scores: Any = None


class FlexKernelOptions(TypedDict, total=False):
    """Options of PyTorch's kernels: taken, without an effect."""

    num_warps: int
    num_stages: int
    BLOCK_M: int
    BLOCK_N: int
    BLOCK_M1: int
    BLOCK_N1: int
    BLOCK_M2: int
    BLOCK_N2: int
    PRESCALE_QK: bool
    ROWS_GUARANTEED_SAFE: bool
    BLOCKS_ARE_CONTIGUOUS: bool
    WRITE_DQ: bool
    FORCE_USE_FLEX_ATTENTION: bool
    USE_TMA: bool
    kpack: int
    matrix_instr_nonkdim: int
    waves_per_eu: int
    BACKEND: str


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """The mask of what all of `mask_mods` let through.

    Raises:
        RuntimeError: something given is not callable.
    """
    def and_mask(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        found = b.new_ones((), dtype=facula.bool)
        for mod in mask_mods:
            found = found & mod(b, h, q_idx, kv_idx)
        return found
    return _checked(mask_mods, and_mask)


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """The mask of what any of `mask_mods` lets through.

    Raises:
        RuntimeError: something given is not callable.
    """
    def or_mask(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        found = b.new_zeros((), dtype=facula.bool)
        for mod in mask_mods:
            found = found | mod(b, h, q_idx, kv_idx)
        return found
    return _checked(mask_mods, or_mask)


def _checked(mods: tuple[Any, ...], mask: MaskMod) -> MaskMod:
    if not all(map(callable, mods)):
        raise RuntimeError(f"All inputs should be callable mask_mods: {mods}")
    return mask


def _is_score_mod(function: Any) -> bool:
    """Does it take a score before the four positions? AssertionError if it takes neither 4 nor 5 arguments."""
    count = sum(p.default is p.empty for p in inspect.signature(function).parameters.values())
    if count not in (4, 5):
        raise AssertionError(f"Expected 4 or 5 positional args, got {count}")
    return count == 5


def _everywhere(mod: Callable[..., Any], sizes: tuple[int, ...], device: Any, *scores: Any) -> Any:
    """`mod` at all positions (B, H, Q, KV), with the score there if there are `scores` of that shape."""
    from facula._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
    over: Any = mod
    for place in (3, 2, 1, 0):
        over = vmap(over, in_dims=(0,) * len(scores) + tuple([0 if k == place else None for k in range(4)]))
    with TransformGetItemToIndex():
        return over(*scores, *[facula.arange(n, device=device) for n in sizes])


def create_mask(mod_fn: Callable[..., Any], B: int | None, H: int | None, Q_LEN: int, KV_LEN: int,
                device: Any = None) -> Any:
    """`mod_fn(batch, head, query, key)` of all positions, as a bool tensor (B, H, Q_LEN, KV_LEN); None counts as 1.

    Of a function of a score and four positions: where it leaves a score of 0 above -inf.

    Raises:
        AssertionError: a function of another number of arguments.

    Example:
        >>> from facula.nn.attention.flex_attention import create_mask
        >>> create_mask(lambda b, h, q, kv: q >= kv, None, None, 2, 3)
        tensor([[[[ True, False, False],
                  [ True,  True, False]]]])
    """
    sizes = 1 if B is None else B, 1 if H is None else H, Q_LEN, KV_LEN
    if _is_score_mod(mod_fn):
        return ~_everywhere(mod_fn, sizes, device, facula.zeros(sizes, device=device)).isneginf()
    return _everywhere(mod_fn, sizes, device)


def create_block_mask(mask_mod: MaskMod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None,
                      BLOCK_SIZE: int | tuple[int, int] = _BLOCK, _compile: bool = False,
                      separate_full_blocks: bool = True, compute_dq_write_order: bool = False,
                      dq_kv_order: bool = True) -> BlockMask:
    """The BlockMask of `mask_mod(batch, head, query, key)`, True where a query may attend to a key.

    Args:
        B, H: of how many batches and heads (None: the same for all).
        BLOCK_SIZE: of the blocks, in queries and keys.
        separate_full_blocks: keep full blocks apart from those where `mask_mod` is to be asked.
        compute_dq_write_order, dq_kv_order: orders for PyTorch's kernels; kept.

    Raises:
        AssertionError: a function of a score, or one that gives no bool.

    Example:
        >>> from facula.nn.attention.flex_attention import create_block_mask
        >>> create_block_mask(lambda b, h, q, kv: q >= kv, None, None, 8, 8, BLOCK_SIZE=4).to_dense()
        tensor([[[[1, 0],
                  [1, 1]]]], dtype=torch.int32)
    """
    if not isinstance(dq_kv_order, bool):
        raise ValueError("dq_kv_order must be a bool when using create_block_mask")
    if _is_score_mod(mask_mod):
        raise AssertionError(f"create-block_mask requires a mask_mod function! Got {mask_mod}")
    size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
    mask = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device)
    made = block_mask_of(mask, size, mask_mod, separate_full_blocks)
    if compute_dq_write_order:
        made._write_order(dq_kv_order)
    return made


def _check(query: Any, key: Any, value: Any, block_mask: Any, enable_gqa: bool) -> None:
    """ValueError where the arguments of `flex_attention` do not belong together."""
    if is_meta(query):
        raise ValueError("FlexAttention is only supported on CUDA, CPU, HPU, or MPS devices. Found input tensors on "
                         "meta device.")
    if not query.dim() == key.dim() == value.dim() == 4:
        raise NotImplementedError("NYI: query, key, and value must be 4D tensors")
    (batch, heads, q_len, width), (kv_batch, kv_heads, kv_len, _) = query.shape, key.shape
    if width != key.size(-1):
        raise ValueError(f"Expect query and key/value to have the same embedding dimension but got E={width} and "
                         f"E={key.size(-1)}.")
    if not enable_gqa and heads != kv_heads:
        raise ValueError(f"Expect query and key/value to have the same number of heads but got Hq={heads} and "
                         f"Hkv={kv_heads}. Try setting enable_gqa=True for GQA.")
    if enable_gqa and heads % kv_heads:
        raise ValueError(f"Expect number of query heads to be a multiple of kv heads for GQA but got Hq={heads} and "
                         f"Hkv={kv_heads}.")
    if batch != kv_batch and (block_mask is None or kv_batch != 1):
        raise ValueError("Expect query and key/value to have the same batch size, or non-none block_mask, but got "
                         f"block_mask={None if block_mask is None else '...'}, Bq={batch}, and Bkv={kv_batch}.")
    if block_mask is None:
        return
    lengths = block_mask.seq_lengths
    made_for = (f"block_mask was created for block_mask.shape={block_mask.shape} but got q_len={q_len} and "
                f"kv_len={kv_len}. As the block mask was created for a ")
    if lengths[0] < q_len or lengths[1] < kv_len:
        raise ValueError(f"{made_for}smaller length than you're using it for, you likely need to create a new block "
                         "mask.")
    if tuple(lengths) != (q_len, kv_len):
        raise ValueError(f"{made_for}larger length than you're using it for, you can either 1. create a new block mask "
                         "with the correct length, or 2. 'adjust' the existing block mask to the correct length by "
                         "calling block_mask._adjust(q_len, kv_len). This essentially 'crops' the block mask to the "
                         "upper left corner, which does not work for all mask_mods!")
    for k, n in enumerate((batch, heads)):
        if block_mask.shape[k] not in (1, n):
            raise ValueError(f"block_mask of shape {block_mask.shape} is for other batches or heads than a query of "
                             f"shape {tuple(query.shape)} has")


def _allowed(mask: BlockMask, sizes: tuple[int, ...], device: Any) -> Any:
    """Which pairs of positions the mask lets through: bool, (B, H, Q, KV). What lies in no block is masked, and blocks
    that are called full let everything through."""
    def spread(blocks: Any) -> Any:
        for dim, size, n in ((-2, mask.BLOCK_SIZE[0], sizes[2]), (-1, mask.BLOCK_SIZE[1], sizes[3])):
            blocks = blocks.repeat_interleave(size, dim).narrow(dim, 0, n)
        return blocks.bool()
    found = _everywhere(mask.mask_mod, sizes, device) & spread(dense(mask.kv_num_blocks, mask.kv_indices))
    if mask.full_kv_num_blocks is not None:
        found = found | spread(dense(mask.full_kv_num_blocks, mask.full_kv_indices))
    return found


def flex_attention(query: Any, key: Any, value: Any, score_mod: Callable[..., Any] | None = None,
                   block_mask: BlockMask | None = None, scale: float | None = None, enable_gqa: bool = False,
                   return_lse: bool = False, kernel_options: Any = None, *,
                   return_aux: AuxRequest | None = None) -> Any:
    """Attention (B, Hq, L, E), (B, H, S, E), (B, H, S, Ev) to (B, Hq, L, Ev), with functions of scores and positions.

    Args:
        score_mod: `(score, batch, head, query, key)` to another score; what it closes over gets gradients.
        block_mask: who may attend to whom, of `create_block_mask`.
        scale: 1 / sqrt(E) by default.
        enable_gqa: H may be a divisor of Hq.
        return_aux: `AuxRequest(lse=True)`: return (attention, AuxOutput) with the logarithms of the sums, (B, Hq, L).
        return_lse: the old way to ask for them: return (attention, logarithms).
        kernel_options: taken, without an effect.

    A row that may attend to nothing gives zeros and a logarithm of -inf. There are gradients, of any order. All scores
    are computed at once: a mask does not make it faster.

    Raises:
        ValueError: shapes or mask do not fit.
        NotImplementedError: not four dimensions, or the greatest scores are asked for (as PyTorch on a CPU).

    Source: Dong et al., "Flex Attention", 2024 (arXiv:2412.05496).

    Example:
        >>> import facula
        >>> from facula.nn.attention.flex_attention import flex_attention
        >>> q = facula.zeros(1, 1, 2, 4)
        >>> v = facula.tensor([[[[1.0], [3.0]]]])
        >>> flex_attention(q, q, v, score_mod=lambda s, b, h, i, j: facula.where(j <= i, s, -facula.inf)).flatten()
        tensor([1., 2.])
    """
    _check(query, key, value, block_mask, enable_gqa)
    if return_lse and return_aux is not None:
        raise ValueError("Cannot specify both return_lse and return_aux. return_lse is deprecated, please use "
                         "return_aux=AuxRequest(lse=True) instead.")
    if return_lse:
        errors.warn("return_lse is deprecated and will be removed in v2.10. Please use return_aux=AuxRequest(lse=True) "
                    "instead.", FutureWarning)
    if return_aux is not None and return_aux.max_scores:
        raise NotImplementedError("Returning max scores is not supported on CPU/MPS.")
    dict(kernel_options or {})
    of = query.dtype
    computed = facula.float64 if of is facula.float64 else facula.float32
    q, k, v = query.to(computed), key.to(computed), value.to(computed)
    heads, kv_heads = q.size(1), k.size(1)
    if enable_gqa and heads != kv_heads:
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
    scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(q.size(-1)) if scale is None else scale)
    sizes = tuple(scores.shape)
    if score_mod is not None:
        scores = _everywhere(score_mod, sizes, query.device, scores).to(computed)
    if block_mask is not None:
        scores = scores.masked_fill(~_allowed(block_mask, sizes, query.device), -math.inf)
    # rows that may attend to nothing get finite scores first: a gradient of 0 times their NaN would be NaN
    nothing = (scores == -math.inf).all(-1, keepdim=True)
    scores = scores.masked_fill(nothing, 0.0)
    weights = scores.softmax(-1).masked_fill(nothing, 0.0)
    out = (weights.to(of).to(computed) @ v).to(of)  # rounded twice, as PyTorch
    lay_in(out, tuple(sorted(range(4), key=lambda d: -query.stride(d))))
    if not return_lse and return_aux is None:
        return out
    lse = None
    if return_lse or return_aux is not None and return_aux.lse:
        lse = scores.logsumexp(-1).masked_fill(nothing.squeeze(-1), -math.inf)
    return (out, lse) if return_lse else (out, AuxOutput(lse, None))
