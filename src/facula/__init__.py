"""Facula: PyTorch's API on a lazy engine, in pure Python. Use it as you would use `torch`."""

from __future__ import annotations

import importlib as _importlib
import sys as _sys
from math import e, inf, nan, pi
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from facula import autograd, random, version
from facula import devices as _devices
from facula import ops as _ops
from facula._tensor import methods as _tensor_methods
from facula._tensor.constructors import (
    BFloat16Tensor,
    BoolTensor,
    ByteTensor,
    CharTensor,
    DoubleTensor,
    FloatTensor,
    HalfTensor,
    IntTensor,
    LongTensor,
    ShortTensor,
    set_default_tensor_type,
)
from facula._tensor.handle import Tensor
from facula._tensor.inquiries import *  # noqa: F403
from facula._tensor.printing import get_printoptions, set_printoptions
from facula._tensor.storages import TypedStorage, UntypedStorage
from facula.autograd.modes import (
    enable_grad,
    inference_mode,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from facula.autograd.modes import set_detect_anomaly as set_anomaly_enabled
from facula.defaults import get_default_dtype, set_default_dtype
from facula.devices import device, get_default_device, set_default_device
from facula.dtypes import (
    LACKING as _LACKING,
)
from facula.dtypes import (
    bfloat16,
    can_cast,
    cdouble,
    cfloat,
    complex64,
    complex128,
    double,
    dtype,
    float16,
    float32,
    float64,
    half,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    short,
    uint8,
)
from facula.errors import OutOfMemoryError
from facula.layouts import (
    _mkldnn,
    channels_last,
    channels_last_3d,
    contiguous_format,
    jagged,
    layout,
    memory_format,
    preserve_format,
    sparse_bsc,
    sparse_bsr,
    sparse_coo,
    sparse_csc,
    sparse_csr,
    strided,
)
from facula.numeric_limits import finfo, iinfo
from facula.ops import registry as _registry
from facula.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from facula.size import Size
from facula.version import __version__

newaxis = None
if _TYPE_CHECKING:  # else it is the module of that name
    from facula.ops.create.conversion import tensor

# Names of Python's own last, so that nothing above meets them.
globals().update(_registry.FUNCTIONS)
globals().update(_LACKING, chalf=_LACKING["complex32"], bit=_LACKING["uint1"])
globals().update({"float": float32, "int": int32, "bool": _importlib.import_module("facula.dtypes").bool_})


# Of these the modules import `facula`.
_ELSEWHERE = {"autocast": "amp", "GradScaler": "amp", "save": "serialization", "load": "serialization",
              "from_dlpack": "dlpack", "to_dlpack": "dlpack", "Stream": "_streams", "Event": "_streams",
              "vmap": "func", "get_device_module": "_device_module", "_register_device_module": "_device_module",
              "summary": "profiler.model_trace", "memory_summary": "profiler.memory",
              "set_budget": "budget",
              **dict.fromkeys(("_assert", "_check", "_check_index", "_check_is_size", "_check_not_implemented",
                               "_check_tensor_all", "_check_tensor_all_with", "_check_type", "_check_value",
                               "_check_with"), "_assertion"),
              **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell",
                               "rnn_relu_cell"), "nn.recurrent.functions"),
              **dict.fromkeys((
                  "affine_grid_generator", "alpha_dropout_", "binary_cross_entropy_with_logits", "conv_tbc",
                  "cosine_embedding_loss", "ctc_loss", "dropout_", "embedding_bag", "embedding_renorm_",
                  "feature_alpha_dropout_", "feature_dropout", "feature_dropout_", "hinge_embedding_loss", "kl_div",
                  "margin_ranking_loss", "native_dropout", "poisson_nll_loss", "slice_copy", "triplet_margin_loss"),
                  "nn.functional.at_the_root"),
              **dict.fromkeys(("eig", "lstsq", "matrix_rank", "solve", "symeig"), "removed"),
              **dict.fromkeys(("cond", "while_loop"), "_higher_order_ops"),
              **dict.fromkeys(("sparse_coo_tensor", "sparse_compressed_tensor", "sparse_csc_tensor",
                               "sparse_csr_tensor"), "sparse._creating"),
              **dict.fromkeys(("dsmm", "hsmm", "hspmm", "resize_as_sparse_", "saddmm", "smm", "spmm", "sspaddmm"),
                              "sparse._root"),
              **dict.fromkeys((
                  "AcceleratorError", "FatalError", "Tag", "USE_GLOBAL_DEPS", "USE_RTLD_GLOBAL_WITH_LIBTORCH",
                  "_log_softmax_backward_data", "_softmax_backward_data", "compiled_with_cxx11_abi",
                  "cudnn_is_acceptable", "has_lapack", "has_mkl", "has_openmp", "has_spectral", "init_num_threads",
                  "is_distributed", "is_vulkan_available", "legacy_contiguous_format", "per_channel_affine",
                  "per_channel_affine_float_qparams", "per_channel_symmetric", "per_tensor_affine",
                  "per_tensor_symmetric", "qscheme"), "build_facts"),
              "DispatchKey": "library.dispatch_keys", "DispatchKeySet": "library.dispatch_keys",
              **dict.fromkeys([f"{verb}_autocast_{noun}" for verb, nouns in (
                  ("is", "enabled cache_enabled cpu_enabled ipu_enabled xla_enabled"),
                  ("set", "enabled cache_enabled cpu_enabled ipu_enabled xla_enabled"),
                  ("get", "dtype cpu_dtype gpu_dtype ipu_dtype xla_dtype"),
                  ("set", "dtype cpu_dtype gpu_dtype ipu_dtype xla_dtype")) for noun in nouns.split()],
                  "amp.switches"),
              **dict.fromkeys(("autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache"),
                              "amp.switches"),
              **dict.fromkeys([f"{of}Storage" for of in (
                  "Bool", "Byte", "Char", "Short", "Int", "Long", "Half", "BFloat16", "Float", "Double", "ComplexFloat",
                  "ComplexDouble")], "_tensor.legacy_storages"),
              **dict.fromkeys(("SymBool", "SymFloat", "SymInt", "sym_float", "sym_fresh_size", "sym_int", "sym_ite",
                               "sym_max", "sym_min", "sym_not", "sym_sqrt", "sym_sum", "_sym_sqrt"),
                              "symbolic_numbers")}


def __getattr__(name: str) -> _Any:
    """What is loaded when first asked for: submodules, and the operations that are defined beside `nn.functional`."""
    if name.startswith("__") and name not in ("__config__", "__future__"):
        raise AttributeError(f"module 'facula' has no attribute {name!r}")
    if _devices.is_custom(name):  # not kept: it may go, or be replaced
        return _importlib.import_module("facula._device_module").find(_devices.kind_of(name))
    if name in _ELSEWHERE:
        found = getattr(_importlib.import_module("facula." + _ELSEWHERE[name]), name)
    else:
        try:
            found = _importlib.import_module("facula." + name)
        except ModuleNotFoundError as error:
            if error.name != "facula." + name:
                raise
            _importlib.import_module("facula.nn.functional")
            found = _registry.FUNCTIONS.get(name)
            if found is None:
                raise AttributeError(f"module 'facula' has no attribute {name!r}") from None
    globals()[name] = found
    return found
