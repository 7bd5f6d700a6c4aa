"""Tokens a second of 16 streams together, beside one after another, of a transformer with random weights, in turns.

    python bench/generation.py [--width 256] [--layers 4] [--streams 16] [--tokens 100] [--prompt 100] [--rounds 3]

In one process, without a network: /v1/completions as server-sent events. Acceptance of issue 12: 4 times as many, and
each stream's text as when alone, which is checked.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from facula.serving import App, Repository, Settings
from facula.serving.settings import Generation
from generation_models import GPT, language


async def stream(app, prompt, options, firsts):
    """A stream's text; when its first token came is noted."""
    body = {"model": "gpt", "prompt": prompt, "max_tokens": options.tokens, "seed": 1, "stream": True}
    given, text, start = [{"type": "http.request", "body": json.dumps(body).encode()}], [], time.perf_counter()

    async def receive():
        return given.pop() if given else await asyncio.Event().wait()

    async def send(message):
        event = message.get("body", b"")
        if event.startswith(b"data: {"):
            if not text:
                firsts.append(time.perf_counter() - start)
            text.append(json.loads(event[6:])["choices"][0]["text"])
    await app({"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}, receive, send)
    return "".join(text)


async def rounds(app, options):
    prompts = [chr(97 + k) * options.prompt for k in range(options.streams)]
    count = options.streams * options.tokens
    apart, together, ratios, firsts = [], [], [], []
    for turn in range(options.rounds + 1):  # the first brings kernels and plans
        firsts.clear()
        start = time.perf_counter()
        texts = [await stream(app, prompt, options, []) for prompt in prompts]
        alone = count / (time.perf_counter() - start)
        start = time.perf_counter()
        found = await asyncio.gather(*[stream(app, prompt, options, firsts) for prompt in prompts])
        many = count / (time.perf_counter() - start)
        if found != texts:
            raise SystemExit("texts differ together and alone")
        if turn:
            apart.append(alone)
            together.append(many)
            ratios.append(many / alone)
            print(f"one after another {alone:7.0f} tokens/s   together {many:7.0f}   {many / alone:5.2f} times   "
                  f"first token after {1e3 * statistics.median(firsts):.0f} ms (median)", flush=True)
    print(f"median {statistics.median(ratios):.2f} times, best {max(apart):.0f} and {max(together):.0f} tokens/s")


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("width", 256), ("layers", 4), ("streams", 16), ("tokens", 100), ("prompt", 100),
                          ("rounds", 3)):
        parser.add_argument("--" + name, type=int, default=default)
    options = parser.parse_args()
    heads = max(1, options.width // 64)
    decoder = GPT(options.width, heads, heads, options.layers, options.prompt + options.tokens)
    models = Repository()
    models.add("gpt", handler=language(decoder), settings=Settings(
        max_batch_size=options.streams, generation=Generation(cache_bytes=512 << 20)))
    asyncio.run(rounds(App(models), options))
    models.drain(5)


if __name__ == "__main__":
    main()
