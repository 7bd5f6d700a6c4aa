"""A mixture of distributions of one family."""

from __future__ import annotations

from typing import Any

import facula
from facula.distributions import constraints
from facula.distributions.categorical import Categorical
from facula.distributions.constraints import MixtureSameFamilyConstraint
from facula.distributions.distribution import Distribution
from facula.size import Size

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """One of the components, which lie along the last batch dimension of a distribution, chosen by a Categorical.

    Raises:
        ValueError: no Categorical, no Distribution, batch shapes that do not fit.

    Example:
        >>> import facula
        >>> from facula.distributions import Categorical, MixtureSameFamily, Normal
        >>> m = MixtureSameFamily(Categorical(facula.ones(2)), Normal(facula.tensor([-1.0, 1.0]), 1.0))
        >>> m.mean, m.variance
        (tensor(0.), tensor(2.))
    """

    arg_constraints: Any = {}
    has_rsample = False

    def __init__(self, mixture_distribution: Any, component_distribution: Any,
                 validate_args: bool | None = None) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(" The Mixture distribution needs to be an  instance of "
                             "torch.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ValueError("The Component distribution need to be an instance of torch.distributions.Distribution")
        self._mixture_distribution, self._component_distribution = mixture_distribution, component_distribution
        components = component_distribution.batch_shape[:-1]
        for one, other in zip(reversed(mixture_distribution.batch_shape), reversed(components), strict=False):
            if one != 1 and other != 1 and one != other:
                raise ValueError(f"`mixture_distribution.batch_shape` ({mixture_distribution.batch_shape}) is not "
                                 "compatible with `component_distribution.batch_shape`"
                                 f"({component_distribution.batch_shape})")
        count, others = mixture_distribution.logits.shape[-1], component_distribution.batch_shape[-1]
        if count != others:
            raise ValueError(f"`mixture_distribution component` ({count}) does not equal "
                             f"`component_distribution.batch_shape[-1]` ({others})")
        self._num_component = others
        self._event_ndims = len(component_distribution.event_shape)
        super().__init__(components, component_distribution.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        batch_shape = Size(batch_shape)
        new = self._get_checked_instance(MixtureSameFamily, _instance)
        new._component_distribution = self._component_distribution.expand(batch_shape + (self._num_component,))
        new._mixture_distribution = self._mixture_distribution.expand(batch_shape)
        new._num_component, new._event_ndims = self._num_component, self._event_ndims
        return self._finish(new, MixtureSameFamily, batch_shape)

    @constraints.dependent_property
    def support(self) -> Any:  # type: ignore[override]
        return MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Any:
        """What chooses the component."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Any:
        """The components."""
        return self._component_distribution

    @property
    def mean(self) -> Any:
        probs = self._pad_mixture_dimensions(self.mixture_distribution.probs)
        return facula.sum(probs * self.component_distribution.mean, dim=-1 - self._event_ndims)

    @property
    def variance(self) -> Any:
        probs = self._pad_mixture_dimensions(self.mixture_distribution.probs)
        within = facula.sum(probs * self.component_distribution.variance, dim=-1 - self._event_ndims)
        distance = self.component_distribution.mean - self._pad(self.mean)
        return within + facula.sum(probs * distance.pow(2.0), dim=-1 - self._event_ndims)

    def cdf(self, x: Any) -> Any:
        x = self._pad(x)
        return facula.sum(self.component_distribution.cdf(x) * self.mixture_distribution.probs, dim=-1)

    def log_prob(self, x: Any) -> Any:
        if self._validate_args:
            self._validate_sample(x)
        x = self._pad(x)
        log_mixture = facula.log_softmax(self.mixture_distribution.logits, dim=-1)
        return facula.logsumexp(self.component_distribution.log_prob(x) + log_mixture, dim=-1)

    def sample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        with facula.no_grad():
            sample_shape = Size(sample_shape)
            before = len(sample_shape + self.batch_shape)
            chosen = self.mixture_distribution.sample(sample_shape)
            drawn = self.component_distribution.sample(sample_shape)
            index = chosen.reshape(chosen.shape + (1,) * (self._event_ndims + 1))
            index = index.expand(chosen.shape + (1,) + tuple(self.event_shape))
            return facula.gather(drawn, before, index).squeeze(before)

    def _pad(self, x: Any) -> Any:
        return x.unsqueeze(-1 - self._event_ndims)

    def _pad_mixture_dimensions(self, x: Any) -> Any:
        """With dimensions for the components' values."""
        mixture, components = self.mixture_distribution.batch_shape, self.component_distribution.batch_shape
        between = 0 if not mixture else len(components[:-1]) - len(mixture)
        return x.reshape((*x.shape[:-1], *(1,) * between, *x.shape[-1:], *(1,) * self._event_ndims))

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
