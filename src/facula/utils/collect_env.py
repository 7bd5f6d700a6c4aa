"""What Facula runs on here, for reports of defects: `python -m facula.utils.collect_env`.

Example:
    >>> from facula.utils.collect_env import get_pretty_env_info
    >>> print(get_pretty_env_info().splitlines()[0].split(":")[0])
    PyTorch version
"""

from __future__ import annotations

import importlib.metadata
import locale
import os
import platform
import sys
from typing import NamedTuple


class SystemEnv(NamedTuple):
    """What `get_env_info` finds; what a machine does not have is 'N/A', as in PyTorch."""

    torch_version: str
    is_debug_build: str
    os: str
    libc_version: str
    python_version: str
    python_platform: str
    is_cuda_available: str
    cpu_info: str
    pip_version: str
    pip_packages: str
    compiler: str


def get_env_info() -> SystemEnv:
    """What there is to know of Facula, Python and the machine."""
    from facula.version import __version__
    shown = ("numpy", "llvmlite", "scipy", "tensorboardX", "safetensors", "transformers", "lightning")
    packages = [f"{name}=={_version(name)}" for name in shown if _version(name) is not None]
    return SystemEnv(
        torch_version=__version__,
        is_debug_build="False",
        os=_system(),
        libc_version="-".join(platform.libc_ver()) or "N/A",
        python_version=f"{sys.version.splitlines()[0]} ({sys.maxsize.bit_length() + 1}-bit runtime)",
        python_platform=platform.platform(),
        is_cuda_available="False",
        cpu_info=f"{_processor()}, {os.cpu_count()} processors",
        pip_version=f"pip {_version('pip') or 'N/A'}",
        pip_packages="\n".join(packages),
        compiler=f"llvmlite {_version('llvmlite')}" if _version("llvmlite") else "N/A (the NumPy interpreter)")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _system() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            found = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
        return f"{found['PRETTY_NAME'].strip(chr(34))} ({platform.machine()})"
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()} ({platform.machine()})"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def pretty_str(envinfo: SystemEnv) -> str:
    """As lines to paste into a report."""
    e = envinfo
    return f"""PyTorch version: {e.torch_version} (Facula)
Is debug build: {e.is_debug_build}
CUDA used to build PyTorch: None

OS: {e.os}
Compiler: {e.compiler}
Libc version: {e.libc_version}
Encoding: {locale.getpreferredencoding(False)}

Python version: {e.python_version}
Python platform: {e.python_platform}
Is CUDA available: {e.is_cuda_available}

CPU: {e.cpu_info}

Versions of relevant libraries ({e.pip_version}):
{e.pip_packages}"""


def get_pretty_env_info() -> str:
    """`pretty_str(get_env_info())`."""
    return pretty_str(get_env_info())


def main() -> None:
    """Print it."""
    print("Collecting environment information...")
    print(get_pretty_env_info())


if __name__ == "__main__":
    main()
