"""Gradients of a module's replicas, reduced bucket by bucket while the backward pass goes on.

A bucket's gradients are computed and sent when all of them have been recorded: what earlier layers need is computed
while the bucket travels. Buckets go in their order on every rank. Each rank divides by the number of ranks first, then
ranks are added in their order: the bits of one process that accumulates the gradients of `loss / ranks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula.distributed import reductions
from facula.distributed.process_group import ProcessGroup
from facula.distributed.reductions import ReduceOp
from facula.distributed.tensors import array_of, room_for, tensor_of, write
from facula.futures import Future

FIRST_BUCKET_BYTES = 1 << 20


def buckets_of(parameters: Sequence[Tensor], limit: int, first: int = FIRST_BUCKET_BYTES) -> list[list[int]]:
    """Which parameters go together: from the last one on, as gradients come, of one dtype, up to so many bytes.

    Example:
        >>> import facula
        >>> from facula.distributed.reducer import buckets_of
        >>> buckets_of([facula.zeros(4), facula.zeros(2), facula.zeros(1)], 16, 8)
        [[2, 1], [0]]
    """
    found: list[list[int]] = []
    open_: dict[Any, tuple[list[int], int]] = {}
    for place in reversed(range(len(parameters))):
        p = parameters[place]
        members, size = open_.get(p.dtype, ([], 0))
        if not members:
            found.append(members)
        members.append(place)
        size += p.numel() * p.dtype.itemsize
        if size >= (first if members is found[0] else limit):
            open_.pop(p.dtype, None)
        else:
            open_[p.dtype] = members, size
    return found


class GradBucket:
    """What a communication hook is given: some gradients, one after the other in one flat tensor."""

    def __init__(self, index: int, last: bool, parameters: list[Tensor], buffer: Tensor) -> None:
        self._index, self._last, self._parameters, self._buffer = index, last, parameters, buffer

    def index(self) -> int:
        """Which bucket it is; 0 comes first."""
        return self._index

    def buffer(self) -> Tensor:
        """The gradients, flat."""
        return self._buffer

    def set_buffer(self, buffer: Tensor) -> None:
        """Put others in their place."""
        self._buffer = buffer

    def gradients(self) -> list[Tensor]:
        """The gradients, as parts of the buffer, in the parameters' shapes."""
        sizes = [p.numel() for p in self._parameters]
        return [part.view(p.shape) for part, p in zip(self._buffer.split(sizes), self._parameters, strict=True)]

    def parameters(self) -> list[Tensor]:
        """The parameters whose gradients they are."""
        return list(self._parameters)

    def is_last(self) -> bool:
        """Is it the last one of this backward pass?"""
        return self._last


