"""`Size`: the tuple that a tensor's shape is."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any, SupportsIndex, overload


class Size(tuple[int, ...]):
    """The lengths of a tensor's dimensions: a tuple of ints that also knows its product.

    Slices, sums and repetitions of a Size are Sizes. TypeError if an item is not an integer.

    Example:
        >>> from facula.size import Size
        >>> Size([2, 3]) + (4,)
        torch.Size([2, 3, 4])
        >>> Size([2, 3]).numel()
        6
    """

    __slots__ = ()

    def __new__(cls, sizes: Iterable[SupportsIndex] = (), /) -> Size:
        self = tuple.__new__(cls, sizes)
        for item in self:
            if type(item) is not int:
                return tuple.__new__(cls, _integers(self))
        return self

    def numel(self) -> int:
        """The number of elements of a tensor of this size: the product of the items."""
        count = 1
        for length in self:
            count *= length
        return count

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> Size: ...
    def __getitem__(self, key: Any) -> Any:
        item = tuple.__getitem__(self, key)
        return tuple.__new__(Size, item) if type(item) is tuple else item

    def __add__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            raise TypeError(f"can only concatenate tuple (not {type(other).__name__}) to torch.Size")
        return Size(tuple.__add__(self, other))

    def __radd__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            raise TypeError(f"can only concatenate tuple (not {type(other).__name__}) to torch.Size")
        return Size(tuple(other) + tuple(self))

    def __mul__(self, times: SupportsIndex) -> Size:
        return tuple.__new__(Size, tuple.__mul__(self, times))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(repr, self))}])"

    def __reduce__(self) -> tuple[type[Size], tuple[tuple[int, ...]]]:
        return Size, (tuple(self),)


def _integers(items: tuple[Any, ...]) -> Iterable[int]:
    for position, item in enumerate(items):
        try:
            yield index(item)
        except TypeError:
            kind = type(item).__name__
            raise TypeError(
                f"torch.Size() takes an iterable of 'int' (item {position} is '{kind}')") from None
