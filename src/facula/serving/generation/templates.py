"""Chats as text: the model's template, run by Jinja in its sandbox. Messages are values in it, never templates."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..faults import BadRequest
from ..settings import ConfigError
from .text import Tokenizer
from .tools import OPEN, checked_calls

NEEDED = "chat templates need the package jinja2: pip install 'facula[generate]'"
Message = dict[str, Any]
Template = Callable[..., str]  # (messages, tools=None)


def template_of(source: str, tokenizer: Tokenizer) -> Template:
    """A function of messages ({"role", "content"}) and tools to the text that the model goes on from. Raises
    ConfigError."""
    try:
        from jinja2 import TemplateError, TemplateSyntaxError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise ConfigError(NEEDED) from None
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, autoescape=False,
                                                extensions=["jinja2.ext.loopcontrols"])

    def refused(message: str) -> None:
        raise TemplateError(message)
    environment.globals.update(raise_exception=refused, strftime_now=lambda form: time.strftime(form))
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        compiled = environment.from_string(source)
    except TemplateSyntaxError as error:
        raise ConfigError(f"the chat template, line {error.lineno}: {error.message}") from None

    def render(messages: list[Message], tools: list[dict[str, Any]] | None = None) -> str:
        try:
            text: str = compiled.render(messages=messages, add_generation_prompt=True, tools=tools, documents=None,
                                        **tokenizer.names)
        except Exception as error:  # of the template's own code, for these messages
            raise BadRequest(f"the chat template does not take these messages: {error}") from None
        return text
    return render


def no_tools(template: Any, tokenizer: Tokenizer) -> str:
    """Why calls of tools cannot be read of what the template makes a model write; "" if they can."""
    if isinstance(template, str):
        from jinja2 import Environment, meta
        tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
        if "tools" not in meta.find_undeclared_variables(tree):
            return "this model's chat template knows no tools"
        if OPEN not in template:
            return f"this model's chat template has another form of calls than {OPEN}, which alone is read"
    elif template is None or "tools" not in getattr(getattr(template, "__code__", None), "co_varnames", ()):
        return "this model's chat template takes no tools"
    if OPEN in tokenizer.specials:
        return f"this model's tokenizer leaves {OPEN} out of its text, so calls cannot be seen"
    return ""


def checked(messages: Any, tokenizer: Tokenizer) -> list[Message]:
    """Messages of a request as the template sees them. Raises BadRequest: what they are not, and texts in them that
    stand for a token of the template's own (a stranger would write the system's part with them)."""
    if not isinstance(messages, list) or not 0 < len(messages) <= 2048:
        raise BadRequest("messages is to be a list of 1 to 2048")
    found = []
    for one in messages:
        if not isinstance(one, dict):
            raise BadRequest("a message is an object: role and content")
        one = {key: value for key, value in one.items() if value is not None}
        role = one.get("role")
        if role not in ("system", "developer", "user", "assistant", "tool"):
            raise BadRequest("a message's role is system, developer, user, assistant or tool")
        own = {"assistant": {"tool_calls", "refusal"}, "tool": {"tool_call_id"}}.get(role, set())
        if set(one) - {"role", "content", "name"} - own:
            raise BadRequest(f"a message of {role} has {', '.join(['role', 'content', 'name', *sorted(own)])} at most")
        calls = checked_calls(one["tool_calls"]) if one.get("tool_calls") else []
        made: Message = {"role": role, "content": _text(one.get("content", "" if calls else None))}
        if calls:
            made["tool_calls"] = calls
        if role == "tool" and "tool_call_id" not in one:
            raise BadRequest("a message of tool says which call it answers: tool_call_id")
        for key in ("name", "tool_call_id"):
            if key in one:
                if not isinstance(one[key], str) or len(one[key]) > 256:
                    raise BadRequest(f"a message's {key} is to be a short text")
                made[key] = one[key]
        no_specials(made, tokenizer)
        found.append(made)
    return found


def no_specials(given: Any, tokenizer: Tokenizer) -> None:
    """Raises BadRequest where a text within stands for a token of the template's own."""
    for special in tokenizer.specials:
        if special and any(special in text for text in _texts(given)):
            raise BadRequest(f"a message holds {special!r}, which is a token of the template")


def _texts(given: Any) -> Iterator[str]:
    if isinstance(given, str):
        yield given
    elif isinstance(given, dict):
        for key, value in given.items():
            yield key
            yield from _texts(value)
    elif isinstance(given, list):
        for value in given:
            yield from _texts(value)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "".join(texts)  # type: ignore[arg-type]
    raise BadRequest("a message's content is to be text, or a list of parts of type text")
