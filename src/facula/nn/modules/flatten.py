"""Joining and splitting dimensions."""

from __future__ import annotations

from typing import Any

from .module import Module

__all__ = ["Flatten", "Unflatten"]


class Flatten(Module):
    """Joins the dimensions `start_dim` to `end_dim` into one: (N, C, H, W) to (N, C*H*W) by default.

    Example:
        >>> import facula
        >>> facula.nn.Flatten()(facula.zeros(2, 3, 4)).shape
        torch.Size([2, 12])
    """

    __constants__ = ["start_dim", "end_dim"]

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Any) -> Any:
        """The input with the dimensions joined."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits dimension `dim` into `unflattened_size`.

    Args:
        dim: an index, or the name of a named dimension.
        unflattened_size: a tuple of ints, of which one may be -1 (or pairs of name and size).

    Raises:
        TypeError: arguments of other kinds.

    Example:
        >>> import facula
        >>> facula.nn.Unflatten(1, (2, -1))(facula.zeros(5, 6)).shape
        torch.Size([5, 2, 3])
    """

    __constants__ = ["dim", "unflattened_size"]

    def __init__(self, dim: int | str, unflattened_size: Any) -> None:
        super().__init__()
        if isinstance(dim, int):
            self._require_ints(unflattened_size)
        elif isinstance(dim, str):
            self._require_pairs(unflattened_size)
        else:
            raise TypeError("invalid argument type for dim parameter")
        self.dim = dim
        self.unflattened_size = unflattened_size

    def _require_pairs(self, given: Any) -> None:
        if not isinstance(given, tuple):
            raise TypeError("unflattened_size must be a tuple of tuples, but found type "
                            + type(given).__name__)
        for i, element in enumerate(given):
            if not isinstance(element, tuple):
                raise TypeError("unflattened_size must be tuple of tuples, but found element of type "
                                f"{type(element).__name__} at pos {i}")

    def _require_ints(self, given: Any) -> None:
        if not isinstance(given, (tuple, list)):
            raise TypeError("unflattened_size must be a tuple of ints, but found type "
                            f"{type(given).__name__}")
        for i, element in enumerate(given):
            if not isinstance(element, int):
                raise TypeError("unflattened_size must be tuple of ints, but found element of type "
                                f"{type(element).__name__} at pos {i}")

    def forward(self, input: Any) -> Any:
        """The input with the dimension split."""
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
