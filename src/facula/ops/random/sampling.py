"""Random operations: `rand`, `randn`, ..., and the methods that fill a tensor, `uniform_`, `normal_`, ...

A fill draws at the call, in program order, so that the generator's state is PyTorch's after every line.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from facula._tensor.assigning import update
from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import read
from facula.dtypes import int64
from facula.engine import recorder
from facula.engine.graph.node import Node
from facula.engine.placing import meta_node
from facula.engine.realize import leaf, value_of
from facula.engine.session import session
from facula.ops.create.creation import empty, empty_like
from facula.ops.random import values as draw
from facula.ops.registry import op
from facula.ops.requirements import require
from facula.ops.severing import overwriting, severed
from facula.rng import Engine, default_engine
from facula.rng.rounding import to_dtype
from facula.size import Size

if TYPE_CHECKING:
    from facula.random import Generator

Values = draw.Values


def _apart(tensor: Tensor, drawn: Callable[[int], Values], level: Any) -> Tensor:
    """`_fill` with numbers for each of the values that vmap has taken together."""
    shape = tuple(tensor.shape)
    values = np.ascontiguousarray(drawn(level.size * tensor.numel()).reshape(level.size, *shape), tensor.dtype.numpy)
    return _overwrite(tensor, level.over(leaf(values, tuple.__new__(Size, values.shape), tensor.dtype)))


def values_of(tensor: Tensor) -> Values:
    """The elements as a NumPy array of the tensor's shape (bfloat16 as uint16); computes what is pending."""
    return value_of(read(tensor)).reshape(tensor.shape)


def overwrite(tensor: Tensor, values: Values) -> Tensor:
    """Replace every element, after the usual in-place checks; returns `tensor`.

    The gradient of what was there is zero.
    """
    values = np.ascontiguousarray(values, tensor.dtype.numpy)
    return _overwrite(tensor, leaf(values, tensor.shape, tensor.dtype))


def _overwrite(tensor: Tensor, node: Node) -> Tensor:
    drawn = new(node)
    return update(tensor, overwriting(tensor, drawn, "RandomBackward0"))


def undrawn(tensor: Tensor) -> Tensor:
    """`overwrite` of a meta tensor: no number is drawn."""
    return _overwrite(tensor, meta_node(tensor.shape, tensor.dtype))


# ---- filling in place -------------------------------------------------------------------------------------


def _engine(generator: Generator | None, of: Tensor) -> Engine:
    """What draws the numbers for `of`. RuntimeError if a generator is given that is another device's."""
    if session.traced is not None:
        recorder.above.different()  # an error within a vmap that allows no random operations
    place = of.device
    if generator is None:
        return default_engine(place)
    if generator.device.type != place.type and place.type != "meta":
        raise RuntimeError(f"Expected a '{place.type}' device type for generator but found '{generator.device.type}'")
    return generator.engine


def _fill(tensor: Tensor, drawn: Callable[[int], Values]) -> Tensor:
    """Overwrite `tensor` with `drawn(numel)`, in the order of its memory: the largest stride first."""
    if is_meta(tensor):
        drawn(0)  # for its checks: nothing is drawn
        return undrawn(tensor)
    level = recorder.above.different() if session.traced is not None else None
    if level is not None:
        return _apart(tensor, drawn, level)
    shape = tuple(tensor.shape)
    flat = drawn(tensor.numel())
    if tensor.is_contiguous():
        return overwrite(tensor, flat.reshape(shape))
    strides = tensor.stride()
    order = sorted(range(len(shape)), key=lambda d: -strides[d])
    place = sorted(range(len(shape)), key=order.__getitem__)
    return overwrite(tensor, flat.reshape([shape[d] for d in order]).transpose(place))


@op(function=False)
def uniform_(self: Tensor, *bounds: float, generator: Generator | None = None, **named: float) -> Tensor:
    """Fill with numbers uniform in [from, to). Arguments: from=0, to=1.

    RuntimeError if the interval is empty; NotImplementedError for integers.

    Example:
        >>> import facula
        >>> x = facula.empty(3).uniform_(-1, 1)
    """
    low, high = _two("uniform_", ("from", "to"), (0.0, 1.0), bounds, named)
    return _fill(self, lambda n: draw.uniform(n, self.dtype, float(low), float(high), _engine(generator, self)))


