"""`torch.jit.annotations`: types of arguments that scripted functions are written with. Here only people read them."""

from __future__ import annotations

from typing import Any

__all__ = ["BroadcastingList1", "BroadcastingList2", "BroadcastingList3"]


class _BroadcastingList:
    """`BroadcastingList2[int]`: a list of two, or one number that stands for both."""

    def __getitem__(self, types: Any) -> None:
        return None


BroadcastingList1, BroadcastingList2, BroadcastingList3 = (_BroadcastingList() for _ in range(3))
for _n in range(4, 7):
    globals()[f"BroadcastingList{_n}"] = _BroadcastingList()
