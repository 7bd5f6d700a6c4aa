"""`Distribution`: what all distributions have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import facula
from facula._tensor.handle import Tensor, is_meta
from facula._tensor.reading import read
from facula.distributions import constraints
from facula.distributions.utils import lazy_property
from facula.engine.realize import at_hand
from facula.engine.session import session
from facula.errors import warn
from facula.ops.requirements import require
from facula.size import Size

__all__ = ["Distribution"]


class Distribution:
    """A probability distribution, or a batch of them.

    Args:
        batch_shape: the shape of the batch: distributions side by side, independent of each other.
        event_shape: the shape of one value.
        validate_args: check parameters and values? As `set_default_validate_args` says, unless told. What is wrong is
            raised at the call if the elements are in memory, else where a value is next read (docs/differences.md).

    A sample of shape `sample_shape` has the shape sample_shape + batch_shape + event_shape.
    """

    has_rsample: Any = False
    has_enumerate_support: Any = False
    _validate_args: bool = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Are parameters and values checked where a distribution is not told? ValueError if that is no bool."""
        if value not in (True, False):
            raise ValueError("set_default_validate_args expects a bool")
        Distribution._validate_args = value

    def __init__(self, batch_shape: Any = Size(), event_shape: Any = Size(),  # noqa: B008
                 validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()
        super().__init__()

    def _check_parameters(self) -> None:
        try:
            rules = self.arg_constraints
        except NotImplementedError:
            warn(f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or initialize "
                 "the distribution with `validate_args=False` to turn off validation.")
            return
        for name, constraint in rules.items():
            if constraints.is_dependent(constraint):
                continue
            if name not in self.__dict__ and isinstance(getattr(type(self), name), lazy_property):
                continue  # made of the other parameters: those are checked
            value = getattr(self, name)
            self._expect(constraint, value, f"Expected parameter {name} {{about}} of distribution {{of}} to satisfy "
                                            f"the constraint {constraint!r}")

    def _expect(self, constraint: Any, value: Any, text: str) -> None:
        """ValueError unless `value` lies in the region: at once if it is in memory, else where a value is read. The
        text has `{about}` (the value's shape) and `{of}` (the distribution) in it."""
        valid = constraint.check(value)
        if is_meta(value):
            return
        about = f"({type(value).__name__} of shape {tuple(value.shape)})"
        if at_hand(read(value)) is not None and session.traced is None:
            if not valid.all():
                raise ValueError(f"{text.format(about=about, of=repr(self))}, but found invalid values:\n{value}")
            return
        require(valid, lambda ok: ok, ValueError,
                text.format(about=about, of=type(self).__name__) + ", but found invalid values")

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its parameters expanded to another batch shape; no memory is copied."""
        raise NotImplementedError

    @property
    def batch_shape(self) -> Size:
        """The shape of the batch."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one value."""
        return self._event_shape

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """The region of each parameter, by name."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """The region of the values."""
        raise NotImplementedError

    @property
    def mean(self) -> Any:
        """The mean."""
        raise NotImplementedError

    @property
    def mode(self) -> Any:
        """The likeliest value."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Any:
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> Any:
        """The standard deviation."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        """Values drawn, without a gradient."""
        with facula.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        """Values drawn whose gradients by the parameters are those of reparametrization. Not every distribution has
        them (`has_rsample`): NotImplementedError."""
        raise NotImplementedError

    def sample_n(self, n: int) -> Any:
        """`sample((n,))`, as old programs say it."""
        warn("sample_n will be deprecated. Use .sample((n,)) instead", UserWarning)
        return self.sample(Size((n,)))

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density, or of the probability, at `value`."""
        raise NotImplementedError

    def cdf(self, value: Any) -> Any:
        """The probability of values up to `value`."""
        raise NotImplementedError

    def icdf(self, value: Any) -> Any:
        """The value up to which values have the probability `value`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Any:
        """All values of a discrete distribution, along the first dimension; `expand` over the batch too."""
        raise NotImplementedError

    def entropy(self) -> Any:
        """The entropy, in nats."""
        raise NotImplementedError

    def perplexity(self) -> Any:
        """exp(entropy)."""
        return facula.exp(self.entropy())

    def _extended_shape(self, sample_shape: Any = Size()) -> Size:  # noqa: B008
        """The shape of a sample."""
        if not isinstance(sample_shape, Size):
            sample_shape = Size(sample_shape)
        return Size(sample_shape + self._batch_shape + self._event_shape)

    def _validate_sample(self, value: Any) -> None:
        """ValueError if `value` cannot be a value of this distribution."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        events = value.dim() - len(self._event_shape)
        if value.shape[max(events, 0):] != self._event_shape:
            raise ValueError("The right-most size of value must match event_shape: "
                             f"{value.shape} vs {self._event_shape}.")
        expected = self._batch_shape + self._event_shape
        for i, j in zip(reversed(value.shape), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError("Value is not broadcastable with batch_shape+event_shape: "
                                 f"{value.shape} vs {Size(expected)}.")
        try:
            support = self.support
        except NotImplementedError:
            warn(f"{type(self)} does not define `support` to enable sample validation. Please initialize the "
                 "distribution with `validate_args=False` to turn off validation.")
            return
        self._expect(support, value, f"Expected value argument {{about}} to be within the support ({support!r}) of the "
                                     "distribution {of}")

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        if _instance is None and type(self).__init__ is not cls.__init__:  # type: ignore[misc]
            raise NotImplementedError(f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom "
                                      "__init__ method must also define a custom .expand() method.")
        return self.__new__(type(self)) if _instance is None else _instance

    def _expanded(self, cls: type, batch_shape: Any, _instance: Any, names: Iterable[str],
                  event_shape: Any = Size()) -> Any:  # noqa: B008
        """`expand` of a distribution whose parameters `names` are tensors of batch_shape + event_shape. Those that it
        does not hold (logits, where there are probs) are left out."""
        new = self._get_checked_instance(cls, _instance)
        batch_shape = Size(batch_shape)
        for name in names:
            if name in self.__dict__:
                setattr(new, name, getattr(self, name).expand(Size(batch_shape + Size(event_shape))))
        self._finish(new, cls, batch_shape)
        return new

    def _finish(self, new: Any, cls: Any, batch_shape: Any, event_shape: Any = None) -> Any:
        """What every expanded distribution needs: shapes, no second check, the switch of this one."""
        Distribution.__init__(new, batch_shape, self._event_shape if event_shape is None else event_shape,
                              validate_args=False)
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        names = [k for k in self.arg_constraints if k in self.__dict__]
        told = [f"{n}: {v if v.numel() == 1 else v.size()}" for n, v in ((n, self.__dict__[n]) for n in names)]
        return f"{type(self).__name__}({', '.join(told)})"
