"""The protocol's messages, as the table that its .proto file is: no generated code, no compiler of it.

A field is (name, number, type): a scalar's name, a message's, `[]` before it where it is repeated, `{}` where it is a
map from text. `Union` has its fields in one oneof.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
Fields = dict[str, tuple[int, str]]

_MODEL: Fields = {"name": (1, "string"), "version": (2, "string")}
_TENSOR: Fields = {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "[]int64"),
                   "parameters": (4, "{}InferParameter"), "contents": (5, "InferTensorContents")}
_PARAMETER: Fields = {"bool_param": (1, "bool"), "int64_param": (2, "int64"), "string_param": (3, "string")}
UNIONS = {"InferParameter": "parameter_choice", "ModelRepositoryParameter": "parameter_choice"}
MESSAGES: dict[str, Fields] = {
    "ServerLiveRequest": {}, "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {}, "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": _MODEL, "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": (1, "string"), "version": (2, "string"), "extensions": (3, "[]string")},
    "ModelMetadataRequest": _MODEL,
    "TensorMetadata": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "[]int64")},
    "ModelMetadataResponse": {"name": (1, "string"), "versions": (2, "[]string"), "platform": (3, "string"),
                              "inputs": (4, "[]TensorMetadata"), "outputs": (5, "[]TensorMetadata")},
    "InferParameter": {**_PARAMETER, "double_param": (4, "double"), "uint64_param": (5, "uint64")},
    "InferTensorContents": {
        "bool_contents": (1, "[]bool"), "int_contents": (2, "[]int32"), "int64_contents": (3, "[]int64"),
        "uint_contents": (4, "[]uint32"), "uint64_contents": (5, "[]uint64"), "fp32_contents": (6, "[]float"),
        "fp64_contents": (7, "[]double"), "bytes_contents": (8, "[]bytes")},
    "InferInputTensor": _TENSOR, "InferOutputTensor": _TENSOR,
    "InferRequestedOutputTensor": {"name": (1, "string"), "parameters": (2, "{}InferParameter")},
    "ModelInferRequest": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"),
        "parameters": (4, "{}InferParameter"), "inputs": (5, "[]InferInputTensor"),
        "outputs": (6, "[]InferRequestedOutputTensor"), "raw_input_contents": (7, "[]bytes")},
    "ModelInferResponse": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"),
        "parameters": (4, "{}InferParameter"), "outputs": (5, "[]InferOutputTensor"),
        "raw_output_contents": (6, "[]bytes")},
    "ModelStreamInferResponse": {"error_message": (1, "string"), "infer_response": (2, "ModelInferResponse")},
    # the extension for repositories
    "ModelRepositoryParameter": {**_PARAMETER, "bytes_param": (4, "bytes")},
    "RepositoryIndexRequest": {"repository_name": (1, "string"), "ready": (2, "bool")},
    "ModelIndex": {**_MODEL, "state": (3, "string"), "reason": (4, "string")},
    "RepositoryIndexResponse": {"models": (1, "[]ModelIndex")},
    **{f"RepositoryModel{what}Request": {"repository_name": (1, "string"), "model_name": (2, "string"),
                                         "parameters": (3, "{}ModelRepositoryParameter")}
       for what in ("Load", "Unload")},
    "RepositoryModelLoadResponse": {}, "RepositoryModelUnloadResponse": {},
}
CALLS = ["ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "RepositoryIndex",
         "RepositoryModelLoad", "RepositoryModelUnload"]
STREAM = "ModelStreamInfer"  # as ModelInfer, but requests and replies go one after another
_F = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="facula/open_inference.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        if name in UNIONS:
            message.oneof_decl.add(name=UNIONS[name])
        for field, (number, type) in fields.items():
            made = _field(message, field, number, type)
            if name in UNIONS:
                made.oneof_index = 0
    service = file.service.add(name="GRPCInferenceService")
    for call in CALLS:
        service.method.add(name=call, input_type=f".{PACKAGE}.{call}Request", output_type=f".{PACKAGE}.{call}Response")
    service.method.add(name=STREAM, input_type=f".{PACKAGE}.ModelInferRequest", client_streaming=True,
                       output_type=f".{PACKAGE}.{STREAM}Response", server_streaming=True)
    return file


def _field(message: Any, name: str, number: int, type: str) -> Any:
    field = message.field.add(name=name, number=number,
                              label=_F.LABEL_REPEATED if type[:2] in ("[]", "{}") else _F.LABEL_OPTIONAL)
    bare = type.removeprefix("[]").removeprefix("{}")
    if type.startswith("{}"):
        entry = message.nested_type.add(name="".join(p.title() for p in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _field(entry, "key", 1, "string")
        _field(entry, "value", 2, bare)
        field.type, field.type_name = _F.TYPE_MESSAGE, f".{PACKAGE}.{message.name}.{entry.name}"
    elif bare in MESSAGES:
        field.type, field.type_name = _F.TYPE_MESSAGE, f".{PACKAGE}.{bare}"
    else:
        field.type = getattr(_F, f"TYPE_{bare.upper()}")
    return field


# A pool of its own: another library of this process (tritonclient) may have messages of these names.
_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file())


def message(name: str) -> Any:
    """A message's class."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
