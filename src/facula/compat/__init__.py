"""Running programs that were written for PyTorch: the `import torch` shim, and spellings of old releases.

Nothing in the product imports this package; `facula run` and programs that want it do.

Example:
    >>> import facula.compat
    >>> facula.compat.install()
    >>> import torch, facula
    >>> torch is facula
    True
"""

from facula.compat.shim import install, uninstall

__all__ = ["install", "uninstall"]
