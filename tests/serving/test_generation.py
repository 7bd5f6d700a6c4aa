"""Text from a decoder: the same bits in any company, a cache that is full, clients that leave, versions that change."""

import asyncio
import time

import numpy as np
import pytest

import facula
from facula.serving import App, Repository, Settings
from facula.serving.faults import Busy, ServingError, TooLate
from facula.serving.generation import Step
from facula.serving.generation.cache import PagedCache
from facula.serving.generation.engine import Engine, Part, together
from facula.serving.generation.sampling import Sampling
from facula.serving.generation.sequences import Asked
from facula.serving.settings import ConfigError, Generation
from generation_models import GPT, Failing, Mixing, language, plain
from serving_client import ask

DRAW = np.random.default_rng(2)
BLOCK = 2 * 2 * 2 * 16 * 6 * 4  # bytes of a block of GPT's


def texts(*lengths):
    return [DRAW.integers(32, 127, n).tolist() for n in lengths]


@pytest.fixture(scope="module")
def gpt():
    return GPT()


@pytest.fixture
def models():
    made = Repository()
    yield made
    made.drain(5)


def lane_of(models, decoder, blocks=200, share=True, **settings):
    models.add("gpt", handler=language(decoder), settings=Settings(
        **{"max_batch_size": 8, **settings, "generation": Generation(cache_bytes=blocks * BLOCK, share_prompts=share)}))
    return models.models["gpt"]["1"].lane


@pytest.fixture(scope="module")
def shared(gpt):
    made = Repository()
    yield lane_of(made, gpt, max_queue_size=20)
    made.drain(5)


async def text_of(job):
    """Of each choice: its tokens, why it ended."""
    found, left = {}, len(job.asked.prompts) * job.asked.choices
    while left:
        piece = await job.next()
        tokens, _ = found.get(piece.index, ([], None))
        found[piece.index] = tokens + [c.token for c in piece.choices], piece.finish
        left -= piece.finish is not None
    return [found[k] for k in sorted(found)]


async def idle(lane):
    end = time.monotonic() + 120
    while lane.waits():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


def test_attention_is_what_it_is_without_a_cache(gpt):
    engine, (text,) = Engine(language(gpt), 40 * BLOCK, 16), texts(200)
    blocks = engine.cache.take(13)
    found = [engine.logits([Part(text, at, min(128, 200 - at), blocks)], every=True)[0] for at in (0, 128)]
    found = np.concatenate([found[0], found[1][:72]])
    np.testing.assert_allclose(found, plain(gpt, text).numpy(), rtol=2e-4, atol=2e-4)


@pytest.mark.compiled
def test_a_sequence_has_the_same_bits_however_it_is_read(gpt):
    engine = Engine(language(gpt), 100 * BLOCK, 16)
    given = texts(150, 9, 33)
    held = [engine.cache.take(10) for _ in given]
    alone = []
    for text, blocks in zip(given, held, strict=True):
        at = 0
        for count in (5, 1, 60, 128):
            count = min(count, len(text) - at)
            if count:
                alone.append(engine.logits([Part(text, at, count, blocks)])[0].tobytes())
            at += count
    other = [engine.cache.take(10) for _ in given]
    ends = []
    for at in range(150):  # token by token, all together, and who is at its end leaves
        parts = [Part(text, at, 1, blocks) for text, blocks in zip(given, other, strict=True) if at < len(text)]
        rows = engine.logits(parts)
        ends += [row.tobytes() for part, row in zip(parts, rows, strict=True) if at in (4, 5, 65, len(part.tokens) - 1)]
    assert sorted(ends) == sorted(alone) and len(set(ends)) == len(ends) == 10


def test_what_others_have_left_in_the_cache_does_not_matter(gpt):
    engine, (text,) = Engine(language(gpt), 30 * BLOCK, 16), texts(20)
    blocks = engine.cache.take(2)
    wanted = engine.logits([Part(text, 0, 20, blocks)])
    for memory in engine.cache.keys + engine.cache.values:
        memory.fill_(1e30)
    assert engine.logits([Part(text, 0, 20, blocks)]).tobytes() == wanted.tobytes()


