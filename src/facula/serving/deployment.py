"""`facula serve ... --write FOLDER`: the same server as files for containers, Kubernetes and KServe.

    Containerfile, requirements.txt, model/    podman build -t NAME FOLDER (or docker)
    kubernetes.yaml                            a Deployment and a Service: kubectl apply -f
    kserve.yaml                                an InferenceService of protocol v2

No compiler is in the image. Neither a token nor keys are written anywhere: they are a Secret's.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.metadata
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from facula.config import SERVE_TOKEN

from .settings import ConfigError, Settings, read_settings

CONTAINERFILE = """\
# podman build -t {image} .    (or docker build -f Containerfile). Where Facula is no package of your index, put its
# wheel in this folder: pip wheel --no-deps -w . PATH_TO_FACULA
FROM python:3.12-slim
WORKDIR /srv
COPY requirements.txt *.whl ./
RUN pip install --no-cache-dir --find-links . -r requirements.txt && rm -f *.whl
COPY model/ ./
ENV HOME=/tmp FACULA_CACHE_DIR=/tmp/facula PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE {ports}
ENTRYPOINT {command}
"""
_LOCAL = ("model", "write", "host", "port", "grpc_port", "tls_cert", "tls_key", "token", "fd", "help", "tokenizer",
          "chat_template", "workers")  # of this machine: the container has its own


def write(options: argparse.Namespace, parser: argparse.ArgumentParser, settings: Settings, name: str) -> list[Path]:
    """The files that were written. Raises ConfigError."""
    if options.token or options.tls_cert:
        raise ConfigError(f"--write puts no secrets into files: give {SERVE_TOKEN.name} as a Secret, and have TLS end "
                          "before the container (an Ingress, KServe)")
    if options.workers > 1:
        raise ConfigError("--write is for one worker a container: replicas are Kubernetes'")
    folder = Path(options.write)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty")
    files = Files(folder / "model")
    model = files.source(options.model, settings)
    command = ["facula", "serve", model, "--host", "0.0.0.0", "--port", "8000"]
    ports = {"http": 8000} if options.grpc_port is None else {"http": 8000, "grpc": 8001}
    if "grpc" in ports:
        command += ["--grpc-port", "8001"]
    for option in ("tokenizer", "chat_template"):
        value = getattr(options, option)
        if value:
            command += ["--" + option.replace("_", "-"), value if value == "bytes" else files.file(value, True)]
    command += _arguments(options, parser) + ([f"--cores={options.cores}"] if options.cores else [])
    image = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50] or "model"
    extras = [*(["generate"] if settings.generation else ["serve"]), *(["telemetry"] if options.telemetry else [])]
    wanted = [f"facula[{','.join(extras)}]", *sorted(files.distributions)]
    drain = options.drain_seconds
    texts = {
        "requirements.txt": "\n".join(wanted) + "\n",
        "Containerfile": CONTAINERFILE.format(image=image, ports=" ".join(map(str, ports.values())),
                                              command=json.dumps(command)),
        "kubernetes.yaml": "---\n".join(map(yaml, (_deployment(image, ports, options.cores, drain),
                                                   _service(image, ports)))),
        "kserve.yaml": yaml(_kserve(image, ports, options.cores, drain))}
    for file, text in texts.items():
        (folder / file).write_text(text, "utf-8")
    return [folder / file for file in texts]


def _arguments(options: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    """Options as they were given, but for what is the container's."""
    found: list[str] = []
    for action in parser._actions:
        value = getattr(options, action.dest, None)
        if action.dest in _LOCAL or value == action.default:
            continue
        flag = action.option_strings[0]
        for one in value if isinstance(value, list) else [value]:
            found += [flag] if one is True else [f"{flag}={one}"]
    return found


