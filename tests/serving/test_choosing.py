"""What a request may say of how its texts are chosen: penalties, biases, the best of several; caches of 16 bits."""

import asyncio

import numpy as np
import pytest

import facula
from facula.serving import App, Repository, Settings
from facula.serving.generation.cache import PagedCache
from facula.serving.generation.engine import Engine, Part
from facula.serving.generation.sampling import Sampler, Sampling
from facula.serving.settings import ConfigError, Generation
from generation_models import GPT, language, plain
from serving_client import ask


@pytest.fixture(scope="module")
def gpt():
    return GPT()


@pytest.fixture(scope="module")
def app(gpt):
    models = Repository()
    models.add("gpt", handler=language(gpt), settings=Settings(max_batch_size=4, generation=Generation(
        cache_bytes=4 << 20)))
    yield App(models)
    models.drain(5)


def complete(app, prompt="hello", **more):
    return asyncio.run(ask(app, "POST", "/v1/completions", {"model": "gpt", "prompt": prompt, **more}))


def counts(app):
    text = asyncio.run(ask(app, "GET", "/metrics")).body.decode()
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {key.partition("{")[0]: float(value) for key, value in found.items()}


@pytest.mark.parametrize("presence, frequency", [(0.7, 0.0), (0.0, 0.4), (0.5, 0.3), (-0.5, -0.2)])
def test_penalties_are_what_the_protocol_says(app, gpt, presence, frequency):
    """logits[j] - count[j] * frequency - (count[j] > 0) * presence, of the text's own tokens, not the prompt's."""
    tokens, made = [*b"hello"], []
    for _ in range(24):
        logits = plain(gpt, tokens)[-1].numpy().astype(np.float64)
        for token in set(made):
            logits[token] -= made.count(token) * frequency + presence
        made.append(int(logits.argmax()))
        tokens.append(made[-1])
    found = complete(app, temperature=0, max_tokens=24, presence_penalty=presence, frequency_penalty=frequency)
    assert found.json["choices"][0]["text"] == bytes(made).decode()


def test_penalties_say_something():
    logits = np.array([1.0, 0.9, 0.8], "f")
    for sampling, wanted in ((Sampling(0.0), [0, 0, 0, 0, 0]), (Sampling(0.0, presence=0.15), [0, 1, 0, 0, 0]),
                             (Sampling(0.0, frequency=0.15), [0, 1, 0, 2, 1]),
                             (Sampling(0.0, biases=((2, 0.3),)), [2, 2, 2, 2, 2]),
                             (Sampling(0.0, biases=((2, 0.3),), frequency=0.15), [2, 0, 2, 1, 0])):
        sampler = Sampler(sampling)
        assert [sampler.choose(logits).token for _ in wanted] == wanted, sampling
    assert (logits == np.array([1.0, 0.9, 0.8], "f")).all()  # the row is the engine's


def test_what_is_told_is_the_models_own():
    logits = np.array([1.0, 0.9, 0.8], "f")
    told = Sampler(Sampling(0.0, logprobs=2, biases=((2, 50.0),))).choose(logits)
    assert told.token == 2 and told.logprob == pytest.approx(np.log(np.exp(0.8) / np.exp(logits).sum()), rel=1e-5)
    assert [token for token, _ in told.top] == [0, 1]


def test_biases(app):
    before = counts(app)
    only = complete(app, max_tokens=6, seed=1, logit_bias={"65": 100}).json["choices"][0]["text"]
    assert only == "AAAAAA"
    greedy = complete(app, temperature=0, max_tokens=1).json["choices"][0]["text"]
    banned = complete(app, temperature=0, max_tokens=1, logit_bias={str(ord(greedy)): -100}).json["choices"][0]["text"]
    assert banned != greedy
    assert counts(app)["facula_generation_tokens_adjusted"] - before["facula_generation_tokens_adjusted"] == 7


