"""`torch.utils.deterministic`: a switch that is kept. `empty` gives zeros, and all is deterministic."""

from __future__ import annotations

fill_uninitialized_memory = True