class Files:
    """What an image needs of this machine's files, copied into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.distributions: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def source(self, source: str, settings: Settings) -> str:
        """What may stand after `facula serve` there."""
        if Path(source).is_dir():
            for home in sorted(Path(source).iterdir()):
                if home.is_dir():
                    self._module(read_settings(home, settings).source.rpartition("+")[2])
            return self.file(source, True)
        weights, plus, rest = source.rpartition("+")
        if not plus and source.lower().endswith(".pt2"):
            return self.file(source)
        self._module(rest)
        return f"{self.file(weights)}+{rest}" if plus else source

    def file(self, path: str, folders: bool = False) -> str:
        given = Path(path)
        target = self.folder / given.resolve().name
        if target.exists():
            raise ConfigError(f"{path}: there are two files of that name")
        if given.is_dir() and folders:
            shutil.copytree(given, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif given.is_file():
            shutil.copy(given, target)
        else:
            raise ConfigError(f"{path}: there is no such file")
        return target.name

    def _module(self, name: str) -> None:
        """Copy a module of this folder; of an installed one its package is wanted."""
        module, colon, _ = name.partition(":")
        if not colon:
            return
        top = module.partition(".")[0]
        if (self.folder / top).exists() or (self.folder / f"{top}.py").exists():
            return
        spec = importlib.machinery.PathFinder.find_spec(top, [os.getcwd()])
        if spec is not None and spec.submodule_search_locations:
            self.file(next(iter(spec.submodule_search_locations)), True)
        elif spec is not None and spec.origin:
            self.file(spec.origin)
        else:
            found = importlib.metadata.packages_distributions().get(top) if hasattr(
                importlib.metadata, "packages_distributions") else None
            if not found:
                raise ConfigError(f"{name}: there is no module {top} in this folder, nor a package that has it")
            self.distributions.update(f"{one}=={importlib.metadata.version(one)}" for one in found)


def _container(image: str, ports: dict[str, int], cores: int | None, name: str) -> dict[str, Any]:
    def probe(path: str, **more: Any) -> dict[str, Any]:
        return {"httpGet": {"path": path, "port": ports["http"]}, "periodSeconds": 5, **more}
    cpu = str(cores or 1)
    return {
        "name": name, "image": f"{image}:latest", "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": key if name == "facula" else "h2c" if key == "grpc" else "http1", "containerPort": port,
                   "protocol": "TCP"} for key, port in ports.items()],
        "envFrom": [{"secretRef": {"name": f"{image}-token", "optional": True}}],
        "readinessProbe": probe("/v2/health/ready"),
        "livenessProbe": probe("/v2/health/live", failureThreshold=6),
        "startupProbe": probe("/v2/health/live", failureThreshold=60),
        "resources": {"requests": {"cpu": cpu, "memory": "512Mi"}, "limits": {"cpu": cpu, "memory": "2Gi"}},
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "allowPrivilegeEscalation": False,
                            "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}


def _deployment(image: str, ports: dict[str, int], cores: int | None, drain: int) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": image}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": image, "labels": labels},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels, "annotations": {
                "prometheus.io/scrape": "true", "prometheus.io/path": "/metrics", "prometheus.io/port": "8000"}},
            "spec": {"terminationGracePeriodSeconds": drain + 15, "containers": [
                _container(image, ports, cores, "facula")], "volumes": [{"name": "tmp", "emptyDir": {}}]}}}}


def _service(image: str, ports: dict[str, int]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": image}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": image, "labels": labels}, "spec": {
        "selector": labels, "ports": [{"name": key, "port": port, "targetPort": port, "protocol": "TCP"}
                                      for key, port in ports.items()]}}


def _kserve(image: str, ports: dict[str, int], cores: int | None, drain: int) -> dict[str, Any]:
    first = {"http": ports["http"]}  # KServe takes one port a container
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": image},
            "spec": {"predictor": {"terminationGracePeriodSeconds": drain + 15, "containers": [
                _container(image, first, cores, "kserve-container")], "volumes": [{"name": "tmp", "emptyDir": {}}]}}}


def yaml(value: Any, indent: int = 0) -> str:
    """Objects, lists and scalars as YAML; texts are in JSON's quotes, which are YAML's."""
    pad, lines = "  " * indent, list[str]()
    for key, one in value.items() if isinstance(value, dict) else [("", one) for one in value]:
        head = f"{pad}{key if re.fullmatch(r'[A-Za-z][A-Za-z0-9]*', key) else json.dumps(key)}:" if key else f"{pad}-"
        if isinstance(one, (dict, list)) and one:
            body = yaml(one, indent + 1)
            lines.append(f"{head}\n{body}" if key else f"{head} {body.lstrip()}")
        else:
            lines.append(f"{head} {json.dumps(one)}\n")
    return "".join(lines)