def test_the_best_of_several(app):
    before = counts(app)
    asked = {"max_tokens": 8, "seed": 4}
    every = complete(app, n=5, logprobs=0, **asked).json["choices"]
    means = [np.mean(one["logprobs"]["token_logprobs"]) for one in every]
    order = np.argsort(means)[::-1]
    found = complete(app, n=2, best_of=5, **asked).json
    assert [one["text"] for one in found["choices"]] == [every[k]["text"] for k in order[:2]]
    assert [one["index"] for one in found["choices"]] == [0, 1]
    assert [one["logprobs"] for one in found["choices"]] == [None, None]
    assert found["usage"]["completion_tokens"] == 40  # all that were made
    told = complete(app, best_of=5, logprobs=1, **asked).json["choices"]
    assert len(told) == 1 and told[0]["logprobs"]["token_logprobs"] == every[order[0]]["logprobs"]["token_logprobs"]
    two = complete(app, ["hello", "abc"], best_of=3, **asked).json["choices"]
    assert [one["index"] for one in two] == [0, 1]
    after = counts(app)
    assert after["facula_generation_choices_discarded"] - before["facula_generation_choices_discarded"] == 3 + 4 + 4
    assert after["facula_generation_choices"] - before["facula_generation_choices"] == 5 + 5 + 5 + 6


# ---- caches of 16 bits -----------------------------------------------------------------------------------------------


def logits_of(gpt, dtype, text, split):
    engine = Engine(language(gpt), 1 << 20, 16, dtype)
    blocks = engine.cache.take(engine.cache.blocks_for(len(text)))
    start = 0
    for end in (*split, len(text)):
        found = engine.logits([Part(text, start, end - start, blocks)])
        start = end
    return found[0, 0]


@pytest.mark.parametrize("dtype, error", [("bfloat16", 0.3), ("float16", 0.03)])
def test_a_cache_of_16_bits(gpt, dtype, error):
    text = np.random.default_rng(3).integers(32, 127, 40).tolist()
    wanted = plain(gpt, text)[-1].numpy()
    assert 0 < np.abs(logits_of(gpt, dtype, text, ()) - wanted).max() < error
    sizes = gpt.sizes
    half, full = PagedCache(sizes, 1 << 18, 16, dtype), PagedCache(sizes, 1 << 18, 16)
    assert half.blocks == 2 * full.blocks and half.keys[0].dtype is getattr(facula, dtype)
    assert sum(t.numel() * t.element_size() for t in half.keys + half.values) == half.nbytes <= 1 << 18


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_cache_of_16_bits_has_the_same_bits_however_tokens_come(gpt, dtype):
    text = np.random.default_rng(3).integers(32, 127, 40).tolist()
    whole = logits_of(gpt, dtype, text, ())
    for split in ([16], [39], [10, 11, 12, 30]):
        assert (logits_of(gpt, dtype, text, split) == whole).all()


@pytest.mark.compiled
def test_texts_over_a_cache_of_16_bits(gpt):
    """Put aside, read again, in company or alone: the same tokens."""
    found = []
    for blocks, most in ((200, 1), (24, 4)):
        models = Repository()
        models.add("gpt", handler=language(gpt), settings=Settings(max_batch_size=most, generation=Generation(
            cache_dtype="bfloat16", cache_bytes=blocks * 2 * 2 * 2 * 16 * 6 * 2)))
        lane = models.lane("gpt")[1]
        assert lane.engine.exact and not lane.engine.alone
        found.append(complete(App(models), "hello", n=4, seed=2, max_tokens=120).json["choices"])
        assert (lane.figures.counts["preempted"] > 0) == (most > 1)
        assert counts(App(models))["facula_generation_cache_bytes"] == lane.engine.cache.nbytes
        models.drain(5)
    assert found[0] == found[1]


def test_other_caches_are_refused(gpt):
    with pytest.raises(ConfigError, match="cache_dtype"):
        PagedCache(gpt.sizes, 1 << 20, 16, "int8")
