"""`interpolate` of uint8 images: every byte as torch's, which rounds weights to 16 bits and sums to bytes, twice."""

import numpy as np
import pytest

import facula

# Of a result one element wide, channels_last, torch gives each byte twice.
SIZES = ((14, 18), (5, 4), (7, 9), (10, 3), (7, 20), (20, 9))


def image(channels):
    return np.random.default_rng(3).integers(0, 256, (2, channels, 7, 9)).astype(np.uint8)


def resized(lib, mode, channels, innermost, **options):
    x = lib.from_numpy(image(channels))
    if innermost:
        x = x.contiguous(memory_format=lib.channels_last)
    found = lib.nn.functional.interpolate(x, mode=mode, **options)
    return [list(found.shape), list(found.stride()), found.numpy()]


def same(ours, theirs):
    return ours[:2] == theirs[:2] and np.array_equal(ours[2], theirs[2])


@pytest.mark.parametrize("channels", (1, 3, 5))
@pytest.mark.parametrize("antialias", (False, True))
@pytest.mark.parametrize("mode", ("bilinear", "bicubic"))
def test_bytes(oracle, mode, antialias, channels):
    for size in SIZES:
        for corners in (False, True):
            for innermost in (False, True):
                given = {"size": size, "align_corners": corners, "antialias": antialias}
                ours = resized(facula, mode, channels, innermost, **given)
                assert same(ours, oracle(lambda torch, given=given, innermost=innermost: resized(
                    torch, mode, channels, innermost, **given), given, innermost)), given
    for given in ({"scale_factor": 1.7}, {"scale_factor": (0.6, 2.3), "recompute_scale_factor": True}):
        ours = resized(facula, mode, channels, False, antialias=antialias, **given)
        assert same(ours, oracle(lambda torch, given=given: resized(
            torch, mode, channels, False, antialias=antialias, **given), given)), given


@pytest.mark.parametrize("mode", ("linear", "trilinear"))
def test_other_numbers_of_dimensions_are_refused(mode):
    x = facula.ones(*(1, 1, 4, 4, 4)[:3 if mode == "linear" else 5], dtype=facula.uint8)
    with pytest.raises(NotImplementedError, match="compute_indices_weights_linear"):
        facula.nn.functional.interpolate(x, scale_factor=2, mode=mode)
