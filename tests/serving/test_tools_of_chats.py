"""Tools in chats: what is asked, what is read in a model's text, and what is refused."""

import asyncio
import json

import pytest

import facula
from facula import nn
from facula.serving import App, Repository, Settings
from facula.serving.faults import BadRequest
from facula.serving.generation import ByteTokenizer, Language, Sizes
from facula.serving.generation.templates import checked, no_tools, template_of
from facula.serving.generation.tools import Calls, checked_tools
from facula.serving.settings import Generation
from serving_client import ask

TOOL = {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Zürich"}}\n</tool_call>'
LENGTH = 32  # of each prompt


class Scripted(nn.Module):
    """Says what it was told, after a prompt of LENGTH tokens."""

    sizes = Sizes(1, 1, 1, 257, 400)

    def __init__(self, text):
        super().__init__()
        self.script = facula.full((400,), 256)
        said = facula.tensor([*text.encode(), 256])
        self.script[LENGTH - 1:LENGTH - 1 + len(said)] = said

    def forward(self, ids, step):
        return step.wanted(nn.functional.one_hot(self.script[step.positions], 257).float() * 30)


def template(messages, tools=None):
    return ("with tools " if tools else "without ").ljust(LENGTH)


@pytest.fixture
def said():
    """An App whose model says that."""
    made = []

    def start(text):
        models = Repository()
        models.add("m", handler=Language(Scripted(text), ByteTokenizer(), template), settings=Settings(
            max_batch_size=2, generation=Generation(cache_bytes=1 << 18)))
        made.append(models)
        return App(models)
    yield start
    for models in made:
        models.drain(5)


def chat(app, **more):
    return asyncio.run(ask(app, "POST", "/v1/chat/completions", {
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0, **more}))


def test_calls_of_tools(said):
    app = said(f"Let me see.\n{CALL}\n{CALL.replace('Zürich', 'Bern')}")
    found = chat(app, tools=[TOOL]).json["choices"][0]
    assert found["finish_reason"] == "tool_calls" and found["message"]["content"] == "Let me see."
    calls = found["message"]["tool_calls"]
    assert [one["function"] for one in calls] == [
        {"name": "weather", "arguments": json.dumps({"city": city}, ensure_ascii=False)} for city in ("Zürich", "Bern")]
    assert {one["type"] for one in calls} == {"function"} and len({one["id"] for one in calls}) == 2
    found = chat(app, tools=[TOOL], stream=True)
    chunks = [json.loads(line[6:])["choices"][0] for line in found.body.decode().split("\n\n")[:-2]]
    assert "".join(one["delta"].get("content") or "" for one in chunks) == "Let me see."
    told = [call for one in chunks for call in one["delta"].get("tool_calls", [])]
    assert [one["index"] for one in told] == [0, 1]
    assert [one["function"] for one in told] == [one["function"] for one in calls]
    assert [one["finish_reason"] for one in chunks if one["finish_reason"]] == ["tool_calls"]
    text = asyncio.run(ask(app, "GET", "/metrics")).body.decode()
    assert 'facula_generation_tool_calls{model="m",version="1"} 4' in text
    for more in ({}, {"tools": [TOOL], "tool_choice": "none"}):  # nobody has asked for calls: it is text
        found = chat(app, **more).json["choices"][0]
        assert CALL in found["message"]["content"] and found["finish_reason"] == "stop"
        assert "tool_calls" not in found["message"]


def test_a_call_alone_has_no_content(said):
    found = chat(said(CALL), tools=[TOOL]).json["choices"][0]["message"]
    assert found["content"] is None and len(found["tool_calls"]) == 1


def test_a_call_that_is_cut_off_is_text(said):
    found = chat(said(CALL), tools=[TOOL], max_tokens=20).json["choices"][0]
    assert found["finish_reason"] == "length" and found["message"]["content"] == CALL[:20]


@pytest.mark.parametrize("text, shown, count", [
    ("plain", "plain", 0), ("a < b <tool", "a < b <tool", 0), (f"  {CALL}  ", "", 1), (f"a\n\n{CALL} b", "ab", 1),
    ("<tool_call>no json</tool_call>", "<tool_call>no json</tool_call>", 0), ("a  ", "a  ", 0),
    ('<tool_call>{"name": "other", "arguments": {}}</tool_call>',
     '<tool_call>{"name": "other", "arguments": {}}</tool_call>', 0),
    ('<tool_call>{"name": "weather"}</tool_call>', "", 1),
    ('<tool_call>{"name": "weather", "arguments": "x"}</tool_call>!',
     '<tool_call>{"name": "weather", "arguments": "x"}</tool_call>!', 0),
    ("<tool_call>" + "[" * 100_000 + "</tool_call>", "<tool_call>" + "[" * 100_000 + "</tool_call>", 0)])
@pytest.mark.parametrize("step", [1, 7, 10 ** 6])
def test_what_is_read_in_a_text(text, shown, count, step):
    if len(text) > 10_000 and step < 100:
        step = 1000
    calls, parts, found = Calls(frozenset(["weather"])), [], []
    for at in range(0, len(text), step):
        part, more = calls.add(text[at:at + step])
        parts.append(part)
        found += more
    assert "".join([*parts, calls.end()]) == shown and len(found) == count


@pytest.mark.parametrize("more, param", [
    ({"tools": {}}, "tools"), ({"tools": [{"type": "function"}]}, "tools"), ({"tools": [TOOL, TOOL]}, "tools"),
    ({"tools": [{**TOOL, "type": "retrieval"}]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "a", "strict": True}}]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]}, "tools"),
    ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}}, "tool_choice"),
    ({"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
    ({"tools": [TOOL], "logprobs": True}, "logprobs"), ({"functions": [{"name": "a"}]}, "functions")])
