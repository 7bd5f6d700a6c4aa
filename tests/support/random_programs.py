"""Random steps of programs: what test_random_programs.py runs on torch and on Facula alike.

A step is a function of tensors (and of nothing else), drawn for tensors of known shapes; the same
function is called with the tensors of either library. Most are valid; those that are not must be
refused by both.
"""

import math

import numpy as np
from hypothesis import strategies as st

SHAPES = [(), (3,), (4,), (2, 3), (3, 4), (4, 1), (2, 3, 4), (1, 2, 2), (0,), (2, 0), (2, 3, 2, 2)]
DTYPES = ["float32", "float64", "int64", "int32", "bool"]
NUMBERS = [0, 1, 2, -1, 0.5, -1.5, True]


def size_of(shape):
    return math.prod(shape)


class Drawn:
    """Draws of the kinds that steps are made of."""

    def __init__(self, data):
        self.data = data

    def one_of(self, choices):
        return self.data.draw(st.sampled_from(choices))

    def between(self, low, high):
        return self.data.draw(st.integers(low, high))

    def flag(self):
        return self.data.draw(st.booleans())

    def values(self, shape, dtype):
        """An array whose elements are exact in every dtype."""
        start, step = self.between(-3, 3), self.one_of([1, 2, 3, 5])
        flat = (np.arange(size_of(shape)) * step + start) % 7 - 2
        return flat.reshape(shape).astype(dtype)


# ---- views -------------------------------------------------------------------------------------


