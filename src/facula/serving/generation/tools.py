"""Tools that a model may call, in the form that most chat templates have: what is between <tool_call> and </tool_call>
in its text is JSON of a name and arguments. Nothing keeps a model to that form; what is no call stays text.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from ..faults import BadRequest
from .text import overlap

OPEN, CLOSE = "<tool_call>", "</tool_call>"
MOST = 128
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Call(NamedTuple):
    name: str
    arguments: str  # JSON


def checked_tools(given: Any) -> list[dict[str, Any]]:
    """Tools of a request, as the template sees them. Raises BadRequest."""
    if not isinstance(given, list) or len(given) > MOST:
        raise BadRequest(f"tools is to be a list of at most {MOST}")
    for one in given:
        function = one.get("function") if isinstance(one, dict) else None
        if not isinstance(function, dict) or one.get("type") != "function" or set(one) != {"type", "function"}:
            raise BadRequest("a tool is an object of type \"function\", and its function")
        name, strict = function.get("name"), function.get("strict")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise BadRequest("a tool's name is 1 to 64 letters, digits, _ and -")
        if set(function) - {"name", "description", "parameters", "strict"} \
                or not isinstance(function.get("description", ""), str) \
                or not isinstance(function.get("parameters", {}), dict):
            raise BadRequest(f"tool {name}: a function has name, description and parameters (a JSON schema)")
        if strict:
            raise BadRequest(f"tool {name}: strict is not done by this server, which keeps no text to a schema")
    if len({one["function"]["name"] for one in given}) != len(given):
        raise BadRequest("two tools have the same name")
    return given


def checked_calls(given: Any) -> list[dict[str, Any]]:
    """Calls that an assistant's message tells of, with their arguments as objects where they are. Raises BadRequest."""
    if not isinstance(given, list) or not 0 < len(given) <= MOST:
        raise BadRequest(f"tool_calls is to be a list of 1 to {MOST}")
    found = []
    for one in given:
        function = one.get("function") if isinstance(one, dict) else None
        if not isinstance(function, dict) or one.get("type") != "function" or not isinstance(one.get("id"), str) \
                or not all(isinstance(function.get(key), str) for key in ("name", "arguments")):
            raise BadRequest("a tool call has id, type \"function\", and a function of name and arguments (text)")
        try:
            arguments = json.loads(function["arguments"])
        except (ValueError, RecursionError):
            arguments = function["arguments"]
        found.append({"id": one["id"], "type": "function", "function": {"name": function["name"],
                                                                       "arguments": arguments}})
    return found


class Calls:
    """What a text holds, as it comes: what is to be shown of it, and calls of the tools of these names."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self.count = 0
        self._kept = ""
        self._inside = False
        self._after = False  # a call was last: the space after it is nobody's

    def add(self, text: str) -> tuple[str, list[Call]]:
        """(what is to be shown now, calls that are complete now)."""
        self._kept += text
        shown, calls = "", list[Call]()
        while True:
            if not self._inside:
                if self._after:
                    self._kept = self._kept.lstrip()
                at = self._kept.find(OPEN)
                whole = self._kept[:at] if at >= 0 else self._kept[:len(self._kept) - overlap(self._kept, OPEN)]
                more = whole.rstrip()  # the space before a call is nobody's either
                shown += more
                self._after = self._after and not more
                if at < 0:
                    self._kept = self._kept[len(more):]
                    return shown, calls
                self._kept, self._inside = self._kept[at + len(OPEN):], True
            at = self._kept.find(CLOSE)
            if at < 0:
                return shown, calls
            inner, self._kept, self._inside = self._kept[:at], self._kept[at + len(CLOSE):], False
            call = _call(inner, self.names)
            if call is None:
                shown += OPEN + inner + CLOSE
            else:
                calls.append(call)
                self.count += 1
            self._after = call is not None

    def end(self) -> str:
        """What was kept back, as no more comes."""
        kept, self._kept = (OPEN if self._inside else "") + self._kept, ""
        return kept.strip() if self._after else kept


def _call(text: str, names: frozenset[str]) -> Call | None:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or given["name"] not in names:
        return None
    arguments = given.get("arguments", {})
    if not isinstance(arguments, dict):
        return None
    return Call(given["name"], json.dumps(arguments, ensure_ascii=False))
