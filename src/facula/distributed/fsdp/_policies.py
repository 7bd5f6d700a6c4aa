"""In which dtypes a sharded module computes and reduces, and where its pieces are kept."""

from __future__ import annotations

from dataclasses import dataclass

from facula.dtypes import dtype

__all__ = ["CPUOffloadPolicy", "MixedPrecisionPolicy", "OffloadPolicy"]


@dataclass(frozen=True)
class MixedPrecisionPolicy:
    """The dtypes of a sharded module.

    Args:
        param_dtype: of the whole parameters while the module computes; the pieces keep theirs.
        reduce_dtype: of gradients while they are added; `param_dtype` unless told.
        output_dtype: what floating point outputs are converted to.
        cast_forward_inputs: convert floating point inputs to `param_dtype`.
    """

    param_dtype: dtype | None = None
    reduce_dtype: dtype | None = None
    output_dtype: dtype | None = None
    cast_forward_inputs: bool = True


@dataclass
class OffloadPolicy:
    """Pieces stay where they are."""


@dataclass
class CPUOffloadPolicy(OffloadPolicy):
    """Pieces are kept on the cpu; here they are there anyway."""

    pin_memory: bool = True
