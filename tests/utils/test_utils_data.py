"""facula.utils.data: datasets, samplers and loaders, batch for batch as torch.utils.data makes them."""

import collections

import numpy as np
import pytest

import facula
from nn_oracle import error_of, to_array

Point = collections.namedtuple("Point", "x y")


class Pairs:
    def __init__(self, library, n=23):
        self.library, self.n = library, n

    def __len__(self):
        return self.n

    def __getitem__(self, k):
        if not 0 <= k < self.n:
            raise IndexError(k)
        return {"t": self.library.full((2,), float(k)), "a": np.array([k, -k]), "i": k, "f": k / 2, "s": f"{k}",
                "p": Point(k, self.library.tensor(k)), "l": [k, (k, 1.5)], "b": np.float32(k), "y": k > 3}


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(v) for v in value]
    if hasattr(value, "detach"):
        return str(value.dtype), to_array(value).tolist()
    return value


LOADERS = {
    "plain": {"batch_size": 4},
    "one": {},
    "shuffled": {"batch_size": 5, "shuffle": True},
    "dropped": {"batch_size": 5, "shuffle": True, "drop_last": True},
    "no batches": {"batch_size": None},
    "generator": {"batch_size": 23, "shuffle": True, "generator": 3},
}


@pytest.mark.parametrize("name", LOADERS)
def test_batches_of_two_passes(oracle, name):
    def passes(library):
        library.manual_seed(5)
        options = dict(LOADERS[name])
        if "generator" in options:
            options["generator"] = library.Generator().manual_seed(options["generator"])
        loader = library.utils.data.DataLoader(Pairs(library), **options)
        return ([plain(b) for _ in range(2) for b in loader], len(loader),
                library.rand(3).tolist())  # the loader drew as much of the default generator

    assert passes(facula) == oracle(passes)