@op(function=False)
def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *,
            generator: Generator | None = None) -> Tensor:
    """Fill with normal numbers. RuntimeError if std < 0; NotImplementedError for integers.

    Example:
        >>> import facula
        >>> x = facula.empty(3).normal_(0, 0.02)
    """
    contiguous = self.is_contiguous()
    return _fill(self, lambda n: draw.normal(
        n, self.dtype, float(mean), float(std), _engine(generator, self), contiguous))


@op(function=False)
def random_(self: Tensor, *bounds: int | None, generator: Generator | None = None, **named: Any) -> Tensor:
    """Fill with whole numbers: `random_(from, to)` in [from, to), `random_(to)` in [0, to), `random_()` any.

    Example:
        >>> import facula
        >>> x = facula.empty(3, dtype=facula.int64).random_(10)
    """
    engine = _engine(generator, self)
    if not bounds and not named:
        return _fill(self, lambda n: draw.random(n, self.dtype, engine))
    if len(bounds) == 1 and not named:
        bounds = (0, bounds[0])
    if "to" in named and not bounds and "from" not in named:
        bounds = (0,)
    low, high = _two("random_", ("from", "to"), (0, None), bounds, named)
    low, high = int(low), None if high is None else int(high)
    return _fill(self, lambda n: draw.integers(n, self.dtype, low, high, engine))


