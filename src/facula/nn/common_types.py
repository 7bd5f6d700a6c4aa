"""`torch.nn.common_types`: types that modules annotate their arguments with."""

from __future__ import annotations

from typing import Any, Optional, TypeVar, Union

from facula._tensor.handle import Tensor

T = TypeVar("T")
_Union: Any = Union  # not for mypy: generic aliases that are subscripted below
_tuple: Any = tuple
_T: Any = T
_scalar_or_tuple_any_t: Any = _Union[_T, _tuple[_T, ...]]
_scalar_or_tuple_1_t: Any = _Union[_T, _tuple[_T]]
_scalar_or_tuple_2_t: Any = _Union[_T, _tuple[_T, _T]]
_scalar_or_tuple_3_t: Any = _Union[_T, _tuple[_T, _T, _T]]
_scalar_or_tuple_4_t: Any = _Union[_T, _tuple[_T, _T, _T, _T]]
_scalar_or_tuple_5_t: Any = _Union[_T, _tuple[_T, _T, _T, _T, _T]]
_scalar_or_tuple_6_t: Any = _Union[_T, _tuple[_T, _T, _T, _T, _T, _T]]
# of sizes (kernels, strides), of ratios (dropout), of what `size` may leave out, of results with indices
_size_any_t, _size_1_t, _size_2_t = _scalar_or_tuple_any_t[int], _scalar_or_tuple_1_t[int], _scalar_or_tuple_2_t[int]
_size_3_t, _size_4_t = _scalar_or_tuple_3_t[int], _scalar_or_tuple_4_t[int]
_size_5_t, _size_6_t = _scalar_or_tuple_5_t[int], _scalar_or_tuple_6_t[int]
_size_any_opt_t = _scalar_or_tuple_any_t[Optional[int]]  # noqa: UP045
_size_2_opt_t = _scalar_or_tuple_2_t[Optional[int]]  # noqa: UP045
_size_3_opt_t = _scalar_or_tuple_3_t[Optional[int]]  # noqa: UP045
_ratio_2_t, _ratio_3_t = _scalar_or_tuple_2_t[float], _scalar_or_tuple_3_t[float]
_ratio_any_t = _scalar_or_tuple_any_t[float]
_tensor_list_t = _scalar_or_tuple_any_t[Tensor]
_maybe_indices_t = _scalar_or_tuple_2_t[Tensor]
