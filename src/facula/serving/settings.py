"""What a model's folder says of it (`config.json`, or `config.toml` from Python 3.11), checked; a server's limits."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .elements import DTYPES


class ConfigError(ValueError):
    """A model's configuration is not what it may be."""


@dataclass(frozen=True)
class Spec:
    """A tensor that a model takes or gives. -1 in `shape` is any size; the first dimension counts rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def wrong(self, datatype: str, shape: tuple[int, ...]) -> str:
        """What is wrong with such a tensor; "" if nothing."""
        if datatype != self.datatype:
            return f"is {datatype}, {self.datatype} is expected"
        if len(shape) != len(self.shape) or any(a not in (-1, b) for a, b in zip(self.shape, shape, strict=True)):
            return f"has shape {list(shape)}, {list(self.shape)} is expected"
        return ""

    def described(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Generation:
    """How a model generates text.

    tokenizer       a tokenizer.json, or the folder it is in with its configuration; `bytes`: a token for each byte
    chat_template   a file of Jinja
    cache_bytes     of the keys and values of all sequences together
    cache_dtype     float32, or bfloat16 or float16: of half the bytes, and rounded
    block_tokens    tokens of a block of it, a divisor of 128
    share_prompts   are texts that begin alike read once? How soon an answer comes then tells that such a text was asked
    """

    tokenizer: str = ""
    chat_template: str = ""
    cache_bytes: int = 256 << 20
    cache_dtype: str = "float32"
    block_tokens: int = 16
    share_prompts: bool = True


@dataclass(frozen=True)
class Settings:
    """How one model is served.

    source      what `sources.load` takes; of a model in a repository a path in its version's folder
    arguments   for the class that a `.pt` file's weights go into, or for a Handler's `load`
    max_batch_size                  rows that are run together; 1: requests are not put together
    max_queue_delay_microseconds    how long a request waits for others to go with it
    max_queue_size                  requests that wait; more are answered 503
    timeout_microseconds            of a request that says none; 0: none
    generation  of a model that generates text; `max_batch_size` and `max_queue_size` then count sequences
    """

    source: str = ""
    platform: str = "facula"
    arguments: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Spec, ...] = ()
    outputs: tuple[Spec, ...] = ()
    max_batch_size: int = 32
    max_queue_delay_microseconds: int = 0
    max_queue_size: int = 256
    timeout_microseconds: int = 0
    warm_up: bool = True
    parameters: dict[str, Any] = field(default_factory=dict)
    generation: Generation | None = None


@dataclass(frozen=True)
class Limits:
    """What a server grants strangers. `held_bytes`: of all bodies that it holds at one time; `prompt_bytes` of the
    text of one prompt; `choices`: texts that one request may ask for."""

    body_bytes: int = 64 << 20
    held_bytes: int = 256 << 20
    elements: int = 1 << 26
    tensors: int = 256
    json_depth: int = 64
    body_seconds: float = 30.0
    prompt_bytes: int = 1 << 20
    choices: int = 16


_LEAST = {"max_batch_size": 1, "max_queue_delay_microseconds": 0, "max_queue_size": 1, "timeout_microseconds": 0}


def spec_of(given: Any, where: str) -> Spec:
    if not isinstance(given, dict) or set(given) - {"name", "datatype", "shape"}:
        raise ConfigError(f"{where}: expected name, datatype and shape, got {given!r}")
    name, datatype, shape = given.get("name"), given.get("datatype"), given.get("shape")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where}: the name has to be text, got {name!r}")
    if datatype not in DTYPES:
        raise ConfigError(f"{where}: {name}: datatype is one of {', '.join(DTYPES)}, got {datatype!r}")
    if not isinstance(shape, list) or any(type(n) is not int or n < -1 for n in shape):
        raise ConfigError(f"{where}: {name}: shape is a list of sizes, -1 for any, got {shape!r}")
    return Spec(name, datatype, tuple(shape))


def settings_of(given: Any, where: str, base: Settings | None = None) -> Settings:
    """Settings from what a configuration file says. Raises ConfigError for what they do not know."""
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: expected an object")
    known = {f.name: f.type for f in fields(Settings)}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"{where}: no setting {', '.join(unknown)}; there are {', '.join(known)}")
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in ("inputs", "outputs"):
            if not isinstance(value, list):
                raise ConfigError(f"{where}: {name} is a list")
            value = tuple([spec_of(one, f"{where}: {name}") for one in value])
        elif name == "generation":
            value = _generation_of(value, f"{where}: {name}")
        elif name in _LEAST:
            if type(value) is not int or value < _LEAST[name]:
                raise ConfigError(f"{where}: {name} is a whole number from {_LEAST[name]}, got {value!r}")
        elif name in ("arguments", "parameters"):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: {name} is an object, got {value!r}")
        elif not isinstance(value, bool if name == "warm_up" else str):
            raise ConfigError(f"{where}: {name} cannot be {value!r}")
        found[name] = value
    return replace(base or Settings(), **found)


def _generation_of(given: Any, where: str) -> Generation | None:
    if given is None:
        return None
    known = {f.name: f.default for f in fields(Generation)}
    if not isinstance(given, dict) or set(given) - set(known):
        raise ConfigError(f"{where}: expected an object of {', '.join(known)}, got {given!r}")
    for name, value in given.items():
        if type(value) is not type(known[name]) or type(value) is int and value < 1:
            raise ConfigError(f"{where}: {name} cannot be {value!r}")
    return Generation(**given)


def read_settings(folder: Path, base: Settings | None = None) -> Settings:
    """Those of a model's folder; without a file, `base`."""
    path = folder / "config.json"
    if path.exists():
        try:
            return settings_of(json.loads(path.read_text("utf-8")), str(path), base)
        except ValueError as error:
            raise error if isinstance(error, ConfigError) else ConfigError(f"{path}: {error}") from None
    path = folder / "config.toml"
    if path.exists():
        try:
            import tomllib
        except ImportError:
            raise ConfigError(f"{path}: TOML is read from Python 3.11 on; write a config.json") from None
        try:
            return settings_of(tomllib.loads(path.read_text("utf-8")), str(path), base)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: {error}") from None
    return base or Settings()
