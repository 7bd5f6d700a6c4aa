"""`DistributedDataParallel`: a replica of a module on each rank, whose gradients are the mean of all ranks'."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from facula._tensor.handle import Tensor
from facula.autograd.modes import is_grad_enabled
from facula.distributed import collectives, objects
from facula.distributed.algorithms.join import Join, Joinable, JoinHook, _number
from facula.distributed.reducer import GradBucket, Reducer
from facula.distributed.reductions import ReduceOp
from facula.distributed.world import chosen
from facula.futures import Future
from facula.nn.modules.module import Module
from facula.utils._pytree import tree_leaves


class DistributedDataParallel(Module, Joinable):
    """Wraps a module that each rank has, with the same parameters: after `backward`, `.grad` is the mean over ranks.

    Parameters and buffers of rank 0 are handed to all when it is made; buffers before each forward pass, too. Names in
    the state_dict begin with `module.`. For ranks whose number is a power of two the gradients have the bits of one
    process that accumulates those of `loss / ranks`, rank after rank.

    Args:
        module: what is trained.
        process_group: the ranks; the default group unless given.
        bucket_cap_mb: how many megabytes of gradients travel together; 25 unless given.
        broadcast_buffers: whether rank 0's buffers are handed to all before each forward pass.
        init_sync: whether parameters are compared and handed out now.
        find_unused_parameters: parameters that the results do not depend on are looked for after each forward pass; the
            gradients of those that no rank uses stay what they were.
        static_graph: which parameters are used never changes: they are looked for once.
        gradient_as_bucket_view: accepted; gradients have memory of their own.
        skip_all_reduce_unused_params: accepted; what no rank uses travels as zeros, and its gradient stays what it was.
        check_reduction: accepted, as in PyTorch, which does nothing with it any more.
        device_ids, output_device, dim: of accelerators; None on the cpu.

    Raises:
        RuntimeError: no parameter requires a gradient; the ranks' parameters differ; a pass has left parameters without
            a gradient, and the next one begins.

    Example:
        >>> import facula, facula.distributed as dist
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> net = facula.nn.parallel.DistributedDataParallel(facula.nn.Linear(2, 1))
        >>> net(facula.ones(3, 2)).sum().backward()
        >>> net.module.bias.grad
        tensor([3.])
        >>> dist.destroy_process_group()
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0,
                 broadcast_buffers: bool = True, init_sync: bool = True, process_group: Any = None,
                 bucket_cap_mb: float | None = None, find_unused_parameters: bool = False,
                 check_reduction: bool = False, gradient_as_bucket_view: bool = False, static_graph: bool = False,
                 delay_all_reduce_named_params: Any = None, param_to_hook_all_reduce: Any = None,
                 mixed_precision: Any = None, device_mesh: Any = None,
                 skip_all_reduce_unused_params: bool = False) -> None:
        super().__init__()
        for name, value in (("delay_all_reduce_named_params", delay_all_reduce_named_params),
                            ("param_to_hook_all_reduce", param_to_hook_all_reduce),
                            ("mixed_precision", mixed_precision), ("device_mesh", device_mesh)):
            if value is not None:
                raise NotImplementedError(f"DistributedDataParallel: {name} is not in Facula")
        if device_ids or output_device is not None:
            raise ValueError("DistributedDataParallel device_ids and output_device arguments only work with "
                             "single-device/multiple-device GPU modules or CPU modules, but got device_ids "
                             f"{device_ids}, output_device {output_device}")
        ignored = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad and name not in ignored]
        if not named:
            raise RuntimeError("DistributedDataParallel is not needed when a module doesn't have any parameter that "
                               "requires a gradient.")
        self.module, self.process_group = module, chosen(process_group)
        self.dim, self.device_ids, self.output_device = dim, device_ids, output_device
        self.broadcast_buffers, self.static_graph = broadcast_buffers, static_graph
        self.find_unused_parameters = find_unused_parameters
        self.gradient_as_bucket_view = gradient_as_bucket_view
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        self.parameters_to_ignore = ignored
        self.bucket_bytes_cap = int((25 if bucket_cap_mb is None else bucket_cap_mb) * 1024 * 1024)
        self._kept = [(n, t) for n, t in (*module.named_parameters(), *module.named_buffers()) if n not in ignored]
        if init_sync:
            self._compare()
            self._hand_out([t for _, t in self._kept], 0)
        self.reducer = Reducer([p for _, p in named], [n for n, _ in named], self.process_group,
                               self.bucket_bytes_cap)
        self._never_used: list[int] | None = None

    def _compare(self) -> None:
        """RuntimeError on all ranks unless all have the same parameters."""
        mine = [(name, tuple(t.shape), str(t.dtype)) for name, t in self._kept]
        theirs: list[Any] = [None] * self.process_group.size()
        objects.all_gather_object(theirs, mine, self.process_group)
        for rank, found in enumerate(theirs):
            if found != theirs[0]:
                differing = next((pair for pair in zip(theirs[0], found, strict=False) if pair[0] != pair[1]),
                                 (f"{len(theirs[0])} of them", f"{len(found)}"))
                raise RuntimeError(f"DDP expects same model across all ranks, but rank 0 and rank {rank} have other "
                                   f"parameters or buffers: {differing[0]} and {differing[1]}")

    def _hand_out(self, tensors: list[Tensor], source: int) -> None:
        for tensor in tensors:
            collectives.broadcast(tensor.detach(), group=self.process_group, group_src=source)

    # ---- passes ----------------------------------------------------------------------------------------------

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """`module(*inputs, **kwargs)`."""
        Join.notify_join_context(self)
        reduces = is_grad_enabled() and self.require_backward_grad_sync
        if self._join is not None:
            _number(self.process_group, int(reduces), ReduceOp.MAX, "are gradients reduced")
        if self.require_forward_param_sync and self.broadcast_buffers:
            buffers = [b for n, b in self.module.named_buffers() if n not in self.parameters_to_ignore]
            if buffers:
                self._hand_out(buffers, self._authority(True))
        result = self.module(*inputs, **kwargs)
        self.require_forward_param_sync = reduces
        if not reduces:
            self.reducer.active = False
        elif self.find_unused_parameters or self.static_graph:
            unused = self._never_used
            if unused is None or not self.static_graph:
                unused = self._never_used = self._unused(result)
            self.reducer.prepare(unused, True)
        else:
            self.reducer.prepare()
        return result

    def _authority(self, active: bool) -> int:
        """The rank whose buffers count: 0, or with `join` the highest that has something to do."""
        if self._join is None and active:
            return 0
        return _number(self.process_group, self.process_group.rank() if active else -1, ReduceOp.MAX, "who goes on")

    def _unused(self, result: Any) -> list[int]:
        """The parameters that no tensor of the result depends on."""
        places = {id(p): k for k, p in enumerate(self.reducer.parameters)}
        found: set[int] = set()
        seen: set[Any] = set()
        stack = []
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.requires_grad:
                if leaf.grad_fn is None:
                    found.add(places.get(id(leaf), -1))
                else:
                    stack.append(leaf.grad_fn)
        while stack:
            step = stack.pop()
            if step in seen:
                continue
            seen.add(step)
            variable = getattr(step, "variable", None)
            if variable is not None:
                found.add(places.get(id(variable), -1))
            stack += [after for after, _ in step.next_functions if after is not None]
        return [k for k in range(len(places)) if k not in found]

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """A context whose forward passes lead to gradients that are accumulated, not reduced; the next pass outside
        reduces all that has been accumulated."""
        before = self.require_backward_grad_sync
        self.require_backward_grad_sync = False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def register_comm_hook(self, state: Any, hook: Callable[[Any, GradBucket], Future]) -> None:
        """Have `hook(state, bucket)` reduce the gradients: a Future of the flat tensor that takes their place.

        RuntimeError if there is one already; TypeError if it cannot be called.
        """
        if not callable(hook):
            raise TypeError("Communication hook must be callable.")
        if self.reducer.hook is not None:
            raise RuntimeError("register_comm_hook or register_builtin_comm_hook can only be called once.")
        self.reducer.hook = lambda bucket: hook(state, bucket)

    # ---- ranks with less to do -------------------------------------------------------------------------------

    def join(self, divide_by_initial_world_size: bool = True, enable: bool = True,
             throw_on_early_termination: bool = False) -> Join:
        """A context in which ranks may have different numbers of batches.

        Args:
            divide_by_initial_world_size: gradients are divided by the number of ranks, those that are done included.
            enable: False: it does nothing.
            throw_on_early_termination: raise on all ranks when the first one is done.
        """
        if not divide_by_initial_world_size:
            raise NotImplementedError("DistributedDataParallel.join: divide_by_initial_world_size=False is not in "
                                      "Facula")
        return Join([self], enable, throw_on_early_termination)

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """What this rank does when it is done and others are not."""
        return _Shadow(self)

    @property
    def join_device(self) -> Any:
        """The parameters' device."""
        return next(self.module.parameters()).device

    @property
    def join_process_group(self) -> Any:
        """The ranks that have replicas."""
        return self.process_group

    def __getstate__(self) -> Any:
        raise NotImplementedError("DistributedDataParallel cannot be pickled or copied: do so with its `module`")


class _Shadow(JoinHook):
    """Takes part in the collectives of others' passes."""

    def __init__(self, ddp: DistributedDataParallel) -> None:
        self._ddp = ddp

    def main_hook(self) -> None:
        """One pass of the others."""
        ddp = self._ddp
        reduces = _number(ddp.process_group, 0, ReduceOp.MAX, "are gradients reduced")
        if ddp.require_forward_param_sync and ddp.broadcast_buffers:
            buffers = [b for n, b in ddp.module.named_buffers() if n not in ddp.parameters_to_ignore]
            if buffers:
                ddp._hand_out(buffers, ddp._authority(False))
        ddp.require_forward_param_sync = bool(reduces)
        if reduces:
            ddp.reducer.shadow()

    def post_hook(self, is_last_joiner: bool) -> None:
        """All are done: the model of one that has gone on longest is everybody's."""
        ddp = self._ddp
        rank = ddp.process_group.rank() if is_last_joiner else -1
        source = _number(ddp.process_group, rank, ReduceOp.MAX, "who was last")
        ddp._hand_out([t for _, t in ddp._kept], source)


__all__ = ["DistributedDataParallel"]