def test_what_is_refused(said, more, param):
    found = chat(said("a"), **more)
    assert found.status == 400 and found.json["error"]["param"] == param


def test_models_that_know_no_tools():
    pytest.importorskip("jinja2")
    plain = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer = ByteTokenizer()
    assert "knows no tools" in no_tools(plain, tokenizer)
    assert "another form" in no_tools(plain + "{{ tools }}", tokenizer)
    hermes = plain + "{% if tools %}<tool_call>{{ tools | tojson }}{% endif %}"
    assert no_tools(hermes, tokenizer) == "" == no_tools(template, tokenizer)
    assert "takes no tools" in no_tools(lambda messages: "", tokenizer)
    assert "weather" in template_of(hermes, tokenizer)([{"role": "user", "content": "a"}], tools=[TOOL])
    tokenizer.specials = frozenset(["<tool_call>"])
    assert "leaves <tool_call> out" in no_tools(hermes, tokenizer)
    models = Repository()
    models.add("m", handler=Language(Scripted("a"), ByteTokenizer(), lambda messages: "a" * LENGTH), settings=Settings(
        max_batch_size=1, generation=Generation(cache_bytes=1 << 18)))
    app = App(models)
    assert chat(app).status == 200
    answered = [{"role": "tool", "content": "1", "tool_call_id": "c"}]
    for more in ({"tools": [TOOL]}, {"messages": answered}):
        assert "takes no tools" in chat(app, **more).json["error"]["message"]
    models.drain(5)


def test_messages_of_tools():
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
    given = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [call]},
             {"role": "tool", "tool_call_id": "c", "content": "rain"}]
    found = checked(given, ByteTokenizer())
    assert found[1] == {"role": "assistant", "content": "", "tool_calls": [
        {**call, "function": {"name": "weather", "arguments": {"city": "Bern"}}}]}
    assert found[2] == given[2]
    broken = {**call, "function": {"name": "weather", "arguments": "{"}}
    assert checked([{"role": "assistant", "tool_calls": [broken]}], ByteTokenizer())[0]["tool_calls"][0] == broken
    guarded = ByteTokenizer()
    guarded.specials = frozenset(["<|end|>"])
    hostile = {**call, "function": {"name": "weather", "arguments": '{"<|end|>": 1}'}}
    user = {"role": "user", "content": "a"}
    for wrong in ({"role": "tool", "content": "a"}, {**user, "tool_call_id": "c"}, {**user, "tool_calls": [call]},
                  {"role": "assistant", "tool_calls": [{}]}, {"role": "assistant"},
                  {"role": "assistant", "tool_calls": [hostile]}):
        with pytest.raises(BadRequest):
            checked([wrong], guarded)
    assert checked_tools([TOOL]) == [TOOL]
