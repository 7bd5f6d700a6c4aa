"""What modes change, to see whether they have put it back."""

from __future__ import annotations

import gc
from typing import Any

import facula
from facula.autograd import graph, modes
from facula.engine.placing import running
from facula.engine.session import session
from facula.ops import autocasting, listening
from facula.transforms import levels


def standing() -> dict[str, Any]:
    """What a mode changes, of this thread and of the process."""
    gc.collect()  # a level lives as long as its nodes
    return {"grad": facula.is_grad_enabled(), "inference": (facula.is_inference_mode_enabled(), modes.inferring.count),
            "anomaly": (modes.anomaly.enabled, modes.anomaly.check_nan), "device": str(facula.get_default_device()),
            "dtype": facula.get_default_dtype(), "listening": list(listening.state.modes),
            "quiet": (listening.state.all_off, listening.state.subclasses_off), "running": list(running.names),
            "autocast": (sorted(autocasting.thread.now.enabled), autocasting.thread.depth,
                         len(autocasting.thread.before), listening.state.cast),
            "given": running.given, "place": running.place, "levels": list(levels._stack.levels),
            "inside": levels._stack.inside, "transforms": len(levels._alive),
            "traced": session.traced is not None, "listeners": listening.ears.count, "random": facula.initial_seed(),
            "locked": session.lock._is_owned(), "pass": graph.mode.task}
