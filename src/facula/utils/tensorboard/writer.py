"""The class `SummaryWriter`, made of tensorboardX's when it is first asked for.

What tensorboardX lacks of torch's, or spells otherwise, stands here: `add_tensor`, `add_graph` (of modules, through
`facula.profiler.model_trace`), `add_scalar(new_style=, double_precision=)`, `get_logdir`,
`add_hparams(run_name=)`.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

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


def _proto(name: str) -> Any:
    return importlib.import_module(f"tensorboardX.proto.{name}_pb2")


def _tensor_value(tag: str, array: Any, double: bool, plugin: str) -> Any:
    """A Summary with one value that is a tensor of floats, or doubles."""
    shape = [_proto("tensor_shape").TensorShapeProto.Dim(size=size) for size in array.shape]
    kind = _proto("tensor").TensorProto
    place = {"double_val" if double else "float_val": array.reshape(-1).astype(float).tolist()}
    tensor = kind(dtype="DT_DOUBLE" if double else "DT_FLOAT",
                  tensor_shape=_proto("tensor_shape").TensorShapeProto(dim=shape), **place)
    summary = _proto("summary")
    about = summary.SummaryMetadata(plugin_data=summary.SummaryMetadata.PluginData(plugin_name=plugin))
    return summary.Summary(value=[summary.Summary.Value(tag=tag, tensor=tensor, metadata=about)])


@functools.cache
def writer_class() -> Any:
    """tensorboardX's SummaryWriter, whose `add_...` methods take Facula's tensors and torch's arguments too."""
    base: Any = library().SummaryWriter
    methods = {name: _taking_tensors(getattr(base, name)) for name in dir(base) if name.startswith("add_")}

    def init(self: Any, log_dir: Any = None, comment: str = "", purge_step: Any = None, max_queue: int = 10,
             flush_secs: int = 120, filename_suffix: str = "", **options: Any) -> None:
        base.__init__(self, log_dir, comment, purge_step, max_queue, flush_secs, filename_suffix, **options)

    def log_dir(self: Any) -> Any:
        return self.logdir

    def get_logdir(self: Any) -> Any:
        """The folder of the event files."""
        return self.logdir

    def add_scalar(self: Any, tag: str, scalar_value: Any, global_step: int | None = None,
                   walltime: float | None = None, new_style: bool = False, double_precision: bool = False,
                   **options: Any) -> None:
        """A number; with `new_style` as a tensor, which may have `double_precision`."""
        if not (new_style or double_precision):
            methods["add_scalar"](self, tag, scalar_value, global_step, walltime, **options)
            return
        import numpy as np
        value = np.asarray(_array(scalar_value) if isinstance(scalar_value, Tensor) else scalar_value)
        if value.size != 1:
            raise ValueError(f"add_scalar: expected one number, got {value.size}")
        self._get_file_writer().add_summary(_tensor_value(tag, value.reshape(()), double_precision, "scalars"),
                                            global_step, walltime)

    def add_tensor(self: Any, tag: str, tensor: Any, global_step: int | None = None,
                   walltime: float | None = None) -> None:
        """A tensor of floats, any shape."""
        import numpy as np
        array = np.asarray(_array(tensor) if isinstance(tensor, Tensor) else tensor)
        self._get_file_writer().add_summary(_tensor_value(tag, array, array.dtype == np.float64, "tensor"),
                                            global_step, walltime)

    def add_audio(self: Any, tag: str, snd_tensor: Any, global_step: int | None = None, sample_rate: int = 44100,
                  walltime: float | None = None) -> None:
        """Sound, (1, L) or (L,), in [-1, 1], as a WAV file of 16 bits."""
        import numpy as np

        from facula.monitor.encoding import wav
        samples = np.asarray(_array(snd_tensor) if isinstance(snd_tensor, Tensor) else snd_tensor).squeeze()
        if samples.ndim != 1:
            raise ValueError(f"add_audio: expected (1, L) or (L,), got {samples.shape}")
        summary = _proto("summary").Summary
        sound = summary.Audio(sample_rate=sample_rate, num_channels=1, length_frames=len(samples),
                              encoded_audio_string=wav(samples, sample_rate), content_type="audio/wav")
        self._get_file_writer().add_summary(summary(value=[summary.Value(tag=tag, audio=sound)]), global_step, walltime)

    def add_graph(self: Any, model: Any, input_to_model: Any = None, verbose: bool = False,
                  use_strict_trace: bool = True) -> None:
        """The modules of `model`, as one call of it with `input_to_model` goes through them: a node for each that has
        no parts, and for what goes in and comes out."""
        from facula.profiler.model_trace import traced
        if input_to_model is None:
            raise ValueError("add_graph: input_to_model is needed: the graph is that of one call")
        trace = traced(model, input_to_model)
        graph, shape = _proto("graph").GraphDef(), _proto("tensor_shape").TensorShapeProto
        attribute = _proto("attr_value").AttrValue
        for node in trace.nodes():
            made = graph.node.add(name=node.name, op=node.kind, input=node.inputs)
            sizes = [shape(dim=[shape.Dim(size=size) for size in shape_]) for shape_ in node.shapes]
            made.attr["_output_shapes"].CopyFrom(attribute(list=attribute.ListValue(shape=sizes)))
            if verbose:
                print(node.name, node.kind, *node.inputs)
        graph.versions.producer = 22
        event = _proto("event").Event(graph_def=graph.SerializeToString())
        self._get_file_writer().event_writer.add_event(event)

    def add_hparams(self: Any, hparam_dict: Any, metric_dict: Any, hparam_domain_discrete: Any = None,
                    run_name: str | None = None, global_step: int | None = None) -> None:
        """Settings of a run and what came of them, in a folder `run_name` below.

        Raises:
            TypeError: if either is no dict; NotImplementedError of `hparam_domain_discrete`.
        """
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        if hparam_domain_discrete:
            raise NotImplementedError("add_hparams: hparam_domain_discrete is not in Facula yet (tensorboardX has no "
                                      "place for it)")
        methods["add_hparams"](self, hparam_dict, metric_dict, run_name, global_step)

    about = {"__init__": init, "__doc__": base.__doc__, "__module__": "torch.utils.tensorboard.writer",
             "log_dir": property(log_dir), "get_logdir": get_logdir}
    return type("SummaryWriter", (base,), {**methods, "add_audio": add_audio, "add_scalar": add_scalar,
                                           "add_tensor": add_tensor, "add_graph": add_graph,
                                           "add_hparams": add_hparams, **about})


def __getattr__(name: str) -> Any:
    if name == "SummaryWriter":
        return writer_class()
    raise AttributeError(f"module 'facula.utils.tensorboard.writer' has no attribute {name!r}")
