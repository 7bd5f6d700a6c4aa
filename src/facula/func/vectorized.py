"""`vmap`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor
from facula._tensor.reading import read
from facula.func.trees import leaves, rebuilt, spread
from facula.transforms.batching import RANDOMNESS, Batch
from facula.transforms.crossing import enter_batch, leave_batch
from facula.transforms.levels import level_of


def vmap(func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
         chunk_size: int | None = None) -> Callable[..., Any]:
    """`func` over one more dimension of its arguments, which it does not see.

    `in_dims` says which dimension of each positional argument that is (None: the argument is the same for all), as one
    number or a tree of them; `out_dims` where it goes in each result. Keyword arguments are taken apart along their
    first dimension. `randomness` is what random operations do: "error", "different" numbers for each or the "same" for
    all. `chunk_size`: so many at a time.

    ValueError if sizes or trees do not fit. RuntimeError where `func` looks at values (`.item()`, `if x > 0`).

    Example:
        >>> import facula
        >>> x = facula.arange(6.0).reshape(2, 3)
        >>> facula.func.vmap(lambda row: row.sum() * row)(x)
        tensor([[ 0.,  3.,  6.],
                [36., 48., 60.]])
    """
    if randomness not in RANDOMNESS:
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def vectorized(*args: Any, **kwargs: Any) -> Any:
        call = f"vmap({_name(func)}, in_dims={in_dims}, ...)(<inputs>)"
        if not isinstance(in_dims, (int, tuple)):
            raise ValueError(f"{call}: expected `in_dims` to be int or a (potentially nested) tuple matching the "
                             f"structure of inputs, got: {type(in_dims)}.")
        tree = (args, kwargs)
        if not args:
            raise ValueError(f"vmap({_name(func)})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you "
                             "are trying to vmap over a function with no inputs. The latter is unsupported.")
        dims = spread(in_dims, args, call) + [0] * len(leaves(kwargs))
        given = leaves(tree)
        dims = [_wrapped(d, x, call) for d, x in zip(dims, given, strict=True)]
        size = _size(dims, given, func)
        step = chunk_size or size
        if step >= size:
            return _call(func, tree, given, dims, size, out_dims, randomness)
        return _in_chunks(func, tree, given, dims, size, step, out_dims, randomness)

    return vectorized


def _name(func: Any) -> str:
    return getattr(func, "__name__", None) or repr(func)


def _wrapped(dim: Any, x: Any, call: str) -> int | None:
    """A checked dimension, counted from the front."""
    if dim is None:
        return None
    start = f"{call}: "
    if not isinstance(dim, int):
        raise ValueError(f"{start}Got in_dim={dim} for an input but in_dim must be either an integer dimension or "
                         "None.")
    if not isinstance(x, Tensor):
        raise ValueError(f"{start}Got in_dim={dim} for an input but the input is of type {type(x)}. We cannot vmap "
                         "over non-Tensor arguments, please use None as the respective in_dim")
    rank = len(x.shape)
    if not -rank <= dim < rank:
        raise ValueError(f"{start}Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {rank} "
                         f"so expected in_dim to satisfy -{rank} <= in_dim < {rank}.")
    return dim % rank


def _size(dims: list[int | None], given: list[Any], func: Any) -> int:
    sizes = [x.shape[d] for d, x in zip(dims, given, strict=True) if d is not None]
    if not sizes:
        raise ValueError(f"vmap({_name(func)}, in_dims=...)(<inputs>): at least one input must be vmapped over")
    if len(set(sizes)) > 1:
        raise ValueError(f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} "
                         "for the mapped dimension")
    return int(sizes[0])


def _call(func: Any, tree: Any, given: list[Any], dims: list[int | None], size: int, out_dims: Any,
          randomness: str) -> Any:
    with Batch(size, randomness) as level:
        inner = [x if d is None else enter_batch(x.movedim(d, 0) if d else x, level)
                 for d, x in zip(dims, given, strict=True)]
        entered = [read(x) if isinstance(x, Tensor) else None for x in inner]
        args, kwargs = rebuilt(tree, inner)
        result = func(*args, **kwargs)
        for d, x, own, node in zip(dims, given, inner, entered, strict=True):
            if d is not None and read(own) is not node:  # `func` has written its argument in place
                before = [*x.shape[:d], *x.shape[d + 1:]]
                if list(own.shape) != before:
                    raise RuntimeError(f"vmap({_name(func)}, ...): an argument of shape {before} has been given the "
                                       f"shape {list(own.shape)} in place, but its memory has that of all values")
                x.movedim(d, 0).copy_(leave_batch(own, level))
        return rebuilt(result, [_out(x, d, level, func)
                                for x, d in zip(leaves(result), _places(out_dims, result, func), strict=True)])


def _places(out_dims: Any, result: Any, func: Any) -> list[Any]:
    """For each tensor of a result where its hidden dimension goes."""
    call = f"vmap({_name(func)}, ..., out_dims={out_dims})(<inputs>)"
    if isinstance(out_dims, int) or out_dims is None:
        return [out_dims] * len(leaves(result))
    # `out_dims=(0,)` is also what stands for a function of one result
    alone = isinstance(out_dims, tuple) and len(out_dims) == 1 and isinstance(result, Tensor)
    return spread(out_dims[0] if alone else out_dims, result, call, "out_dims", "outputs")


def _out(x: Any, dim: Any, level: Batch, func: Any) -> Any:
    if not isinstance(x, Tensor):
        raise ValueError(f"vmap({_name(func)}, ...): `{_name(func)}` must only return Tensors, got type {type(x)}. "
                         "Did you mean to set out_dims= to None for output?")
    if dim is None:
        if level_of(read(x)) is level:
            raise ValueError(f"vmap({_name(func)}, ...): `{_name(func)}` can not return a BatchedTensor when out_dim "
                             "is None")
        return x
    out = leave_batch(x, level)
    rank = len(out.shape)
    if not -rank <= dim < rank:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim})")
    return out.movedim(0, dim) if dim % rank else out


def _in_chunks(func: Any, tree: Any, given: list[Any], dims: list[int | None], size: int, step: int, out_dims: Any,
               randomness: str) -> Any:
    from facula.ops.arrange.joining import cat
    found = []
    for start in range(0, size, step):
        n = min(step, size - start)
        part = [x if d is None else x.narrow(d, start, n) for d, x in zip(dims, given, strict=True)]
        found.append(_call(func, tree, part, dims, n, out_dims, randomness))
    places = _places(out_dims, found[0], func)
    columns = zip(*map(leaves, found), strict=True)
    return rebuilt(found[0], [column[0] if d is None else cat(list(column), d)
                              for column, d in zip(columns, places, strict=True)])
