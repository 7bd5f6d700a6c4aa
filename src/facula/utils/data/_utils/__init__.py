"""Where PyTorch keeps the collate functions."""

from facula.utils.data._utils import collate

__all__ = ["collate"]