class Reducer:
    """The buckets of one module.

    Args:
        parameters, names: what has gradients.
        group: the ranks that have replicas.
        limit: bytes of a bucket.
    """

    def __init__(self, parameters: list[Tensor], names: list[str], group: ProcessGroup, limit: int) -> None:
        self.parameters, self.names, self.group = parameters, names, group
        self.buckets = buckets_of(parameters, limit)
        self._where = {place: k for k, members in enumerate(self.buckets) for place in members}
        self.hook: Callable[[GradBucket], Any] | None = None
        self.active = False  # are gradients of the present pass to be reduced?
        self.divisor = group.size()
        self.masked = False  # may parameters be unused?
        self._ready: set[int] = set()
        self._missing: list[int] = []
        self._launched: list[Any] = []
        self._used: set[int] = set()
        self.handles = [p.register_post_accumulate_grad_hook(self._marker(k)) for k, p in enumerate(parameters)]

    def _marker(self, place: int) -> Callable[[Tensor], None]:
        def mark(parameter: Tensor) -> None:
            if self.active:
                self._used.add(place)
                self.mark(place)
        return mark

    def prepare(self, unused: Sequence[int] = (), masked: bool = False) -> None:
        """A backward pass is to come, whose gradients are reduced; those of `unused` will not come.

        RuntimeError if the one before has not come to its end.
        """
        if self.active and self._ready and len(self._ready) < len(self.parameters):
            missing = [self.names[k] for k in range(len(self.parameters)) if k not in self._ready]
            raise RuntimeError(
                "Expected to have finished reduction in the prior iteration before starting a new one. This error "
                "indicates that your module has parameters that were not used in producing loss. You can enable unused "
                "parameter detection by passing the keyword argument `find_unused_parameters=True` to "
                "`torch.nn.parallel.DistributedDataParallel`, and by making sure all `forward` function outputs "
                f"participate in calculating loss. Parameters which did not receive grad: {', '.join(missing[:20])}")
        self.active, self.masked = True, masked
        self._ready, self._used, self._launched = set(), set(), []
        self._missing = [len(members) for members in self.buckets]
        for place in unused:
            self.mark(place)

    def mark(self, place: int) -> None:
        """A gradient has been recorded, or will not come."""
        if place in self._ready:
            raise RuntimeError(f"Expected to mark a variable ready only once: {self.names[place]} has had its gradient "
                               "in this pass. Calling backward twice for one forward, or sharing parameters between "
                               "checkpointed parts that run anew, does so.")
        self._ready.add(place)
        self._missing[self._where[place]] -= 1
        while len(self._launched) < len(self.buckets) and not self._missing[len(self._launched)]:
            self._launch(len(self._launched))
        if len(self._launched) == len(self.buckets):
            self.finish()

    def _launch(self, k: int) -> None:
        """Send a bucket."""
        members = [self.parameters[place] for place in self.buckets[k]]
        parts = [np.zeros(p.numel(), p.dtype.numpy) if p.grad is None else array_of(p.grad).reshape(-1)
                 for p in members]
        self._launched.append(self.send(k, np.concatenate(parts)))

    def send(self, k: int, flat: np.ndarray) -> Any:
        """Begin to reduce the elements of a bucket; what gives the result is returned."""
        members = [self.parameters[place] for place in self.buckets[k]]
        of = members[0].dtype
        if self.hook is not None:
            bucket = GradBucket(k, k == len(self.buckets) - 1, members, tensor_of(flat, of))
            future = self.hook(bucket)
            if not isinstance(future, Future):
                raise RuntimeError("the communication hook has to return a torch.futures.Future, got "
                                   f"{type(future).__name__}")
            return future
        # AVG's last step is the division by the number of ranks.
        reductions.finish(ReduceOp.AVG, flat, self.divisor, of)
        names = [self.names[place] for place in self.buckets[k]]
        note = f"DistributedDataParallel: bucket {k}, {names[0]} to {names[-1]}, {flat.size} elements"
        box: list[Any] = []
        work = self.group._call(note, lambda call: self.group._backend.all_reduce(call, flat, ReduceOp.SUM, of),
                                box.append, box, True)
        return work, box

    def received(self, sent: Any, k: int) -> np.ndarray:
        """The reduced elements of a bucket, when they have come."""
        if isinstance(sent, Future):
            found = sent.wait()
            tensor = found[0] if isinstance(found, (list, tuple)) else found
            like = self.parameters[self.buckets[k][0]]
            return np.array(array_of(tensor.to(like.dtype)).reshape(-1))
        work, box = sent
        work.wait()
        found_array: np.ndarray = box[0]
        return found_array

    def finish(self) -> None:
        """Wait for all buckets, and put what has come where the gradients are."""
        self.active = False
        launched, self._launched = self._launched, []
        wanted = self._used_anywhere() if self.masked else None
        for k, sent in enumerate(launched):
            flat, place = self.received(sent, k), 0
            for member in self.buckets[k]:
                p = self.parameters[member]
                part = flat[place:place + p.numel()].reshape(tuple(p.shape))
                place += p.numel()
                if wanted is not None and member not in wanted:
                    continue  # nobody has used it: its gradient stays what it was
                if p.grad is None:
                    p.grad = tensor_of(room_for(p), p.dtype)  # type: ignore[attr-defined]
                write(p.grad, part)

    def _used_anywhere(self) -> set[int]:
        """The parameters that some rank has used."""
        mask = np.zeros(len(self.parameters), np.uint8)
        mask[list(self._used)] = 1
        box: list[np.ndarray] = []
        from facula.dtypes import uint8
        self.group._call("DistributedDataParallel: which parameters are used",
                         lambda call: self.group._backend.all_reduce(call, mask, ReduceOp.MAX, uint8), box.append)
        return set(np.flatnonzero(box[0]).tolist())

    def shadow(self) -> None:
        """Take part in a pass of the others, with zeros."""
        sent = [self.send(k, np.zeros(sum(self.parameters[m].numel() for m in members),
                                      self.parameters[members[0]].dtype.numpy))
                for k, members in enumerate(self.buckets)]
        self._used = set()
        if self.masked:
            self._used_anywhere()
        for k, one in enumerate(sent):
            self.received(one, k)
