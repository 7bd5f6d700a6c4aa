"""Text and tokens: tokenizers, the text of tokens that come one by one, and where it is to stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from ..settings import ConfigError

NEEDED = "a tokenizer.json needs the package tokenizers: pip install 'facula[generate]'"


class Tokenizer(Protocol):
    """What a tokenizer has to have.

    eos        tokens that end a text
    specials   texts that stand for one token each, and that no message may hold
    """

    eos: frozenset[int]
    specials: frozenset[str]
    names: dict[str, str]  # bos_token, eos_token: what chat templates ask for

    def encode(self, text: str, whole: bool = True) -> list[int]:
        """Tokens of a text. `whole`: with those that a text of its own begins with."""

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens; U+FFFD for bytes that are no whole character."""

    def bytes_of(self, token: int) -> bytes:
        """The bytes of one token."""


class ByteTokenizer:
    """A token for each byte, and 256 for the end. For tests, and models of bytes.

    Example:
        >>> ByteTokenizer().encode("aé")
        [97, 195, 169]
    """

    def __init__(self) -> None:
        self.eos = frozenset([256])
        self.specials: frozenset[str] = frozenset()
        self.names = {"bos_token": "", "eos_token": ""}

    def encode(self, text: str, whole: bool = True) -> list[int]:
        return list(text.encode("utf-8", "surrogatepass"))

    def decode(self, tokens: list[int]) -> str:
        return bytes([t for t in tokens if t < 256]).decode("utf-8", "replace")

    def bytes_of(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b""


class FileTokenizer:
    """A tokenizer.json, by the package `tokenizers`. Beside it in a folder: tokenizer_config.json (eos_token,
    bos_token, chat_template), generation_config.json (eos_token_id), chat_template.jinja."""

    def __init__(self, path: Path) -> None:
        try:
            import tokenizers
        except ImportError:
            raise ConfigError(NEEDED) from None
        folder = path if path.is_dir() else None
        file = path / "tokenizer.json" if folder else path
        if not file.is_file():
            raise ConfigError(f"{file}: there is no such file")
        try:
            self.inner = tokenizers.Tokenizer.from_str(file.read_text("utf-8"))
        except Exception as error:  # the package raises Exception itself
            raise ConfigError(f"{file}: {error}") from None
        self.inner.no_truncation()
        self.inner.no_padding()
        added = self.inner.get_added_tokens_decoder()
        self.specials = frozenset(t.content for t in added.values() if t.special)
        config = _read(folder / "tokenizer_config.json") if folder else {}
        self.names = {key: _content(config.get(key)) for key in ("bos_token", "eos_token")}
        eos = {self.inner.token_to_id(self.names["eos_token"])} if self.names["eos_token"] else set()
        more = _read(folder / "generation_config.json").get("eos_token_id", []) if folder else []
        self.eos = frozenset(t for t in [*eos, *(more if isinstance(more, list) else [more])] if isinstance(t, int))
        self.chat_template = config.get("chat_template") if isinstance(config.get("chat_template"), str) else None
        if folder and (folder / "chat_template.jinja").is_file():
            self.chat_template = (folder / "chat_template.jinja").read_text("utf-8")

    def encode(self, text: str, whole: bool = True) -> list[int]:
        found: list[int] = self.inner.encode(text, add_special_tokens=whole).ids
        return found

    def decode(self, tokens: list[int]) -> str:
        text: str = self.inner.decode(tokens, skip_special_tokens=True)
        return text

    def bytes_of(self, token: int) -> bytes:
        text: str = self.inner.decode([token], skip_special_tokens=False)
        return text.encode("utf-8", "surrogatepass")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    return found if isinstance(found, dict) else {}


def _content(token: Any) -> str:
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else ""


class Written:
    """The text of a sequence, token by token: whole characters only, and up to the first of its stops."""

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...] = ()) -> None:
        self.tokenizer = tokenizer
        self.stops = stops
        self.tokens: list[int] = []
        self._from = 0  # decoding begins here: a token's text may depend on the one before it
        self._read = 0  # the text of tokens before this has been given
        self._kept = ""  # what may be the beginning of a stop
        self.stopped = False

    def add(self, token: int) -> str:
        """What there is to show now."""
        self.tokens.append(token)
        before = self.tokenizer.decode(self.tokens[self._from:self._read])
        now = self.tokenizer.decode(self.tokens[self._from:])
        # A character has four bytes at most: what is none after eight tokens will be none.
        if now == before and len(self.tokens) == self._read + 1 and not self.tokenizer.decode([token, token]):
            self.tokens.pop()  # it has no text anywhere (a space at the beginning has some if there are two)
            return ""
        if len(now) <= len(before) or now.endswith("\ufffd") and len(self.tokens) - self._read < 8:
            return ""
        self._from, self._read = self._read, len(self.tokens)
        return self._until_stop(now[len(before):])

    def end(self) -> str:
        """What was kept back, as no more tokens come."""
        if self.stopped:
            return ""
        before = self.tokenizer.decode(self.tokens[self._from:self._read])
        rest = self.tokenizer.decode(self.tokens[self._from:])[len(before):]
        shown = self._until_stop(rest) + ("" if self.stopped else self._kept)
        self._kept = ""
        return shown

    def _until_stop(self, more: str) -> str:
        text = self._kept + more
        found = [at for at in (text.find(stop) for stop in self.stops) if at >= 0]
        if found:
            self.stopped, self._kept = True, ""
            return text[:min(found)]
        keep = max((overlap(text, stop) for stop in self.stops), default=0)
        self._kept = text[len(text) - keep:]
        return text[:len(text) - keep]


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`."""
    for count in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:count]):
            return count
    return 0
