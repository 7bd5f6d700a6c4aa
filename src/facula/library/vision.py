"""torchvision's compiled operations, in Python: `torch.ops.torchvision.nms` and its kin.

torchvision is Python but for a library that was compiled for PyTorch, which Facula cannot load. Where it asks for that
library (`torch.ops.load_library`), these are registered instead, by the names and schemas it expects; torchvision's own
Python adds gradients and shapes. They are computed by NumPy at the call.

    rois.py     pooling of regions
    warped.py   deformable convolution
"""

from __future__ import annotations

from typing import Any

import numpy as np

import facula
from facula import absent
from facula.library import Library
from facula.library.rois import (
    ps_roi_align,
    ps_roi_align_backward,
    ps_roi_pool,
    ps_roi_pool_backward,
    roi_align,
    roi_align_backward,
    roi_pool,
    roi_pool_backward,
)
from facula.library.warped import deform_conv2d, deform_conv2d_backward

_BACK = "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
_POOL = "Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
_MAPPED = "Tensor rois, Tensor channel_mapping, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
_CONV = "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, SymInt stride_w, " \
        "SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, SymInt offset_groups, " \
        "bool use_mask"


def nms(dets: Any, scores: Any, iou_threshold: float) -> Any:
    """Which boxes (N, 4) stay, best first, if those are left out that overlap a better one by more than the threshold.

    Raises:
        RuntimeError: shapes do not fit.
    """
    if dets.dim() != 2:
        raise RuntimeError(f"boxes should be a 2d tensor, got {dets.dim()}D")
    if dets.size(1) != 4:
        raise RuntimeError(f"boxes should have 4 elements in dimension 1, got {dets.size(1)}")
    if scores.dim() != 1:
        raise RuntimeError(f"scores should be a 1d tensor, got {scores.dim()}D")
    if dets.size(0) != scores.size(0):
        raise RuntimeError("boxes and scores should have same number of elements in dimension 0, got "
                           f"{dets.size(0)} and {scores.size(0)}")
    if dets.dtype is not scores.dtype:
        raise RuntimeError("dets should have the same type as scores")
    boxes = dets.detach().float().numpy() if dets.dtype.itemsize < 4 else dets.detach().numpy()
    order = scores.detach().argsort(descending=True, stable=True).numpy()
    left, top, right, bottom = boxes.T
    areas = (right - left) * (bottom - top)
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        wide = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        high = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            overlap = shared / (areas[best] + areas[rest] - shared)
        order = rest[~(overlap > iou_threshold)]
    return facula.from_numpy(np.array(kept, np.int64)).to(dets.device)


def _cuda_version() -> int:
    """-1: compiled without CUDA."""
    return -1


_OPERATIONS = {
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor": nms,
    f"roi_align(Tensor input, {_POOL}, int sampling_ratio, bool aligned) -> Tensor": roi_align,
    f"_roi_align_backward(Tensor grad, {_POOL}, {_BACK}, int sampling_ratio, bool aligned) -> Tensor":
        roi_align_backward,
    f"roi_pool(Tensor input, {_POOL}) -> (Tensor, Tensor)": roi_pool,
    f"_roi_pool_backward(Tensor grad, {_POOL.replace('rois,', 'rois, Tensor argmax,')}, {_BACK}) -> Tensor":
        roi_pool_backward,
    f"ps_roi_align(Tensor input, {_POOL}, int sampling_ratio) -> (Tensor, Tensor)": ps_roi_align,
    f"_ps_roi_align_backward(Tensor grad, {_MAPPED}, int sampling_ratio, {_BACK}) -> Tensor": ps_roi_align_backward,
    f"ps_roi_pool(Tensor input, {_POOL}) -> (Tensor, Tensor)": ps_roi_pool,
    f"_ps_roi_pool_backward(Tensor grad, {_MAPPED}, {_BACK}) -> Tensor": ps_roi_pool_backward,
    f"deform_conv2d({_CONV}) -> Tensor": deform_conv2d,
    f"_deform_conv2d_backward(Tensor grad, {_CONV}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)":
        deform_conv2d_backward,
    "box_iou_rotated(Tensor boxes1, Tensor boxes2) -> Tensor": absent.function("torchvision.ops.box_iou_rotated"),
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor": absent.function("torchvision.qnms"),
    f"qroi_align(Tensor input, Tensor rois, float input_scale, int input_zero_point, float rois_scale, int "
    f"rois_zero_point, {_POOL.replace('Tensor rois, ', '')}, int sampling_ratio, bool aligned) -> Tensor":
        absent.function("torchvision.qroi_align"),
    "_cuda_version() -> int": _cuda_version,
}
_libraries: list[Library] = []


def register() -> None:
    """Register them, once."""
    if _libraries:
        return
    _libraries.append(Library("torchvision", "FRAGMENT"))
    for schema, function in _OPERATIONS.items():
        _libraries[0].impl(_libraries[0].define(schema), function, "CompositeExplicitAutograd")
