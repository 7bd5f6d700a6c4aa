"""torchvision's compiled operations in Python, against loops over their definitions."""

import math

import numpy as np
import pytest

import docstrings
import facula
from facula import library


@pytest.fixture(scope="module")
def ops(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "torchvision"
    folder.mkdir()
    (folder / "_C_stable.so").write_bytes(b"not for us")
    for _ in range(2):  # the second time is nothing
        facula.ops.load_library(str(folder / "_C_stable.so"))
    assert str(folder / "_C_stable.so") in facula.ops.loaded_libraries
    return facula.ops.torchvision


def numbers(*shape, seed=0):
    return facula.from_numpy(np.random.default_rng(seed).standard_normal(shape))


REGIONS = facula.tensor([[0, 0, 0, 10, 8], [1, 2.3, 1.2, 7.7, 6.1], [0, -3, -2, 4, 3], [1, 8, 6, 14, 12],
                         [0, 5, 5, 5.2, 5.1], [1, 3, 3, 2, 2]], dtype=facula.float64)


def pixel(image, y, x):
    """Interpolated between four pixels; nothing a pixel or more outside."""
    height, width = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = max(y, 0.0), max(x, 0.0)
    y0, x0 = min(int(y), height - 1), min(int(x), width - 1)
    y, x = (y if y0 < height - 1 else y0), (x if x0 < width - 1 else x0)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    v, u = y - y0, x - x0
    return ((image[y0, x0] * (1 - u) + image[y0, x1] * u) * (1 - v) + (image[y1, x0] * (1 - u) + image[y1, x1] * u) * v)


def aligned(image, region, scale, cells, ratio, shifted):
    """One region of (C, H, W): (C, PH, PW)."""
    shift = 0.5 if shifted else 0.0
    x1, y1, x2, y2 = (c * scale - shift for c in region)
    wide, high = x2 - x1, y2 - y1
    if not shifted:
        wide, high = max(wide, 1), max(high, 1)
    bin_h, bin_w = high / cells[0], wide / cells[1]
    down, across = (ratio, ratio) if ratio > 0 else (math.ceil(bin_h), math.ceil(bin_w))
    found = np.zeros((len(image), *cells))
    for c, plane in enumerate(image):
        for i in range(cells[0]):
            for j in range(cells[1]):
                samples = [(y1 + (i + (k + 0.5) / down) * bin_h, x1 + (j + (m + 0.5) / across) * bin_w)
                           for k in range(down) for m in range(across)]
                found[c, i, j] = sum(pixel(plane, y, x) for y, x in samples) / max(len(samples), 1)
    return found


@pytest.mark.parametrize("ratio", [-1, 2])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_roi_align(ops, ratio, shifted, scale):
    x = numbers(2, 2, 9, 11)
    found = ops.roi_align(x, REGIONS, scale, 3, 2, ratio, shifted)
    for region, got in zip(REGIONS.tolist(), found.numpy(), strict=True):
        want = aligned(x.numpy()[int(region[0])], region[1:], scale, (3, 2), ratio, shifted)
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("ratio", [-1, 2])
def test_the_gradient_of_roi_align_is_its_transpose(ops, ratio):
    x, grad = numbers(2, 3, 9, 11), numbers(6, 3, 3, 2, seed=1)
    forward = (ops.roi_align(x, REGIONS, 0.5, 3, 2, ratio, True) * grad).sum()
    back = ops._roi_align_backward(grad, REGIONS, 0.5, 3, 2, 2, 3, 9, 11, ratio, True)
    assert back.shape == x.shape and forward.item() == pytest.approx((back * x).sum().item())


def test_position_sensitive_roi_align(ops):
    x, grad = numbers(2, 12, 9, 11), numbers(6, 2, 3, 2, seed=1)
    found, channels = ops.ps_roi_align(x, REGIONS, 0.5, 3, 2, 2)
    assert channels.dtype is facula.int32 and channels[3, 1].tolist() == [[6, 7], [8, 9], [10, 11]]
    whole = np.stack([aligned(x.numpy()[int(r[0])], r[1:], 0.5, (3, 2), 2, True) for r in REGIONS.tolist()])
    for r, c, i, j in np.ndindex(6, 2, 3, 2):
        assert found[r, c, i, j].item() == pytest.approx(whole[r, (c * 3 + i) * 2 + j, i, j])
    back = ops._ps_roi_align_backward(grad, REGIONS, channels, 0.5, 3, 2, 2, 2, 12, 9, 11)
    assert (found * grad).sum().item() == pytest.approx((back * x).sum().item())
    with pytest.raises(RuntimeError, match="multiple of pooling"):
        ops.ps_roi_align(numbers(2, 5, 9, 11), REGIONS, 0.5, 3, 2, 2)


def half_up(value):
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def span(start, length, cell, cells, size):
    step = length / cells
    return (min(max(math.floor(cell * step) + start, 0), size), min(max(math.ceil((cell + 1) * step) + start, 0), size))


def test_roi_pool(ops):
    x, scale = numbers(2, 3, 9, 11), 0.5
    found, where = ops.roi_pool(x, REGIONS, scale, 3, 2)
    for r, region in enumerate(REGIONS.tolist()):
        x1, y1, x2, y2 = (half_up(c * scale) for c in region[1:])
        for c, i, j in np.ndindex(3, 3, 2):
            top, bottom = span(y1, max(y2 - y1 + 1, 1), i, 3, 9)
            left, right = span(x1, max(x2 - x1 + 1, 1), j, 2, 11)
            part = x.numpy()[int(region[0]), c, top:bottom, left:right]
            assert found[r, c, i, j].item() == (part.max() if part.size else 0)
            at = where[r, c, i, j].item()
            assert at == -1 if not part.size else x[int(region[0]), c].flatten()[at].item() == part.max()
    grad = numbers(*found.shape, seed=1)
    back = ops._roi_pool_backward(grad, REGIONS, where, scale, 3, 2, 2, 3, 9, 11)
    assert (found * grad).sum().item() == pytest.approx((back * x).sum().item())


def test_position_sensitive_roi_pool(ops):
    x, grad = numbers(2, 12, 9, 11), numbers(6, 2, 3, 2, seed=1)
    found, channels = ops.ps_roi_pool(x, REGIONS, 0.5, 3, 2)
    back = ops._ps_roi_pool_backward(grad, REGIONS, channels, 0.5, 3, 2, 2, 12, 9, 11)
    assert (found * grad).sum().item() == pytest.approx((back * x).sum().item())
    whole = facula.tensor([[0, 0, 0, 10, 8]], dtype=facula.float64)  # all pixels: bins of 3 rows, 5.5 columns
    bins, _ = ops.ps_roi_pool(x, whole, 1.0, 3, 2)
    assert bins[0, 0, 1, 0].item() == pytest.approx(x[0, 2, 3:6, 0:6].mean().item())
    assert bins[0, 1, 2, 1].item() == pytest.approx(x[0, 11, 6:9, 5:11].mean().item())


def test_regions_are_checked(ops):
    with pytest.raises(RuntimeError, match="rois must have shape"):
        ops.roi_align(numbers(1, 1, 4, 4), numbers(3, 4), 1.0, 1, 1, 1, True)
    with pytest.raises(RuntimeError, match="same type"):
        ops.roi_pool(numbers(1, 1, 4, 4).float(), REGIONS, 1.0, 1, 1)


BOXES = facula.tensor([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 10], [5, 5, 5, 5]],
                      dtype=facula.float32)


