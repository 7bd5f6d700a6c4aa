"""Answers of `/v1/completions` and `/v1/chat/completions`, as OpenAI's protocol has them: whole, or chunk by chunk."""

from __future__ import annotations

import secrets
import time
from typing import Any

from ..generation.sampling import Choice
from ..generation.sequences import Piece
from ..generation.text import Tokenizer
from ..generation.tools import Calls
from .openai import Question


class Answer:
    """The answer to a question while its pieces come: whole, or a chunk for each piece."""

    def __init__(self, question: Question, model: str, tokenizer: Tokenizer, id: str) -> None:
        self.question = question
        self.tokenizer = tokenizer
        self.prompts = question.asked.prompts
        self.each = question.asked.choices
        kind = "chat.completion" if question.chat else "text_completion"
        self.head = {"id": ("chatcmpl-" if question.chat else "cmpl-") + id,
                     "object": kind + (".chunk" if question.chat and question.stream else ""),
                     "created": int(time.time()), "model": model}
        count = len(self.prompts) * self.each
        self.left = count
        self.made = 0
        self.texts = [""] * count
        self.choices: list[list[Choice]] = [[] for _ in range(count)]
        self.told: list[list[Choice]] = [[] for _ in range(count)]
        self.finished: list[str | None] = [None] * count
        self.scores = [0.0] * count
        self.calls: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        self._calls = [Calls(question.tools) for _ in range(count)] if question.tools else []
        self._at = [0] * count  # characters shown: text_offset of the next token
        self._begun = [False] * count

    def add(self, piece: Piece) -> None:
        """For an answer that is written whole."""
        k = piece.index
        self.texts[k] += self._read(piece)[0]
        self.choices[k] += piece.choices
        self.told[k] += piece.prompt

    def _read(self, piece: Piece) -> tuple[str, list[dict[str, Any]]]:
        """(the text of a piece that is shown, the calls of tools in it)."""
        k, text, calls = piece.index, piece.text, list[dict[str, Any]]()
        if self._calls:
            text, found = self._calls[k].add(text)
            calls = [{"id": "call_" + secrets.token_hex(12), "type": "function", "function": one._asdict()}
                     for one in found]
            self.calls[k] += calls
            if piece.finish is not None:
                text += self._calls[k].end()
        if piece.finish is not None:
            self.finished[k] = "tool_calls" if self.calls[k] and piece.finish == "stop" else piece.finish
            self.scores[k] = piece.score
            self.left -= 1
        return text, calls

    def whole(self, made: int) -> dict[str, Any]:
        """All of it. `made`: tokens."""
        choices: list[dict[str, Any]] = []
        for k in self._shown():
            one: dict[str, Any] = {"index": len(choices), "finish_reason": self.finished[k]}
            if self.question.chat:
                one["message"] = {"role": "assistant", "content": self.texts[k], "refusal": None}
                if self.calls[k]:
                    one["message"].update(content=self.texts[k] or None, tool_calls=self.calls[k])
                one["logprobs"] = self._chat_told(self.choices[k])
            else:
                one["text"] = self._echo(k) + self.texts[k]
                one["logprobs"] = self._told(k, self.told[k], self.choices[k])
            choices.append(one)
        return {**self.head, "choices": choices, "usage": self.usage(made)}

    def _shown(self) -> list[int]:
        """Of each prompt's texts the likeliest by their tokens' mean, the likeliest first; all as they came where none
        is left out."""
        shown = self.question.shown
        return [k for start in range(0, len(self.texts), self.each) for k in (
            range(start, start + shown) if shown == self.each else
            sorted(range(start, start + self.each), key=lambda k: -self.scores[k])[:shown])]

    @property
    def counts(self) -> dict[str, int]:
        """What `Figures` is to count."""
        return {"tool_calls": sum(map(len, self.calls)), "discarded": len(self.texts) - len(self._shown())}

    def chunks(self, piece: Piece) -> list[dict[str, Any]]:
        """What a stream says of a piece."""
        k, found = piece.index, list[dict[str, Any]]()
        text, calls = self._read(piece)
        first, self._begun[k] = not self._begun[k], True
        if not self.question.chat:
            one = {"index": k, "text": (self._echo(k) if first else "") + text, "finish_reason": self.finished[k],
                   "logprobs": self._told(k, piece.prompt if first else (), piece.choices, first)}
            return [self._chunk([one])]
        if first:
            found.append({"role": "assistant", "content": "", "refusal": None})
        if text or piece.choices and not self._calls:
            found.append({"content": text})
        for at, call in enumerate(calls, len(self.calls[k]) - len(calls)):
            found.append({"tool_calls": [{"index": at, **call}]})
        if piece.finish is not None:
            found.append({})
        made = []
        for delta in found:
            last = not delta
            made.append(self._chunk([{
                "index": k, "delta": delta, "finish_reason": self.finished[k] if last else None,
                "logprobs": self._chat_told(piece.choices) if "content" in delta and "role" not in delta else None}]))
        return made

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {**self.head, "choices": choices}
        if self.question.usage:
            chunk["usage"] = None
        return chunk

    def ending(self, made: int) -> dict[str, Any]:
        """The chunk of a stream that tells what was used."""
        return {**self.head, "choices": [], "usage": self.usage(made)}

    def usage(self, made: int) -> dict[str, int]:
        read = sum(map(len, self.prompts))
        return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}

    def _echo(self, k: int) -> str:
        return self.question.echoes[k // self.each]

    def _name(self, token: int) -> str:
        return self.tokenizer.bytes_of(token).decode("utf-8", "replace")

    def _told(self, k: int, prompt: Any, choices: Any, first: bool = True) -> dict[str, Any] | None:
        """Of a completion: parallel lists."""
        if self.question.logprobs is None:
            return None
        tokens: list[str] = []
        known: list[Any] = []
        tops: list[Any] = []
        offsets: list[int] = []
        if self.question.asked.told_prompt and first:
            choices = [Choice(self.prompts[k // self.each][0]), *prompt, *choices]
        for choice in choices:
            name = self._name(choice.token)
            offsets.append(self._at[k])
            self._at[k] += len(name)
            tokens.append(name)
            known.append(None if choice.logprob is None else _finite(choice.logprob))
            tops.append({self._name(t): _finite(p) for t, p in choice.top} if choice.logprob is not None else None)
        return {"tokens": tokens, "token_logprobs": known, "top_logprobs": tops, "text_offset": offsets}

    def _chat_told(self, choices: Any) -> dict[str, Any] | None:
        if self.question.logprobs is None:
            return None
        return {"content": [{**self._one(c.token, c.logprob), "top_logprobs": [self._one(t, p) for t, p in c.top]}
                            for c in choices], "refusal": None}

    def _one(self, token: int, logprob: float) -> dict[str, Any]:
        return {"token": self._name(token), "logprob": _finite(logprob), "bytes": [*self.tokenizer.bytes_of(token)]}


def _finite(logprob: float) -> float:
    return max(logprob, -9999.0)  # JSON has no infinity; the protocol's own word for a token that cannot be


def failed(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """What a request failed of, in the protocol's form."""
    kind = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}.get(
        status, "invalid_request_error" if status < 500 else "overloaded_error" if status == 503 else
        "timeout_error" if status == 504 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