def test_infinite_values_give_no_number(gpt):
    cache = PagedCache(gpt.sizes, 10 * BLOCK, 16)
    tables = np.full((1, 8), 0)
    tables[0, 0] = 1
    step = Step(cache, np.array([[0]]), tables, np.array([[16]]), None)
    q, k, v = facula.ones(1, 1, 4, 6), facula.ones(1, 1, 2, 6), facula.ones(1, 1, 2, 6)
    assert facula.equal(step.attend(0, q, k, v), q)
    v[0, 0, 1, 3] = float("inf")
    found = step.attend(0, q, k, v)
    assert found.isnan().sum() == 2 and not found.isinf().any()
    with pytest.raises(ValueError, match="kv_heads|2 heads"):
        step.attend(0, q, k[..., :5], v)


def test_what_is_no_number_stays_with_its_sequence(models):
    """Its blocks are taken by others, who read all of them; so is the block of nobody."""
    decoder = GPT(context=64)
    with facula.no_grad():
        decoder.tokens.weight[200] = float("inf")
    lane = lane_of(models, decoder, 9, max_batch_size=2)
    asked = [Asked([text], 1, 10, Sampling(0.0)) for text in texts(20, 50)]

    async def run():
        before = [await text_of(lane.ask(one)) for one in asked]
        for k in range(6):  # one after the other, and beside one that is right
            jobs = [lane.ask(Asked([[65] * (k * 3) + [200, 65, 66]], 1, 5)), lane.ask(asked[0])]
            bad, good = await asyncio.gather(*map(text_of, jobs), return_exceptions=True)
            assert "not finite" in str(bad) and good == before[0]
        return before, [await text_of(lane.ask(one)) for one in asked]
    before, after = asyncio.run(run())
    assert before == after
    assert all(bool(memory.isfinite().all()) for memory in lane.engine.cache.keys + lane.engine.cache.values)


def test_the_cache_is_bounded(gpt):
    cache = PagedCache(gpt.sizes, 5 * BLOCK + 100, 16)
    assert (cache.blocks, cache.nbytes, cache.capacity) == (5, 5 * BLOCK, 64)
    taken = cache.take(3)
    assert cache.take(2) is None and cache.left == 1 and 0 not in taken
    cache.give(taken)
    assert taken == [] and cache.left == 4
    for nbytes, block in ((BLOCK, 16), (10 * BLOCK, 24)):
        with pytest.raises(ConfigError):
            PagedCache(gpt.sizes, nbytes, block)


def test_blocks_are_found_by_what_they_hold(gpt):
    cache, (text, other) = PagedCache(gpt.sizes, 5 * BLOCK, 16), texts(50, 50)
    names = cache.names(text, [], 3)
    assert cache.names(text[:16] + other, [], 2)[0] == names[0] != cache.names(other, [], 1)[0]
    assert cache.names(other[:16] + text[16:], [], 2)[1] != names[1]  # what came before counts
    first = cache.take(3)
    for block, name in zip(first, names, strict=True):
        cache.call(block, name)
    held = [*first]
    second = cache.share(names[:2])
    assert second == held[:2] and cache.left == 1
    cache.give(first)
    assert cache.left == 2 and cache.take(3) is None  # two are still had
    cache.give(second)
    assert cache.left == 4 and cache.share(names) == held
    cache.give([*held])
    taken = cache.take(2)  # the one without a name, and the end of the text
    assert held[2] in taken and cache.share(names) == held[:2]


def test_prompts_that_are_read_together():
    assert together([100] * 5) == 2 and together([30, 8, 20, 3, 5, 6, 7, 8, 9]) == 8
    assert together([128, 1]) == 2 and together([128, 1, 1]) == 2 and together([1] * 9) == 9


@pytest.mark.compiled
@pytest.mark.parametrize("blocks", [200, 20])
def test_tokens_are_the_same_alone_and_in_company(models, gpt, shared, blocks):
    """Where the cache does not hold all of them, some are put aside and read again."""
    lane = shared if blocks == 200 else lane_of(models, gpt, blocks, False, max_batch_size=6)
    assert lane.engine.exact and not lane.engine.alone
    was, done = dict(lane.figures.counts), lane.statistics.request_success
    asked = [Asked([text], 1 + k % 2, 25, Sampling(temperature=[0.0, 1.0][k % 2], top_p=[1.0, 0.8][k % 4 == 3], seed=k))
             for k, text in enumerate(texts(3, 60, 17, 130, 40, 80, 1))]

    async def run():
        alone = [await text_of(lane.ask(one)) for one in asked]
        jobs = []
        for one in asked:
            jobs.append(asyncio.ensure_future(text_of(lane.ask(one))))
            await asyncio.sleep(0.004)  # they join while others run
        return alone, list(await asyncio.gather(*jobs))
    alone, company = asyncio.run(run())
    assert company == alone
    assert len({tuple(tokens) for one in alone for tokens, _ in one}) == 10  # two choices differ, too
    more = {name: count - was[name] for name, count in lane.figures.counts.items()}
    assert (more["preempted"] > 0) == (blocks == 20)
    assert lane.engine.cache.left == blocks - 1
    assert lane.statistics.request_success - done == 14 and more["tokens"] == 2 * 10 * 25


