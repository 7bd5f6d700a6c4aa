"""Pooling of regions of images, as torchvision defines it: input (N, C, H, W), regions (R, 5) of a batch index and two
corners, to (R, C, pooled_height, pooled_width).

Every pooling here but the greatest of a bin is linear: `_taps` gives for each cell of the result which pixels it reads
and by which weights, and both directions follow from that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import facula

_Array = Any


def _array(t: Any) -> _Array:
    """The elements, as float64 or float32."""
    t = t.detach()
    return (t if t.dtype.itemsize >= 4 else t.float()).numpy()


def _tensor(array: _Array, like: Any) -> Any:
    return facula.from_numpy(np.ascontiguousarray(array)).to(like.dtype).to(like.device)


def _checked(input: Any, rois: Any) -> None:
    if rois.dim() != 2 or rois.size(1) != 5:
        raise RuntimeError(f"rois must have shape as Tensor[K, 5], got {list(rois.shape)}")
    if input.dtype is not rois.dtype:
        raise RuntimeError(f"Expected tensor for argument 'input' to have the same type as tensor for argument 'rois'; "
                           f"but got {input.dtype} and {rois.dtype}")


def _edges(rois: _Array, scale: float, cells: tuple[int, int], aligned: bool) -> tuple[_Array, ...]:
    """Where regions begin and how large a bin is, in pixels: (x, y, bin width, bin height), each (R,)."""
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (rois[:, k] * np.asarray(scale, rois.dtype) - np.asarray(shift, rois.dtype) for k in range(1, 5))
    wide, high = x2 - x1, y2 - y1
    if not aligned:
        wide, high = np.maximum(wide, 1), np.maximum(high, 1)
    return x1, y1, wide / cells[1], high / cells[0]


def _along(at: _Array, size: int) -> tuple[list[tuple[_Array, _Array]], _Array]:
    """Linear interpolation along a dimension of `size`: two (index, weight), and where the place is in the image."""
    inside = (at >= -1) & (at <= size)
    at = np.clip(at, 0, None)
    low = np.minimum(at.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    part = np.where(low >= size - 1, 0, at - low).astype(at.dtype)
    return [(low, 1 - part), (high, part)], inside


def _taps(rois: _Array, scale: float, cells: tuple[int, int], ratio: int, aligned: bool,
          size: tuple[int, int]) -> Iterator[tuple[_Array, _Array, _Array]]:
    """(regions, pixels (r, PH, PW) as indices into an image, weights (r, PH, PW)) until all are told.

    Regions that ask for as many samples a bin are told together."""
    x, y, wide, high = _edges(rois, scale, cells, aligned)
    kind = rois.dtype
    if ratio > 0:
        counts = np.full((len(rois), 2), ratio)
    else:
        counts = np.stack([np.ceil(high), np.ceil(wide)], 1).astype(np.int64)
    rows, columns = np.arange(cells[0], dtype=kind), np.arange(cells[1], dtype=kind)
    for down, across in np.unique(counts, axis=0):
        chosen = np.nonzero((counts == (down, across)).all(1))[0]
        share = kind.type(1 / max(down * across, 1))
        for i in range(down):
            ys, in_y = _along(y[chosen, None] + (rows + kind.type((i + 0.5) / down)) * high[chosen, None], size[0])
            for j in range(across):
                xs, in_x = _along(x[chosen, None] + (columns + kind.type((j + 0.5) / across)) * wide[chosen, None],
                                  size[1])
                counted = share * (in_y[:, :, None] & in_x[:, None, :])
                for row, by_row in ys:
                    for column, by_column in xs:
                        yield (chosen, row[:, :, None] * size[1] + column[:, None, :],
                               by_row[:, :, None] * by_column[:, None, :] * counted)


def _gathered(image: _Array, rois: _Array, taps: Iterator[tuple[_Array, ...]], cells: tuple[int, int]) -> _Array:
    """(R, PH, PW, C) of pixels (N, H * W, C)."""
    found = np.zeros((len(rois), *cells, image.shape[2]), image.dtype)
    batch = rois[:, 0].astype(np.int64)
    for chosen, pixels, weights in taps:
        found[chosen] += image[batch[chosen, None, None], pixels] * weights[..., None].astype(image.dtype)
    return found


def _spread(grad: _Array, rois: _Array, taps: Iterator[tuple[_Array, ...]], shape: tuple[int, int, int]) -> _Array:
    """The transpose of `_gathered`: (N, H * W, C) of (R, PH, PW, C)."""
    found = np.zeros(shape, grad.dtype)
    batch = rois[:, 0].astype(np.int64)
    for chosen, pixels, weights in taps:
        np.add.at(found, (batch[chosen, None, None], pixels), grad[chosen] * weights[..., None].astype(grad.dtype))
    return found


def _last(t: _Array) -> _Array:
    """(N, C, H, W) as (N, H * W, C)."""
    return np.ascontiguousarray(t.reshape(*t.shape[:2], -1).transpose(0, 2, 1))


def roi_align(input: Any, rois: Any, spatial_scale: float, pooled_height: int, pooled_width: int, sampling_ratio: int,
              aligned: bool) -> Any:
    """The mean of samples in each bin, interpolated between pixels (He et al., "Mask R-CNN", 2017)."""
    _checked(input, rois)
    cells, size, regions = (pooled_height, pooled_width), tuple(input.shape[2:]), _array(rois)
    taps = _taps(regions, spatial_scale, cells, sampling_ratio, aligned, size)
    return _tensor(_gathered(_last(_array(input)), regions, taps, cells).transpose(0, 3, 1, 2), input)


def roi_align_backward(grad: Any, rois: Any, spatial_scale: float, pooled_height: int, pooled_width: int,
                       batch_size: int, channels: int, height: int, width: int, sampling_ratio: int,
                       aligned: bool) -> Any:
    """The gradient of the input of `roi_align`."""
    cells, regions = (pooled_height, pooled_width), _array(rois)
    taps = _taps(regions, spatial_scale, cells, sampling_ratio, aligned, (height, width))
    found = _spread(_array(grad).transpose(0, 2, 3, 1), regions, taps, (batch_size, height * width, channels))
    return _tensor(found.transpose(0, 2, 1).reshape(batch_size, channels, height, width), grad)


def _own_channels(channels: int, cells: tuple[int, int]) -> _Array:
    """Of which channel each cell of a position-sensitive pooling is: (C out, PH, PW)."""
    if channels % (cells[0] * cells[1]):
        raise RuntimeError("input channels must be a multiple of pooling height * pooling width")
    return np.arange(channels).reshape(-1, *cells)


def ps_roi_align(input: Any, rois: Any, spatial_scale: float, pooled_height: int, pooled_width: int,
                 sampling_ratio: int) -> tuple[Any, Any]:
    """`roi_align` with channels of its own for each bin: (N, C * PH * PW, H, W) to (R, C, PH, PW), and the channels."""
    _checked(input, rois)
    cells, size, regions = (pooled_height, pooled_width), tuple(input.shape[2:]), _array(rois)
    mapping = _own_channels(input.size(1), cells)
    taps = _taps(regions, spatial_scale, cells, sampling_ratio, True, size)
    return _picked(_gathered(_last(_array(input)), regions, taps, cells), mapping, input)


def _picked(whole: _Array, mapping: _Array, like: Any) -> tuple[Any, Any]:
    """Of (R, PH, PW, all channels) each bin's own, and the mapping for each region."""
    rows, columns = np.indices(mapping.shape[1:])
    found = whole[:, rows, columns, mapping]
    return _tensor(found, like), _channels(mapping, found.shape, like)


