"""`torch.export.save` and `load`: a program as data. Nothing in a file is ever run while it is read.

The file is a zip archive, its entries uncompressed:

    program.json     the graph, its signature, trees, sizes, where each tensor lies
    tensors/0, 1...  the bytes of the tensors' memory, little-endian
    extra/NAME       `extra_files`

Reading takes time and memory in proportion to the file. Whatever is wrong with one is a DamagedProgram.
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

import facula
from facula.errors import warn
from facula.export import _encoding, _graph_files
from facula.export._unlifted import rooted
from facula.export.exported_program import ExportedProgram, Guard, ModuleCallEntry, ModuleCallSignature
from facula.export.graph_signature import (
    WRITTEN,
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    SymBoolArgument,
    SymFloatArgument,
    SymIntArgument,
    TensorArgument,
)
from facula.fx.graph import Graph
from facula.nn import Parameter
from facula.serialization.storages import STORAGE_TYPES, LoadedStorage
from facula.serialization.tensors import from_storage, geometry, storage_of
from facula.symbolic_expressions import Symbol, ValueRanges
from facula.utils import _pytree as pytree

_FORMAT, _VERSION = "facula.export", 1
_ENTRIES = 1 << 20
_ARGUMENTS: dict[str, Any] = {kind.__name__: kind for kind in (TensorArgument, SymIntArgument, SymFloatArgument,
                                                               SymBoolArgument)}
# What reading raises where a file is not what it should be.
_WRONG = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RuntimeError, RecursionError,
          NotImplementedError, AssertionError, EOFError, MemoryError, SyntaxError, StopIteration, struct.error,
          zlib.error, zipfile.BadZipFile, UnicodeError)


class DamagedProgram(RuntimeError):
    """A file that `torch.export.load` cannot read: no program, or damaged.

    Example:
        >>> import io
        >>> import facula
        >>> try:
        ...     facula.export.load(io.BytesIO(b"nonsense"))
        ... except facula.export.DamagedProgram as error:
        ...     print(error)
        torch.export.load: File is not a zip file
    """


# ---- writing --------------------------------------------------------------------------------------------------------

class _Tensors:
    """The tensors of a program, each once, over their memory, each piece once."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.memory: list[np.ndarray] = []
        self.places: dict[int, int] = {}
        self.owners: dict[int, int] = {}
        self.kept: list[Any] = []

    def place(self, t: Any) -> int:
        """Where a tensor is."""
        if id(t) not in self.places:
            plain = t.detach().resolve_conj().resolve_neg()
            owner, array = storage_of(plain)
            if id(owner) not in self.owners:
                self.owners[id(owner)] = len(self.memory)
                self.memory.append(array)
            offset, size, stride = geometry(plain)
            self.places[id(t)] = len(self.told)
            self.told.append([self.owners[id(owner)], str(t.dtype).removeprefix("torch."), offset, list(size),
                              list(stride), isinstance(t, Parameter), bool(t.requires_grad)])
            self.kept += [t, plain, owner]
        return self.places[id(t)]


