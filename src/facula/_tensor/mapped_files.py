"""Files as memory: what `UntypedStorage.from_file` gives."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from facula._tensor.cells import FOR_GOOD
from facula._tensor.handle import Tensor, new, share
from facula.dtypes import uint8
from facula.engine.realize import leaf


def mapped(filename: Any, shared: bool, nbytes: int) -> Tensor:
    """A file's first bytes as a tensor (nbytes,) of uint8, which is read when it is looked at.

    Args:
        shared: writes go to the file, which is made, and made as long as that, if need be. Else they stay here.
        nbytes: 0 is the whole file.

    Raises:
        RuntimeError: no such file, or a shorter one (unless `shared`).
    """
    path = os.fspath(filename)
    try:
        have = os.path.getsize(path)
    except OSError as error:
        if not shared:
            raise RuntimeError(f"unable to open file <{path}> in read-only mode: {error.strerror}") from None
        have = 0
    if nbytes < 0 or not shared and nbytes > have:
        raise RuntimeError(f"unable to map {nbytes} bytes of file <{path}>, which has {have}")
    count = nbytes or have
    if shared and have < count:
        with open(path, "ab") as file:
            file.truncate(count)
    if not count:
        return new(leaf(np.zeros(0, np.uint8), (0,), uint8))
    array = np.asarray(np.memmap(path, np.uint8, "r+" if shared else "c", shape=(count,)))
    tensor = new(leaf(array, (count,), uint8))
    # Whoever reads the file sees what is written here, however long that is after the call: as with an address.
    share(tensor).shared = FOR_GOOD if shared else True
    return tensor