def test_a_decoder_that_mixes_sequences_runs_them_one_by_one(models):
    lane = lane_of(models, Mixing(), max_batch_size=2)
    assert "same bits" in lane.engine.alone
    asked = [Asked([text], 1, 8, Sampling(0.0)) for text in texts(5, 9)]

    async def run():
        alone = [await text_of(lane.ask(one)) for one in asked]
        return alone, list(await asyncio.gather(*[text_of(lane.ask(one)) for one in asked]))
    alone, company = asyncio.run(run())
    assert alone == company


@pytest.mark.compiled
def test_texts_that_begin_alike_are_read_once(shared, models, gpt):
    text, other = texts(100, 40)

    async def run(lane, prompt):
        was = dict(lane.figures.counts)
        found = await text_of(lane.ask(Asked([prompt], 1, 20, Sampling(0.0))))
        return found[0][0], *[lane.figures.counts[k] - was[k] for k in ("prompt_tokens", "prompt_tokens_reused")]
    first, *counts = asyncio.run(run(shared, text))
    assert counts == [100, 0]
    assert asyncio.run(run(shared, text)) == (first, 4, 96)
    found, *counts = asyncio.run(run(shared, text[:50] + other))
    assert counts == [42, 48]
    again, *counts = asyncio.run(run(shared, text + first[:15]))  # an answer, too
    assert counts == [3, 112] and again[:5] == first[15:]
    lane = lane_of(models, gpt, 100, False, max_batch_size=2)
    assert [asyncio.run(run(lane, p)) for p in (text, text, text[:50] + other)] == [
        (first, 100, 0), (first, 100, 0), (found, 90, 0)]


def test_where_reading_again_gives_other_bits_nobody_is_put_aside(models, gpt):
    lane = lane_of(models, gpt, 20, max_batch_size=2)
    lane.engine.exact = False

    async def run():
        jobs = [lane.ask(Asked([text], 1, 120)) for text in texts(100, 90, 3)]  # 14, 14 and 8 of 19 blocks
        return list(await asyncio.gather(*map(text_of, jobs)))
    assert [len(tokens) for (tokens, _), in asyncio.run(run())] == [120] * 3
    assert lane.figures.counts["preempted"] == 0 and lane.engine.cache.left == 19


def test_who_comes_later_may_be_done_earlier(shared, monkeypatch):
    lane, show, ended = shared, shared._show, []

    def showing(one, piece):
        if piece.finish is not None:
            ended.append((one.job, len(one.tokens) - one.prompt))
        show(one, piece)
    monkeypatch.setattr(lane, "_show", showing)

    async def run():
        with lane.worker.condition:  # the first has not ended before the second is asked, whatever the machine does
            long, short = lane.ask(Asked(texts(4), 1, 150)), lane.ask(Asked(texts(4), 1, 3))
        await asyncio.gather(text_of(long), text_of(short))
        return [(short, 3), (long, 150)]
    assert asyncio.run(run()) == ended


def test_who_leaves_makes_room(shared):
    lane, was = shared, dict(shared.figures.counts)

    async def run():
        job, other = lane.ask(Asked(texts(30), 4, 200)), lane.ask(Asked(texts(30), 1, 20))
        await job.next()
        job.cancel()
        done = await text_of(other)
        await idle(lane)
        return done
    (tokens, finish), = asyncio.run(run())
    assert len(tokens) == 20 and finish == "length"
    assert lane.engine.cache.left == 199 and lane.figures.counts["cancelled"] == was["cancelled"] + 1
    assert lane.figures.counts["tokens"] - was["tokens"] < 500


def test_deadlines_and_a_full_queue(shared):
    lane, was = shared, shared.statistics.all()

    async def run():
        late = lane.ask(Asked(texts(3), 1, 250, deadline=time.perf_counter() + 0.02))
        with pytest.raises(TooLate):
            await text_of(late)
        await idle(lane)
        jobs = [lane.ask(Asked(texts(3), 8, 290))]
        await jobs[0].next()
        with lane.worker.condition:  # none of them ends meanwhile, nor is any more taken up
            jobs += [lane.ask(Asked(texts(3), count, 290)) for count in (14, 6)]
            with pytest.raises(Busy):  # 20 are the most that wait; the 8 that run do not count
                lane.ask(Asked(texts(3), 1, 5))
        for job in jobs:
            job.cancel()
        await idle(lane)
    asyncio.run(run())
    more = {name: count - was[name] for name, count in lane.statistics.all().items()}
    assert more["late"] == 1 and more["rejected"] == 1 and more["request_failure"] == 2


