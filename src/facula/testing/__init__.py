"""What tests need: comparisons that say what differs, and tensors of random numbers.

Beside `torch.testing`'s names: samples of every operation (`samples/`), a pretend accelerator, other means of
computing (`backends`).
"""

from __future__ import annotations

from facula.testing.comparison import assert_allclose, assert_close
from facula.testing.making import make_tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]
