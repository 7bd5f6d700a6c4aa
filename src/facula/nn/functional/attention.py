"""Attention as functions."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula._tensor.reading import lay, layout_of
from facula.dtypes import CPP_NAMES
from facula.ops.arrange.padding import pad
from facula.ops.autocasting import autocasts
from facula.ops.product.linear import linear
from facula.ops.registry import functional

from . import kernel_choice
from .dropping import dropout


@functional
def scaled_dot_product_attention(query: Any, key: Any, value: Any, attn_mask: Any = None,
                                 dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
                                 enable_gqa: bool = False) -> Any:
    """`softmax(Q K^T * scale + mask) V`: (*, L, E), (*, S, E), (*, S, Ev) to (*, L, Ev).

    Args:
        attn_mask: bool (False: may not attend) or added to the scores; anything that broadcasts to (*, L, S).
        is_causal: position i attends to positions up to i. Together with `attn_mask` for (N, H, L, E) without dropout
            alone: then both must allow it.
        scale: 1 / sqrt(E) by default.
        enable_gqa: repeat the heads (dimension -3) of key and value to as many as query has.

    A row that may attend to nothing (all False, or all -inf) gives zeros.

    Source: Vaswani et al., "Attention is all you need", 2017.
    """
    _check_attention(query, key, value, attn_mask, dropout_p, is_causal)
    kernel_choice.require(query, key, value, attn_mask, dropout_p)
    if scale is None:
        scale = 1.0 / math.sqrt(query.size(-1)) if query.size(-1) else math.inf
    if enable_gqa:
        heads = query.size(-3)
        if heads % key.size(-3) or heads % value.size(-3):
            raise RuntimeError("Number of heads in key and value must divide the number of heads in query")
        key = key.repeat_interleave(heads // key.size(-3), -3)
        value = value.repeat_interleave(heads // value.size(-3), -3)
    of = query.dtype
    given = query, key, value
    if of.compute is not of:  # one rounding, of the result: as PyTorch
        query, key, value = query.float(), key.float(), value.float()
    scores = (query * scale) @ key.transpose(-2, -1)
    nothing = None
    if is_causal:
        allowed = facula.ones((query.size(-2), key.size(-2)), dtype=facula.bool, device=query.device).tril()
        if attn_mask is not None:
            attn_mask = attn_mask & allowed if attn_mask.dtype is facula.bool else attn_mask.masked_fill(
                ~allowed, -math.inf)
        else:
            scores = scores.masked_fill(~allowed, -math.inf)
    if attn_mask is not None:
        shape = scores.shape
        if attn_mask.dtype is facula.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
            nothing = ~attn_mask.any(-1, keepdim=True)
        else:
            scores = scores + attn_mask
            nothing = _nothing(attn_mask)
        if scores.shape != shape:
            raise RuntimeError(f"output with shape {list(shape)} doesn't match the broadcast shape "
                               f"{list(scores.shape)}")
    weights = _weights(scores, nothing)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p, True)
    out = (weights @ value).to(of)
    first = given[0]
    if first._storage is not None and out.shape == first.shape and len(out.shape) == 4 and dropout_p == 0.0 \
            and all(t.stride(-1) == 1 for t in given):
        lay(out, layout_of(first))  # so that heads are joined without a copy
    return out


def _check_attention(query: Any, key: Any, value: Any, mask: Any, dropout_p: float, is_causal: bool) -> None:
    """RuntimeError where `scaled_dot_product_attention` cannot make sense of its arguments."""
    if not query.dtype is key.dtype is value.dtype:
        raise RuntimeError("Expected query, key, and value to have the same dtype, but got query.dtype: "
                           f"{_spelled(query)} key.dtype: {_spelled(key)} and value.dtype: {_spelled(value)} instead.")
    if query.dim() < 2 or key.dim() < 2 or value.dim() < 2:
        raise RuntimeError("Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
                           f"{query.dim()} key.dim: {key.dim()} and value.dim: {value.dim()} instead.")
    if not 0.0 <= dropout_p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
    if mask is None:
        return
    if mask.dtype not in (facula.bool, facula.float32, query.dtype):
        raise RuntimeError("Expected attn_mask dtype to be bool or float or to match query dtype, but got "
                           f"attn_mask.dtype: {_spelled(mask)} and  query.dtype: {_spelled(query)} instead.")
    if is_causal and (query.dim() != 4 or mask.dim() not in (2, 4) or dropout_p or query.size(-1) != value.size(-1)):
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")


def _spelled(t: Any) -> str:
    return CPP_NAMES[t.dtype.name]


def _nothing(mask: Any) -> Any:
    """Which rows of a mask that is added leave nothing to attend to: (*, L, 1)."""
    return (mask == -math.inf).all(-1, keepdim=True)


def _weights(scores: Any, nothing: Any) -> Any:
    """Softmax over the last dimension; zeros in the rows that may attend to `nothing`.

    Those rows get finite scores first: a gradient of 0 times their NaN would be NaN.
    """
    if nothing is None:
        return scores.softmax(-1)
    return scores.masked_fill(nothing, 0.0).softmax(-1).masked_fill(nothing, 0.0)


def _in_projections(query: Any, key: Any, value: Any, weight: Any, bias: Any, separate: Any) -> tuple[Any,
                                                                                                      Any,
                                                                                                      Any]:
    """Query, key and value after their linear maps; `weight` holds the three on top of each other."""
    if separate is None:
        weights = weight.chunk(3)
    else:
        weights = separate
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return (linear(query, weights[0], biases[0]), linear(key, weights[1], biases[1]),
            linear(value, weights[2], biases[2]))


def _float_mask(mask: Any, name: str, dtype: Any) -> Any:
    """A mask to add to scores: -inf where a bool mask says True (may not attend)."""
    if mask is None:
        return None
    if mask.dtype is facula.bool:
        return facula.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -math.inf)
    if not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return mask


def _checked_batch(query: Any, key: Any, value: Any, key_padding_mask: Any, attn_mask: Any,
                   num_heads: int) -> bool:
    """Are the inputs (L, N, E), rather than (L, E)? AssertionError where they do not belong together."""
    dims = query.dim()
    if dims not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {dims}-D query "
                             "tensor")
    kind = "batched" if dims == 3 else "unbatched"
    if key.dim() != dims or value.dim() != dims:
        raise AssertionError(f"For {kind} ({dims}-D) `query`, expected `key` and `value` to be {dims}-D but "
                             f"found {key.dim()}-D and {value.dim()}-D tensors respectively")
    if key_padding_mask is not None and key_padding_mask.dim() != dims - 1:
        raise AssertionError(f"For {kind} ({dims}-D) `query`, expected `key_padding_mask` to be `None` or "
                             f"{dims - 1}-D but found {key_padding_mask.dim()}-D tensor instead")
    if attn_mask is not None and attn_mask.dim() not in (2, 3):
        raise AssertionError(f"For {kind} ({dims}-D) `query`, expected `attn_mask` to be `None`, 2-D or 3-D "
                             f"but found {attn_mask.dim()}-D tensor instead")
    if dims == 2 and attn_mask is not None and attn_mask.dim() == 3:
        expected = (num_heads, query.size(0), key.size(0))
        if tuple(attn_mask.shape) != expected:
            raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}")
    return dims == 3  # type: ignore[no-any-return]


@functional
def multi_head_attention_forward(
        query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any,
        in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float,
        out_proj_weight: Any, out_proj_bias: Any, training: bool = True, key_padding_mask: Any = None,
        need_weights: bool = True, attn_mask: Any = None, use_separate_proj_weight: bool = False,
        q_proj_weight: Any = None, k_proj_weight: Any = None, v_proj_weight: Any = None, static_k: Any = None,
        static_v: Any = None, average_attn_weights: bool = True, is_causal: bool = False) -> tuple[Any, Any]:
    """Attention of several heads: (L, N, E), (S, N, Ek), (S, N, Ev) to (L, N, E) and the weights (N, L, S).

    Without a batch the dimension N is missing. See `nn.MultiheadAttention` for the arguments.

    Raises:
        AssertionError, RuntimeError: shapes do not fit.
    """
    batched = _checked_batch(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, width = query.shape
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
                           "`generate_square_subsequent_mask` to create this mask.")
    if width != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
    head = width // num_heads
    if head * num_heads != width:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    if not use_separate_proj_weight and key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
    if tuple(key.shape[:2]) != tuple(value.shape[:2]):
        raise AssertionError(f"key's sequence and batch dims {key.shape[:2]} do not match value's "
                             f"{value.shape[:2]}")
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _in_projections(query, key, value, in_proj_weight, in_proj_bias, separate)
    if attn_mask is not None:
        attn_mask = _fitted_mask(_float_mask(attn_mask, "attn_mask", q.dtype), length, key.size(0), batch,
                                 num_heads)
    if key_padding_mask is not None and tuple(key_padding_mask.shape) != (batch, key.size(0)):
        wrong = 0 if key_padding_mask.size(0) != batch else 1
        raise AssertionError(f"Expected key_padded_mask.shape[{wrong}] to be {(batch, key.size(0))[wrong]}, but got "
                             f"{key_padding_mask.size(wrong)}")
    key_padding_mask = _float_mask(key_padding_mask, "key_padding_mask", q.dtype)

    added = 0  # keys beyond the given ones: masks grow by as much
    if bias_k is not None and bias_v is not None:
        k = facula.cat([k, bias_k.expand(1, batch, width)])
        v = facula.cat([v, bias_v.expand(1, batch, width)])
        added += 1
    q = q.reshape(length, batch * num_heads, head).transpose(0, 1)
    k = static_k if static_k is not None else k.reshape(k.size(0), batch * num_heads, head).transpose(0, 1)
    v = static_v if static_v is not None else v.reshape(v.size(0), batch * num_heads, head).transpose(0, 1)
    if add_zero_attn:
        zeros = facula.zeros((batch * num_heads, 1, head), dtype=k.dtype, device=k.device)
        k, v = facula.cat([k, zeros], 1), facula.cat([v, zeros], 1)
        added += 1
    mask = _joined_masks(attn_mask, key_padding_mask, added, batch, num_heads)

    q, k = q * math.sqrt(1.0 / head), k.transpose(-2, -1)
    if mask is not None and (mask.dtype is q.dtype or autocasts()):
        scores = facula.baddbmm(mask, q, k)  # rounded once
    else:
        scores = q @ k if mask is None else q @ k + mask
    weights = _weights(scores, None if mask is None else _nothing(mask))
    if dropout_p > 0.0 and training:
        weights = dropout(weights, dropout_p)
    mixed = (weights @ v).transpose(0, 1).reshape(length * batch, width)
    out = linear(mixed, out_proj_weight, out_proj_bias).reshape(length, batch, width)
    if not need_weights:
        return (out if batched else out.squeeze(1)), None
    weights = weights.reshape(batch, num_heads, length, k.size(2))
    if average_attn_weights:
        weights = weights.mean(1)
    return (out, weights) if batched else (out.squeeze(1), weights.squeeze(0))


def _fitted_mask(mask: Any, length: int, keys: int, batch: int, heads: int) -> Any:
    """An attention mask (L, S) or (N * heads, L, S) as three dimensions; RuntimeError for other shapes."""
    expected = (length, keys) if mask.dim() == 2 else (batch * heads, length, keys)
    if tuple(mask.shape) != expected:
        raise RuntimeError(f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be "
                           f"{expected}.")
    return mask.unsqueeze(0) if mask.dim() == 2 else mask


def _joined_masks(attn_mask: Any, key_padding_mask: Any, added: int, batch: int, heads: int) -> Any:
    """Both masks in one that adds to scores (N * heads, L, S + added), or None."""
    mask = None if attn_mask is None else pad(attn_mask, (0, added)) if added else attn_mask
    if key_padding_mask is not None:
        padding = pad(key_padding_mask, (0, added)) if added else key_padding_mask
        keys = padding.size(1)
        padding = padding.reshape(batch, 1, 1, keys).expand(-1, heads, -1, -1).reshape(batch * heads, 1, keys)
        mask = padding if mask is None else mask + padding
    return mask