def test_what_one_fails_of_the_others_do_not(models):
    lane = lane_of(models, Failing(), max_batch_size=4)

    async def run():
        jobs = [lane.ask(Asked([[*b"good"]], 1, 60, Sampling(0.0))), lane.ask(Asked([[*b"bad\xc8"]], 2, 60)),
                lane.ask(Asked([[*b"worse\xc9"]], 1, 60))]
        return await asyncio.gather(*map(text_of, jobs), return_exceptions=True)
    good, bad, worse = asyncio.run(run())
    assert isinstance(bad, ServingError) and "exclaimed" in str(bad) and "not finite" in str(worse)
    assert len(good[0][0]) == 60
    assert lane.engine.cache.left == 199 and not lane.active


def test_blocks_that_cannot_be_cleared_yet_are_nobodys(models, monkeypatch):
    """What failed for want of memory may do so there, too: the thread goes on, and nobody has these blocks as yet."""
    lane = lane_of(models, Failing(), max_batch_size=4)
    cache, had = lane.engine.cache, []
    clearing = cache.clear

    def clear(blocks):
        had.append([cache._users[block] for block in blocks])
        if len(had) < 5:
            raise MemoryError("no room")
        clearing(blocks)
    monkeypatch.setattr(cache, "clear", clear)

    async def run():
        jobs = [lane.ask(Asked([[*b"good"]], 1, 60, Sampling(0.0))), lane.ask(Asked([[*b"bad\xc8"]], 2, 60))]
        return await asyncio.wait_for(asyncio.gather(*map(text_of, jobs), return_exceptions=True), 120)
    good, bad = asyncio.run(run())
    assert len(good[0][0]) == 60 and isinstance(bad, ServingError) and "exclaimed" in str(bad)
    assert models.worker.is_alive() and cache.left == 199 and not lane.active
    assert len(had) in (5, 6)  # where texts are read one by one the second of the bad ones is dropped before it is read
    assert all(users == [1] * len(users) and users for users in had)


def test_a_version_is_exchanged_and_loses_nothing(models, gpt):
    old = lane_of(models, gpt, max_batch_size=2)

    async def run():
        job = old.ask(Asked(texts(5), 2, 120))
        await job.next()
        await asyncio.to_thread(lane_of, models, GPT(seed=9))
        return await text_of(job)
    assert sum([len(tokens) for tokens, _ in asyncio.run(run())]) == 240 - 1
    assert models.models["gpt"]["1"].lane is not old and old.emptied.wait(5)


def test_a_server_that_ends_finishes_what_it_began(gpt):
    models = Repository()
    lane = lane_of(models, gpt)
    app = App(models)

    async def run():
        job = lane.ask(Asked(texts(5), 2, 60))
        app.draining = True
        refused = await ask(app, "POST", "/v1/completions", {"model": "gpt", "prompt": "a"})
        done, ended = await asyncio.gather(text_of(job), asyncio.to_thread(models.drain, 10.0))
        return refused, done, ended
    refused, done, ended = asyncio.run(run())
    assert refused.status == 503 and refused.headers["retry-after"] == "1" and ended
    assert [len(tokens) for tokens, _ in done] == [60, 60]


def test_plans_are_used_again(gpt):
    engine, (text,) = Engine(language(gpt), 40 * BLOCK, 16), texts(100)
    blocks = engine.cache.take(8)

    def step(at):
        engine.logits([Part(text, at, 1, blocks), Part(text, at, 1, blocks)])
    for at in range(8):
        step(at)
    from facula.engine.session import session
    before = len(session.seen)
    for at in range(8, 99):
        step(at)
    assert len(session.seen) == before


def test_decoders_that_are_none(models):
    with pytest.raises(ConfigError, match="sizes"):
        language(facula.nn.Linear(2, 2))

    class Deaf(GPT):
        def forward(self, ids, step):
            return super().forward(ids, step)[..., :5]
    with pytest.raises(ServingError, match="wanted"):
        models.add("deaf", handler=language(Deaf()))
    assert models.models["deaf"]["1"].state == "UNAVAILABLE"
