"""Tokens and text: sampling, tokenizers, stops, chat templates in their sandbox, configuration."""

import math
import sys

import numpy as np
import pytest

from facula.serving import ConfigError, Settings
from facula.serving.faults import BadRequest, ServingError
from facula.serving.generation import ByteTokenizer, FileTokenizer
from facula.serving.generation.model import GenerationModel, language_of
from facula.serving.generation.sampling import Sampler, Sampling, _reached
from facula.serving.generation.templates import checked, template_of
from facula.serving.generation.text import Written
from facula.serving.settings import Generation, settings_of
from generation_models import GPT, language

LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))


def drawn(count=4000, logits=LOGITS, index=0, **more):
    sampler = Sampler(Sampling(**more), index)
    return [sampler.choose(logits).token for _ in range(count)]


def test_tokens_are_drawn_as_likely_as_they_are():
    counts = np.bincount(drawn(seed=1), minlength=4) / 4000
    np.testing.assert_allclose(counts, [0.5, 0.3, 0.15, 0.05], atol=0.03)
    hot = np.bincount(drawn(seed=1, temperature=2.0), minlength=4) / 4000
    wanted = np.sqrt([0.5, 0.3, 0.15, 0.05])
    np.testing.assert_allclose(hot, wanted / wanted.sum(), atol=0.03)
    assert set(drawn(50, temperature=0.0)) == {0}


@pytest.mark.parametrize("top_p, kept", [(0.0, 1), (0.49, 1), (0.51, 2), (0.79, 2), (0.81, 3), (0.96, 4), (1.0, 4)])
def test_top_p_keeps_the_fewest_that_are_so_likely_together(top_p, kept):
    assert set(drawn(seed=2, top_p=top_p)) == set(range(kept))


def test_top_p_beyond_the_likeliest_few():
    flat = np.zeros(4000, np.float32)
    found = drawn(3000, flat, seed=3, top_p=0.5)
    assert max(found) < 2000 and max(found) > 1900 and len(set(found)) > 1000


def test_large_vocabularies_are_drawn_from_evenly():
    flat = np.zeros(1000, np.float32)
    flat[500:] = -np.inf
    counts = np.bincount(drawn(6000, flat, seed=4), minlength=1000)
    assert not counts[500:].any() and (counts[:500] > 0).all() and abs(counts[:250].sum() - 3000) < 200
    assert _reached(np.array([0, 1, 1, 0], np.float32), 1.0) == 2  # what rounding may give
    assert _reached(np.array([0, 1, 1, 0], np.float32), 0.0) == 1
    assert _reached(np.array([1] * 300 + [0] * 300, np.float32), 1.0) == 299
    assert set(drawn(50, np.array([3e38, -3e38, 1], np.float32), seed=1, temperature=1e-30)) == {0}


def test_a_seed_says_what_is_drawn():
    assert drawn(50, seed=7) == drawn(50, seed=7) != drawn(50, seed=8)
    assert drawn(50, seed=7, index=1) != drawn(50, seed=7)
    assert drawn(50, seed=-1) == drawn(50, seed=(1 << 64) - 1)
    assert drawn(50) != drawn(50)  # none: another one each time


def test_what_is_told_of_a_token():
    choice = Sampler(Sampling(0.0, logprobs=2)).choose(LOGITS)
    assert choice.token == 0 and math.isclose(choice.logprob, math.log(0.5), rel_tol=1e-6)
    assert [t for t, _ in choice.top] == [0, 1] and math.isclose(choice.top[1][1], math.log(0.3), rel_tol=1e-6)
    masked = np.array([0, -np.inf, 0], np.float32)
    assert set(drawn(300, masked, seed=1)) == {0, 2}
    for bad in (np.nan, np.inf):
        with pytest.raises(ServingError, match="finite"):
            Sampler(Sampling()).choose(np.array([0, bad], np.float32))


# ---- text ------------------------------------------------------------------------------------------------------------


def written(data, *stops):
    """What is shown after each byte, and at the end."""
    text, shown = Written(ByteTokenizer(), stops), []
    for token in data:
        shown.append(text.add(token))
        if text.stopped:
            return shown
    return [*shown, text.end()]


def test_characters_are_shown_whole():
    assert written("aé€😀".encode()) == ["a", "", "é", "", "", "€", "", "", "", "😀", ""]
    assert written(b"a\xe2\x82") == ["a", "", "", "\ufffd"]
    assert "".join(written(b"\xff" * 40)) == "\ufffd" * 40


def test_tokens_without_text_are_not_read_again():
    """A model that has lost its way makes thousands of them, and each is looked at a few times."""
    class Counting(ByteTokenizer):
        read = 0

        def decode(self, tokens):
            self.read += len(tokens)
            return super().decode(tokens)

    tokenizer = Counting()
    text = Written(tokenizer, ("stop",))
    given = [*"aé".encode(), *[256] * 1000, *"é st".encode()[:1], *[300] * 3, *"é st".encode()[1:], *[256] * 9]
    assert "".join(map(text.add, given)) + text.end() == "aéé st"
    assert tokenizer.read < 20 * len(given)


def test_text_ends_before_a_stop():
    assert written(b"one\n\ntwo", "\n\n") == ["o", "n", "e", "", ""]
    assert written(b"aab", "aac") == ["", "", "aab", ""]  # kept back while it may be the beginning of a stop
    assert written(b"aaX", "aaa") == ["", "", "aaX", ""]
    assert written(b"xaa", "aaa") == ["x", "", "", "aa"]
    assert written(b"ab", "b", "ab")[-1] == ""
    assert "".join(written(b"tell STOP more", "more", "STOP")) == "tell "


