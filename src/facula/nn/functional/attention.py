"""Attention as functions."""

from __future__ import annotations

import math
from typing import Any

import facula

from .dropout import dropout


def scaled_dot_product_attention(query: Any, key: Any, value: Any, attn_mask: Any = None,
                                 dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
                                 enable_gqa: bool = False) -> Any:
    """`softmax(Q K^T * scale + mask) V`: (*, L, E), (*, S, E), (*, S, Ev) to (*, L, Ev).

    Args:
        attn_mask: bool (False: may not attend) or added to the scores; anything that broadcasts to (*, L, S).
        is_causal: position i attends to positions up to i; without `attn_mask`.
        scale: 1 / sqrt(E) by default.
        enable_gqa: repeat the heads (dimension -3) of key and value to as many as query has.

    Source: Vaswani et al., "Attention is all you need", 2017.
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError("scaled_dot_product_attention: Explicit attn_mask should not be set when "
                           "is_causal=True")
    if scale is None:
        scale = 1.0 / math.sqrt(query.size(-1))
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    scores = (query * scale) @ key.transpose(-2, -1)
    if is_causal:
        allowed = facula.ones((query.size(-2), key.size(-2)), dtype=facula.bool, device=query.device).tril()
        scores = scores.masked_fill(~allowed, -math.inf)
    elif attn_mask is not None:
        if attn_mask.dtype is facula.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        else:
            scores = scores + attn_mask
    weights = scores.softmax(-1)
    if attn_mask is not None and attn_mask.dtype is facula.bool:
        # A row that may attend to nothing gives zeros, not NaN.
        weights = weights.masked_fill(~attn_mask.any(-1, keepdim=True), 0.0)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p, True)
    return weights @ value
