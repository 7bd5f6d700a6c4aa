"""`/v1/completions` and `/v1/chat/completions`: what OpenAI's clients send and read, and what strangers send."""

import asyncio
import json
import random

import numpy as np
import pytest

import facula
from facula.serving import App, Limits, Repository, Settings
from facula.serving.settings import Generation
from generation_models import GPT, language, plain
from serving_client import ask, double


@pytest.fixture(scope="module")
def gpt():
    return GPT()


@pytest.fixture(scope="module")
def app(gpt):
    models = Repository()
    models.add("gpt", handler=language(gpt), settings=Settings(max_batch_size=4, generation=Generation(
        cache_bytes=4 << 20)))
    models.add("double", handler=double)
    yield App(models, limits=Limits(prompt_bytes=5000, choices=6))
    models.drain(5)


def complete(app, prompt="hello", **more):
    return asyncio.run(ask(app, "POST", "/v1/completions", {"model": "gpt", "prompt": prompt, **more}))


def chat(app, text="hello", **more):
    return asyncio.run(ask(app, "POST", "/v1/chat/completions", {
        "model": "gpt", "messages": [{"role": "user", "content": text}], **more}))


def events(answer):
    """Of a stream: its chunks, after a look at its form."""
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
    lines = answer.body.decode().split("\n\n")
    assert lines[-1] == "" and all(line.startswith("data: ") for line in lines[:-1])
    assert lines[-2] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-2]]


def greedy(gpt, prompt, count):
    tokens = [*prompt.encode()]
    for _ in range(count):
        tokens.append(int(plain(gpt, tokens)[-1].argmax()))
    return bytes(tokens[len(prompt.encode()):]).decode()


