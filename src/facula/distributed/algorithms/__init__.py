"""`torch.distributed.algorithms`: `join`, and `ddp_comm_hooks`."""

from facula.distributed.algorithms.join import Join, Joinable, JoinHook

__all__ = ["Join", "JoinHook", "Joinable"]
