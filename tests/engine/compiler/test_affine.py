"""The affine algebra against brute force: every map is evaluated at every point of its space."""

import itertools

import numpy as np
import pytest

from facula.engine.compiler.affine import (
    Affine,
    broadcast,
    compose,
    decode,
    identity,
    is_identity,
    joined,
    normal,
    refine,
)
from facula.engine.graph.node import size_of

SHAPES = [(), (1,), (4,), (6,), (2, 3), (3, 2), (1, 4), (2, 1, 3), (2, 2, 3), (3, 4)]
STRIDES = (-4, -1, 0, 1, 2, 3, 4)


def positions(map, numbers=()):
    """What the map gives at each point, in the space's row-major order."""
    points = np.indices(map.dims).reshape(len(map.dims), size_of(map.dims))
    start = map.const + sum(scale * numbers[at] for at, scale in map.nums)
    return start + np.array(map.strides, int) @ points if map.dims else np.array([start])


def maps_of(dims):
    for strides in itertools.product(STRIDES, repeat=len(dims)):
        low = sum((n - 1) * s for n, s in zip(dims, strides, strict=True) if s < 0)
        yield Affine(dims, strides, -low)


def cuts_of(size):
    """Every way to write `size` as a product of factors above 1, in order."""
    if size == 1:
        yield ()
    for first in range(2, size + 1):
        if size % first == 0:
            yield from ((first, *rest) for rest in cuts_of(size // first))


@pytest.mark.parametrize("dims", SHAPES, ids=str)
def test_normal_is_the_same_map_and_the_coarsest(dims):
    for map in maps_of(dims):
        flat = normal(map)
        assert (positions(flat) == positions(map)).all()
        assert 1 not in flat.dims
        assert all(a != b * n for a, b, n in zip(flat.strides, flat.strides[1:], flat.dims[1:], strict=False))


@pytest.mark.parametrize("dims", SHAPES, ids=str)
def test_identity_is_told_from_all_others(dims):
    size = size_of(dims)
    assert (positions(identity(dims)) == np.arange(size)).all()
    for map in maps_of(dims):
        assert is_identity(map, size) == (positions(map) == np.arange(size)).all()
        assert not is_identity(map, size + 1)
        assert not is_identity(map.shifted(1, ()), size)
        assert not is_identity(map.shifted(0, ((0, 1),)), size)


@pytest.mark.parametrize("to", [(2, 3), (2, 2, 3), (1, 3), (4,)], ids=str)
def test_broadcast_as_numpy(to):
    for lead in range(len(to) + 1):
        for kept in itertools.product((True, False), repeat=len(to) - lead):
            shape = tuple(n if keep else 1 for n, keep in zip(to[lead:], kept, strict=True))
            wanted = np.broadcast_to(np.arange(size_of(shape)).reshape(shape), to)
            assert (positions(broadcast(shape, to)) == wanted.reshape(-1)).all()


@pytest.mark.parametrize("size", [1, 2, 6, 8, 12])
def test_joined_is_the_coarsest_common_refinement(size):
    cuts = list(cuts_of(size))

    def borders(dims):
        return {size_of(dims[k:]) for k in range(len(dims))} - {1}

    for one, two in itertools.product(cuts, repeat=2):
        found = joined([one, two])
        finer = [c for c in cuts if borders(one) | borders(two) <= borders(c)]
        assert (found is None) == (not finer)
        if found is not None:
            assert found in finer and len(found) == min(map(len, finer))
    assert joined([(0, 3), (3,)]) is None


@pytest.mark.parametrize("size", [1, 4, 6, 12])
def test_refine_keeps_every_position(size):
    for coarse, fine in itertools.product(cuts_of(size), repeat=2):
        if joined([coarse, fine]) != fine:
            continue
        for strides in itertools.product((-3, 0, 1, 5), repeat=len(coarse)):
            map = Affine(coarse, strides, 7, ((0, 2),))
            moved = refine(map, fine)
            assert moved.dims == fine
            assert (positions(moved, [3]) == positions(map, [3])).all()


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 2), (2, 1, 3), (2, 2, 3)], ids=str)
@pytest.mark.parametrize("dims", [(2,), (6,), (2, 3), (3, 2), (3, 1, 2)], ids=str)
def test_decode_gives_the_coordinates(dims, shape):
    found = 0
    for map in maps_of(dims):
        at = positions(map)
        if at.max() >= size_of(shape):
            continue
        decoded = decode(map, shape)
        if decoded is None:
            continue
        found += 1
        finer, rows = decoded
        wanted = np.unravel_index(at, shape)
        for (coefficients, start), column in zip(rows, wanted, strict=True):
            assert (positions(Affine(finer, coefficients, start)) == column).all()
    assert found
    assert decode(Affine(dims, (0,) * len(dims), 0, ((0, 1),)), shape) is None


@pytest.mark.parametrize("middle", [(4,), (6,), (2, 3), (3, 2), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("dims", [(), (2,), (6,), (2, 3), (3, 2)], ids=str)
def test_compose_reads_through(dims, middle):
    composed = 0
    inners = [map.shifted(2, ((1, 3),)) for map in maps_of(middle)]
    for outer in maps_of(dims):
        at = positions(outer)
        if at.max() >= size_of(middle):
            continue
        for inner in inners:
            found = compose(outer, inner)
            if found is None:
                continue
            composed += 1
            assert size_of(found.dims) == size_of(dims)
            assert (positions(found, [0, 5]) == positions(inner, [0, 5])[at]).all()
    assert composed


def test_what_must_compose():
    """A None where the map is affine would cost a kernel, silently."""
    transposed = Affine((3, 2), (1, 3))
    assert compose(transposed, identity((2, 3))) == Affine((3, 2), (1, 3))
    assert compose(identity((6,)), transposed) is not None  # a reshape cuts its space
    assert normal(compose(Affine((2, 3), (1, 2)), transposed)) == Affine((6,), (1,))  # transposed back
    rows = broadcast((3, 1), (3, 4))
    assert compose(rows, Affine((3,), (-1,), 2)) == Affine((3, 4), (-1, 0), 2)


def test_what_cannot_compose():
    transposed = Affine((3, 2), (1, 3))
    assert compose(Affine((2,), (1,), 1), transposed) is None  # runs over the end of a row
    assert compose(Affine((2,), (1,), 0, ((0, 1),)), transposed) is None  # where it starts is not known
