"""`torch.func.rearrange`: dimensions by names, in einops' notation."""

from __future__ import annotations

import math
import re
from typing import Any

__all__ = ["rearrange"]

_REST = ["..."]  # an ellipsis outside of brackets, told by its identity
_TOKEN = re.compile(r"\s*(\.\.\.|[()]|\w+)")


def _parsed(side: str) -> list[list[str]]:
    """The names of each dimension: one, or several in brackets; "..." stands for itself, 1 for nothing."""
    found: list[list[str]] = []
    inside: list[str] | None = None
    at = 0
    side = side.strip()
    while at < len(side):
        match = _TOKEN.match(side, at)
        if match is None:
            raise ValueError(f"Unexpected character {side[at:].strip()[0]!r} in rearrange expression {side!r}")
        token, at = match[1], match.end()
        if token == "(":
            if inside is not None:
                raise ValueError("Brackets inside brackets are not allowed")
            inside = []
        elif token == ")":
            if inside is None:
                raise ValueError("Brackets are not balanced")
            found.append(inside)
            inside = None
        elif token.isdecimal() and token != "1":
            raise ValueError(f"Non-unitary anonymous axes are not supported in rearrange (axis size {token})")
        elif inside is not None:
            inside += [] if token == "1" else [token]
        else:
            found.append([] if token == "1" else _REST if token == "..." else [token])
    if inside is not None:
        raise ValueError("Brackets are not balanced")
    return found


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """Permute, split and join dimensions by names.

    Args:
        tensor: a tensor, or a list of tensors of one shape, which are stacked first.
        pattern: "before -> after": names, several in brackets for a dimension that is their product, "..." for any
            others, 1 or () for a dimension of 1.
        axes_lengths: how long a dimension is that brackets split off.

    Raises:
        ValueError: the pattern is none, or does not fit the shape.

    Example:
        >>> import facula
        >>> facula.func.rearrange(facula.arange(6).reshape(2, 3), "a b -> (b a)")
        tensor([0, 3, 1, 4, 2, 5])
    """
    if not hasattr(tensor, "reshape"):
        import facula
        tensor = facula.stack(tuple(tensor))
    sides = pattern.split("->")
    if len(sides) != 2:
        raise ValueError("Pattern must contain a single '->' separator")
    left, right = (_parsed(side) for side in sides)
    names = [[name for group in side for name in group] for side in (left, right)]
    for side in names:
        if len(set(side)) != len(side):
            raise ValueError(f"Identifiers must be unique on each side of a rearrange expression: {pattern!r}")
    one_sided = set(names[0]) ^ set(names[1])
    if one_sided:
        raise ValueError("Identifiers only on one side of rearrange expression (should be on both): "
                         f"{{{', '.join(map(repr, sorted(one_sided)))}}}")
    rest = [f"...{k}" for k in range(tensor.dim() - len(left) + 1)] if "..." in names[0] else []
    if "..." in names[0] and not any(group is _REST for group in left):
        raise ValueError("An ellipsis may not be in brackets on the left of a rearrange expression")

    def opened(side: list[list[str]]) -> list[list[str]]:
        found: list[list[str]] = []
        for group in side:
            found += [[name] for name in rest] if group is _REST else [
                [n for name in group for n in (rest if name == "..." else [name])]]
        return found
    left, right = opened(left), opened(right)
    if len(left) != tensor.dim():
        raise ValueError(f"Number of dimensions in pattern ({len(left)}) and tensor ({tensor.dim()}) do not match")
    sizes = dict(axes_lengths)
    for name in sizes:
        if name not in names[0]:
            raise ValueError(f"{name!r} is no dimension of the rearrange expression {pattern!r}")
    for group, length in zip(left, tensor.shape, strict=True):
        unknown = [name for name in group if name not in sizes]
        known = math.prod(sizes[name] for name in group if name in sizes)
        if len(unknown) > 1:
            raise ValueError(f"Could not infer sizes for {unknown}: give all of them but one")
        if unknown:
            if not known or length % known:
                raise ValueError(f"Shape mismatch: a dimension of {length} is not divisible by {known}")
            sizes[unknown[0]] = length // known
        elif known != length:
            raise ValueError(f"Shape mismatch: a dimension of {length} was expected to have {known}")
    order = [name for group in left for name in group]
    split = tensor.reshape([sizes[name] for name in order])
    moved = split.permute([order.index(name) for group in right for name in group])
    return moved.reshape([math.prod(sizes[name] for name in group) for group in right])
