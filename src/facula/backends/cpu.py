"""What the processor offers."""

from __future__ import annotations

from facula.errors import BackendUnavailable


def get_cpu_capability() -> str:
    """The widest vector instructions: AVX512, AVX2, NEON or DEFAULT.

    Example:
        >>> from facula.backends import cpu
        >>> cpu.get_cpu_capability() in ("AVX512", "AVX2", "NEON", "DEFAULT")
        True
    """
    from facula.engine.targets import host
    try:
        return host.widest((("AVX512", "avx512f"), ("AVX2", "avx2"), ("NEON", "neon")))
    except BackendUnavailable:
        return "DEFAULT"