@op(function=False)
def bernoulli_(self: Tensor, p: float | Tensor = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1, with probability p, and 0. A tensor p is expanded to this one's shape.

    Example:
        >>> import facula
        >>> x = facula.empty(3).bernoulli_(0.5)
    """
    engine = _engine(generator, self)
    if isinstance(p, (int, float)):
        return _fill(self, lambda n: draw.bernoulli(n, self.dtype, p, engine))
    if is_meta(self):
        p.expand(self.shape)  # for its checks
        return undrawn(self)
    if session.traced is not None and (level := recorder.above.different()) is not None:
        each = level.values(read(p.expand(self.shape)))
        return _apart(self, lambda n: draw.bernoulli_each(self.dtype, each, p.dtype, engine), level)
    strides = self.stride()
    order = sorted(range(self.dim()), key=lambda d: -strides[d])
    each = values_of(p.expand(self.shape)).transpose(order)
    return _fill(self, lambda n: draw.bernoulli_each(self.dtype, each, p.dtype, engine))


@op(function=False)
def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponential numbers of mean 1 / lambd.

    Example:
        >>> import facula
        >>> x = facula.empty(3).exponential_()
    """
    return _fill(self, lambda n: draw.exponential(n, self.dtype, float(lambd), _engine(generator, self)))


@op(function=False)
def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the number of trials up to the first success, each of probability p.

    Example:
        >>> import facula
        >>> x = facula.empty(3).geometric_(0.5)
    """
    return _fill(self, lambda n: draw.geometric(n, self.dtype, float(p), _engine(generator, self)))


@op(function=False)
def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0, *,
                generator: Generator | None = None) -> Tensor:
    """Fill with numbers whose logarithm is normal.

    Example:
        >>> import facula
        >>> x = facula.empty(3).log_normal_()
    """
    return _fill(self, lambda n: draw.log_normal(n, self.dtype, float(mean), float(std), _engine(generator, self)))


@op(function=False)
def cauchy_(self: Tensor, median: float = 0.0, sigma: float = 1.0, *,
            generator: Generator | None = None) -> Tensor:
    """Fill with Cauchy numbers.

    Example:
        >>> import facula
        >>> x = facula.empty(3).cauchy_()
    """
    return _fill(self, lambda n: draw.cauchy(n, self.dtype, float(median), float(sigma), _engine(generator, self)))


def _two(name: str, keys: tuple[str, str], defaults: tuple[Any, Any], given: tuple[Any, ...],
         named: dict[str, Any]) -> tuple[Any, Any]:
    """Two arguments, one of which is called `from`: a name that Python does not allow in a signature."""
    extra = set(named) - set(keys[len(given):])
    if len(given) > 2 or extra:
        raise TypeError(f"{name}() got an unexpected keyword argument '{extra.pop()}'" if extra else
                        f"{name}() takes at most 2 positional arguments ({len(given)} given)")
    first = given[0] if given else named.get(keys[0], defaults[0])
    return first, given[1] if len(given) > 1 else named.get(keys[1], defaults[1])


# ---- new tensors ------------------------------------------------------------------------------------------


def _finish(tensor: Tensor, requires_grad: bool) -> Tensor:
    return tensor.requires_grad_() if requires_grad else tensor


@op(method=False)
def rand(*size: Any, generator: Generator | None = None, requires_grad: bool = False,
         **options: Any) -> Tensor:
    """Numbers uniform in [0, 1), of the given size. Options as for `empty`.

    Example:
        >>> import facula
        >>> facula.rand(2, 3).shape
        torch.Size([2, 3])
    """
    return _finish(uniform_(empty(*size, **options), generator=generator), requires_grad)


@op(method=False)
def rand_like(input: Tensor, *, generator: Generator | None = None, requires_grad: bool = False,
              **options: Any) -> Tensor:
    """Numbers uniform in [0, 1), in the size, dtype and memory order of `input`."""
    return _finish(uniform_(empty_like(input, **options), generator=generator), requires_grad)


@op(method=False)
def randn(*size: Any, generator: Generator | None = None, requires_grad: bool = False,
          **options: Any) -> Tensor:
    """Standard normal numbers, of the given size. Options as for `empty`.

    Example:
        >>> import facula
        >>> facula.randn(2, 3).shape
        torch.Size([2, 3])
    """
    return _finish(normal_(empty(*size, **options), generator=generator), requires_grad)


@op(method=False)
def randn_like(input: Tensor, *, generator: Generator | None = None, requires_grad: bool = False,
               **options: Any) -> Tensor:
    """Standard normal numbers, in the size, dtype and memory order of `input`."""
    return _finish(normal_(empty_like(input, **options), generator=generator), requires_grad)


@op(method=False)
def randint(*arguments: Any, generator: Generator | None = None, requires_grad: bool = False,
            **options: Any) -> Tensor:
    """`randint(high, size)` or `randint(low, high, size)`: whole numbers in [low, high), int64 unless said.

    Example:
        >>> import facula
        >>> facula.randint(0, 10, (2, 3)).shape
        torch.Size([2, 3])
    """
    named = {key: options.pop(key) for key in ("low", "high", "size") if key in options}
    numbers = list(arguments)
    given = len(numbers) + len(named)
    if not 2 <= given <= 3 or any(isinstance(x, float) for x in (*numbers, *named.values())):
        raise TypeError(f"randint() takes high, size or low, high, size, whole numbers and a tuple of such; got "
                        f"{', '.join([type(x).__name__ for x in (*arguments, *named.values())])}")
    size = named["size"] if "size" in named else numbers.pop()
    low = named["low"] if "low" in named else numbers.pop(0) if len(numbers) + ("high" in named) == 2 else 0
    high = named["high"] if "high" in named else numbers.pop(0)
    if numbers:
        raise TypeError(f"randint() takes high, size or low, high, size; got {arguments}")
    if options.get("dtype") is None and options.get("out") is None:
        options["dtype"] = int64
    return _finish(random_(empty(size, **options), low, high, generator=generator), requires_grad)


@op(method=False)
def randint_like(input: Tensor, *bounds: int, generator: Generator | None = None, requires_grad: bool = False,
                 **options: Any) -> Tensor:
    """`randint_like(x, high)` or `randint_like(x, low, high)`: whole numbers in the size and dtype of `x`."""
    named: dict[str, Any] = {key: options.pop(key) for key in ("low", "high") if key in options}
    if len(bounds) == 1 and "high" not in named:
        bounds = (0, *bounds)
    low, high = _two("randint_like", ("low", "high"), (0, None), bounds, named)
    return _finish(random_(empty_like(input, **options), low, high, generator=generator), requires_grad)


@op(method=False)
def randperm(n: int, *, generator: Generator | None = None, requires_grad: bool = False,
             **options: Any) -> Tensor:
    """The numbers 0 .. n-1 in random order, int64 unless said.

    Example:
        >>> import facula
        >>> sorted(facula.randperm(4).tolist())
        [0, 1, 2, 3]
    """
    if options.get("dtype") is None and options.get("out") is None:
        options["dtype"] = int64
    n = operator.index(n)
    result = empty(n, **options)
    if is_meta(result):
        return _finish(undrawn(result), requires_grad)
    engine = _engine(generator, result)
    if session.traced is not None and (level := recorder.above.different()) is not None:
        rows = [draw.permutation(n, result.dtype, engine) for _ in range(level.size)]
        return _finish(_apart(result, lambda _: np.stack(rows), level), requires_grad)
    values = draw.permutation(n, result.dtype, engine)
    return _finish(overwrite(result, values), requires_grad)


@op(method=False)
def normal(mean: Any, std: Any = 1.0, size: Any = None, *,
           generator: Generator | None = None, out: Tensor | None = None, **options: Any) -> Tensor:
    """Normal numbers: a mean and a standard deviation for each (tensors), or the same for all (and a size).

    Example:
        >>> import facula
        >>> facula.normal(0.0, 1.0, (2,)).shape
        torch.Size([2])
    """
    mean, std = (
        x.item() if isinstance(x, np.generic) or size is not None and hasattr(x, "dtype") and x.numel() == 1 else x
        for x in (mean, std))
    many_means, many_stds = hasattr(mean, "dtype"), hasattr(std, "dtype")
    if size is not None and (many_means or many_stds):
        raise TypeError("normal(): a size goes with numbers for mean and std, not with tensors")
    if not many_means and not many_stds:
        if size is None:
            raise TypeError("normal(): a size is needed where mean and std are numbers")
        requires_grad = options.pop("requires_grad", False)
        result = empty(size, out=out, **options)
        return _finish(normal_(result, mean, std, generator=generator), requires_grad)
    first = mean if many_means else std
    shape = np.broadcast_shapes(*(tuple(x.shape) for x in (mean, std) if hasattr(x, "dtype")))
    if many_stds:
        require(std, lambda x: x >= 0, RuntimeError, "normal expects all elements of std >= 0.0")
    result = empty(shape, dtype=first.dtype if out is None else out.dtype, device=first.device, out=out)
    given = [x for x in (mean, std) if hasattr(x, "dtype")]
    mean, std = [x.detach() if hasattr(x, "dtype") else x for x in (mean, std)]
    if session.traced is not None and out is None:  # within vmap, what all share cannot be written into
        result = normal_(result, generator=generator) * std + mean
    elif many_stds:
        normal_(result, generator=generator).mul_(std).add_(mean)
    else:
        normal_(result, 0.0, std, generator=generator).add_(mean)
    if out is not None:
        return result
    return severed(result, *given, name="NormalBackward0")


@op
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None,
              out: Tensor | None = None) -> Tensor:
    """1 with the probability that `input` gives for each element (`p` for all), else 0. Gradients are zero.

    Example:
        >>> import facula
        >>> facula.bernoulli(facula.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """
    of = input.dtype if out is None else out.dtype
    result = empty(tuple(input.shape), dtype=of, device=input.device, out=out)
    drawn = bernoulli_(result, input.detach() if p is None else p, generator=generator)
    return drawn if out is not None else severed(drawn, input, name="BernoulliBackward0")


@op
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *,
                generator: Generator | None = None, out: Tensor | None = None) -> Tensor:
    """Indices drawn with the weights in each row of `input`: (num_samples,) or (rows, num_samples), int64.

    Example:
        >>> import facula
        >>> facula.multinomial(facula.tensor([0.0, 1.0]), 3, replacement=True)
        tensor([1, 1, 1])
    """
    if is_meta(input):
        if not replacement and num_samples > input.shape[-1]:
            raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
        return undrawn(empty((*input.shape[:-1], num_samples), dtype=int64, device=input.device, out=out))
    strides = input.stride()
    column_major = input.dim() == 2 and strides[0] < strides[1] and not input.is_contiguous()
    values = draw.multinomial(values_of(input), input.dtype, num_samples, replacement, _engine(generator, input),
                              column_major)
    return overwrite(empty(values.shape, dtype=int64, device=input.device, out=out), values)


@op(method=False)
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """One Poisson number for each rate in `input`. Gradients are zero.

    Example:
        >>> import facula
        >>> facula.poisson(facula.zeros(2))
        tensor([0., 0.])
    """
    if is_meta(input):
        return severed(new(meta_node(input.shape, input.dtype)), input, name="PoissonBackward0")
    engine = _engine(generator, input)
    result = empty(tuple(input.shape), dtype=input.dtype, device=input.device)
    if session.traced is not None and (level := recorder.above.different()) is not None:
        rates = level.values(read(input))
        _apart(result, lambda n: to_dtype(draw.poisson(rates, input.dtype, engine), input.dtype), level)
        return severed(result, input, name="PoissonBackward0")
    values = draw.poisson(values_of(input), input.dtype, engine)
    overwrite(result, to_dtype(values, input.dtype).reshape(tuple(input.shape)))
    return severed(result, input, name="PoissonBackward0")
