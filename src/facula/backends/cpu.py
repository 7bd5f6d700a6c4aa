"""What the processor offers."""

from __future__ import annotations


def get_cpu_capability() -> str:
    """The widest vector instructions: AVX512, AVX2, NEON or DEFAULT.

    Example:
        >>> from facula.backends import cpu
        >>> cpu.get_cpu_capability() in ("AVX512", "AVX2", "NEON", "DEFAULT")
        True
    """
    try:
        from llvmlite.binding import get_host_cpu_features
        features = get_host_cpu_features()
    except (ImportError, RuntimeError):
        return "DEFAULT"
    for name, flag in (("AVX512", "avx512f"), ("AVX2", "avx2"), ("NEON", "neon")):
        if features.get(flag):
            return name
    return "DEFAULT"
