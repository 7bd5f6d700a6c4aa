"""The code blocks of the seed documents, and a notebook that runs them.

The documents are Markdown with code in ```python fences or {% highlight ruby %} blocks. They are read as
Jupyter reads a notebook: the blocks of one document share a namespace, a block goes on after another one
failed, `!command` lines are dropped and so is an indentation that the whole block starts with. There is no
GPU, so CUDA lines move to the CPU.

    python tests/seed_blocks.py DOCUMENT           run it with the `torch` that is importable, JSON to stdout
    facula run --compat 0.3 tests/seed_blocks.py DOCUMENT          the same with Facula
    python tests/seed_blocks.py --modern DOCUMENT  with what PyTorch 0.3 accepted put into today's spelling
"""

import ast
import contextlib
import io
import json
import re
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

COPIES = Path(__file__).resolve().parent.parent / "seeds"
SHARED = Path(__file__).resolve().parent.parent.parent.parent / "shared" / "seeds"

FENCE = re.compile(r"```python\n(.*?)```|\{% highlight ruby %\}\n(.*?)\{% endhighlight %\}", re.DOTALL)
TO_CPU = [(r"\.cuda\(\)", ""), (r"""(['"])cuda(:\d+)?\1""", r"\1cpu\1")]

# What raises in PyTorch 2.13, in the four blocks that only a PyTorch of their day can run, and what to write
# now: `loss.data[0]` on a 0-d tensor (an IndexError) and a Function that is called as an object.
MODERN = [
    (r"loss\.data\[0\]", "loss.item()"),
    (r"def forward\(self, input\):(.*?)def backward\(self, grad_output\):",
     r"@staticmethod\n    def forward(self, input):\1@staticmethod\n    def backward(self, grad_output):"),
    (r"relu = MyReLU\(\)", "relu = MyReLU.apply"),
]


@dataclass(frozen=True)
class Block:
    """One code block of a document, as a notebook would run it."""

    name: str  # document and position, such as "004-2"
    code: str
    error: str  # why it is not Python, or ""

    @property
    def empty(self):
        return not self.code.strip()


def documents(folder=COPIES):
    return sorted(folder.glob("*.txt"))


def blocks_of(document):
    """Every block of a document in order, also empty ones and those that are not Python."""
    found = []
    for position, match in enumerate(FENCE.finditer(document.read_text(encoding="utf-8"))):
        lines = (match[1] or match[2] or "").split("\n")
        lines = [line for line in lines if not line.startswith("!")]
        margin = re.match(r"[ \t]*", lines[0] if lines else "")[0]
        code = "\n".join(line.removeprefix(margin) for line in lines)
        for pattern, replacement in TO_CPU:
            code = re.sub(pattern, replacement, code)
        error = ""
        try:
            ast.parse(code)
        except SyntaxError as e:
            error = f"SyntaxError: {e.msg}"
        found.append(Block(f"{document.name[:3]}-{position}", code, error))
    return found


def modernised(code):
    for pattern, replacement in MODERN:
        # Two functions of that name follow each other only in the old-style class: `self`, not `ctx`.
        code = re.sub(pattern, replacement, code, flags=re.DOTALL)
    return code


def run_document(document, modern=False, seed=0):
    """Run the blocks in one namespace; a list of {name, error, output, warnings, seconds}."""
    import numpy as np
    import torch
    torch.manual_seed(seed)
    np.random.seed(seed)
    namespace, results = {"__name__": "__main__"}, []
    for block in blocks_of(document):
        if block.empty or block.error:
            continue
        output, error, start = io.StringIO(), "", time.perf_counter()
        code = modernised(block.code) if modern else block.code
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(output):
            warnings.simplefilter("default")
            try:
                exec(compile(code, block.name, "exec"), namespace)
            except Exception as e:
                error = f"{type(e).__name__}: {e}"
        results.append({
            "name": block.name, "error": error, "output": output.getvalue(),
            "warnings": [f"{w.category.__name__}: {w.message}" for w in caught],
            "seconds": round(time.perf_counter() - start, 3)})
    return results


if __name__ == "__main__":
    modern = "--modern" in sys.argv
    path = Path([a for a in sys.argv[1:] if a != "--modern"][0])
    print(json.dumps(run_document(path, modern), indent=1))
