"""What `nn.functional` adds: activations with flags, dropout, losses, attention, embeddings, normalization."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from facula.testing.samples import arrays
from facula.testing.samples.arrays import (
    POSITIVE,
    ROW,
    SCALAR,
    SPECIAL,
    UNIT,
    Sample,
    X,
    Y,
    Z,
    all_of,
    call,
    fixed,
)

SAMPLES: dict[str, list[Sample]] = {}
_rng = np.random.default_rng(21)  # its own: the samples of other families stay what they are
normal, between, distinct = (partial(f, rng=_rng) for f in (arrays.normal, arrays.between, arrays.distinct))


def _put(names: str, samples: list[Sample]) -> None:
    for name in names.split():
        SAMPLES["nn.functional." + name] = samples


def _flat(*samples: Sample) -> list[Sample]:
    return all_of(list(samples), Sample.flat)


# ---- activations -------------------------------------------------------------------------------

_put(
    """logsigmoid softplus softshrink relu relu6 sigmoid tanh silu mish elu celu selu
    leaky_relu hardtanh hardswish hardsigmoid hardshrink softsign tanhshrink""",
    [call(X), call(X * 4), call(SPECIAL).flat()],
)
for _name in "relu relu6 silu mish elu celu selu leaky_relu hardtanh hardswish hardsigmoid".split():
    SAMPLES["nn.functional." + _name] = [
        *SAMPLES["nn.functional." + _name],
        call(X, inplace=True).flat(),
    ]
for _name, _more in {
    "gelu": [call(X), call(X * 4), call(SPECIAL[3:]).flat(), call(SPECIAL, approximate="tanh").flat()],
    "softplus": [call(X, 2.0), call(X * 3, 0.5, 1.0)],
    "softshrink": [call(X, 0.2), call(X, 0.0)],
    "hardshrink": [call(X, 0.3)],
    "elu": [call(X, 0.3), call(X, alpha=2.0)],
    "celu": [call(X, 0.3), call(X, alpha=-0.7)],
    "leaky_relu": [call(X, 0.3), call(X, negative_slope=-0.5)],
    "hardtanh": [call(X, -0.3, 0.6), call(X, min_val=0.1, max_val=0.2)],
}.items():
    _put(_name, [*SAMPLES.get("nn.functional." + _name, []), *_more])
_put("threshold", [call(X, 0.5, 20.0), call(X, -0.3, 0.0, inplace=True).flat()])
_put(
    "prelu",
    [call(X, ROW), call(X, ROW[:1]), call(distinct(2, 4, 3), ROW), call(X, np.asarray(0.3))],
)
_put(
    "rrelu",
    [call(X), call(X, 0.2, 0.5), call(X, 0.2, 0.5, True).flat(), call(X, training=True).flat()],
)
_put("glu", [call(X), call(distinct(4, 3), 0), call(distinct(2, 4, 3), dim=1)])
_put("gumbel_softmax", _flat(call(X), call(X, 0.5, dim=0), call(X, hard=True)))

# ---- dropout: the samples at rest have gradients, those of chance are only compared ----------------

_put(
    "dropout alpha_dropout feature_alpha_dropout",
    [call(X, 0.3, False), *_flat(call(X, 0.3, True), call(X, 0.0, True), call(X, 1.0, True))],
)
_SIGNAL, _IMAGE, _VOLUME = distinct(2, 3, 4), distinct(2, 3, 2, 2), distinct(2, 2, 1, 2, 2)
for _name, _x in (("dropout1d", _SIGNAL), ("dropout2d", _IMAGE), ("dropout3d", _VOLUME)):
    _put(_name, [call(_x, 0.3, False), *_flat(call(_x), call(_x, 0.3), call(_x[0], 0.6, True))])
SAMPLES["nn.functional.dropout"] = [
    *SAMPLES["nn.functional.dropout"],
    *_flat(call(X), call(X, inplace=True)),
]

# ---- distances, attention ----------------------------------------------------------------------

_put(
    "pairwise_distance",
    [call(X, Y), call(X, Y, 1.0), call(X, ROW, 3.0, 1e-3, True), call(X, Y, float("inf"))],
)
_put(
    "cosine_similarity",
    [call(X, Y), call(X, Z, 0), call(X, ROW, dim=-1), call(SCALAR * ROW, ROW, 0, 1e-3)],
)
_put("normalize", [call(X), call(X, 1.0), call(X, 2.0, 0), call(X * 1e-3, 2.0, -1, 10.0)])
_put("pdist", [call(X), call(X, 1.0), call(distinct(4, 2), 3.0)])
_Q, _K, _V = normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 3)
_ALLOWED = np.array([[True, False, True, True, False]] * 2 + [[False] * 5])
_put(
    "scaled_dot_product_attention",
    [
        call(_Q, _K, _V),
        call(_Q, _K, _V, normal(3, 5)),
        call(_Q, _K, _V, _ALLOWED),
        call(_Q, _K, _V, is_causal=True),
        call(_Q, _K, _V, scale=0.3),
        call(normal(1, 4, 3, 2), normal(1, 2, 3, 2), normal(1, 2, 3, 2), enable_gqa=True),
    ],
)
_E, _W3, _B3, _O = normal(2, 1, 2), normal(6, 2), normal(6), normal(2, 2)
_put(
    "multi_head_attention_forward",
    [
        call(_E, _E, _E, 2, 2, _W3, _B3, None, None, False, 0.0, _O, normal(2)),
        call(_E, _E, _E, 2, 1, _W3, None, normal(1, 1, 2), normal(1, 1, 2), True, 0.0, _O, None,
             attn_mask=normal(2, 2), average_attn_weights=False),
        call(_E, _E, _E, 2, 1, _W3, _B3, None, None, False, 0.0, _O, None, True,
             np.array([[False, True]]), False),
        call(_E[:, 0], _E[:, 0], _E[:, 0], 2, 2, None, _B3, None, None, False, 0.0, _O, None,
             use_separate_proj_weight=True, q_proj_weight=normal(2, 2), k_proj_weight=normal(2, 2),
             v_proj_weight=normal(2, 2)),
    ],
)  # fmt: skip

# ---- losses of numbers ---------------------------------------------------------------------------


def _reduced(*args: Any, **kwargs: Any) -> list[Sample]:
    return [call(*args, **kwargs, reduction=way) for way in ("mean", "sum", "none")]


_SIGNS = fixed(np.where(distinct(3, 4) > 0, 1.0, -1.0))
_put("mse_loss l1_loss", [*_reduced(X, Y), call(X, ROW)])
SAMPLES["nn.functional.mse_loss"] = [
    *SAMPLES["nn.functional.mse_loss"],
    *_reduced(X, Y, weight=POSITIVE),
]
_put("smooth_l1_loss", [*_reduced(X, Z), *_reduced(X, Z, beta=0.3), call(X, Z, beta=0.0)])
_put("huber_loss", [*_reduced(X, Z), *_reduced(X, Z, delta=0.3)])
_put(
    "poisson_nll_loss",
    [*_reduced(X, POSITIVE), *_reduced(POSITIVE, POSITIVE + 1, log_input=False, full=True)],
)
_put(
    "gaussian_nll_loss",
    [*_reduced(X, Y, POSITIVE), call(X, Y, POSITIVE[:, :1], True), call(X, Y, fixed(POSITIVE), eps=0.8)],
)
_put(
    "kl_div",
    [*_reduced(X, POSITIVE), call(X, POSITIVE, reduction="batchmean"), *_reduced(X, Y, log_target=True)],
)
_put("hinge_embedding_loss", [*_reduced(X, _SIGNS), call(X, _SIGNS, 0.4)])
_put(
    "cosine_embedding_loss",
    [*_reduced(X, Y, _SIGNS[:, 0]), call(X, Z, -_SIGNS[:, 0], 0.2), call(X[0], Z[0], np.asarray(1.0))],
)
_put("margin_ranking_loss", [*_reduced(X, Y, _SIGNS), *_reduced(X, Z, _SIGNS, margin=0.6)])
_put("soft_margin_loss", _reduced(X, _SIGNS))
_put(
    "triplet_margin_loss",
    [*_reduced(X, Y, Z), call(X, Y, Z, 2.0, 1.0, swap=True), call(X[0], Y[0], Z[0], 0.5)],
)
_put("triplet_margin_with_distance_loss", [call(X, Y, Z), call(X, Y, Z, margin=2.0, swap=True)])

# ---- losses of classes ---------------------------------------------------------------------------

_CLASS, _PLACES = np.array([3, 0, 1]), np.array([[0, 2, 1], [2, 2, 0]])
_WEIGHT, _LOGITS, _MAP = fixed(between(0.5, 2.0, 4)), normal(3, 4), normal(2, 3, 3)
_PROBABLE = between(0.1, 0.9, 3, 4)
_put(
    "nll_loss",
    [
        *_reduced(X, _CLASS),
        *_reduced(X, _CLASS, weight=_WEIGHT),
        call(X, _CLASS, ignore_index=0),
        *_reduced(_MAP, _PLACES),
        call(X[0], np.asarray(_CLASS[0])),
    ],
)
_put(
    "cross_entropy",
    [
        *_reduced(_LOGITS, _CLASS),
        *_reduced(_LOGITS, _CLASS, weight=_WEIGHT, label_smoothing=0.1),
        call(_LOGITS, _CLASS, ignore_index=3),
        *_reduced(_LOGITS, _PROBABLE),
        call(_LOGITS, _PROBABLE, _WEIGHT, label_smoothing=0.2),
        *_reduced(_MAP, _PLACES, label_smoothing=0.3),
        call(_LOGITS[0], np.asarray(_CLASS[0])),
    ],
)
_put(
    "binary_cross_entropy",
    [*_reduced(_PROBABLE, UNIT * UNIT), *_reduced(_PROBABLE, UNIT * UNIT, weight=fixed(POSITIVE))],
)
_put(
    "binary_cross_entropy_with_logits",
    [
        *_reduced(X, _PROBABLE),
        *_reduced(X, _PROBABLE, weight=fixed(POSITIVE)),
        call(X, _PROBABLE, pos_weight=_WEIGHT),
        call(X, _PROBABLE, fixed(ROW), pos_weight=_WEIGHT),
    ],
)
_put(
    "multilabel_soft_margin_loss",
    [*_reduced(X, (_SIGNS + 1) / 2), *_reduced(X, _PROBABLE, weight=_WEIGHT)],
)
_put(
    "multi_margin_loss",
    [
        *_reduced(X, _CLASS),
        *_reduced(X, _CLASS, p=2, margin=0.7),
        call(X, _CLASS, weight=_WEIGHT),
        call(X[0], np.asarray(_CLASS[0])),
    ],
)
_LABELS = np.array([[3, 0, -1, 1], [2, -1, 0, 0], [-1, 1, 2, 3]])
_put("multilabel_margin_loss", [*_reduced(X, _LABELS), call(X[0], _LABELS[0])])
_SPEECH = np.log(np.exp(s := normal(6, 2, 4)) / np.exp(s).sum(-1, keepdims=True))
_put(
    "ctc_loss",
    [
        call(_SPEECH, np.array([[1, 2, 2], [3, 1, 1]]), (6, 5), (3, 2), reduction=way).flat()
        for way in ("mean", "sum", "none")
    ],
)
_put(
    "linear_cross_entropy",
    [
        call(_LOGITS, normal(5, 4), _CLASS),
        call(_LOGITS, normal(5, 4), _CLASS, linear_bias=normal(5), reduction="none"),
        call(_LOGITS, normal(5, 4), _CLASS, weight=fixed(between(0.5, 2.0, 5)), label_smoothing=0.1),
    ],
)

# ---- tables, bilinear forms ------------------------------------------------------------------------

_TABLE, _ROWS = normal(5, 3), np.array([[0, 2, 4], [2, 2, 1]])
_put("bilinear", [call(normal(2, 3), normal(2, 4), normal(5, 3, 4), normal(5)), call(
    normal(2, 2, 3), normal(2, 2, 2), normal(3, 3, 2))])  # fmt: skip
_put(
    "embedding",
    [
        call(_ROWS, _TABLE),
        call(_ROWS, _TABLE, 2).flat(),
        call(_ROWS, _TABLE, -1, scale_grad_by_freq=True).flat(),
        call(_ROWS, _TABLE, None, 0.8).flat(),
    ],
)
_put(
    "embedding_bag",
    [
        call(_ROWS, _TABLE),
        call(_ROWS, _TABLE, mode="sum", per_sample_weights=normal(2, 3)),
        call(_ROWS, _TABLE, mode="max"),
        call(_ROWS.reshape(-1), _TABLE, np.array([0, 2, 2]), mode="mean"),
        call(_ROWS.reshape(-1), _TABLE, np.array([0, 2, 6]), mode="sum", include_last_offset=True),
        call(_ROWS, _TABLE, mode="sum", padding_idx=2).flat(),
        call(_ROWS, _TABLE, mode="max", padding_idx=2).flat(),
    ],
)

# ---- normalization -------------------------------------------------------------------------------------

_MEAN, _VAR = fixed(normal(3)), fixed(between(0.5, 2.0, 3))
_SCALE, _SHIFT = between(0.5, 1.5, 3), normal(3)
_put(
    "layer_norm",
    [
        call(X, (4,)),
        call(X, [4], POSITIVE[0], ROW),
        call(_SIGNAL, (3, 4), normal(3, 4), None, 0.1),
        call(_SIGNAL, (4,), None, ROW),
    ],
)
_put("rms_norm", [call(X, (4,)), call(X, [4], POSITIVE[0]), call(_SIGNAL, (3, 4), normal(3, 4), 0.1)])
_put(
    "batch_norm",
    [
        call(_SIGNAL, _MEAN, _VAR),
        call(_SIGNAL, _MEAN, _VAR, _SCALE, _SHIFT, False, 0.1, 0.01),
        call(_SIGNAL, None, None, _SCALE, _SHIFT, True),
        call(_SIGNAL, _MEAN, _VAR, _SCALE, None, True, 0.3).flat(),
        call(normal(4, 3), None, None, training=True),
    ],
)
_put(
    "instance_norm",
    [
        call(_SIGNAL),
        call(_SIGNAL, None, None, _SCALE, _SHIFT),
        call(_SIGNAL, _MEAN, _VAR, _SCALE, _SHIFT, False),
        call(_IMAGE, _MEAN, _VAR, _SCALE, None, True, 0.3).flat(),
    ],
)
_GROUPED = distinct(2, 4, 3)
_put("group_norm", [call(_GROUPED, 2), call(_GROUPED, 4, POSITIVE[0], ROW), call(_GROUPED, 1, ROW, None, 0.1)])
_put("local_response_norm", [call(_GROUPED, 2), call(_GROUPED, 3, 0.5, 0.6, 2.0), call(_IMAGE, 2, 1.0)])
SAMPLES["layer_norm"] = [call(X, (4,), POSITIVE[0], ROW, 1e-5, True)]
SAMPLES["group_norm"] = [call(_GROUPED, 2, POSITIVE[0], ROW, 1e-5, False)]
SAMPLES["batch_norm"] = [call(_SIGNAL, _SCALE, _SHIFT, None, None, True, 0.1, 1e-5, True)]
SAMPLES["instance_norm"] = [call(_SIGNAL, _SCALE, _SHIFT, None, None, True, 0.1, 1e-5, True)]

# ---- elements that move ----------------------------------------------------------------------------------

_put("pixel_shuffle", [call(distinct(1, 8, 2, 3), 2), call(distinct(4, 2, 2), 2)])
_put("pixel_unshuffle", [call(distinct(1, 2, 4, 6), 2), call(distinct(1, 2, 4), 2)])
_put("channel_shuffle", [call(distinct(2, 6, 3), 3), call(distinct(1, 4, 2, 2), 2)])
