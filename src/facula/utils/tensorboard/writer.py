"""The class `SummaryWriter`, made of tensorboardX's when it is first asked for."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from facula import absent
from facula._tensor.handle import Tensor
from facula.utils._pytree import tree_map_only

WHY = ("torch.utils.tensorboard stands on tensorboardX, which is not installed: pip install tensorboardX "
       "(or facula[tensorboard])")


def library() -> Any:
    """tensorboardX. ModuleNotFoundError, which says what to install, if it is not there."""
    try:
        return importlib.import_module("tensorboardX")
    except ModuleNotFoundError as error:
        if error.name != "tensorboardX":
            raise
        raise ModuleNotFoundError(WHY, name="tensorboardX") from None


def _array(tensor: Tensor) -> Any:
    """A tensor as NumPy takes it: bfloat16 as float32."""
    found = tensor.detach().cpu()
    return (found.float() if str(found.dtype).endswith("bfloat16") else found).numpy()


def _taking_tensors(method: Any) -> Any:
    @functools.wraps(method)
    def taking(self: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map_only(Tensor, _array, (args, kwargs))
        return method(self, *args, **kwargs)
    return taking


@functools.cache
def writer_class() -> Any:
    """tensorboardX's SummaryWriter, whose `add_...` methods take Facula's tensors too."""
    base: Any = library().SummaryWriter
    methods = {name: _taking_tensors(getattr(base, name)) for name in dir(base) if name.startswith("add_")}
    methods["add_graph"] = absent.function("SummaryWriter.add_graph", "facula explain shows what is computed")

    def init(self: Any, log_dir: Any = None, comment: str = "", purge_step: Any = None, max_queue: int = 10,
             flush_secs: int = 120, filename_suffix: str = "", **options: Any) -> None:
        base.__init__(self, log_dir, comment, purge_step, max_queue, flush_secs, filename_suffix, **options)

    def log_dir(self: Any) -> Any:
        return self.logdir
    about = {"__init__": init, "__doc__": base.__doc__, "__module__": "torch.utils.tensorboard.writer",
             "log_dir": property(log_dir)}
    return type("SummaryWriter", (base,), {**methods, **about})


def __getattr__(name: str) -> Any:
    if name == "SummaryWriter":
        return writer_class()
    raise AttributeError(f"module 'facula.utils.tensorboard.writer' has no attribute {name!r}")
