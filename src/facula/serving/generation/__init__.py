"""Text from a decoder: what its author writes (`Sizes`, `Step`, `Language`), and what serves it (docs/serving.md)."""

from __future__ import annotations

from .decoder import Language, Sizes, Step
from .text import ByteTokenizer, FileTokenizer, Tokenizer

__all__ = ["ByteTokenizer", "FileTokenizer", "Language", "Sizes", "Step", "Tokenizer"]
