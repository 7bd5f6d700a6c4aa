"""The bodies of `/v1/completions` and `/v1/chat/completions`, as OpenAI's protocol has them: read and checked.

What the server does not know is refused, as is what it knows and does not do: nobody is to believe that it was heeded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..faults import BadRequest
from ..generation.model import GenerationModel
from ..generation.sampling import Sampling
from ..generation.sequences import Asked
from ..generation.templates import checked, no_specials
from ..generation.tools import checked_tools
from ..settings import Limits
from .inference import deadline_of

# Of no effect here, and none that shows in the answer.
_IGNORED = frozenset(("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"))
# What these may be, as if they had not been given.
_UNDONE: dict[str, tuple[Any, ...]] = {
    "suffix": ("",),
    "functions": ([],), "function_call": ("none",),
    "response_format": ({"type": "text"},), "modalities": (["text"],)}
_BOTH = frozenset(("model", "max_tokens", "n", "seed", "stop", "stream", "stream_options", "temperature", "top_p",
                   "logprobs", "timeout", "presence_penalty", "frequency_penalty", "logit_bias"))
_OWN = {False: frozenset(("prompt", "echo", "best_of")), True: frozenset((
    "messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls"))}


class Refused(BadRequest):
    """With the name of the parameter that is wrong."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class Question:
    """A request as its body says it: `asked` of the model, the rest for who writes the answer.

    echoes    of each prompt, what is to stand before its text
    shown     choices of each prompt: the likeliest of those that are made
    logprobs  how many of the likeliest tokens are told with each; None: nothing is
    tools     names of those that may be called
    """

    asked: Asked
    chat: bool
    echoes: tuple[str, ...]
    shown: int = 1
    logprobs: int | None = None
    tools: frozenset[str] = frozenset()
    stream: bool = False
    usage: bool = False  # is it to be told at the end of a stream?


def read(given: dict[str, Any], chat: bool, model: GenerationModel, limits: Limits) -> Question:
    """Raises BadRequest."""
    given = {key: value for key, value in given.items() if value is not None and key not in _IGNORED}
    for key, value in given.items():
        if key in _UNDONE:
            if value not in _UNDONE[key]:
                raise Refused(key, f"{key} is not done by this server")
        elif key not in _BOTH and key not in _OWN[chat]:
            raise Refused(key, f"there is no parameter {key!r}")
    tools = _tools(given, model)
    if chat:
        text = model.chatted(checked(given.get("messages"), model.tokenizer), tools)
        prompts, texts = [_tokens(text, model, limits, whole=False)], [""]
    else:
        prompts, texts = _prompts(given.get("prompt"), model, limits)
    shown = _whole(given, "n", 1, 1, limits.choices)
    choices = _whole(given, "best_of", shown, 1, limits.choices)
    if choices < shown:
        raise Refused("best_of", f"best_of is {choices}: the best n = {shown} of them cannot be shown")
    if len(prompts) * choices > limits.choices:
        raise Refused("best_of" if choices > shown else "n", f"{len(prompts)} prompts with {choices} choices each; "
                                                             f"{limits.choices} texts are the most")
    echo = _flag(given, "echo")
    stream, options = _flag(given, "stream"), given.get("stream_options", {})
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"} \
            or any(value not in (None, True, False) or type(value) is int for value in options.values()):
        raise Refused("stream_options", "stream_options is an object of include_usage, true or false")
    if choices > shown and stream:
        raise Refused("best_of", "which texts are the best is known at their end: best_of cannot be streamed")
    logprobs: int | None
    if chat:
        told, top = _flag(given, "logprobs"), _whole(given, "top_logprobs", 0, 0, 20)
        if top and not told:
            raise Refused("top_logprobs", "top_logprobs asks for logprobs: true")
        logprobs = top if told else None
        if told and tools:
            raise Refused("logprobs", "of a text that may hold calls of tools no probabilities are told")
    else:
        logprobs = _whole(given, "logprobs", 0, 0, 20) if "logprobs" in given else None
    least = 0 if echo else 1
    most = None if chat else 16
    for name in ("max_tokens", "max_completion_tokens"):
        if name in given:
            most = _whole(given, name, 0, least, 1 << 31)
    asked = Asked(
        prompts, choices, most, Sampling(
            _number(given, "temperature", 1.0, 0.0, 2.0), _number(given, "top_p", 1.0, 0.0, 1.0),
            _whole(given, "seed", 0, -(1 << 63), (1 << 63) - 1) if "seed" in given else None,
            0 if logprobs is None and choices > shown else logprobs,
            _number(given, "presence_penalty", 0.0, -2.0, 2.0), _number(given, "frequency_penalty", 0.0, -2.0, 2.0),
            _biases(given.get("logit_bias", {}), model.vocabulary)),
        _stops(given.get("stop", [])), deadline_of(given), echo and logprobs is not None)
    return Question(asked, chat, tuple(texts) if echo else ("",) * len(prompts), shown, logprobs,
                    frozenset([one["function"]["name"] for one in tools]), stream, options.get("include_usage") is True)