def save(ep: ExportedProgram, f: str | os.PathLike[str] | IO[bytes], *, extra_files: dict[str, Any] | None = None,
         opset_version: dict[str, int] | None = None, pickle_protocol: int = 2) -> None:
    """Write a program to a file: its graph as JSON, its tensors as bytes. No code, nothing pickled.

    Args:
        f: a path (".pt2" by custom), or a file that is open for writing.
        extra_files: names and texts (or bytes) that are to be kept with it.
        opset_version, pickle_protocol: of no meaning here.

    Raises:
        TypeError: no ExportedProgram; a graph that was changed to have what a file cannot name.

    Example:
        >>> import io
        >>> import facula
        >>> program = facula.export.export(facula.nn.Linear(3, 2), (facula.ones(4, 3),))
        >>> file = io.BytesIO()
        >>> facula.export.save(program, file)
        >>> same = facula.export.load(file)
        >>> x = facula.randn(4, 3)
        >>> facula.equal(same.module()(x), program.module()(x))
        True
    """
    if not isinstance(ep, ExportedProgram):
        raise TypeError(f"The 'ep' parameter must be an instance of 'ExportedProgram', got '{type(ep).__name__}' "
                        "instead.")
    if isinstance(f, (str, os.PathLike)) and not os.fspath(f).endswith(".pt2"):
        warn(f"Expect archive file to be a file ending in .pt2, but is instead {os.fspath(f)}")
    tensors = _Tensors()
    text = json.dumps(_told(ep, tensors), allow_nan=False, separators=(",", ":"))
    with zipfile.ZipFile(f, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr("program.json", text)
        for k, array in enumerate(tensors.memory):
            archive.writestr(f"tensors/{k}", memoryview(np.ascontiguousarray(array)).cast("B"))  # type: ignore[arg-type]
        for name, value in (extra_files or {}).items():
            archive.writestr(f"extra/{name}", value if isinstance(value, (bytes, bytearray)) else str(value))


def _told(ep: ExportedProgram, tensors: _Tensors) -> dict[str, Any]:
    signature = ep._signature()
    graph = _graph_files.told(ep.graph, ep.graph_module)
    example = None
    if ep.example_inputs is not None:
        leaves, tree = pytree.tree_flatten(ep.example_inputs)
        if tree == signature.in_spec:
            example = [{"tensor": tensors.place(leaf)} if isinstance(leaf, facula.Tensor) else
                       {"value": _encoding.written(leaf)} for leaf in leaves]
    return {
        "format": _FORMAT, "version": _VERSION, "byteorder": sys.byteorder, **graph,
        "inputs": [[spec.kind.name, _argument(spec.arg), spec.target, spec.persistent]
                   for spec in ep.graph_signature.input_specs],
        "outputs": [[spec.kind.name, _argument(spec.arg), spec.target] for spec in ep.graph_signature.output_specs],
        "state": [[name, tensors.place(t)] for name, t in ep.state_dict.items()],
        "constants": [[name, tensors.place(t)] for name, t in ep.constants.items()],
        "ranges": [[symbol.name, found.lower, found.upper] for symbol, found in ep.range_constraints.items()],
        "guards": [[[g.relation.name, g.relation.left.dumped(), g.relation.right.dumped()], g.text]
                   for g in ep._guards],
        "in_spec": pytree.treespec_dumps(signature.in_spec), "out_spec": pytree.treespec_dumps(signature.out_spec),
        "names": signature.forward_arg_names, "modules": [entry.fqn for entry in ep.module_call_graph[1:]],
        "example": example, "tensors": tensors.told}


def _argument(arg: Any) -> Any:
    if isinstance(arg, ConstantArgument):
        return ["ConstantArgument", arg.name, _encoding.written(arg.value)]
    return [type(arg).__name__, arg.name, None]


# ---- reading --------------------------------------------------------------------------------------------------------

@contextmanager
def _reading() -> Iterator[None]:
    """Whatever goes wrong within is a DamagedProgram."""
    try:
        yield
    except DamagedProgram:
        raise
    except _WRONG as error:
        plain = isinstance(error, (RuntimeError, zipfile.BadZipFile))
        said = str(error) if plain else f"{type(error).__name__}: {error}"
        raise DamagedProgram(f"torch.export.load: {said[:300]}") from None


def load(f: str | os.PathLike[str] | IO[bytes], *, extra_files: dict[str, Any] | None = None,
         expected_opset_version: dict[str, int] | None = None) -> ExportedProgram:
    """Read a program that `save` has written.

    Args:
        f: a path, or a file that is open for reading and can seek.
        extra_files: filled with the texts that were saved under its keys.
        expected_opset_version: of no meaning here.

    Raises:
        DamagedProgram (a RuntimeError): no such file's contents, whatever is wrong with them.
        OSError: there is no file, or it cannot be read.

    Example: see `save`.
    """
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return _load(file, extra_files)
    return _load(f, extra_files)


def _load(file: Any, extra_files: dict[str, Any] | None) -> ExportedProgram:
    with _reading():
        length = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = {info.filename for info in entries}
            if "program.json" not in names:
                raise DamagedProgram("torch.export.load: the file has no program.json: it was not written by Facula's "
                                     "torch.export.save" + (", but by PyTorch's, whose files cannot be read yet" if any(
                                         "archive_format" in name or name.endswith("models/model.json")
                                         for name in names) else ""))
            if len(names) != len(entries) or len(entries) > _ENTRIES or any(
                    info.compress_type != zipfile.ZIP_STORED for info in entries) \
                    or sum(info.file_size for info in entries) > length:
                raise DamagedProgram("torch.export.load: entries of the file are compressed, twice there or too long")
            told = json.loads(archive.read("program.json"))
            if told["format"] != _FORMAT or told["version"] != _VERSION:
                raise DamagedProgram(f"torch.export.load: version {str(told['version'])[:20]} of the format, "
                                     f"{_VERSION} is read")
            found = _program(told, _read_tensors(told, archive, names))
            for name in extra_files or ():
                if f"extra/{name}" in names:
                    extra_files[name] = archive.read(f"extra/{name}").decode()  # type: ignore[index]
            return found


def _read_tensors(told: Any, archive: zipfile.ZipFile, names: set[str]) -> list[Any]:
    memory: dict[int, LoadedStorage] = {}
    found: list[Any] = []
    for place, of, offset, size, stride, parameter, requires_grad in told["tensors"]:
        kind = _encoding._DTYPES[of]
        if type(place) is not int or f"tensors/{place}" not in names:
            raise ValueError("a tensor without memory")
        if place not in memory:
            array = np.frombuffer(bytearray(archive.read(f"tensors/{place}")), np.uint8)
            memory[place] = LoadedStorage(array, STORAGE_TYPES["UntypedStorage"])
        if told["byteorder"] != sys.byteorder and kind.itemsize > 1:
            raise DamagedProgram("torch.export.load: the file was written on a machine of another byte order")
        t = from_storage(memory[place], kind, offset, tuple(size), tuple(stride))
        found.append(Parameter(t, bool(requires_grad)) if parameter else t.requires_grad_(bool(requires_grad)))
    for storage in memory.values():
        storage.loading = False
    return found


def _program(told: Any, tensors: list[Any]) -> ExportedProgram:
    graph, nodes, functions = _graph_files.read(told)
    signature = _signature(told, graph, nodes)
    in_spec, out_spec = pytree.treespec_loads(told["in_spec"]), pytree.treespec_loads(told["out_spec"])
    _check(told, graph, signature, in_spec, out_spec)
    state = {str(name): tensors[place] for name, place in told["state"]}
    constants = {str(name): tensors[place] for name, place in told["constants"]}
    both = {**constants, **state}
    for spec in signature.input_specs:
        if spec.kind is not InputKind.USER_INPUT and spec.target not in (
                constants if spec.kind is InputKind.CONSTANT_TENSOR else both):
            raise ValueError("an input without a tensor")
    ranges = {}
    for name, lower, upper in told["ranges"]:
        if not _encoding.is_name(name) or type(lower) is not int or type(upper) not in (int, type(None)):
            raise ValueError("no range")
        ranges[Symbol(name)] = ValueRanges(lower, upper)
    guards = [Guard(_encoding.relation(found), str(text)) for found, text in told["guards"]]
    entries = [ModuleCallEntry("", ModuleCallSignature([], [], in_spec, out_spec, list(told["names"])))]
    entries += [ModuleCallEntry(str(name)) for name in told["modules"]]
    example: Any = None
    if told["example"] is not None:
        example = pytree.tree_unflatten([tensors[one["tensor"]] if "tensor" in one else
                                         _encoding.read(one["value"], {}) for one in told["example"]], in_spec)
    return ExportedProgram(rooted(functions), graph, signature, state, ranges, entries, example, constants,
                           guards=guards)


def _signature(told: Any, graph: Graph, nodes: dict[str, Any]) -> ExportGraphSignature:
    def argument(found: Any) -> Any:
        kind, name, value = found
        if kind == "ConstantArgument":
            return ConstantArgument(str(name), _encoding.read(value, {}))
        if name not in nodes:
            raise ValueError("an argument that is no node")
        return _ARGUMENTS[kind](name)
    inputs = []
    for kind, arg, target, persistent in told["inputs"]:
        path_ok = target is None or isinstance(target, str) and all(map(_path_part, target.split(".")))
        if not path_ok or persistent not in (None, True, False):
            raise ValueError("no path of a tensor")
        inputs.append(InputSpec(InputKind[kind], argument(arg), target, persistent))
    return ExportGraphSignature(inputs, [OutputSpec(OutputKind[kind], argument(arg), target)
                                         for kind, arg, target in told["outputs"]])


def _path_part(part: str) -> bool:
    """A part of a module's path: a name, or a number in a list of modules."""
    return part.isalnum() or _encoding.is_name(part)


def _check(told: Any, graph: Graph, signature: ExportGraphSignature, in_spec: Any, out_spec: Any) -> None:
    """Do graph, signature and trees fit each other?"""
    placeholders = graph.find_nodes(op="placeholder")
    outputs = graph.find_nodes(op="output")
    last = graph.output_node()
    users = [spec for spec in signature.input_specs if spec.kind is InputKind.USER_INPUT]
    first = [node for node, _ in zip(graph.nodes, placeholders, strict=False)]
    results = last.args[0]
    users_get = [spec for spec in signature.output_specs if spec.kind not in WRITTEN]
    written = signature.output_specs[:len(signature.output_specs) - len(users_get)]
    inputs = {spec.target or spec.arg.name for spec in signature.input_specs}
    if any(spec.kind not in WRITTEN or spec.target not in inputs or not isinstance(spec.arg, TensorArgument)
           for spec in written):
        raise ValueError("what is written is no input")
    names = told["names"]
    if len(outputs) != 1 or first != placeholders or [n.name for n in placeholders] != [
            spec.arg.name for spec in signature.input_specs] or not isinstance(results, tuple) \
            or len(results) != len(signature.output_specs) or out_spec.num_leaves != len(users_get) \
            or in_spec.num_leaves != len(users) or in_spec.type is not tuple or in_spec.num_children != 2 \
            or not all(map(_encoding.is_name, names)) \
            or len(names) != in_spec.children()[0].num_children + in_spec.children()[1].num_children \
            or in_spec.children()[0].type is not tuple or in_spec.children()[1].type is not dict \
            or list(in_spec.children()[1].context) != list(names[in_spec.children()[0].num_children:]):
        raise ValueError("graph, signature and arguments do not fit each other")
    for spec, node in zip(signature.input_specs, placeholders, strict=True):
        tensor = isinstance(spec.arg, TensorArgument)
        value = node.meta.get("val")
        if tensor is not isinstance(value, facula.Tensor) or not tensor and not isinstance(spec.arg, ConstantArgument):
            raise ValueError("an input that is no tensor")
