"""Rules of what changes shapes: views, parts, and joining."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula.distributed.tensor._dispatch import MAKERS
from facula.distributed.tensor._dtensor import DTensor
from facula.distributed.tensor._layout import coordinate, local_part
from facula.distributed.tensor._rules import Labels, Rule
from facula.size import Size


def _numbers(args: Any, kwargs: Any, *names: str) -> tuple[Any, ...]:
    """Arguments that are one list, or follow each other."""
    given = args[1:] or tuple(kwargs[name] for name in names if name in kwargs)
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], (list, tuple)) else tuple(given)


def _permuted(tensors: list[DTensor], order: Any) -> Rule:
    labels = tuple(range(tensors[0].dim()))
    return Rule([labels], [tuple(labels[d] for d in order)], linear=True)


def _permute(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    return _permuted(tensors, _numbers(args, kwargs, "dims"))


def _transpose(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    ndim = tensors[0].dim()
    order = list(range(ndim))
    if name in ("T", "t", "mT", "adjoint", "H", "mH"):
        a, b = (0, 1) if name in ("t", "H") else (-2, -1)
        if name == "T" and ndim != 2 or name in ("t", "H") and ndim < 2:
            return _permuted(tensors, order[::-1])
    else:
        pair = (*args[1:], *(kwargs[k] for k in ("dim0", "dim1", "axis0", "axis1") if k in kwargs))
        a, b = pair[0], pair[1]
    order[a], order[b] = order[b], order[a]
    return _permuted(tensors, order)


def _unsqueeze(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    labels: list[Any] = list(range(tensors[0].dim()))
    at = args[1] if len(args) > 1 else kwargs["dim"]
    return Rule([tuple(labels)], [(*labels[:at % (len(labels) + 1)], None, *labels[at % (len(labels) + 1):])],
                linear=True)


def _squeeze(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    x, dims = tensors[0], _numbers(args, kwargs, "dim")
    gone = {d % x.dim() for d in dims} if dims else set(range(x.dim()))
    gone = {d for d in gone if x.shape[d] == 1}
    kept = tuple(d for d in range(x.dim()) if d not in gone)
    labels = tuple(None if x.shape[d] == 1 else d for d in range(x.dim()))
    return Rule([labels], [tuple(labels[d] for d in kept)], linear=True, call=lambda pieces, _: pieces[0].reshape(
        [pieces[0].shape[d] for d in kept]))  # by name a piece of length 1 would be squeezed, too


def _expand(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    x = tensors[0]
    sizes = tuple(tensors[1].shape) if name == "expand_as" else _numbers(args, kwargs, "size")
    labels: list[Any] = []
    for d in range(-x.dim(), 0):
        labels.append(d if sizes[d] in (-1, x.shape[d]) else None)
    output = (*[None] * (len(sizes) - x.dim()), *labels)
    local = tuple(-1 if label is not None else size for label, size in zip(output, sizes, strict=True))
    return Rule([tuple(labels), *[(None,) * t.dim() for t in tensors[1:]]], [output], linear=len(tensors) == 1,
                call=lambda pieces, _: pieces[0].expand(*local))


def _blocks(before: Any, after: Any) -> list[tuple[list[int], list[int]]]:
    """Dimensions before and after a reshape, in groups that have the same elements."""
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        left: list[int] = []
        right: list[int] = []
        n = m = 1
        while not left and not right or n != m:
            if i < len(before) and (n <= m or j >= len(after)):
                n *= before[i]
                left.append(i)
                i += 1
            elif j < len(after):
                m *= after[j]
                right.append(j)
                j += 1
            else:
                break
        found.append((left, right))
    return found


def _reshape(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    x = tensors[0]
    sizes = _reshaped(name, x, args, kwargs, tensors)
    ranks = x.device_mesh.size()
    labels: list[Any] = [None] * x.dim()
    output: list[Any] = [None] * len(sizes)
    for left, right in _blocks(x.shape, sizes) if x.numel() else ():
        a = next((d for d in left if x.shape[d] != 1), None)
        b = next((d for d in right if sizes[d] != 1), None)
        if a is None or b is None:
            continue  # the first of each group is the slowest: a piece of it is a piece of the other's
        if x.shape[a] == sizes[b] or x.shape[a] % ranks == 0 and sizes[b] % ranks == 0:
            labels[a] = output[b] = a
    mesh = x.device_mesh
    return Rule([tuple(labels), *[(None,) * t.dim() for t in tensors[1:]]], [tuple(output)], linear=len(tensors) == 1,
                shapes=[Size(sizes)], call=lambda pieces, placements: pieces[0].reshape(
                    local_part(sizes, mesh, placements, coordinate(mesh))[0]))


def _reshaped(name: str, x: DTensor, args: Any, kwargs: Any, tensors: list[DTensor]) -> tuple[int, ...]:
    """The sizes that the whole has afterwards."""
    shape = list(x.shape)
    if name in ("view_as", "reshape_as"):
        sizes = list(tensors[1].shape)
    elif name == "flatten":
        start = (args[1] if len(args) > 1 else kwargs.get("start_dim", 0)) % max(len(shape), 1)
        end = (args[2] if len(args) > 2 else kwargs.get("end_dim", -1)) % max(len(shape), 1)
        sizes = [*shape[:start], math.prod(shape[start:end + 1]), *shape[end + 1:]]
    elif name == "unflatten":
        dim = (args[1] if len(args) > 1 else kwargs["dim"]) % len(shape)
        inner = list(args[2] if len(args) > 2 else kwargs["sizes"])
        if -1 in inner:
            inner[inner.index(-1)] = shape[dim] // -math.prod(inner)
        sizes = [*shape[:dim], *inner, *shape[dim + 1:]]
    else:
        sizes = list(_numbers(args, kwargs, "shape", "size"))
        if sizes and isinstance(sizes[0], facula.dtype):
            raise NotImplementedError("view of a DTensor as another dtype is not in Facula")
        if -1 in sizes:
            rest = -math.prod(sizes)
            sizes[sizes.index(-1)] = x.numel() // rest if rest else 0
    if math.prod(sizes) != x.numel():
        raise RuntimeError(f"shape '{sizes}' is invalid for input of size {x.numel()}")
    return tuple(sizes)


def _parts(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    """Parts along one dimension, which stays whole."""
    x = tensors[0]
    place = {"unbind": 1, "select": 1, "narrow": 1}.get(name, 2)
    dim = kwargs.get("dim", args[place] if len(args) > place else 0) % x.dim()
    labels = tuple(range(x.dim()))
    output: Labels = tuple(d for d in labels if d != dim) if name in ("unbind", "select") else labels
    return Rule([labels], [tuple(None if d == dim else d for d in output)], fixed=frozenset({dim}), linear=True)


def _item(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    x, index = tensors[0], args[1] if isinstance(args[1], tuple) else (args[1],)
    if len(tensors) > 1 or any(isinstance(k, (list, bool)) for k in index):
        return Rule([(None,) * t.dim() for t in tensors], [])
    count = sum(k is not None and k is not Ellipsis for k in index)
    at = index.index(Ellipsis) if Ellipsis in index else len(index)
    index = (*index[:at], *[slice(None)] * (x.dim() - count), *index[at + 1:])
    labels: list[Any] = []
    output: list[Any] = []
    for k in index:
        if k is None:
            output.append(None)
            continue
        whole = isinstance(k, slice) and k == slice(None)
        if not isinstance(k, int):
            output.append(len(labels) if whole else None)
        labels.append(len(labels) if whole else None)
    return Rule([tuple(labels)], [tuple(output)], linear=True, call=lambda pieces, _: pieces[0][index])


def _joined(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    given = kwargs.get("dim", args[1] if len(args) > 1 else 0)
    ndim = max(t.dim() for t in tensors)
    labels = tuple(range(ndim))
    if name == "stack":
        at = given % (ndim + 1)
        return Rule([labels] * len(tensors), [(*labels[:at], None, *labels[at:])], linear=True)
    dim = given % ndim
    return Rule([tuple(None if d == dim else d for d in labels)] * len(tensors),
                [tuple(None if d == dim else d for d in labels)], linear=True)


def _triangle(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    labels = tuple(range(tensors[0].dim()))
    return Rule([labels], [labels], fixed=frozenset(labels[-2:]), linear=True)


for _names, _maker in ((("permute",), _permute), (("transpose", "swapaxes", "swapdims", "t", "T", "mT"), _transpose),
                       (("unsqueeze",), _unsqueeze), (("squeeze",), _squeeze), (("expand", "expand_as"), _expand),
                       (("view", "reshape", "flatten", "unflatten", "view_as", "reshape_as"), _reshape),
                       (("chunk", "split", "unbind", "select", "narrow", "tensor_split"), _parts),
                       (("__getitem__",), _item), (("cat", "concat", "concatenate", "stack"), _joined),
                       (("tril", "triu"), _triangle)):
    for _name in _names:
        MAKERS[_name] = _maker
