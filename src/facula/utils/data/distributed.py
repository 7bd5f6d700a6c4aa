"""The share of a dataset that one of several processes works on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import facula
from facula.random import Generator
from facula.utils.data.sampler import Sampler


class DistributedSampler(Sampler[int]):
    """Every `num_replicas`-th sample from `rank` on, of a shuffled order that is the same on all ranks.

    Args:
        dataset: what has a length.
        num_replicas, rank: how many share it, and which share this is; those of the default group unless given.
        shuffle: another order for each `set_epoch`; else the dataset's own.
        seed: of the order, the same on all ranks.
        drop_last: leave out what does not make whole shares; else some samples come twice.

    Raises:
        ValueError: a rank beyond `num_replicas`; or neither a number nor a default group.

    Example:
        >>> from facula.utils.data import DistributedSampler
        >>> list(DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False))
        [1, 3, 0]
    """

    def __init__(self, dataset: Any, num_replicas: int | None = None, rank: int | None = None,
                 shuffle: bool = True, seed: int = 0, drop_last: bool = False) -> None:
        if num_replicas is None or rank is None:
            from facula import distributed
            num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
            rank = distributed.get_rank() if rank is None else rank
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        n = len(dataset)
        if drop_last and n % num_replicas:
            n -= num_replicas - 1
        self.num_samples = math.ceil(n / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        if self.shuffle:
            generator = Generator()
            generator.manual_seed(self.seed + self.epoch)
            keys = facula.randperm(n, generator=generator).tolist()
        else:
            keys = list(range(n))
        keys = (keys * math.ceil(self.total_size / max(n, 1)))[:self.total_size]
        return iter(keys[self.rank::self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Another order for the next pass."""
        self.epoch = epoch
