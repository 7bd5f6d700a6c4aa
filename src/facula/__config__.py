"""How this Facula was built and what it runs on (`torch.__config__`).

Example:
    >>> import facula
    >>> print(facula.__config__.show().splitlines()[0])
    Facula built with:
"""

from __future__ import annotations

import platform

import numpy

from facula.engine.targets import host
from facula.version import __version__, facula_version

__all__ = ["parallel_info", "show"]


def show() -> str:
    """What Facula consists of here, in lines: its version, Python, NumPy, the compiler, the processor."""
    try:
        import llvmlite
        compiler = f"llvmlite {llvmlite.__version__}"
    except ImportError:
        compiler = "none (llvmlite is not installed): the NumPy interpreter"
    return "\n".join([
        "Facula built with:",
        f"  - Facula {facula_version}, PyTorch's API of {__version__.partition('+')[0]}",
        f"  - {platform.python_implementation()} {platform.python_version()}, NumPy {numpy.__version__}",
        f"  - Compiler: {compiler}",
        f"  - Processor: {platform.machine()}, {host.get_num_threads()} threads",
        "  - No C++ library, no MKL, no MKL-DNN, no CUDA, no NCCL",
        "",
    ])


def parallel_info() -> str:
    """How many threads compute, and which.

    Example:
        >>> import facula
        >>> "threads" in facula.__config__.parallel_info()
        True
    """
    return (f"Facula's own pool of threads:\n\tfacula.get_num_threads() : {host.get_num_threads()}\n"
            "Parallel backend: Facula's pool (no OpenMP, no TBB)\n")


def _cxx_flags() -> str:
    """Of Facula nothing was compiled by a C++ compiler: an empty string."""
    return ""