def _channels(mapping: _Array, shape: tuple[int, ...], like: Any) -> Any:
    return facula.from_numpy(np.array(np.broadcast_to(mapping.astype(np.int32), shape))).to(like.device)


def _put_back(grad: Any, cells: tuple[int, int], channels: int) -> _Array:
    """The transpose of `_picked`: (R, PH, PW, all channels)."""
    values, mapping = _array(grad), _own_channels(channels, cells)
    found = np.zeros((len(values), *cells, channels), values.dtype)
    rows, columns = np.indices(cells)
    found[:, rows, columns, mapping] = values
    return found


def ps_roi_align_backward(grad: Any, rois: Any, channel_mapping: Any, spatial_scale: float, pooled_height: int,
                          pooled_width: int, sampling_ratio: int, batch_size: int, channels: int, height: int,
                          width: int) -> Any:
    """The gradient of the input of `ps_roi_align`."""
    cells, regions = (pooled_height, pooled_width), _array(rois)
    taps = _taps(regions, spatial_scale, cells, sampling_ratio, True, (height, width))
    found = _spread(_put_back(grad, cells, channels), regions, taps, (batch_size, height * width, channels))
    return _tensor(found.transpose(0, 2, 1).reshape(batch_size, channels, height, width), grad)


def _bins(start: _Array, end: _Array, cells: int, size: int) -> tuple[_Array, _Array]:
    """Whole pixels of each bin along a dimension: first and last + 1, (R, cells)."""
    length = np.maximum(end - start, 0.1 if start.dtype.kind == "f" else 1)
    step = length.astype(np.float32) / np.float32(cells)
    at = np.arange(cells, dtype=np.float32)
    first = np.floor(at * step[:, None] + (start[:, None] if start.dtype.kind == "f" else 0))
    last = np.ceil((at + 1) * step[:, None] + (start[:, None] if start.dtype.kind == "f" else 0))
    if start.dtype.kind != "f":
        first, last = first + start[:, None], last + start[:, None]
    return np.clip(first, 0, size).astype(np.int64), np.clip(last, 0, size).astype(np.int64)


