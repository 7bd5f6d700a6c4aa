"""Which step of a run something belongs to that happens between two calls of `log`."""

from __future__ import annotations

from typing import Any


class Steps:
    """Numbers for what happens again and again (backward passes, steps of an optimizer), in the run's own steps.

    A program logs at steps of its own counting, perhaps every tenth time. How many steps there are to one happening is
    known from the last two calls of `log`, and is taken to be so until the next.

    Example:
        >>> from types import SimpleNamespace
        >>> from facula.monitor.stepping import Steps
        >>> run = SimpleNamespace(step=0, logged=None)
        >>> steps = Steps(run)
        >>> [steps.next() for _ in range(3)]
        [0, 1, 2]
        >>> run.logged = 20
        >>> steps.next()
        21
    """

    def __init__(self, run: Any) -> None:
        self._run = run
        self._at: int | None = None
        self._since = 0
        self._rate = 1.0
        self.now = 0  # what `next` gave last

    def next(self) -> int:
        """The step of what happens now."""
        logged = self._run.logged
        if logged != self._at:
            if self._at is not None and self._since:
                rate = (logged - self._at) / self._since
                if 0 < rate <= 1e6:  # logged in the order of time, as far as can be seen
                    self._rate = rate
            self._at, self._since = logged, 0
        self._since += 1
        if self._at is None:
            self.now = int(self._run.step + self._since - 1)
        else:
            self.now = int(self._at + round(self._since * self._rate))
        return self.now
