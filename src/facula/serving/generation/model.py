"""A model that generates, loaded: a Language with its engine, as the repository of models keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import sources
from ..faults import BadRequest
from ..handlers import Handler
from ..settings import ConfigError, Generation, Settings
from .decoder import Language, Sizes
from .engine import Engine
from .templates import Message, Template, no_tools, template_of
from .text import ByteTokenizer, FileTokenizer, Tokenizer


class GenerationModel:
    """`alone`: why sequences are not run together, "" if they are."""

    def __init__(self, language: Language, settings: Settings, folder: Path | None = None) -> None:
        self.settings = settings
        given = settings.generation or Generation()
        if given.tokenizer:
            language.tokenizer = _tokenizer(given.tokenizer, folder)
        if language.tokenizer is None:
            raise ConfigError("a model that generates needs a tokenizer: a tokenizer.json, its folder, or `bytes`")
        self.tokenizer: Tokenizer = language.tokenizer
        template: Any = sources.path_of(given.chat_template, folder).read_text("utf-8") if given.chat_template \
            else language.chat_template or getattr(self.tokenizer, "chat_template", None)
        self.chat: Template | None = template_of(template, self.tokenizer) if isinstance(template, str) else template
        self.no_tools = no_tools(template, self.tokenizer)
        self.eos = language.eos | self.tokenizer.eos
        self.engine = Engine(language, given.cache_bytes, given.block_tokens, given.cache_dtype)
        self.handler = Handler()  # has nothing to be unloaded

    @property
    def alone(self) -> str:
        return self.engine.alone

    @property
    def batches(self) -> bool:
        return self.settings.max_batch_size > 1

    @property
    def vocabulary(self) -> int:
        return self.engine.decoder.sizes.vocabulary  # type: ignore[no-any-return]

    def warm_up(self) -> None:
        self.engine.warm_up(self.settings.max_batch_size)

    def chatted(self, messages: list[Message], tools: list[dict[str, Any]] | None = None) -> str:
        """The text that a chat is. Raises BadRequest."""
        if self.chat is None:
            raise BadRequest("this model has no chat template: ask /v1/completions")
        if self.no_tools:
            if tools or any("tool_calls" in one or one["role"] == "tool" for one in messages):
                raise BadRequest(self.no_tools)
            return self.chat(messages)
        return self.chat(messages, tools=tools or None)


def language_of(source: str, settings: Settings, folder: Path | None = None) -> Language:
    """What `module:name` or `weights.pt+module:Class` says: a Language, a decoder, a class of one, or a function that
    returns one, called with the configuration's `arguments`. Raises ConfigError."""
    weights, _, name = source.rpartition("+") if "+" in source else ("", "", source)
    found = sources.imported(name)
    there = isinstance(found, Language) or isinstance(getattr(found, "sizes", None), Sizes)
    if isinstance(found, type) or not there:
        if not callable(found):
            raise ConfigError(f"{name}: a {type(found).__name__} is neither a decoder nor a function that returns one")
        try:
            found = found(**settings.arguments)
        except TypeError as error:
            raise ConfigError(f"{name}: {error}; its arguments stand in the configuration's `arguments`") from None
    language = found if isinstance(found, Language) else Language(found)
    if weights:
        sources.fill(language.decoder, sources.path_of(weights, folder))
    return language


def _tokenizer(text: str, folder: Path | None) -> Tokenizer:
    if text == "bytes":
        return ByteTokenizer()
    return FileTokenizer(sources.path_of(text, folder, folders=True))
