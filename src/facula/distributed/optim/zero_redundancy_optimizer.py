"""`ZeroRedundancyOptimizer`: the state of an optimizer shared out between ranks (ZeRO stage 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from facula.distributed import objects
from facula.distributed.tensors import array_of, write
from facula.distributed.world import chosen, get_group_rank
from facula.optim.optimizer import Optimizer

__all__ = ["ZeroRedundancyOptimizer"]


class ZeroRedundancyOptimizer(Optimizer):
    """Each rank updates its share of the parameters, with state for these alone, and hands the results to the others.

    Gradients have to be the same on all ranks, as DistributedDataParallel makes them.

    Args:
        params: parameters or groups of them, the same on all ranks.
        optimizer_class: what updates a share, such as `facula.optim.Adam`.
        process_group: the ranks; the default group unless given.
        parameters_as_bucket_view: accepted; parameters keep memory of their own.
        overlap_with_ddp: NotImplementedError if True.
        defaults: arguments of the optimizer class.

    Example:
        >>> import facula, facula.distributed as dist
        >>> from facula.distributed.optim import ZeroRedundancyOptimizer
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> p = facula.nn.Parameter(facula.ones(2))
        >>> optimizer = ZeroRedundancyOptimizer([p], facula.optim.SGD, lr=0.5)
        >>> p.sum().backward()
        >>> optimizer.step()
        >>> p.tolist()
        [0.5, 0.5]
        >>> dist.destroy_process_group()
    """

    def __init__(self, params: Iterable[Any], optimizer_class: type[Optimizer], process_group: Any = None,
                 parameters_as_bucket_view: bool = False, overlap_with_ddp: bool = False, **defaults: Any) -> None:
        if overlap_with_ddp:
            raise NotImplementedError("ZeroRedundancyOptimizer: overlap_with_ddp is not in Facula")
        self._group = chosen(process_group)
        self.process_group, self.rank, self.world_size = self._group, self._group.rank(), self._group.size()
        self._class, self._defaults = optimizer_class, defaults
        self.optim: Any = None
        self._states: list[Any] = []
        self._owner: dict[Any, int] = {}
        self._shared_out = False
        super().__init__(params, defaults)  # type: ignore[arg-type]
        self._share_out()
        self._shared_out = True

    def _share_out(self) -> None:
        """Parameters to ranks, the largest first, each to the rank that has least: the same on every rank.

        Those that have a rank stay there, as their state does.
        """
        load = [0] * self.world_size
        for p, rank in self._owner.items():
            load[rank] += max(p.numel(), 1)
        everything = [p for group in self.param_groups for p in group["params"]]
        for place in sorted(range(len(everything)), key=lambda k: (-everything[k].numel(), k)):
            p = everything[place]
            if p.requires_grad and p not in self._owner:
                rank = load.index(min(load))
                self._owner[p] = rank
                load[rank] += max(p.numel(), 1)
        mine = [{**{k: v for k, v in group.items() if k != "params"},
                 "params": [p for p in group["params"] if self._owner.get(p) == self.rank]}
                for group in self.param_groups]
        before = None if self.optim is None else self.optim.state
        # A rank may have nothing: then there is no optimizer, as they take no empty lists.
        self.optim = self._class(mine, **self._defaults) if any(g["params"] for g in mine) else None
        if self.optim is not None:
            if before is not None:
                self.optim.state.update({p: s for p, s in before.items() if self._owner.get(p) == self.rank})
            for group, own in zip(self.param_groups, self.optim.param_groups, strict=True):
                for key, value in own.items():
                    if key != "params":
                        group.setdefault(key, value)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """More parameters, on all ranks alike."""
        super().add_param_group(param_group)
        if self._shared_out:
            self._share_out()

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Update this rank's share, and take the others'."""
        loss = None
        if self.optim is not None:
            for group, own in zip(self.param_groups, self.optim.param_groups, strict=True):
                own.update({k: v for k, v in group.items() if k != "params"})  # what schedulers have set
            loss = self.optim.step(closure, **kwargs) if closure is not None else self.optim.step(**kwargs)
        elif closure is not None:
            from facula.autograd.modes import enable_grad
            with enable_grad():
                loss = closure()
        self._hand_round()
        return loss

    def _hand_round(self) -> None:
        """Every rank's share to all: its parameters of a dtype as one message."""
        for rank in range(self.world_size):
            parts: dict[Any, list[Any]] = {}
            for p, owner in self._owner.items():
                if owner == rank:
                    parts.setdefault(p.dtype, []).append(p)
            for of, members in parts.items():
                if rank == self.rank:
                    flat = np.concatenate([array_of(p).reshape(-1) for p in members])
                else:
                    flat = np.empty(sum(p.numel() for p in members), of.numpy)
                self._broadcast(flat, rank)
                place = 0
                for p in members if rank != self.rank else ():
                    write(p, np.array(flat[place:place + p.numel()]))
                    place += p.numel()

    def _broadcast(self, flat: np.ndarray, rank: int) -> None:
        self._group._call(f"ZeroRedundancyOptimizer: the share of rank {rank}, {flat.size} elements",
                          lambda call: self._group._backend.broadcast(call, flat, rank))

    # ---- state -----------------------------------------------------------------------------------------------

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Gather all ranks' states on rank `to`, where `state_dict()` may be called then."""
        root = get_group_rank(self._group, to)
        mine = None if self.optim is None else {
            k: self.optim.state[p] for k, p in enumerate(self._numbered()) if p in self.optim.state}
        gathered: list[Any] | None = [None] * self.world_size if self.rank == root else None
        objects.gather_object(mine, gathered, group=self._group, group_dst=root)
        self._states = gathered or []

    def _numbered(self) -> list[Any]:
        return [p for group in self.param_groups for p in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """All ranks' states, as the optimizer class's own state_dict.

        RuntimeError unless `consolidate_state_dict` has been called for this rank.
        """
        if not self._states:
            raise RuntimeError("Optimizer state has not been consolidated on this rank. Please call "
                               f"`consolidate_state_dict(to={self.rank})` on all ranks beforehand if you meant to save "
                               "the global state.")
        state: dict[int, Any] = {}
        for part in self._states:
            state.update(part or {})
        place, groups = 0, []
        for group in self.param_groups:
            count = len(group["params"])
            groups.append({**{k: v for k, v in group.items() if k != "params"},
                           "params": list(range(place, place + count))})
            place += count
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # type: ignore[override]
        """Take a whole state; each rank keeps what belongs to its share."""
        for group, given in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({k: v for k, v in given.items() if k != "params"})
        if self.optim is None:
            return
        numbers = {p: k for k, p in enumerate(self._numbered())}
        place, groups, state = 0, [], {}
        for group, own in zip(self.param_groups, self.optim.param_groups, strict=True):
            count = len(own["params"])
            groups.append({**{k: v for k, v in group.items() if k != "params"},
                           "params": list(range(place, place + count))})
            for k, p in enumerate(own["params"]):
                if numbers[p] in state_dict["state"]:
                    state[place + k] = state_dict["state"][numbers[p]]
            place += count
        self.optim.load_state_dict({"state": state, "param_groups": groups})

    def join_hook(self, **kwargs: Any) -> Any:
        """NotImplementedError: ranks have to have as many steps."""
        raise NotImplementedError("ZeroRedundancyOptimizer within Join is not in Facula")
