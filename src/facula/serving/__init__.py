"""Models in production: the Open Inference Protocol over HTTP and gRPC, with batching that changes no bit.

`facula serve` is this from the command line (docs/serving.md). In a program of one's own, `App(Repository())` is an
ASGI application. Running a server needs what `pip install 'facula[serve]'` brings; importing this module does not.
"""

from __future__ import annotations

from .faults import ServingError
from .handlers import Handler
from .http.app import App
from .models import Model
from .repository import Repository
from .requests import Named, Reply, Request
from .settings import ConfigError, Limits, Settings, Spec

__all__ = ["App", "ConfigError", "Handler", "Limits", "Model", "Named", "Reply", "Repository", "Request",
           "ServingError", "Settings", "Spec"]
