"""`facula serve`: its options, and the server of one process."""

from __future__ import annotations

import argparse
import importlib
import ipaddress
import json
import re
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

from facula.config import SERVE_TOKEN

from .http.app import App
from .logs import JsonLog
from .repository import Repository
from .settings import ConfigError, Generation, Limits, Settings, spec_of
from .telemetry import exporting

NEEDED = "facula serve needs {}: pip install 'facula[serve]'"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `facula serve`."""
    parser.add_argument("model", help="weights.pt+module:Class, program.pt2 (of torch.export.save), module:function "
                                      "(or Class, Module, Handler), or a folder of models")
    parser.add_argument("--name", help="what the model is called; by default what its source is")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="for HTTP (8000); 0: any, said in the log")
    parser.add_argument("--grpc-port", type=int, help="for gRPC; none by default")
    parser.add_argument("--input", action="append", default=[], metavar="NAME:TYPE:SHAPE",
                        help="an input, as x:FP32:-1,784; with these the model is warmed up")
    parser.add_argument("--output", action="append", default=[], metavar="NAME:TYPE:SHAPE")
    parser.add_argument("--argument", action="append", default=[], metavar="NAME=VALUE",
                        help="for the class that is made, or a Handler's settings.arguments; JSON, else text")
    parser.add_argument("--generate", action="store_true", help="the model generates text: /v1/completions")
    parser.add_argument("--tokenizer", metavar="FILE", help="tokenizer.json, or its folder; bytes: one token a byte")
    parser.add_argument("--chat-template", metavar="FILE", help="Jinja, for /v1/chat/completions")
    parser.add_argument("--cache-mib", type=int, default=256, metavar="MIB",
                        help="keys and values of all texts that are being generated (256 MiB)")
    parser.add_argument("--cache-dtype", default="float32", choices=["float32", "bfloat16", "float16"],
                        help="of these (float32); the others take half the bytes, and round")
    parser.add_argument("--max-batch", type=int, default=32, metavar="ROWS",
                        help="rows, or texts, that are run together (32)")
    parser.add_argument("--max-delay-us", type=int, default=0, metavar="US",
                        help="how long a request waits for others (0: it goes with what is there)")
    parser.add_argument("--queue", type=int, default=256, metavar="N", help="requests that wait; more get 503 (256)")
    parser.add_argument("--timeout-us", type=int, default=0, metavar="US", help="of requests that say none (0: none)")
    parser.add_argument("--max-body", type=int, default=64, metavar="MIB", help="the largest body (64 MiB)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes, each with its own models (1)")
    parser.add_argument("--token", help=f"what requests have to bring; or in {SERVE_TOKEN.name}, where `ps` cannot see")
    parser.add_argument("--control", action="store_true", help="let requests load and unload models of the folder")
    parser.add_argument("--tls-cert", metavar="FILE")
    parser.add_argument("--tls-key", metavar="FILE")
    parser.add_argument("--access-log", action="store_true", help="log every request, not only those that fail")
    parser.add_argument("--telemetry", action="store_true",
                        help="spans of OpenTelemetry for requests, sent as OTEL_* variables say")
    parser.add_argument("--drain-seconds", type=int, default=30, metavar="S", help="of SIGTERM, for what runs (30)")
    parser.add_argument("--write", metavar="FOLDER",
                        help="serve nothing, but write files for a container, Kubernetes and KServe")
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)  # a worker's listening socket


def serve(options: argparse.Namespace) -> int:
    """Run the server until SIGTERM or SIGINT; returns the exit status."""
    for name in ["uvicorn", *(["grpc", "google.protobuf"] if options.grpc_port is not None else [])]:
        try:
            importlib.import_module(name)
        except ImportError:
            print(NEEDED.format(name), file=sys.stderr)
            return 2
    log = JsonLog()
    try:
        base = _settings(options)
        _check_tls(options)
        if options.write:
            return _write(options, base)
        if options.workers > 1 and options.control:
            raise ConfigError("--control is for one worker: a request reaches one of them only")
        telemetry = exporting() if options.telemetry else None
        if options.workers > 1 and options.watts is not None:
            raise ConfigError("--watts is for one worker: it paces the process that it is given to")
        if options.cores is not None or options.watts is not None:
            import facula
            facula.set_budget(cores=options.cores, watts=options.watts)
    except (ConfigError, NotImplementedError, RuntimeError, ValueError) as error:
        print(f"facula serve: {error}", file=sys.stderr)
        return 2
    if options.workers > 1 and options.fd is None:
        from .supervisor import supervise
        return supervise(options, sys.argv[1:], log)
    token = options.token or SERVE_TOKEN.value
    if not token and not _loopback(options.host):
        log("warning", message=f"{options.host} is open to others, and no token is asked for")
    folder = Path(options.model) if Path(options.model).is_dir() else None
    models = Repository(folder, base=base, log=log)
    app = App(models, limits=Limits(body_bytes=options.max_body << 20), token=token, control=options.control,
              access_log=options.access_log, log=log, telemetry=telemetry)
    models.loading = True
    from .running import run
    return run(app, options, lambda stop: _load(models, options, stop, log), log)


def _write(options: argparse.Namespace, base: Settings) -> int:
    from .deployment import write
    parser = argparse.ArgumentParser()
    add_options(parser)
    model = Path(options.model)
    name = options.name or (model.resolve().name if model.is_dir() else name_of(options.model))
    for path in write(options, parser, base, name):
        print(path)
    return 0


def _load(models: Repository, options: argparse.Namespace, stop: Any, log: JsonLog) -> None:
    def work() -> None:
        try:
            if models.folder is not None:
                models.load_all()
            else:
                models.add(options.name or name_of(options.model), options.model)
        except BaseException as error:
            print(f"facula serve: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            stop(2 if isinstance(error, (ConfigError, NotImplementedError)) else 1)
            return
        models.loading = False
        failed = models.unready()
        if failed:
            log("not ready", failed=failed)
        elif not models.models:
            log("ready", models=[], message=f"{options.model} holds no models: NAME/config.json, NAME/1, ... (docs/"
                                            "serving.md)")
        else:
            log("ready", models=[*models.models])
    threading.Thread(target=work, name="facula-loading", daemon=True).start()


def _settings(options: argparse.Namespace) -> Settings:
    for name, least in (("max_batch", 1), ("max_delay_us", 0), ("queue", 1), ("timeout_us", 0), ("max_body", 1),
                        ("workers", 1), ("drain_seconds", 0), ("cache_mib", 1)):
        if getattr(options, name) < least:
            raise ConfigError(f"--{name.replace('_', '-')} is {least} at least")
    generates = options.generate or options.tokenizer or options.chat_template
    generation = Generation(options.tokenizer or "", options.chat_template or "", options.cache_mib << 20,
                            options.cache_dtype)
    return Settings(
        generation=generation if generates else None,
        arguments=dict([_argument(text) for text in options.argument]),
        inputs=tuple([_spec(text, "--input") for text in options.input]),
        outputs=tuple([_spec(text, "--output") for text in options.output]),
        max_batch_size=options.max_batch, max_queue_delay_microseconds=options.max_delay_us,
        max_queue_size=options.queue, timeout_microseconds=options.timeout_us)


def _check_tls(options: argparse.Namespace) -> None:
    if bool(options.tls_cert) != bool(options.tls_key):
        raise ConfigError("--tls-cert and --tls-key go together")
    if options.tls_cert:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(options.tls_cert, options.tls_key)
        except OSError as error:  # ssl.SSLError among them
            raise ConfigError(f"--tls-cert {options.tls_cert} --tls-key {options.tls_key}: "
                              f"{error.strerror or error}") from None


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigError(f"--argument {text}: NAME=VALUE is expected")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _spec(text: str, where: str) -> Any:
    name, _, rest = text.partition(":")
    datatype, colon, shape = rest.partition(":")
    if not colon:
        raise ConfigError(f"{where} {text}: NAME:TYPE:SHAPE is expected, as x:FP32:-1,784")
    try:
        sizes = [int(n) for n in shape.split(",")] if shape else []
    except ValueError:
        raise ConfigError(f"{where} {text}: a shape is sizes with commas, -1 for any") from None
    return spec_of({"name": name, "datatype": datatype.upper(), "shape": sizes}, where)


def name_of(source: str) -> str:
    """A model's name from its source."""
    weights, plus, rest = source.rpartition("+")
    file = weights if plus else source if source.lower().endswith((".pt2", ".onnx")) else ""
    text = Path(file).stem if file else rest.rpartition(":")[2]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text).strip(".-") or "model"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