def a_view(drawn, shape, single=False):
    """(name, step): an alias of the tensor. `single`: by an operation that gives one."""
    n = len(shape)
    kinds = [
        "detach",
        "view",
        "unsqueeze",
        "reshape",
        "slice",
        "alias",
        "as_strided",
        "expand",
        "squeeze",
    ]
    if n:
        kinds += [
            "select",
            "narrow",
            "chunk",
            "unbind",
            "split",
            "slice",
            "index",
            "index",
            "unfold",
            "flatten",
        ]
    if n > 1:
        kinds += ["transpose", "permute", "diagonal", "t", "movedim"]
    kind = drawn.one_of([k for k in kinds if not single or k not in ("chunk", "split", "unbind")])
    d = drawn.between(0, n - 1) if n else 0
    m = shape[d] if n else 1
    if kind == "view":
        to = drawn.one_of([(-1,), (1, *shape), (*shape, 1), shape[::-1], (size_of(shape),)])
        return kind, lambda x: x.view(to)
    if kind == "reshape":
        to = drawn.one_of([(1, size_of(shape)), shape[::-1], (size_of(shape),)])
        return kind, lambda x: x.reshape(to)
    if kind == "unsqueeze":
        at = drawn.between(0, n)
        return kind, lambda x: x.unsqueeze(at)
    if kind == "expand":
        k = drawn.between(1, 2)
        return kind, lambda x: x.expand(k, *x.shape)
    if kind == "as_strided":
        size = drawn.between(0, size_of(shape) // 2)
        return kind, lambda x: x.as_strided((size,), (1,), x.storage_offset())
    if kind == "select":
        i = drawn.between(-m, m)
        return kind, lambda x: x.select(d, i)
    if kind == "narrow":
        i, k = drawn.between(0, m), drawn.between(0, m)
        return kind, lambda x: x.narrow(d, i, k)
    if kind == "chunk":
        k, i = drawn.between(1, 3), drawn.between(0, 1)
        return kind, lambda x: x.chunk(k, d)[min(i, len(x.chunk(k, d)) - 1)]
    if kind == "split":
        k = drawn.between(1, 3)
        return kind, lambda x: x.split(k, d)[-1]
    if kind == "unbind":
        return kind, lambda x: x.unbind(d)[-1]
    if kind == "unfold":
        k, step = drawn.between(1, 2), drawn.between(1, 2)
        return kind, lambda x: x.unfold(d, k, step)
    if kind == "transpose":
        e = drawn.between(0, n - 1)
        return kind, lambda x: x.transpose(d, e)
    if kind == "movedim":
        e = drawn.between(0, n - 1)
        return kind, lambda x: x.movedim(d, e)
    if kind == "permute":
        order = drawn.data.draw(st.permutations(range(n)))
        return kind, lambda x: x.permute(tuple(order))
    if kind == "diagonal":
        offset = drawn.between(-1, 1)
        return kind, lambda x: x.diagonal(offset)
    if kind in ("slice", "index"):
        key = a_basic_key(drawn, shape)
        return f"[{key}]", lambda x: x[key]
    return kind, {
        "detach": lambda x: x.detach(),
        "alias": lambda x: x.view_as(x),
        "squeeze": lambda x: x.squeeze(),
        "flatten": lambda x: x.flatten(),
        "t": lambda x: x.mT,
    }[kind]


def a_basic_key(drawn, shape):
    """Integers, slices, None and Ellipsis: what gives a view."""
    key = []
    for n in shape[: drawn.between(0, len(shape))]:
        kind = drawn.one_of(["all", "int", "part", "step"])
        if kind == "int":
            key.append(drawn.between(-n, n - 1) if n else 0)
        elif kind == "all":
            key.append(slice(None))
        else:
            key.append(
                slice(
                    drawn.one_of([None, 0, 1, -2]),
                    drawn.one_of([None, n, -1, 2]),
                    drawn.one_of([1, 2]) if kind == "step" else None,
                )
            )
    if drawn.flag():
        key.insert(drawn.between(0, len(key)), None)
    if drawn.flag():
        key.insert(drawn.between(0, len(key)), Ellipsis)
        key = key[: key.index(Ellipsis) + 1] if len(key) > len(shape) else key
    return tuple(key)


# ---- keys with tensors: copies -----------------------------------------------------------------


def a_key(drawn, shape):
    """A key of `x[key]`, as a function of the library: with masks and index tensors."""
    if not shape or drawn.between(0, 3) == 0:
        basic = a_basic_key(drawn, shape)
        return repr(basic), lambda library: basic
    if drawn.between(0, 2) == 0:
        dims = drawn.between(1, len(shape))
        mask = drawn.values(shape[:dims], "int64") % 2 == 0
        return f"mask{list(mask.shape)}", lambda library: library.from_numpy(mask.copy())
    parts = []
    for n in shape[: drawn.between(1, len(shape))]:
        kind = drawn.one_of(["tensor", "tensor", "slice", "int", "list", "none"])
        if kind in ("tensor", "list") and n:
            index = np.abs(drawn.values((drawn.one_of([1, 2]),), "int64")) % n
            parts.append(index if kind == "tensor" else index.tolist())
        elif kind == "int" and n:
            parts.append(drawn.between(-n, n - 1))
        elif kind == "none":
            parts += [None, slice(None)]
        else:
            parts.append(slice(None, None, drawn.one_of([1, 2])))

    def key(library):
        return tuple(
            library.from_numpy(p.copy()) if isinstance(p, np.ndarray) else p for p in parts
        )

    return repr(parts), key


# ---- new values --------------------------------------------------------------------------------


def a_value(drawn, shape):
    """(name, step): a fresh tensor computed from the tensor."""
    kinds = [
        "clone",
        "add",
        "mul",
        "flip",
        "sum",
        "relu",
        "to",
        "cat",
        "contiguous",
        "neg",
        "where",
        "clamp",
        "sub",
        "turned clone",
        "turned clone",
        "plain clone",
        "zeros_like",
        "ravel",
    ]
    if len(shape) == 4:
        kinds += ["channels_last", "channels_last", "to plain", "contiguous channels_last"]
    if shape:
        kinds += ["cumsum", "sum0", "amax", "index_select", "roll", "sort"]
    kind = drawn.one_of(kinds)
    d = drawn.between(0, len(shape) - 1) if shape else 0
    number = drawn.one_of(NUMBERS)
    dtype = drawn.one_of(DTYPES)
    order = drawn.data.draw(st.permutations(range(len(shape))))
    return kind, {
        "clone": lambda x, _: x.clone(),
        "turned clone": lambda x, _: x.permute(order).clone(),
        "plain clone": lambda x, lib: x.clone(memory_format=lib.contiguous_format),
        "zeros_like": lambda x, lib: lib.zeros_like(x) + x,
        "ravel": lambda x, _: x.ravel(),
        "channels_last": lambda x, lib: x.to(memory_format=lib.channels_last),
        "to plain": lambda x, lib: x.to(memory_format=lib.contiguous_format),
        "contiguous channels_last": lambda x, lib: x.contiguous(memory_format=lib.channels_last),
        "contiguous": lambda x, _: x.contiguous() * 1,
        "neg": lambda x, _: -x,
        "add": lambda x, _: x + number,
        "sub": lambda x, _: x - x.sum(),
        "mul": lambda x, _: x * 0.5,
        "flip": lambda x, _: x.flip(d) if x.dim() else x.clone(),
        "sum": lambda x, _: x.sum(),
        "relu": lambda x, _: x.relu(),
        "to": lambda x, lib: x.to(getattr(lib, dtype)),
        "cat": lambda x, lib: lib.cat([x.reshape(-1), x.reshape(-1)]),
        "clamp": lambda x, _: x.clamp(-1, 2),
        "where": lambda x, lib: lib.where(x > 0, x, x * 2),
        "cumsum": lambda x, _: x.cumsum(d),
        "sum0": lambda x, _: x.sum(d),
        "amax": lambda x, _: x.amax(d),
        "roll": lambda x, _: x.roll(1, d),
        "index_select": lambda x, lib: x.index_select(d, lib.tensor([0, 0])),
        "sort": lambda x, _: x.sort(d)[0],
    }[kind]


# ---- writes ------------------------------------------------------------------------------------


def a_write(drawn, shape):
    """(name, step): a write in place; the step takes (x, y, library), y another live tensor."""
    kinds = [
        "add_",
        "mul_",
        "copy_",
        "fill_",
        "zero_",
        "sub_",
        "clamp_",
        "masked_fill_",
        "neg_",
        "setitem",
        "setitem",
        "add_number",
        "relu_",
        "settensor",
        "bernoulli",
    ]
    if shape:
        kinds += ["index_fill_", "index_add_", "cumsum_", "scatter_", "index_put_", "index_copy_"]
    kind = drawn.one_of(kinds)
    number = drawn.one_of(NUMBERS)
    name, key = a_key(drawn, shape)
    d = drawn.between(0, len(shape) - 1) if shape else 0
    at = [0] if shape and shape[d] else []
    steps = {
        "add_": lambda x, y, lib: x.add_(y),
        "mul_": lambda x, y, lib: x.mul_(y),
        "sub_": lambda x, y, lib: x.sub_(y),
        "copy_": lambda x, y, lib: x.copy_(y),
        "fill_": lambda x, y, lib: x.fill_(number),
        "zero_": lambda x, y, lib: x.zero_(),
        "clamp_": lambda x, y, lib: x.clamp_(-1, 1),
        "masked_fill_": lambda x, y, lib: x.masked_fill_(x > 0, number),
        "neg_": lambda x, y, lib: x.neg_(),
        "setitem": lambda x, y, lib: x.__setitem__(key(lib), number),
        "add_number": lambda x, y, lib: x.add_(number),
        "settensor": lambda x, y, lib: x.__setitem__(key(lib), y.to(x.dtype)),
        "relu_": lambda x, y, lib: x.relu_(),
        "bernoulli": lambda x, y, lib: x.mul_(x > 0),
        "index_fill_": lambda x, y, lib: x.index_fill_(d, lib.tensor(at, dtype=lib.int64), number),
        "index_add_": lambda x, y, lib: x.index_add_(
            d, lib.tensor(at * 2, dtype=lib.int64), lib.cat([x.narrow(d, 0, len(at))] * 2, d)
        ),
        "index_copy_": lambda x, y, lib: x.index_copy_(
            d, lib.tensor(at, dtype=lib.int64), x.narrow(d, -len(at), len(at)).clone()
        ),
        "cumsum_": lambda x, y, lib: x if x.dtype == lib.bool else x.cumsum_(d),
        "scatter_": lambda x, y, lib: x.scatter_(
            d, lib.zeros_like(x, dtype=lib.int64).narrow(d, 0, len(at)), number
        ),
        "index_put_": lambda x, y, lib: x.index_put_(
            (lib.tensor(at * 2, dtype=lib.int64),), x[:1] * 0 + 1, accumulate=True
        ),
    }
    return f"{kind} {name if 'set' in kind else ''}", steps[kind]


def a_gradual_write(drawn, shape):
    """As `a_write`, of those that gradients go through."""
    kind = drawn.one_of(
        [
            "add_",
            "mul_",
            "copy_",
            "sub_",
            "fill_",
            "zero_",
            "masked_fill_",
            "neg_",
            "sin_",
            "setitem",
            "settensor",
            "square_",
            "mul_number",
        ]
    )
    number = drawn.one_of([0, 1, 0.5, -2])
    name, key = a_key(drawn, shape)
    steps = {
        "add_": lambda x, y, lib: x.add_(y),
        "mul_": lambda x, y, lib: x.mul_(y),
        "sub_": lambda x, y, lib: x.sub_(y),
        "copy_": lambda x, y, lib: x.copy_(y),
        "fill_": lambda x, y, lib: x.fill_(number),
        "zero_": lambda x, y, lib: x.zero_(),
        "masked_fill_": lambda x, y, lib: x.masked_fill_(x > 0, number),
        "neg_": lambda x, y, lib: x.neg_(),
        "sin_": lambda x, y, lib: x.sin_(),
        "square_": lambda x, y, lib: x.square_(),
        "setitem": lambda x, y, lib: x.__setitem__(key(lib), number),
        "mul_number": lambda x, y, lib: x.mul_(number),
        "settensor": lambda x, y, lib: x.__setitem__(key(lib), y),
    }
    return f"{kind} {name if 'set' in kind else ''}", steps[kind]
