"""Hooks of DistributedDataParallel: gradients as they are, or in 16 bits on the way.

Each is called with a state (a process group, or None for the default one) and a bucket, and gives a Future of the
mean of all ranks' gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.distributed import collectives
from facula.distributed.reducer import GradBucket
from facula.distributed.world import chosen
from facula.dtypes import bfloat16, float16
from facula.futures import Future

__all__ = ["allreduce_hook", "bf16_compress_hook", "bf16_compress_wrapper", "fp16_compress_hook",
           "fp16_compress_wrapper"]


def allreduce_hook(process_group: Any, bucket: GradBucket) -> Future:
    """The mean of the ranks' gradients: what is done without a hook."""
    group = chosen(process_group)
    tensor = bucket.buffer().div_(group.size())
    work = collectives.all_reduce(tensor, group=group, async_op=True)
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0])


def _compressed(process_group: Any, bucket: GradBucket, of: Any) -> Future:
    group, before = chosen(process_group), bucket.buffer()
    tensor = before.to(of).div_(group.size())
    work = collectives.all_reduce(tensor, group=group, async_op=True)
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0].to(before.dtype))


def fp16_compress_hook(process_group: Any, bucket: GradBucket) -> Future:
    """Gradients travel and are added as float16: half the bytes, and less range and precision."""
    return _compressed(process_group, bucket, float16)


def bf16_compress_hook(process_group: Any, bucket: GradBucket) -> Future:
    """Gradients travel and are added as bfloat16: half the bytes, and less precision."""
    return _compressed(process_group, bucket, bfloat16)


def _wrapped(hook: Callable[[Any, GradBucket], Future], of: Any) -> Callable[[Any, GradBucket], Future]:
    def wrapper(state: Any, bucket: GradBucket) -> Future:
        before = bucket.buffer()
        bucket.set_buffer(before.to(of))

        def widened(future: Future) -> Any:
            found = future.value()
            return (found[0] if isinstance(found, (list, tuple)) else found).to(before.dtype)
        return hook(state, bucket).then(widened)
    return wrapper


def fp16_compress_wrapper(hook: Callable[[Any, GradBucket], Future]) -> Callable[[Any, GradBucket], Future]:
    """`hook` with gradients as float16."""
    return _wrapped(hook, float16)


def bf16_compress_wrapper(hook: Callable[[Any, GradBucket], Future]) -> Callable[[Any, GradBucket], Future]:
    """`hook` with gradients as bfloat16."""
    return _wrapped(hook, bfloat16)
