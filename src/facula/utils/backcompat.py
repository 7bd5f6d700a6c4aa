"""`torch.utils.backcompat`: warnings of what changed in PyTorch 0.2, kept as switches."""

from __future__ import annotations


class Warning:
    """A warning that may be switched on; there is nothing left to warn of."""

    enabled = False


broadcast_warning, keepdim_warning = Warning(), Warning()
