"""The geometric distribution."""

from __future__ import annotations

from typing import Any

import facula
from facula.distributions import constraints
from facula.distributions.odds import Odds
from facula.distributions.utils import broadcast_all
from facula.nn.functional import binary_cross_entropy_with_logits
from facula.size import Size

__all__ = ["Geometric"]


class Geometric(Odds):
    """The number of failures before the first success, of probability `probs` (or log odds `logits`).

    Example:
        >>> import facula
        >>> from facula.distributions import Geometric
        >>> Geometric(0.5).log_prob(facula.tensor(1.0))
        tensor(-1.3863)
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(self._take(probs, logits), validate_args=validate_args)
        if self._validate_args and probs is not None:
            self._expect(constraints.positive, self.probs, "Expected parameter probs {about} of distribution {of} to "
                                                          "be positive")

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(Geometric, batch_shape, _instance, ("probs", "logits"))

    @property
    def mean(self) -> Any:
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> Any:
        return facula.zeros_like(self.probs)

    @property
    def variance(self) -> Any:
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        with facula.no_grad():
            u = self.probs.new_empty(shape).uniform_(facula.finfo(self.probs.dtype).tiny, 1)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        failing = facula.where((probs == 1) & (value == 0), 0.0, probs)  # 0 log 0 is 0
        return value * (-failing).log1p() + self.probs.log()

    def entropy(self) -> Any:
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs
