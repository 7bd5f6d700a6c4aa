"""Distributions that take probabilities or logits: the one that was not given is computed when it is asked for."""

from __future__ import annotations

from typing import Any

from facula.distributions.distribution import Distribution
from facula.distributions.utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits
from facula.size import Size


def only(probs: Any, logits: Any) -> bool:
    """Are probabilities given? ValueError unless it is one of both."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    return probs is not None


class Odds(Distribution):
    """With `probs` of events, each by itself, or their log odds `logits`."""

    def _take(self, probs: Any, logits: Any) -> Size:
        """Keep what is given; returns the batch shape."""
        if only(probs, logits):
            numbers = isinstance(probs, (int, float))
            self.probs, = broadcast_all(probs)
        else:
            numbers = isinstance(logits, (int, float))
            self.logits, = broadcast_all(logits)
        return Size() if numbers else self._param.size()

    @property
    def _param(self) -> Any:
        return self.__dict__["probs" if "probs" in self.__dict__ else "logits"]

    def _new(self, *args: Any, **kwargs: Any) -> Any:
        return self._param.new(*args, **kwargs)

    @lazy_property
    def logits(self) -> Any:
        """Log odds."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        """Probabilities."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return self._param.size()
