"""What a worker of a DataLoader is told about itself."""

from __future__ import annotations

from typing import Any


def get_worker_info() -> Any:
    """None: samples are loaded in the main process."""
    return None
