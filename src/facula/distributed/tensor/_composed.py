"""Operations of DTensors that are made of others: means and norms, losses, embeddings, dropout."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.distributed import objects
from facula.distributed.tensor._dispatch import COMPOSED, count_of, ready
from facula.distributed.tensor._dtensor import DTensor, laid, made
from facula.distributed.tensor._layout import coordinate, local_part
from facula.distributed.tensor._pointwise import _dims
from facula.distributed.tensor.placement_types import Partial, Replicate, Shard


def _mean(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None) -> Any:
    """Pieces may have different sizes: of means there would be no mean."""
    dim = axis if dim is None else dim
    if dtype is not None:
        x = x.to(dtype)
    if not (x.is_floating_point() or x.is_complex()):
        raise RuntimeError("mean(): could not infer output dtype. Input dtype must be either a floating point or "
                           f"complex dtype. Got: {x.dtype}")
    gone = _dims(dim, x.dim())
    return (x.sum() if dim is None else x.sum(dim, keepdim)) / count_of(x.shape, sorted(gone))


def _vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if dtype is not None:
        x = x.to(dtype)
    over = {"dim": tuple(sorted(_dims(dim, x.dim()))), "keepdim": keepdim}
    if not over["dim"]:
        return x.abs()
    size = x.abs()
    if ord == math.inf:
        return size.amax(**over)
    if ord == -math.inf:
        return size.amin(**over)
    if ord == 0:
        return (size != 0).to(x.dtype).sum(**over)
    if ord == 1:
        return size.sum(**over)
    return (size * size).sum(**over).sqrt() if ord == 2 else size.pow(ord).sum(**over).pow(1.0 / ord)


def _norm(x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    if p == "nuc":
        raise NotImplementedError("the nuclear norm of a DTensor is not in Facula")
    return _vector_norm(x, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


def _reduced(loss: Any, reduction: str) -> Any:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.mean()


def _mse_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
              weight: Any = None) -> Any:
    difference = input - target
    square = difference * difference
    return _reduced(square if weight is None else square * weight, reduction)


def _l1_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
             weight: Any = None) -> Any:
    size = (input - target).abs()
    return _reduced(size if weight is None else size * weight, reduction)


def _on_rows(x: Any) -> Any:
    """The layout in which classes, dimension 1, are whole."""
    at = 1 if x.dim() > 1 else 0
    return laid(x, tuple(Replicate() if p == Shard(at) or isinstance(p, Partial) else p for p in x.placements))


def _cross_entropy(input: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
                   reduce: Any = None, reduction: str = "mean", label_smoothing: float = 0.0) -> Any:
    if size_average is not None or reduce is not None:
        raise NotImplementedError("cross_entropy of DTensors: size_average and reduce are not in Facula; use reduction")
    if not (isinstance(input, DTensor) and isinstance(target, DTensor)):
        raise RuntimeError("cross_entropy: got mixed torch.Tensor and DTensor, need to convert all torch.Tensor to "
                           "DTensor before calling distributed operators!")
    cut = [dim for dim, p in enumerate(input.placements) if p == Shard(1 if input.dim() > 1 else 0)]
    if weight is None and not label_smoothing and cut and sharded_classes:
        loss = _picked(input, target, ignore_index, cut[0])
    else:
        input = _on_rows(input)
        rows = tuple(p if p == Shard(0) and input.dim() > 1 else Replicate() for p in input.placements)
        input, target = laid(input, rows), laid(target, rows)
        varies = [dim for dim, p in enumerate(rows) if isinstance(p, Shard)]
        pieces = [ready(input, rows, varies), target._local]
        if weight is not None:
            whole = (Replicate(),) * input.device_mesh.ndim
            pieces.append(ready(weight, whole, varies) if isinstance(weight, DTensor) else weight)
        loss = made(facula.nn.functional.cross_entropy(*pieces, ignore_index=ignore_index, reduction="none",
                                                       label_smoothing=label_smoothing),
                    input.device_mesh, rows, target.shape if target.dtype is facula.int64 or target.dim() < input.dim()
                    else (input.shape[0], *input.shape[2:]))
        if weight is not None and reduction == "mean":
            if target.dim() == input.dim():
                raise NotImplementedError("cross_entropy of DTensors: probabilities with weights and a mean are not in "
                                          "Facula")
            weights = pieces[2][target._local.clamp(min=0)] * (target._local != ignore_index)
            return loss.sum() / made(weights, input.device_mesh, rows, target.shape).sum()
    if reduction != "mean":
        return _reduced(loss, reduction)
    if target.is_floating_point():
        return loss.sum() / loss.numel()
    return loss.sum() / (target != ignore_index).to(loss.dtype).sum()


sharded_classes: list[bool] = []  # not empty within loss_parallel


def _picked(input: DTensor, target: DTensor, ignore_index: int, dim: int) -> DTensor:
    """The loss of each row while each rank has some of the classes: nobody has all of them."""
    mesh, at = input.device_mesh, 1 if input.dim() > 1 else 0
    placements = tuple(p if k == dim else Replicate() for k, p in enumerate(input.placements))
    input, target = laid(input, placements), laid(target, (Replicate(),) * mesh.ndim)
    sizes, offsets = local_part(input.shape, mesh, placements, coordinate(mesh))
    largest: Any = input.detach().amax(at, keepdim=True)
    shifted: Any = input - laid(largest, (Replicate(),) * mesh.ndim)
    logarithm = shifted.exp().sum(at).log()
    local = target._local - offsets[at]
    here = (local >= 0) & (local < sizes[at]) & (target._local != ignore_index)
    own = shifted._local.gather(at, local.clamp(0, max(sizes[at] - 1, 0)).unsqueeze(at)).squeeze(at) \
        if sizes[at] else shifted._local.sum(at)
    mine = facula.where(here, own, facula.zeros_like(own))
    found = made(mine, mesh, tuple(Partial() if k == dim else Replicate() for k in range(mesh.ndim)), target.shape)
    counts = target != ignore_index
    return (logarithm - found) * counts.to(logarithm.dtype)  # type: ignore[no-any-return]


def _embedding(input: Any, weight: Any, padding_idx: int | None = None, max_norm: Any = None, norm_type: float = 2.0,
               scale_grad_by_freq: bool = False, sparse: bool = False) -> Any:
    """Rows of a table: in pieces along the rows, each rank has those of its words, and zeros for the others."""
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise NotImplementedError("embedding of DTensors: max_norm, scale_grad_by_freq and sparse are not in Facula")
    if not (isinstance(input, DTensor) and isinstance(weight, DTensor)):
        raise RuntimeError("embedding: got mixed torch.Tensor and DTensor, need to convert all torch.Tensor to DTensor "
                           "before calling distributed operators!")
    mesh, at = weight.device_mesh, coordinate(weight.device_mesh)
    ids, table, gives = [], [], []
    for mine, theirs in zip(input.placements, weight.placements, strict=True):
        cut = isinstance(theirs, Shard)
        table.append(theirs if cut else Replicate())
        ids.append(mine if isinstance(mine, Shard) and not cut else Replicate())
        gives.append(Partial() if theirs == Shard(0) else Shard(input.dim()) if cut else ids[-1])
    varies = [k for k in range(mesh.ndim) if isinstance(gives[k], (Shard, Partial))]
    words = laid(input, tuple(ids))._local
    rows = ready(weight, tuple(table), varies)
    found: Tensor
    if Shard(0) in table:
        sizes, offsets = local_part(weight.shape, mesh, tuple(table), at)
        local = words - offsets[0]
        here = (local >= 0) & (local < sizes[0])
        picked = rows[local.clamp(0, sizes[0] - 1)] if sizes[0] else facula.zeros(
            *words.shape, rows.shape[1], dtype=rows.dtype) + rows.sum()
        if padding_idx is not None:
            stays = words == padding_idx % weight.shape[0]
            picked = facula.where(stays.unsqueeze(-1), picked.detach(), picked)
        found = facula.where(here.unsqueeze(-1), picked, facula.zeros_like(picked))
    else:
        found = facula.nn.functional.embedding(words, rows, padding_idx)
    return made(found, mesh, tuple(gives), (*input.shape, weight.shape[1]))


_seeds: dict[int, list[Any]] = {}  # by mesh: the mesh, a number that its ranks agree on, how often it was asked for


def _dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Ranks that have the same piece drop the same elements, others others."""
    if inplace:
        raise NotImplementedError("dropout of DTensors in place is not in Facula")
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    placements = tuple(Replicate() if isinstance(q, Partial) else q for q in input.placements)
    input = laid(input, placements)
    mesh, at = input.device_mesh, coordinate(input.device_mesh)
    known = _seeds.get(id(mesh))
    if known is None:
        known = _seeds[id(mesh)] = [mesh, _agreed_number(mesh), 0]
    known[2] += 1
    place = tuple(at[k] for k, q in enumerate(placements) if isinstance(q, Shard))
    generator = facula.Generator().manual_seed(hash((known[1], known[2], place)) % (1 << 62))
    kept = facula.rand(*input._local.shape, generator=generator) >= p
    scale = 0.0 if p == 1 else 1.0 / (1.0 - p)
    return made(input._local * (kept.to(input.dtype) * scale), mesh, placements, input.shape)


def _agreed_number(mesh: Any) -> int:
    """A number of the first rank's generator, for all ranks of the mesh."""
    number = [int(facula.randint(0, 1 << 40, (1,)).item())]
    for dim in range(mesh.ndim):
        objects.broadcast_object_list(number, group_src=0, group=mesh.get_group(dim))
    return number[0]


COMPOSED.update({"mean": _mean, "vector_norm": _vector_norm, "norm": _norm, "mse_loss": _mse_loss, "l1_loss": _l1_loss,
                 "cross_entropy": _cross_entropy, "embedding": _embedding, "dropout": _dropout})