def test_nms(ops):
    scores = facula.tensor([0.9, 0.8, 0.7, 0.95, 0.1])
    assert ops.nms(BOXES, scores, 0.5).tolist() == [3, 2, 4]
    assert ops.nms(BOXES, scores, 0.9).tolist() == [3, 1, 2, 4]
    assert ops.nms(BOXES, scores, 0.9).dtype is facula.int64
    assert ops.nms(BOXES[:0], scores[:0], 0.5).shape == (0,)
    for boxes, rated, words in ((BOXES[0], scores, "2d"), (BOXES[:, :3], scores, "4 elements"), (BOXES, BOXES, "1d"),
                                (BOXES, scores[:2], "same number"), (BOXES, scores.double(), "same type")):
        with pytest.raises(RuntimeError, match=words):
            ops.nms(boxes, rated, 0.5)


@pytest.mark.parametrize("groups, offset_groups", [(1, 1), (2, 2), (1, 4)])
def test_deformable_convolution(ops, groups, offset_groups):
    x, weight, bias = numbers(2, 4, 7, 6), numbers(6, 4 // groups, 3, 2, seed=1), numbers(6, seed=2)
    plain = facula.nn.functional.conv2d(x, weight, bias, (2, 1), (1, 1), (1, 2), groups)
    shape = plain.shape[2:]
    offset = facula.zeros(2, offset_groups * 12, *shape, dtype=facula.float64)
    mask = facula.ones(2, offset_groups * 6, *shape, dtype=facula.float64)
    options = (2, 1, 1, 1, 1, 2, groups, offset_groups)
    assert facula.allclose(ops.deform_conv2d(x, weight, offset, mask, bias, *options, False), plain)
    assert facula.allclose(ops.deform_conv2d(x, weight, offset, mask / 2, bias * 0, *options, True) * 2,
                           plain - bias[:, None, None])
    # one row further down, everywhere
    down = offset.clone().reshape(2, offset_groups, 6, 2, *shape)
    down[:, :, :, 0] = 1.0
    lower = facula.nn.functional.conv2d(facula.cat([x[:, :, 1:], x[:, :, :1] * 0], 2), weight, bias, (2, 1), (1, 1),
                                        (1, 2), groups)
    moved = ops.deform_conv2d(x, weight, down.reshape(offset.shape), mask, bias, *options, False)
    assert facula.allclose(moved[:, :, 1:], lower[:, :, 1:])



def test_offsets_of_deformable_convolution_have_the_size_of_its_result(ops):
    x, weight, offset = facula.ones(1, 1, 4, 4), facula.ones(1, 1, 3, 3), facula.zeros(1, 18, 4, 4)
    with pytest.raises(RuntimeError, match="computed output dims"):
        ops.deform_conv2d(x, weight, offset, facula.ones(1, 9, 4, 4), facula.zeros(1), 1, 1, 0, 0, 1, 1, 1, 1, False)


def test_gradients_of_deformable_convolution(ops):
    tensors = [numbers(1, 2, 5, 4), numbers(2, 2, 2, 2, seed=1), numbers(1, 8, 4, 3, seed=2) * 0.7 + 0.1,
               numbers(1, 4, 4, 3, seed=3).sigmoid(), numbers(2, seed=4)]
    options, grad = (1, 1, 0, 0, 1, 1, 1, 1, True), numbers(1, 2, 4, 3, seed=5)
    found = ops._deform_conv2d_backward(grad, *tensors, *options)
    for k, t in enumerate(tensors):
        step = numbers(*t.shape, seed=9 + k) * 1e-6
        up, down = ((ops.deform_conv2d(*tensors[:k], t + sign * step, *tensors[k + 1:], *options) * grad).sum().item()
                    for sign in (1, -1))
        assert (up - down) / 2 == pytest.approx((found[k] * step).sum().item(), rel=1e-5)


def test_what_is_not_there_says_so(ops):
    assert ops._cuda_version() == -1
    for call in (lambda: ops.box_iou_rotated(BOXES, BOXES), lambda: ops.qnms(BOXES, BOXES[:, 0], 0.5)):
        with pytest.raises(NotImplementedError, match="not in Facula yet"):
            call()


def test_gradients_may_be_registered_on_them(ops):
    """As torchvision does, in Python."""
    def setup(ctx, inputs, output):
        ctx.shape, ctx.rest = inputs[0].shape, inputs[1:]

    def backward(ctx, grad):
        rois, scale, high, wide, ratio, shifted = ctx.rest
        return (facula.ops.torchvision._roi_align_backward(grad, rois, scale, high, wide, *ctx.shape, ratio, shifted),
                *[None] * 6)
    operation = ops.roi_align
    before = operation._backward, operation._setup
    library.register_autograd("torchvision::roi_align", backward, setup_context=setup)
    try:
        x = numbers(2, 1, 9, 11).requires_grad_()
        ops.roi_align(x, REGIONS, 0.5, 2, 2, 2, True).square().sum().backward()
        assert x.grad.abs().sum() > 0
    finally:
        operation._backward, operation._setup = before


@pytest.mark.parametrize("name", ["vision", "rois", "warped"])
def test_examples(name):
    module = __import__(f"facula.library.{name}", fromlist=["x"])
    docstrings.check(module)