# ---- tokenizers and templates ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.train_from_iterator(["the cat and the hat", "höher, weiter"] * 5, tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    path = tmp_path_factory.mktemp("tokenizer")
    made.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(
        '{"eos_token": {"content": "<|end|>"}, "chat_template": "{{ messages }}"}')
    (path / "generation_config.json").write_text('{"eos_token_id": [5]}')
    return path


def test_a_tokenizer_of_a_file(folder):
    found = FileTokenizer(folder)
    assert found.eos == {0, 5} and found.specials == {"<|end|>"} and found.chat_template == "{{ messages }}"
    tokens = found.encode("the höhe 😀")
    assert found.decode(tokens) == "the höhe 😀" and len(tokens) < len("the höhe 😀".encode())
    text = Written(found)
    assert "".join([*map(text.add, tokens), text.end()]) == "the höhe 😀"
    assert FileTokenizer(folder / "tokenizer.json").eos == frozenset()
    (folder / "broken").mkdir()
    (folder / "broken" / "tokenizer.json").write_text("{}")
    for wrong in (folder / "broken", folder / "none.json"):
        with pytest.raises(ConfigError):
            FileTokenizer(wrong)


def test_a_model_with_a_tokenizer_of_a_file(folder):
    pytest.importorskip("jinja2")
    model = GenerationModel(language(), Settings(generation=Generation(tokenizer=str(folder), cache_bytes=1 << 20)))
    assert model.tokenizer.names["eos_token"] == "<|end|>" and model.eos == {0, 5}
    with pytest.raises(BadRequest, match="token of the template"):
        checked([{"role": "user", "content": "a<|end|>b"}], model.tokenizer)


def test_messages_are_values_in_a_template():
    pytest.importorskip("jinja2")
    render = template_of("{% for m in messages %}[{{ m.role }}]{{ m['content'] | trim }}\n{% endfor %}"
                         "{% if add_generation_prompt %}[assistant]{% endif %}{{ eos_token }}", ByteTokenizer())
    assert render([{"role": "user", "content": " {{ 7 * 7 }} "}]) == "[user]{{ 7 * 7 }}\n[assistant]"


@pytest.mark.parametrize("source", [
    "{{ ''.__class__.__mro__ }}", "{{ messages.__class__.__base__.__subclasses__() }}",
    "{{ messages.append(1) }}", "{{ raise_exception('no') }}",
    "{% for a in range(10 ** 9) %}{% endfor %}", "{{ messages[0].content.format.__globals__.os }}",
    "{% include '/etc/passwd' %}", "{{ undefined.attribute }}", "{{ 1 / 0 }}"])
def test_a_template_is_in_a_sandbox(source):
    pytest.importorskip("jinja2")
    with pytest.raises(BadRequest, match="does not take"):
        template_of(source, ByteTokenizer())([{"role": "user", "content": "{0.__class__}"}])


def test_what_is_not_installed(monkeypatch, tmp_path):
    for name in ("tokenizers", "jinja2"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"tokenizers: pip install 'facula\[generate\]'"):
        FileTokenizer(tmp_path)
    with pytest.raises(ConfigError, match=r"jinja2: pip install 'facula\[generate\]'"):
        template_of("a", ByteTokenizer())


def test_a_template_that_is_none():
    pytest.importorskip("jinja2")
    with pytest.raises(ConfigError, match="line 2"):
        template_of("a\n{% for %}", ByteTokenizer())


@pytest.mark.parametrize("messages", [
    None, [], "hello", [1], [{"role": "user"}], [{"role": "root", "content": "a"}], [{"role": "user", "content": 1}],
    [{"role": "user", "content": "a", "tool_calls": []}], [{"role": "user", "content": [{"type": "image_url"}]}],
    [{"role": "user", "content": "a", "name": 3}]])
def test_messages_that_are_none(messages):
    with pytest.raises(BadRequest):
        checked(messages, ByteTokenizer())


def test_parts_of_a_message_are_its_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert checked([{"role": "user", "content": parts}], ByteTokenizer()) == [{"role": "user", "content": "ab"}]


# ---- configuration ---------------------------------------------------------------------------------------------------


def test_configuration():
    found = settings_of({"generation": {"tokenizer": "bytes", "cache_bytes": 1 << 20}}, "c")
    assert found.generation == Generation(tokenizer="bytes", cache_bytes=1 << 20)
    for wrong in (3, {"cache": 1}, {"cache_bytes": 0}, {"cache_bytes": "1"}, {"block_tokens": True}, {"tokenizer": 3}):
        with pytest.raises(ConfigError, match="generation"):
            settings_of({"generation": wrong}, "c")


def test_sources():
    small = Settings(generation=Generation(tokenizer="bytes"), arguments={"context": 64})
    found = language_of("generation_models:GPT", small)
    assert found.decoder.sizes.context == 64
    assert language_of("generation_models:language", Settings()).tokenizer is not None
    for wrong in ("generation_models:chat", "generation_models:Failing.forward", "generation_models:nn"):
        with pytest.raises(ConfigError):
            language_of(wrong, small)
    with pytest.raises(ConfigError, match="tokenizer"):
        GenerationModel(type(language())(GPT()), Settings())
