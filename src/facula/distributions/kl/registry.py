"""Which function computes the divergence of two distributions: that of their classes, or of the nearest bases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula
from facula.distributions.distribution import Distribution
from facula.errors import warn

_KL_REGISTRY: dict[tuple[type, type], Callable[[Any, Any], Any]] = {}
_found: dict[tuple[type, type], Any] = {}  # by the classes asked for; emptied when one is registered
MOST = 4096


def register_kl(type_p: type, type_q: type) -> Callable[[Any], Any]:
    """A decorator for `f(p, q)`, the divergence of distributions of these classes and their subclasses.

    Raises:
        TypeError: no subclasses of Distribution.

    Example:
        >>> from facula.distributions import Normal, kl_divergence, register_kl
        >>> class Mine(Normal): pass
        >>> @register_kl(Mine, Mine)
        ... def _(p, q): return "mine"
        >>> kl_divergence(Mine(0.0, 1.0), Mine(0.0, 1.0))
        'mine'
    """
    for cls in (type_p, type_q):
        if not isinstance(cls, type) and issubclass(cls, Distribution):
            raise TypeError(f"Expected a Distribution subclass but got {cls}")

    def decorator(function: Any) -> Any:
        _KL_REGISTRY[type_p, type_q] = function
        _found.clear()
        return function
    return decorator


def _dispatch(type_p: type, type_q: type) -> Any:
    """The function of the nearest classes; NotImplemented if there is none."""
    matches = [pair for pair in _KL_REGISTRY if issubclass(type_p, pair[0]) and issubclass(type_q, pair[1])]
    if not matches:
        return NotImplemented
    order_p, order_q = type_p.__mro__.index, type_q.__mro__.index
    left = min(matches, key=lambda pair: (order_p(pair[0]), order_q(pair[1])))
    right = min(matches, key=lambda pair: (order_q(pair[1]), order_p(pair[0])))
    found = _KL_REGISTRY[left]
    if found is not _KL_REGISTRY[right]:
        warn(f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). Please register_kl("
             f"{left[0].__name__}, {right[1].__name__})", RuntimeWarning)
    return found


def kl_divergence(p: Any, q: Any) -> Any:
    """The mean of log p(x) - log q(x) over p, for each of the batch.

    Raises:
        NotImplementedError: nobody has said how, for these classes.

    Example:
        >>> from facula.distributions import Uniform, kl_divergence
        >>> kl_divergence(Uniform(0.0, 1.0), Uniform(0.0, 2.0))
        tensor(0.6931)
    """
    key = type(p), type(q)
    function = _found.get(key)
    if function is None:
        if len(_found) > MOST:
            _found.clear()
        function = _found[key] = _dispatch(*key)
    if function is NotImplemented:
        raise NotImplementedError(f"No KL(p || q) is implemented for p type {type(p).__name__} and q type "
                                  f"{type(q).__name__}")
    return function(p, q)


def infinite_like(tensor: Any) -> Any:
    """Infinity in the tensor's shape."""
    return facula.full_like(tensor, facula.inf)


def x_log_x(tensor: Any) -> Any:
    """x log x, 0 at 0."""
    return facula.special.xlogy(tensor, tensor)


def infinite_where(condition: Any, value: Any) -> Any:
    """`value`, but for where the condition holds."""
    return facula.where(condition, facula.inf, value)
