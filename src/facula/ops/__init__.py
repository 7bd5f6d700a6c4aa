"""The operations. Importing this package fills `registry.FUNCTIONS`, `NAMESPACES` and Tensor's methods."""

import importlib
import os
import sys

_HERE = os.path.dirname(__file__)
_NOT_FAMILIES = {"__init__", "registry", "pointwise", "derivatives", "random_values"}
for _name in sorted(os.listdir(_HERE)):
    if not _name.endswith(".py") or _name[:-3] in _NOT_FAMILIES or _name[0] == "_":
        continue
    try:
        importlib.import_module("facula.ops." + _name[:-3])
    except Exception as _error:  # while the families are being written
        print(f"facula.ops.{_name[:-3]}: {_error!r}", file=sys.stderr)