def _rounded(values: _Array) -> _Array:
    """To the nearest whole number, halves away from zero, as C's `round`."""
    return np.trunc(values + np.copysign(0.5, values))


def _windows(rois: _Array, scale: float, cells: tuple[int, int], size: tuple[int, int],
             whole: bool) -> Iterator[tuple[int, int, int, slice, slice]]:
    """(region, row, column, rows and columns of pixels) of each bin; `whole`: of regions from pixel to pixel."""
    factor = np.asarray(scale, rois.dtype)
    if whole:  # roi_pool: both ends rounded, and the last pixel belongs to it
        corners = _rounded(rois[:, 1:] * factor).astype(np.int64)
        x1, y1, x2, y2 = corners[:, 0], corners[:, 1], corners[:, 2] + 1, corners[:, 3] + 1
    else:  # ps_roi_pool: whole pixels, scaled afterwards
        x1, y1 = (_rounded(rois[:, k]) * factor for k in (1, 2))
        x2, y2 = ((_rounded(rois[:, k]) + 1) * factor for k in (3, 4))
    tops, bottoms = _bins(y1, y2, cells[0], size[0])
    lefts, rights = _bins(x1, x2, cells[1], size[1])
    for r in range(len(rois)):
        for row in range(cells[0]):
            for column in range(cells[1]):
                yield (r, row, column, slice(tops[r, row], bottoms[r, row]),
                       slice(lefts[r, column], rights[r, column]))


def roi_pool(input: Any, rois: Any, spatial_scale: float, pooled_height: int, pooled_width: int) -> tuple[Any, Any]:
    """The greatest of the pixels in each bin (Girshick, "Fast R-CNN", 2015), and where it is: -1 of an empty bin."""
    _checked(input, rois)
    image, regions = _array(input), _array(rois)
    (channels, height, width), cells = image.shape[1:], (pooled_height, pooled_width)
    found = np.zeros((len(regions), channels, *cells), image.dtype)
    where = np.full(found.shape, -1, np.int32)
    for r, row, column, ys, xs in _windows(regions, spatial_scale, cells, (height, width), True):
        part = image[int(regions[r, 0]), :, ys, xs]
        if part.size:
            best = part.reshape(channels, -1).argmax(1)
            y, x = np.divmod(best, part.shape[2])
            found[r, :, row, column] = part[np.arange(channels), y, x]
            where[r, :, row, column] = (y + ys.start) * width + x + xs.start
    return _tensor(found, input), facula.from_numpy(where).to(input.device)


def roi_pool_backward(grad: Any, rois: Any, argmax: Any, spatial_scale: float, pooled_height: int, pooled_width: int,
                      batch_size: int, channels: int, height: int, width: int) -> Any:
    """The gradient of the input of `roi_pool`."""
    values, places = _array(grad), argmax.numpy()
    found = np.zeros((batch_size, channels, height * width), values.dtype)
    region, channel, row, column = np.nonzero(places >= 0)
    batch = _array(rois)[region, 0].astype(np.int64)
    np.add.at(found, (batch, channel, places[region, channel, row, column]), values[region, channel, row, column])
    return _tensor(found.reshape(batch_size, channels, height, width), grad)


def ps_roi_pool(input: Any, rois: Any, spatial_scale: float, pooled_height: int, pooled_width: int) -> tuple[Any, Any]:
    """The mean of the pixels in each bin, of channels of its own (Dai et al., "R-FCN", 2016), and the channels."""
    _checked(input, rois)
    image, regions, cells = _array(input), _array(rois), (pooled_height, pooled_width)
    mapping = _own_channels(image.shape[1], cells)
    found = np.zeros((len(regions), *mapping.shape), image.dtype)
    for r, row, column, ys, xs in _windows(regions, spatial_scale, cells, image.shape[2:], False):
        part = image[int(regions[r, 0]), mapping[:, row, column], ys, xs]
        if part.size:
            found[r, :, row, column] = part.mean((1, 2))
    return _tensor(found, input), _channels(mapping, found.shape, input)


def ps_roi_pool_backward(grad: Any, rois: Any, channel_mapping: Any, spatial_scale: float, pooled_height: int,
                         pooled_width: int, batch_size: int, channels: int, height: int, width: int) -> Any:
    """The gradient of the input of `ps_roi_pool`."""
    values, regions, cells = _array(grad), _array(rois), (pooled_height, pooled_width)
    mapping = _own_channels(channels, cells)
    found = np.zeros((batch_size, channels, height, width), values.dtype)
    for r, row, column, ys, xs in _windows(regions, spatial_scale, cells, (height, width), False):
        area = (ys.stop - ys.start) * (xs.stop - xs.start)
        if area > 0:
            found[int(regions[r, 0]), mapping[:, row, column], ys, xs] += values[r, :, row, column, None, None] / area
    return _tensor(found, grad)