def test_a_completion(app, gpt):
    found = complete(app, temperature=0, max_tokens=12).json
    assert found["object"] == "text_completion" and found["model"] == "gpt" and found["id"].startswith("cmpl-")
    assert found["choices"] == [{"index": 0, "finish_reason": "length", "logprobs": None,
                                 "text": greedy(gpt, "hello", 12)}]
    assert found["usage"] == {"prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17}


def test_a_chat(app, gpt):
    found = chat(app, temperature=0, max_tokens=12).json
    assert found["object"] == "chat.completion" and found["id"].startswith("chatcmpl-")
    choice, = found["choices"]
    assert choice["message"] == {"role": "assistant", "refusal": None,
                                 "content": greedy(gpt, "<user>hello\n<assistant>", 12)}
    assert found["usage"]["prompt_tokens"] == len("<user>hello\n<assistant>")
    assert chat(app, temperature=0, max_completion_tokens=12).json["choices"] == found["choices"]


@pytest.mark.parametrize("call", [complete, chat])
def test_a_stream_is_the_answer_in_pieces(app, call):
    asked = {"seed": 3, "max_tokens": 15, "n": 2, "logprobs": True if call is chat else 1}
    whole = call(app, **asked).json
    chunks = events(call(app, **asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == whole["usage"]
    assert len({chunk["id"] for chunk in chunks}) == 1 and all(chunk["usage"] is None for chunk in chunks[:-1])
    assert whole["choices"][0] != whole["choices"][1]
    for k, choice in enumerate(whole["choices"]):
        mine = [chunk["choices"][0] for chunk in chunks[:-1] if chunk["choices"][0]["index"] == k]
        assert len(mine) >= 15 and [c["finish_reason"] for c in mine] == [None] * (len(mine) - 1) + ["length"]
        if call is chat:
            assert mine[0]["delta"] == {"role": "assistant", "content": "", "refusal": None} and mine[-1]["delta"] == {}
            assert "".join(c["delta"].get("content", "") for c in mine) == choice["message"]["content"]
            told = [one for c in mine if c["logprobs"] for one in c["logprobs"]["content"]]
            assert told == choice["logprobs"]["content"] and len(told) == 15
        else:
            assert "".join(c["text"] for c in mine) == choice["text"]
            for name, values in choice["logprobs"].items():
                assert [v for c in mine for v in c["logprobs"][name]] == values
    kind = "chat.completion.chunk" if call is chat else "text_completion"
    assert {chunk["object"] for chunk in chunks} == {kind}


def test_text_ends_before_a_stop(app, gpt):
    text = greedy(gpt, "hello", 20)
    stop = text[6:9]
    found = complete(app, temperature=0, max_tokens=20, stop=["never there", stop]).json["choices"][0]
    assert (found["text"], found["finish_reason"]) == (text[:text.index(stop)], "stop")
    chunks = events(complete(app, temperature=0, max_tokens=20, stop=stop, stream=True))
    assert "".join(c["choices"][0]["text"] for c in chunks) == found["text"]


def test_the_end_of_a_text(gpt):
    """A token that ends it is counted, and not shown."""
    models, text = Repository(), greedy(gpt, "hello", 12)
    end = ord(text[7])
    models.add("gpt", handler=language(gpt, eos=(end,)), settings=Settings(
        max_batch_size=1, generation=Generation(cache_bytes=1 << 20)))
    found = complete(App(models), temperature=0, max_tokens=20).json
    shown = text[:text.index(chr(end))]
    assert found["choices"][0]["text"] == shown and found["choices"][0]["finish_reason"] == "stop"
    assert found["usage"]["completion_tokens"] == len(shown) + 1
    models.drain(5)


def test_what_is_told_of_tokens(app, gpt):
    found = complete(app, temperature=0, max_tokens=3, logprobs=2, echo=True).json["choices"][0]
    told, tokens = found["logprobs"], [*found["text"].encode()]
    assert found["text"].startswith("hello") and told["tokens"] == [*found["text"]] and len(tokens) == 8
    wanted = facula.log_softmax(plain(gpt, tokens).double(), -1).numpy()
    np.testing.assert_allclose(told["token_logprobs"][1:], [wanted[k, t] for k, t in enumerate(tokens[1:])], rtol=1e-4)
    assert told["token_logprobs"][0] is None and told["text_offset"] == [*range(8)]
    assert [*told["top_logprobs"][6]] == [chr(t) for t in np.argsort(-wanted[5])[:2]]
    only = complete(app, max_tokens=0, logprobs=0, echo=True).json
    assert only["choices"][0]["text"] == "hello" and only["usage"]["completion_tokens"] == 0
    np.testing.assert_allclose(only["choices"][0]["logprobs"]["token_logprobs"][1:], told["token_logprobs"][1:5],
                               rtol=1e-6)
    one = chat(app, max_tokens=2, logprobs=True, top_logprobs=3).json["choices"][0]["logprobs"]["content"][0]
    assert one["bytes"] == [*one["token"].encode()] and len(one["top_logprobs"]) == 3


def test_prompts_in_all_their_forms(app):
    one = [complete(app, p, temperature=0, max_tokens=4).json["choices"][0]["text"] for p in ("abc", "xyz!")]
    for many in (["abc", "xyz!"], [[*b"abc"], [*b"xyz!"]]):
        found = complete(app, many, temperature=0, max_tokens=4, n=2).json
        assert [c["text"] for c in found["choices"]] == [one[0], one[0], one[1], one[1]]
        assert [c["index"] for c in found["choices"]] == [0, 1, 2, 3] and found["usage"]["prompt_tokens"] == 7
    assert complete(app, [*b"abc"], temperature=0, max_tokens=4, echo=True).json["choices"][0]["text"] == "abc" + one[0]


def test_models_and_counts(app):
    complete(app, max_tokens=5)
    found = asyncio.run(ask(app, "GET", "/v1/models")).json
    assert [m["id"] for m in found["data"]] == ["gpt"] and found["object"] == "list"
    assert asyncio.run(ask(app, "GET", "/v1/models/gpt")).json == found["data"][0]
    assert asyncio.run(ask(app, "GET", "/v1/models/double")).status == 404
    text = asyncio.run(ask(app, "GET", "/metrics")).body.decode()
    counts = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    label = '{model="gpt",version="1"}'
    assert int(counts["facula_generation_tokens" + label]) >= 5
    assert counts["facula_generation_running" + label] == counts["facula_generation_waiting" + label] == "0"
    assert int(counts["nv_inference_request_success" + label]) >= 1
    assert int(counts["facula_generation_time_to_first_token_seconds_count" + label]) >= 1
    assert counts["facula_generation_cache_blocks" + label] == counts["facula_generation_cache_blocks_free" + label]
    paths = asyncio.run(ask(app, "GET", "/openapi.json")).json["paths"]
    assert "/v1/chat/completions" in paths


@pytest.mark.parametrize("more, param", [
    ({"prompt": 3}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": [[1], ["a"]]}, "prompt"),
    ({"prompt": [300]}, "prompt"), ({"prompt": [-1]}, "prompt"), ({"prompt": ["a"] * 7}, "prompt"),
    ({"prompt": "a" * 5001}, "prompt"), ({"prompt": ""}, None), ({"prompt": "a" * 290}, None),
    ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": 1 << 40}, "max_tokens"), ({"max_tokens": 2.0}, "max_tokens"),
    ({"max_tokens": 400}, None),
    ({"n": 0}, "n"), ({"n": 7}, "n"), ({"n": 4, "prompt": ["a", "b"]}, "n"), ({"n": True}, "n"),
    ({"temperature": -1}, "temperature"), ({"temperature": 3}, "temperature"), ({"temperature": "1"}, "temperature"),
    ({"top_p": 1.1}, "top_p"), ({"seed": 1.5}, "seed"), ({"logprobs": 21}, "logprobs"),
    ({"logprobs": True}, "logprobs"),
    ({"stop": ""}, "stop"), ({"stop": ["a"] * 5}, "stop"), ({"stop": "a" * 257}, "stop"), ({"stop": [1]}, "stop"),
    ({"stream": 1}, "stream"), ({"stream_options": {"x": 1}}, "stream_options"),
    ({"stream_options": {"include_usage": 1}}, "stream_options"), ({"echo": "yes"}, "echo"),
    ({"presence_penalty": 2.5}, "presence_penalty"), ({"frequency_penalty": "1"}, "frequency_penalty"),
    ({"logit_bias": {"257": 1}}, "logit_bias"), ({"logit_bias": {"5": 101}}, "logit_bias"),
    ({"logit_bias": {"05": 1}}, "logit_bias"), ({"logit_bias": {"a": 1}}, "logit_bias"),
    ({"logit_bias": {"5": True}}, "logit_bias"), ({"logit_bias": []}, "logit_bias"),
    ({"best_of": 2, "stream": True}, "best_of"), ({"best_of": 1, "n": 2}, "best_of"), ({"best_of": 7}, "best_of"),
    ({"best_of": 4, "prompt": ["a", "b"]}, "best_of"), ({"tools": []}, "tools"),
    ({"suffix": "x"}, "suffix"), ({"top_k": 5}, "top_k"), ({"timeout": -1}, None), ({"model": 3}, "model"),
    ({"model": "double"}, None)])
def test_what_is_refused(app, more, param):
    found = complete(app, **more)
    error = found.json["error"]
    assert found.status == 400 and error["type"] == "invalid_request_error" and error["message"]
    assert error["param"] == param


def test_what_else_is_refused(app):
    assert complete(app, model="none").status == 404
    assert chat(app, tools=[{"type": "function"}]).json["error"]["param"] == "tools"
    assert chat(app, top_logprobs=2).json["error"]["param"] == "top_logprobs"
    assert chat(app, messages=[]).status == 400
    assert asyncio.run(ask(app, "GET", "/v1/completions")).status == 405
    assert asyncio.run(ask(app, "POST", "/v1/models")).status == 405
    assert asyncio.run(ask(app, "POST", "/v1/embeddings", {})).json["error"]["type"] == "not_found_error"
    for body in (b"", b"[]", b"{", b'{"model": "gpt", "prompt": "\\ud800"}'):
        assert asyncio.run(ask(app, "POST", "/v1/completions", body)).status == 400
    assert asyncio.run(ask(app, "POST", "/v2/models/gpt/infer", {"inputs": [
        {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]})).status == 400
    closed = App(app.models, token="secret")
    found = asyncio.run(ask(closed, "POST", "/v1/completions", {}))
    assert found.status == 401 and found.json["error"]["type"] == "authentication_error"


JUNK = [None, True, 0, -1, 1e308, 0.5, 1 << 70, "", "\0", "é😀", "x" * 300, [], {}, [1], ["a"], [[1], [3]], {"a": 1},
        [[]], [{"role": "user", "content": "x"}], [{"role": "user"}], {"type": "text"}]


def test_strangers(app):
    """Whatever is sent: an answer, or what is wrong with it."""
    draw, lane, seen = random.Random(5), app.models.lane("gpt")[1], set()
    keys = ["prompt", "messages", "max_tokens", "n", "seed", "stop", "stream", "stream_options", "temperature", "top_p",
            "logprobs", "top_logprobs", "echo", "timeout", "tools", "logit_bias", "x"]
    for _ in range(300):
        path = draw.choice(["/v1/completions", "/v1/chat/completions"])
        body = {"model": "gpt", "max_tokens": 2, **({"prompt": "a"} if path == "/v1/completions" else {
            "messages": [{"role": "user", "content": "hi"}]})}
        body.update((draw.choice(keys), draw.choice(JUNK)) for _ in range(draw.randrange(3)))
        text = bytearray(json.dumps(body).encode())
        for _ in range(draw.choice([0, 0, 0, 1, 3])):
            text[draw.randrange(len(text))] = draw.randrange(256)
        found = asyncio.run(ask(app, "POST", path, bytes(text)))
        seen.add(found.status)
        assert found.status in (200, 400, 404, 504), (found.status, text)
        assert found.status == 200 or set(found.json["error"]) == {"message", "type", "param", "code"}
    assert {200, 400} <= seen and lane.engine.cache.left == lane.engine.cache.blocks - 1


def test_a_folder_of_models(gpt, tmp_path):
    """Weights from a file, a tokenizer of a version's folder, what the protocol of tensors says of it, unloading."""
    home = tmp_path / "small"
    (home / "1").mkdir(parents=True)
    facula.save(GPT(context=64, seed=3).state_dict(), home / "1" / "w.pt")
    config = {"source": "w.pt+generation_models:GPT", "arguments": {"context": 64}, "max_batch_size": 2,
              "generation": {"tokenizer": "bytes", "cache_bytes": 1 << 20}}
    (home / "config.json").write_text(json.dumps(config))
    models = Repository(tmp_path)
    models.load_all()
    app = App(models, control=True)
    found = complete(app, model="small", temperature=0, max_tokens=8).json["choices"][0]["text"]
    assert found == greedy(GPT(context=64, seed=3), "hello", 8)
    assert asyncio.run(ask(app, "GET", "/v2/health/ready")).status == 200
    assert asyncio.run(ask(app, "GET", "/v2/models/small")).json["inputs"] == []
    assert b"small" in asyncio.run(ask(app, "GET", "/")).body
    assert "no chat template" in chat(app, model="small").json["error"]["message"]
    config["generation"]["tokenizer"] = "../../elsewhere.json"
    (home / "config.json").write_text(json.dumps(config))
    found = asyncio.run(ask(app, "POST", "/v2/repository/models/small/load"))
    assert found.status == 400 and "leads out" in found.json["error"]
    assert complete(app, model="small", max_tokens=1).status == 200  # who served goes on
    assert asyncio.run(ask(app, "POST", "/v2/repository/models/small/unload")).status == 200
    assert complete(app, model="small").status == 404
    models.drain(5)


def test_what_has_no_effect_is_taken(app):
    assert complete(app, max_tokens=1, user="me", presence_penalty=0, n=1, stop=None, logit_bias={}).status == 200


def test_a_deadline(app):
    found = complete(app, max_tokens=250, timeout=1000)
    assert found.status == 504 and found.json["error"]["type"] == "timeout_error"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves(app, stream):
    """Its text is not written to the end: what it held of the cache is given back at once."""
    lane = app.models.lane("gpt")[1]
    was, sent = dict(lane.figures.counts), []

    async def run():
        body = json.dumps({"model": "gpt", "prompt": "hello", "max_tokens": 280, "stream": stream}).encode()
        first = [{"type": "http.request", "body": body}]
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}

        async def receive():
            if first:
                return first.pop()
            while lane.figures.counts["tokens"] - was["tokens"] < 3:
                await asyncio.sleep(0.001)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
        await asyncio.wait_for(app(scope, receive, send), 120)
        while lane.waits():
            await asyncio.sleep(0.001)
    asyncio.run(run())
    assert lane.figures.counts["cancelled"] == was["cancelled"] + 1
    assert lane.figures.counts["tokens"] - was["tokens"] < 280
    assert lane.engine.cache.left == lane.engine.cache.blocks - 1
    assert bool(sent) == stream and not any(b"DONE" in m.get("body", b"") for m in sent)
