"""What recording and computing know of a process: one object, `session`.

What belongs to a thread is not here: grad mode (autograd/modes.py), the running operations (placing.py), who listens
(ops/listening.py), what is being transformed (transforms/levels.py). Memory (runtime/buffer.py), kernels and threads
(runtime/cpu/) are the machine's.

`pending`, `waiting` and `lock` are never replaced: files that need them at every call have names of their own for
them, and machine code has the address of `pending`.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from facula.config import threshold
from facula.engine.graph.node import Node
from facula.engine.trace.kept import Kept
from facula.undisturbed import reentrant_lock

MOST_KEPT = threshold("kept_bytes")
FEW = 8  # a few large graphs must not drive each other out, whatever they weigh


class Session:
    """The nodes that wait, what has been seen before, and what of it runs as machine code."""

    __slots__ = ("pending", "waiting", "lock", "looks", "seen", "alike", "plans", "due", "look_at", "start", "late",
                 "period", "oldest", "beside", "devices", "traced", "plain", "native", "record", "describe", "survey")

    def __init__(self) -> None:
        self.pending: list[Node] = []  # in program order; realize.py empties it
        self.waiting: list[Any] = []  # checks of values that are not there yet (checks.py)
        self.lock = reentrant_lock()  # held while the graph is walked and run
        # How often something was computed or looked at: what is recorded (or made in NumPy) after that may depend on
        # values.
        self.looks = 0
        # By signature: what the same graph came to before. A Step, of a backward pass a Replay or Notes, or how often
        # that was walked.
        self.seen = Kept(MOST_KEPT, FEW)
        # By operations and length of the signature's text: steps for other sizes (trace/alike.py).
        self.alike = Kept(MOST_KEPT // 8, FEW)
        # By the live part's structure: several signatures share a plan. It lives as long as one of them is kept.
        self.plans: WeakValueDictionary[Any, Any] = WeakValueDictionary()
        # When to look for a loop that asks for no value (recorder.py). `record` in machine code reads `due`.
        self.due = array("q", [0])
        self.look_at = self.start = self.period = 0
        self.late = False
        # The id of the first pending node when memory was last made, and how much has been since it was that node.
        self.oldest = self.beside = 0
        # Are there values on other devices? What records under a transform, if there are any values under one? `plain`:
        # neither. It is asked once where either would matter.
        self.devices = False
        self.traced: Callable[..., Node | None] | None = None
        self.plain = True
        # In machine code, once there is some: `record`'s body (`record` is None where it does not serve at the moment),
        # and the walks over nodes (trace/signature.py) and over a tape (autograd/survey.py).
        self.native: Callable[..., Any] | None = None
        self.record: Callable[..., Any] | None = None
        self.describe: Callable[..., Any] | None = None
        self.survey: Callable[..., Any] | None = None


session = Session()
if hasattr(os, "register_at_fork"):  # a child must not inherit it from a thread that it does not have
    os.register_at_fork(before=session.lock.acquire, after_in_parent=session.lock.release,
                        after_in_child=session.lock.release)