SAMPLERS = {
    "RandomSampler": lambda d, g: d.RandomSampler(range(10)),
    "more than there are": lambda d, g: d.RandomSampler(range(10), num_samples=25, generator=g),
    "replacement": lambda d, g: d.RandomSampler(range(10), replacement=True, num_samples=70, generator=g),
    "SubsetRandomSampler": lambda d, g: d.SubsetRandomSampler([3, 5, 8, 9], generator=g),
    "WeightedRandomSampler": lambda d, g: d.WeightedRandomSampler([0.1, 0.5, 2.0, 0.0], 20, generator=g),
    "BatchSampler": lambda d, g: d.BatchSampler(d.SequentialSampler(range(7)), 3, False),
    "DistributedSampler": lambda d, g: d.DistributedSampler(range(11), num_replicas=3, rank=1, seed=2),
    "drop_last": lambda d, g: d.DistributedSampler(range(11), num_replicas=3, rank=2, drop_last=True),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(oracle, name):
    def orders(library):
        library.manual_seed(7)
        sampler = SAMPLERS[name](library.utils.data, library.Generator().manual_seed(8))
        return [list(sampler), list(sampler), len(sampler)]

    assert orders(facula) == oracle(orders)


def test_datasets(oracle):
    def results(library):
        data = library.utils.data
        library.manual_seed(1)
        tensors = data.TensorDataset(library.arange(10.0), library.arange(10) * 2)
        parts = data.random_split(tensors, [0.55, 0.45])
        joined = data.ConcatDataset([parts[0], parts[1]])
        stacked = data.StackDataset(a=range(10), b=tensors)
        return [
            [len(p) for p in parts], [p.indices for p in parts], plain(joined[7]), plain(joined[-1]),
            len(parts[0] + parts[1]), plain(stacked[3]), plain(next(iter(data.DataLoader(parts[1], 4)))),
            plain(data.default_collate([Point(1, 2.0), Point(3, 4.0)])),
            plain(data.default_convert([np.arange(2), "a"])),
        ]

    assert results(facula) == oracle(results)


def test_iterable_dataset():
    data = facula.utils.data

    class Count(data.IterableDataset):
        def __iter__(self):
            return iter(range(7))

        def __len__(self):
            return 7

    assert [b.tolist() for b in data.DataLoader(Count(), batch_size=3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [b.tolist() for b in data.DataLoader(Count(), batch_size=3, drop_last=True)] == [[0, 1, 2], [3, 4, 5]]
    assert list(data.DataLoader(Count(), batch_size=None)) == list(range(7))
    assert len(data.DataLoader(Count(), batch_size=3)) == 3
    assert list(Count() + Count()) == [*range(7), *range(7)]
    with pytest.raises(ValueError, match="expected unspecified shuffle option"):
        data.DataLoader(Count(), shuffle=True)


BAD = [
    lambda d: d.DataLoader(range(3), batch_size=0),
    lambda d: d.DataLoader(range(3), num_workers=-1),
    lambda d: d.DataLoader(range(3), shuffle=True, sampler=[1]),
    lambda d: d.DataLoader(range(3), batch_size=2, batch_sampler=[[1]]),
    lambda d: d.DataLoader(range(3), batch_size=None, drop_last=True),
    lambda d: d.DataLoader(range(3), prefetch_factor=2),
    lambda d: d.DataLoader(range(3), persistent_workers=True),
    lambda d: d.DataLoader([], shuffle=True),
    lambda d: d.RandomSampler(range(3), replacement=1),
    lambda d: d.WeightedRandomSampler([1.0], 0),
    lambda d: d.random_split(range(10), [3, 3]),
    lambda d: d.random_split(range(10), [1.5, -0.5]),
    lambda d: d.TensorDataset(d.default_collate([1, 2]), d.default_collate([1])),
    lambda d: d.default_collate([object()]),
    lambda d: d.default_collate([[1], [1, 2]]),
    lambda d: d.default_collate([np.array(["a"])]),
    lambda d: d.ConcatDataset([]),
    lambda d: d.ConcatDataset([range(3)])[-4],
    lambda d: d.StackDataset(range(3), range(4)),
    lambda d: d.Dataset()[0],
    lambda d: len(d.Sampler()),
    lambda d: d.DistributedSampler(range(3), num_replicas=2, rank=2),
]


@pytest.mark.parametrize("k", range(len(BAD)))
def test_errors(oracle, k):
    expected = oracle(lambda torch: error_of(lambda: BAD[k](torch.utils.data)))
    assert error_of(lambda: BAD[k](facula.utils.data))[0] == expected[0]


def test_a_loader_stays_what_it_was_made_as():
    loader = facula.utils.data.DataLoader([1, 2, 3], num_workers=2, multiprocessing_context="spawn")
    for name in ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"):
        with pytest.raises(ValueError, match=f"{name} attribute should not be set after DataLoader is initialized"):
            setattr(loader, name, 3)
    loader.collate_fn = list
    assert list(loader) == [[1], [2], [3]]
    for options, error, words in (
            ({"multiprocessing_context": "spawn"}, ValueError, "can only be used with multi-process loading"),
            ({"num_workers": 1, "multiprocessing_context": "foo"}, ValueError, "should specify a valid start method"),
            ({"num_workers": 1, "multiprocessing_context": 3}, TypeError, "should be a valid context object")):
        with pytest.raises(error, match=words):
            facula.utils.data.DataLoader([1], **options)


def test_stacked_datasets_are_asked_for_many_at_once():
    class Many(list):
        def __getitems__(self, keys):
            return [10 * self[key] for key in keys]

    class Few(list):
        def __getitems__(self, keys):
            return [self[keys[0]]]

    assert facula.utils.data.StackDataset(Many([1, 2, 3]), [4, 5, 6]).__getitems__([0, 2]) == [(10, 4), (30, 6)]
    named = facula.utils.data.StackDataset(a=Many([1, 2, 3]), b=[4, 5, 6])
    assert named.__getitems__([1]) == [{"a": 20, "b": 5}]
    assert [batch["a"].tolist() for batch in facula.utils.data.DataLoader(named, batch_size=2)] == [[10, 20], [30]]
    with pytest.raises(ValueError, match="output size mismatch. Expected 2, got 1"):
        facula.utils.data.StackDataset(Few([1, 2]), [3, 4]).__getitems__([0, 1])
