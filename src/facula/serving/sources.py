"""Where models come from: what may stand after `facula serve`, as a Handler.

    module:name           a function of tensors, a Module, a Module's class, or a Handler
    weights.pt+module:Class   a class whose state is in a file (read as weights: no code in it is run)
    program.pt2           what torch.export.save has written (data as well)
"""

from __future__ import annotations

import importlib
import inspect
import os
import pickle
import sys
from pathlib import Path
from typing import Any

from .callables import ModuleHandler, ProgramHandler
from .handlers import Handler
from .settings import ConfigError, Settings


def load(source: str, settings: Settings, folder: Path | None = None) -> Handler:
    """The Handler of a source, loaded. Paths are from `folder` (a repository's version), out of which none may lead.

    Raises ConfigError for a source that is none (or a file that is damaged), NotImplementedError for files that Facula
    cannot read yet.
    """
    weights, plus, name = source.rpartition("+") if "+" in source else ("", "", source)
    lower = (weights or name).lower()
    if lower.endswith(".onnx"):
        raise NotImplementedError(f"{weights or name}: .onnx cannot be read yet; serve program.pt2, "
                                  "weights.pt+module:Class, or module:function")
    if lower.endswith(".pt2"):
        if plus:
            raise ConfigError(f"{source}: a program is all there is to it: serve {weights}")
        return ProgramHandler(path_of(name, folder), settings)
    if not plus and lower.endswith((".pt", ".pth")):
        raise ConfigError(f"{source}: a file of weights says not what to do with them: {source}+module:Class")
    found = imported(name)
    if isinstance(found, type) and issubclass(found, Handler):
        handler = found()
        if plus:
            settings.arguments.setdefault("weights", str(path_of(weights, folder)))
        handler.load(settings)
        return handler
    if isinstance(found, Handler):
        found.load(settings)
        return found
    from facula import nn
    if inspect.isclass(found):
        try:
            found = found(**settings.arguments)
        except TypeError as error:
            raise ConfigError(f"{name}: {error}; its arguments stand in the configuration's `arguments`") from None
    if plus:
        if not isinstance(found, nn.Module):
            raise ConfigError(f"{name}: weights go into a Module, this is a {type(found).__name__}")
        fill(found, path_of(weights, folder))
    if isinstance(found, nn.Module):
        found.eval()
    if not callable(found):
        raise ConfigError(f"{name}: a {type(found).__name__} cannot be called")
    return ModuleHandler(found, settings)


def imported(name: str) -> Any:
    """What `module:name` names. The current folder is looked into, as Python itself does."""
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ConfigError(f"{name!r} is no module:name" + (
            f": serve {name[:-3]}:NAME, a function or class of that file" if name.endswith(".py") else
            ", and there is no such folder" if "/" in name else ""))
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise ConfigError(f"{name}: there is no module {error.name}") from None
        raise
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigError(f"{name}: {module} has no {attribute}") from None
    return found


def path_of(text: str, folder: Path | None, folders: bool = False) -> Path:
    """A file (or a folder, with `folders`) that a configuration names. Raises ConfigError."""
    path = Path(text) if folder is None else folder / text
    if folder is not None and not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{text}: leads out of the model's folder")
    if not path.is_file() and not (folders and path.is_dir()):
        raise ConfigError(f"{path}: there is no such file")
    return path


def fill(module: Any, path: Path) -> None:
    """Put a file's weights into a Module: no code in it is run. Raises ConfigError."""
    import facula
    try:
        state = facula.load(str(path), weights_only=True)
    except pickle.UnpicklingError as error:
        why = str(error).splitlines()[-1].partition(". Please")[0].strip()
        raise ConfigError(f"{path}: holds more than weights, or is damaged; what torch.save(model.state_dict(), ...) "
                          f"writes is expected ({why})") from None
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict):
        raise ConfigError(f"{path}: holds a {type(state).__name__}, a state_dict is expected")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(f"{path}: {error}") from None