def _tools(given: dict[str, Any], model: GenerationModel) -> list[dict[str, Any]]:
    """Those that the model may call."""
    try:
        found = checked_tools(given.get("tools", []))
        no_specials(found, model.tokenizer)
    except BadRequest as error:
        raise Refused("tools", error.message) from None
    if found and model.no_tools:
        raise Refused("tools", model.no_tools)
    choice = given.get("tool_choice", "auto")
    if choice not in ("auto", "none"):
        raise Refused("tool_choice", "tool_choice is auto or none: this server does not make a model call a tool")
    if found and "parallel_tool_calls" in given and not _flag(given, "parallel_tool_calls"):
        raise Refused("parallel_tool_calls", "this server does not keep a model to one call")
    return [] if choice == "none" else found


def _prompts(given: Any, model: GenerationModel, limits: Limits) -> tuple[list[list[int]], list[str]]:
    """Tokens of each prompt, and its text."""
    if isinstance(given, str) or isinstance(given, list) and given and type(given[0]) is int:
        given = [given]
    if not isinstance(given, list) or not 0 < len(given) <= limits.choices:
        raise Refused("prompt", f"prompt is to be text, a list of tokens, or a list of 1 to {limits.choices} of them")
    prompts, texts = [], []
    for one in given:
        if isinstance(one, str):
            prompts.append(_tokens(one, model, limits))
            texts.append(one)
            continue
        if not isinstance(one, list) or len(one) > model.engine.cache.capacity \
                or any(type(t) is not int or not 0 <= t < model.vocabulary for t in one):
            raise Refused("prompt", f"a prompt is text, or at most {model.engine.cache.capacity} tokens, which are "
                                    f"below {model.vocabulary}")
        prompts.append(one)
        texts.append(model.tokenizer.decode(one))
    return prompts, texts


def _tokens(text: str, model: GenerationModel, limits: Limits, whole: bool = True) -> list[int]:
    if len(text) > limits.prompt_bytes:
        raise Refused("prompt", f"a prompt of {len(text)} characters; {limits.prompt_bytes} are the most")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused("prompt", "the prompt holds half a character (a lone surrogate)") from None
    found = model.tokenizer.encode(text, whole)
    if found and max(found) >= model.vocabulary:
        raise BadRequest(f"the prompt has token {max(found)}, the model a vocabulary of {model.vocabulary}")
    return found


def _flag(given: dict[str, Any], name: str) -> bool:
    found = given.get(name, False)
    if not isinstance(found, bool):
        raise Refused(name, f"{name} is to be true or false")
    return found


def _whole(given: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    found = given.get(name, default)
    if type(found) is not int or not least <= found <= most:
        raise Refused(name, f"{name} is to be a whole number from {least} to {most}")
    return found


def _number(given: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    found = given.get(name, default)
    if type(found) not in (int, float) or not math.isfinite(found) or not least <= found <= most:
        raise Refused(name, f"{name} is to be a number from {least:g} to {most:g}")
    return float(found)


def _biases(given: Any, vocabulary: int) -> tuple[tuple[int, float], ...]:
    """Tokens (as text, since JSON's keys are) with what is added to their logits."""
    if not isinstance(given, dict) or len(given) > 1024:
        raise Refused("logit_bias", "logit_bias is to be an object of at most 1024 tokens")
    for key, value in given.items():
        if not key.isascii() or not key.isdigit() or len(key) > 9 or str(int(key)) != key \
                or int(key) >= vocabulary:
            raise Refused("logit_bias", f"logit_bias: {key[:40]!r} is no token; they are numbers below {vocabulary}")
        if type(value) not in (int, float) or not -100 <= value <= 100:
            raise Refused("logit_bias", f"logit_bias: token {key} has to have a number from -100 to 100")
    return tuple([(int(key), float(value)) for key, value in given.items()])


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given
    if not isinstance(stops, list) or len(stops) > 4 or any(
            not isinstance(s, str) or not 0 < len(s) <= 256 for s in stops):
        raise Refused("stop", "stop is to be a text of 1 to 256 characters, or a list of at most four")
    return tuple(stops)
