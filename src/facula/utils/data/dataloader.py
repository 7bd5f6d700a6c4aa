"""DataLoader: batches of a dataset, in the order of a sampler.

Batches are made in this process, when they are asked for. `num_workers`, `prefetch_factor` and the like are
checked and kept, and change neither the batches nor their order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from facula import devices
from facula.autograd.profiler import listeners, record_function
from facula.errors import warn
from facula.random import Generator
from facula.utils.data._utils.collate import default_collate, default_convert
from facula.utils.data._utils.pin_memory import pin_memory
from facula.utils.data._utils.worker import get_worker_info
from facula.utils.data.dataset import IterableDataset
from facula.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    shared_seed,
)

T_co = TypeVar("T_co", covariant=True)

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]


_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


def _check_context(context: Any, num_workers: int) -> None:
    """ValueError or TypeError for a `multiprocessing_context` that names none, though nothing is done with it."""
    import multiprocessing
    if not num_workers:
        raise ValueError("multiprocessing_context can only be used with multi-process loading (num_workers > 0), but "
                         f"got num_workers={num_workers}")
    if isinstance(context, str):
        known = multiprocessing.get_all_start_methods()
        if context not in known:
            raise ValueError(f"multiprocessing_context option should specify a valid start method in {known!r}, but "
                             f"got multiprocessing_context={context!r}")
    elif not isinstance(context, multiprocessing.context.BaseContext):
        raise TypeError("multiprocessing_context option should be a valid context object or a string specifying the "
                        f"start method, but got multiprocessing_context={context}")


class _Endless(Sampler[None]):
    """Keys for an iterable dataset, which has no use for them."""

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


class DataLoader(Generic[T_co]):
    """Batches of `dataset`: see `torch.utils.data.DataLoader` for the arguments."""

    dataset: Any
    batch_size: int | None
    _finished = False  # its constructor

    def __init__(self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None,
                 sampler: Iterable[Any] | None = None, batch_sampler: Iterable[Any] | None = None,
                 num_workers: int = 0, collate_fn: Callable[[Any], Any] | None = None,
                 pin_memory: bool = False, drop_last: bool = False, timeout: float = 0,
                 worker_init_fn: Callable[[int], None] | None = None, multiprocessing_context: Any = None,
                 generator: Generator | None = None, *, prefetch_factor: int | None = None,
                 persistent_workers: bool = False, pin_memory_device: str = "",
                 in_order: bool = True) -> None:
        if num_workers < 0:
            raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable "
                             "multiprocessing.")
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError("prefetch_factor option could only be specified in multiprocessing.let "
                             "num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to "
                             "None.")
        if prefetch_factor is not None and prefetch_factor < 0:
            raise ValueError("prefetch_factor option should be non-negative")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")
        if num_workers and worker_init_fn is not None:
            warn("DataLoader: samples are loaded in this process, so worker_init_fn is not called")
        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable:
            for name, value in (("shuffle", shuffle or None), ("sampler", sampler),
                                ("batch_sampler", batch_sampler)):
                if value is not None:
                    raise ValueError(f"DataLoader with IterableDataset: expected unspecified {name} option, "
                                     f"but got {name}={value}")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, "
                                 "sampler, and drop_last")
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with "
                             "drop_last")
        if sampler is None:
            if self._iterable:
                sampler = _Endless()
            else:
                sampler = RandomSampler(dataset, generator=generator) if shuffle \
                    else SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self._finished = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and self._finished:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        if name == "multiprocessing_context" and value is not None:
            _check_context(value, self.num_workers)
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Any]:
        # PyTorch draws a seed for the workers here, even without any: later draws must not shift
        shared_seed(self.generator)
        return _Batches(self, pin_memory if self._pins() else None)

    def _pins(self) -> bool:
        """Shall batches be in pinned memory, and can they?"""
        if not self.pin_memory:
            return False
        if self.pin_memory_device:
            warn("pin_memory_device is deprecated, the current accelerator will be used as the device,"
                 f"ignore pin_memory_device='{self.pin_memory_device}'.")
        if devices.accelerator() is None:
            warn("'pin_memory' argument is set as true but no accelerator is found, then device pinned memory "
                 "won't be used.")
            return False
        return True

    def __len__(self) -> int:
        if not self._iterable:
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]
        n = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


class _Batches:
    """One pass over a DataLoader's batches. What a dataset or a `collate_fn` raises ends no pass: the next batch comes
    after it."""

    def __init__(self, loader: DataLoader[Any], finish: Callable[[Any], Any] | None) -> None:
        self._dataset, self._collate, self._finish = loader.dataset, loader.collate_fn, finish
        self._drop_last = loader.drop_last
        self._batched = loader.batch_sampler is not None
        self._sampler_iter = iter(loader.sampler if loader.batch_sampler is None else loader.batch_sampler)
        self._samples = iter(loader.dataset) if loader._iterable else None
        self._many = getattr(loader.dataset, "__getitems__", None)
        self._loader = loader
        self._ended = False
        self._num_yielded = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        if listeners:
            with record_function("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"):  # as PyTorch calls it
                return self._next()
        return self._next()

    def _next(self) -> Any:
        keys = next(self._sampler_iter)
        if self._samples is not None:
            data = self._following(keys, self._samples)
        elif not self._batched:
            data = self._dataset[keys]
        else:
            data = self._many(keys) if self._many else [self._dataset[key] for key in keys]
        batch = self._collate(data)
        self._num_yielded += 1
        return batch if self._finish is None else self._finish(batch)

    def _following(self, keys: Any, samples: Iterator[Any]) -> Any:
        """The next sample of an iterable dataset, or as many as there are keys. StopIteration at its end."""
        if not self._batched:
            return next(samples)
        if self._ended:
            raise StopIteration
        data = []
        for _ in keys:
            try:
                data.append(next(samples))  # not islice: `iter` of an iterator may start anew
            except StopIteration:
                self._ended = True
                break
        if not data or self._ended and self._drop_last:
            raise StopIteration
        return data
