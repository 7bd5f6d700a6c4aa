"""`SummaryWriter`: files for TensorBoard (`torch.utils.tensorboard`).

It is tensorboardX's writer, with Facula's tensors taken as well: `pip install tensorboardX`, or `facula[tensorboard]`.

Example:
    >>> import tempfile
    >>> import facula
    >>> from facula.utils.tensorboard import SummaryWriter
    >>> with SummaryWriter(tempfile.mkdtemp()) as writer:
    ...     _ = writer.add_scalar("loss", facula.tensor(0.5), 1)
"""

from __future__ import annotations

from typing import Any

from facula.utils.tensorboard.writer import library, writer_class

__all__ = ["FileWriter", "RecordWriter", "SummaryWriter"]


def __getattr__(name: str) -> Any:
    if name == "SummaryWriter":
        found = writer_class()
    elif name in ("FileWriter", "RecordWriter"):
        parts = library()
        found = getattr(parts.writer if name == "FileWriter" else parts.record_writer, name)
    else:
        raise AttributeError(f"module 'facula.utils.tensorboard' has no attribute {name!r}")
    globals()[name] = found
    return found
