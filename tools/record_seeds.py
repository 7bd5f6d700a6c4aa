"""Record what PyTorch prints for the seed documents into tests/seeds/expected.json.

    python tools/record_seeds.py        (needs real torch; run it again when an oracle is newer)

Four blocks use what PyTorch has dropped; torch runs them in today's spelling, Facula as they are.
"""

import json
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))
import torch  # noqa: E402

import seed_blocks  # noqa: E402  (the path comes first)

TIMES = {"003-15"}  # prints how long something took


def main():
    expected = {}
    for document in seed_blocks.documents():
        for result in seed_blocks.run_document(document, modern=True):
            if result["name"] in TIMES:
                result["output"] = None
            expected[result["name"]] = {"error": result["error"], "output": result["output"]}
    record = {"torch": torch.__version__, "seed": 0, "blocks": expected}
    path = seed_blocks.COPIES / "expected.json"
    path.write_text(json.dumps(record, indent=0) + "\n", encoding="utf-8")
    print(f"{path}: {len(expected)} blocks, {sum(not e['error'] for e in expected.values())} of them run")


if __name__ == "__main__":
    main()
