"""Conversions of float16 where the processor has none (x86-64 without F16C), as LLVM IR text.

LLVM calls two functions of its compiler's own library there, which no Python has in its process; jit.py hands kernels
these instead. A vector is converted element by element: slow, and right.
"""

from __future__ import annotations

NAMES = ("__extendhfsf2", "__truncsfhf2")


def text(attributes: str) -> str:
    """The two functions. Both give the bits that F16C's instructions give, of NaN as well."""
    return f"""
; A half's exponent and mantissa, put where a float has its own, are a float smaller by 2**112: subnormal ones too.
define float @__extendhfsf2(half %x) #0 {{
  %short = bitcast half %x to i16
  %bits = zext i16 %short to i32
  %signed = and i32 %bits, 32768
  %sign = shl i32 %signed, 16
  %rest = and i32 %bits, 32767
  %moved = shl i32 %rest, 13
  %small = bitcast i32 %moved to float
  %scaled = fmul float %small, 0x46F0000000000000
  %finite = bitcast float %scaled to i32
  %endless = or i32 %moved, 2139095040
  %quiet = or i32 %endless, 4194304
  %is_finite = icmp ult i32 %rest, 31744
  %is_nan = icmp ugt i32 %rest, 31744
  %special = select i1 %is_nan, i32 %quiet, i32 %endless
  %value = select i1 %is_finite, i32 %finite, i32 %special
  %all = or i32 %value, %sign
  %result = bitcast i32 %all to float
  ret float %result
}}

; To nearest even. Below 2**-14 a half counts in units of 2**-24, which is what float's unit is beside 0.5.
define half @__truncsfhf2(float %x) #0 {{
  %bits = bitcast float %x to i32
  %signed = and i32 %bits, -2147483648
  %sign = lshr i32 %signed, 16
  %a = and i32 %bits, 2147483647
  %positive = bitcast i32 %a to float
  %added = fadd float %positive, 5.0e-1
  %units = bitcast float %added to i32
  %subnormal = sub i32 %units, 1056964608
  %cut = lshr i32 %a, 13
  %odd = and i32 %cut, 1
  %biased = sub i32 %a, 939520001
  %rounded = add i32 %biased, %odd
  %normal = lshr i32 %rounded, 13
  %fraction = and i32 %cut, 1023
  %nan = or i32 %fraction, 32256
  %is_subnormal = icmp ult i32 %a, 947912704
  %is_large = icmp uge i32 %a, 1199566848
  %is_nan = icmp ugt i32 %a, 2139095040
  %small = select i1 %is_subnormal, i32 %subnormal, i32 %normal
  %bounded = select i1 %is_large, i32 31744, i32 %small
  %value = select i1 %is_nan, i32 %nan, i32 %bounded
  %all = or i32 %value, %sign
  %short = trunc i32 %all to i16
  %result = bitcast i16 %short to half
  ret half %result
}}
attributes #0 = {{ {attributes} }}
"""
