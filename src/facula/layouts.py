"""`layout` and `memory_format`: names of how a tensor's elements lie in memory."""

from __future__ import annotations

from typing import Any, TypeVar


class _Named:
    """A closed set of named objects: one each, compared by identity."""

    __slots__ = ("_name",)

    _name: str

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        raise TypeError(f"cannot create 'torch.{cls.__name__}' instances")

    def __repr__(self) -> str:
        return f"torch.{self._name}"

    def __reduce__(self) -> str:
        return self._name


class layout(_Named):
    """How a tensor stores its elements: dense with strides, or one of the sparse forms.

    Example:
        >>> from facula.layouts import strided
        >>> strided
        torch.strided
    """

    __slots__ = ()


class memory_format(_Named):
    """The order in which a dense tensor's dimensions follow each other in memory.

    Example:
        >>> from facula.layouts import channels_last
        >>> channels_last
        torch.channels_last
    """

    __slots__ = ()


T = TypeVar("T", bound=_Named)


def _make(cls: type[T], name: str) -> T:
    self = object.__new__(cls)
    self._name = name
    return self


strided = _make(layout, "strided")
sparse_coo = _make(layout, "sparse_coo")
sparse_csr = _make(layout, "sparse_csr")
sparse_csc = _make(layout, "sparse_csc")
sparse_bsr = _make(layout, "sparse_bsr")
sparse_bsc = _make(layout, "sparse_bsc")
jagged = _make(layout, "jagged")
_mkldnn = _make(layout, "_mkldnn")

contiguous_format = _make(memory_format, "contiguous_format")
preserve_format = _make(memory_format, "preserve_format")
channels_last = _make(memory_format, "channels_last")
channels_last_3d = _make(memory_format, "channels_last_3d")

LAYOUTS = {repr(one): one for one in (strided, sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc,
                                      jagged, _mkldnn)}
