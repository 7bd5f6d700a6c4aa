"""Invertible functions with the logarithms of their slopes (`torch.distributions.transforms`).

    base.py          Transform, its inverse, ComposeTransform, IndependentTransform, ReshapeTransform
    elementwise.py   exp, power, sigmoid, tanh, affine, ...
    vectors.py       softmax, stick breaking, Cholesky factors
    joined.py        CatTransform, StackTransform, CumulativeDistributionTransform

Example:
    >>> import facula
    >>> from facula.distributions.transforms import AffineTransform
    >>> t = AffineTransform(1.0, 2.0)
    >>> x = facula.tensor([0.0, 1.0])
    >>> t(x), t.inv(t(x))
    (tensor([1., 3.]), tensor([0., 1.]))
"""

from __future__ import annotations

from facula.distributions.transforms.base import (
    ComposeTransform,
    IndependentTransform,
    ReshapeTransform,
    Transform,
    _InverseTransform,
    identity_transform,
)
from facula.distributions.transforms.elementwise import (
    AbsTransform,
    AffineTransform,
    ExpTransform,
    PowerTransform,
    SigmoidTransform,
    SoftplusTransform,
    TanhTransform,
)
from facula.distributions.transforms.joined import CatTransform, CumulativeDistributionTransform, StackTransform
from facula.distributions.transforms.vectors import (
    CorrCholeskyTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    SoftmaxTransform,
    StickBreakingTransform,
)

__all__ = ["AbsTransform", "AffineTransform", "CatTransform", "ComposeTransform", "CorrCholeskyTransform",
           "CumulativeDistributionTransform", "ExpTransform", "IndependentTransform", "LowerCholeskyTransform",
           "PositiveDefiniteTransform", "PowerTransform", "ReshapeTransform", "SigmoidTransform", "SoftmaxTransform",
           "SoftplusTransform", "StackTransform", "StickBreakingTransform", "TanhTransform", "Transform",
           "_InverseTransform", "identity_transform"]
