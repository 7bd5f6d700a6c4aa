"""`torch.utils.cpp_extension`: extensions in C++ are compiled against PyTorch's own libraries, which are not here.

What programs look at before they build one answers; building says what to do instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import Any

from facula import absent

_INSTEAD = "write the operation in Python (torch.library.custom_op); Facula compiles what it calls"
BuildExtension = absent.kind("torch.utils.cpp_extension.BuildExtension", _INSTEAD)
CppExtension, CUDAExtension, SyclExtension, load, load_inline, include_paths, library_paths = (
    absent.function(f"torch.utils.cpp_extension.{name}", _INSTEAD) for name in (
        "CppExtension", "CUDAExtension", "SyclExtension", "load", "load_inline", "include_paths", "library_paths"))

__all__ = ["BuildExtension", "CUDAExtension", "CppExtension", "SyclExtension", "check_compiler_is_gcc",
           "check_compiler_ok_for_platform", "get_compiler_abi_compatibility_and_version", "get_cxx_compiler",
           "get_default_build_root", "include_paths", "is_ninja_available", "library_paths", "load", "load_inline",
           "verify_ninja_availability"]

CUDA_HOME = ROCM_HOME = CUDNN_HOME = SYCL_HOME = None
IS_HIP_EXTENSION = False


def get_default_build_root() -> str:
    """Where extensions would be built.

    Example:
        >>> from facula.utils.cpp_extension import get_default_build_root
        >>> get_default_build_root().endswith("torch_extensions")
        True
    """
    return os.path.realpath(os.path.join(tempfile.gettempdir(), "torch_extensions"))


def get_cxx_compiler() -> str:
    """The compiler of C++: what CXX says, else "c++".

    Example:
        >>> from facula.utils.cpp_extension import get_cxx_compiler
        >>> isinstance(get_cxx_compiler(), str)
        True
    """
    return os.environ.get("CXX", "c++")


def check_compiler_is_gcc(compiler: str) -> bool:
    """Is a compiler there, and GNU's?

    Example:
        >>> from facula.utils.cpp_extension import check_compiler_is_gcc
        >>> check_compiler_is_gcc("no-such-compiler")
        False
    """
    path = shutil.which(compiler)
    if path is None:
        return False
    told = subprocess.run([path, "-v"], capture_output=True, text=True, check=False)
    return "gcc version" in told.stderr


def check_compiler_ok_for_platform(compiler: str) -> bool:
    """Is a compiler there that extensions could be built with?"""
    return check_compiler_is_gcc(compiler)


def get_compiler_abi_compatibility_and_version(compiler: str) -> tuple[bool, Any]:
    """Could extensions of that compiler be loaded: no. And its version, which is not asked for."""
    return False, None


def is_ninja_available() -> bool:
    """Is there the program `ninja`?

    Example:
        >>> from facula.utils.cpp_extension import is_ninja_available
        >>> is_ninja_available() in (True, False)
        True
    """
    return shutil.which("ninja") is not None


def verify_ninja_availability() -> None:
    """RuntimeError if there is no `ninja`."""
    if not is_ninja_available():
        raise RuntimeError("Ninja is required to load C++ extensions (pip install ninja to get it)")
