"""Alarms: rules that are asked of all that is logged, by the thread that writes, before it does.

    log -> buffer -> writer thread: `Alarms.look` -> rows of the file, alarms among them -> `Alarms.tell`

The program pays nothing for them, and nothing that goes wrong here reaches it. A rule that raises is dropped, if
SystemExit, too: that would end the thread, and nothing else. An alarm is said once: then its series is left alone until
it has been right for a while (`Rule.again`). What one call of `log` gives rise to is one alarm a rule, however many
series are wrong. A run says at most `MOST`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from facula.monitor.media import Media
from facula.monitor.rules import Judging, Rule, usual_rules

MOST = 1000
LONGEST = 300  # characters of a line

_Wrong = tuple[str, float, str]  # a series, its value, what is wrong with it


class Alarm(NamedTuple):
    """One alarm.

    Attributes:
        name: of the rule.
        key: the series; of several, the first.
        step, value: where, and what it was.
        level: "INFO", "WARN" or "ERROR".
        text: one line: the series and what is wrong.
        time: seconds since 1970.
    """

    name: str
    key: str
    step: int
    value: float
    level: str
    text: str
    time: float


class _Judge:
    """A rule for one series: its generator, and since when it has been right."""

    __slots__ = ("judging", "quiet", "rule", "send")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.judging: Judging = rule.judge()
        next(self.judging)
        self.send = self.judging.send
        self.quiet = 0  # values that are still to be right before anything is said again

    def says(self, value: float, row: Any) -> str | None:
        """What is wrong and has not been said."""
        said = self.send((value, row))
        if said is None:
            if self.quiet:
                self.quiet -= 1
            return None
        new, self.quiet = not self.quiet, self.rule.again
        return said if new else None


class Alarms:
    """The rules of a run, what they have found, and who is told.

    Args:
        rules: None or True: the usual ones. False or an empty sequence: none.
        told: called with each `Alarm`.

    Raises:
        TypeError: of a rule that is no `Rule`.
    """

    def __init__(self, rules: Any = None, told: Callable[[Alarm], Any] | None = None) -> None:
        if rules is None or rules is True:
            rules = usual_rules()
        self.rules: dict[str, Rule] = {rule.name: rule for rule in _expected(rules or ())}
        self.told: list[Callable[[Alarm], Any]] = [] if told is None else [_callable(told)]
        self.found: list[Alarm] = []
        self._untold: list[Alarm] = []
        self._by_key: dict[str, list[_Judge]] = {}

    def forget(self) -> None:
        """Begin anew with the same rules: in a forked child, what was under way in the parent's thread is."""
        self.found, self._untold, self._by_key = [], [], {}

    def add(self, rule: Rule) -> None:
        """One more rule, in the place of that of the same name. It begins with what is logged next."""
        for judges in self._by_key.values():
            judges[:] = [judge for judge in judges if judge.rule.name != rule.name]
        self.rules[rule.name] = rule
        for key, judges in self._by_key.items():
            self._begin(rule, key, judges)

    def _begin(self, rule: Rule, key: str, judges: list[_Judge]) -> None:
        try:
            if rule.concerns(key):
                judges.append(_Judge(rule))
        except BaseException as error:
            self._drop(rule, error)

    def _drop(self, rule: Rule, error: BaseException) -> None:
        if self.rules.get(rule.name) is rule:
            del self.rules[rule.name]
            for judges in self._by_key.values():
                judges[:] = [judge for judge in judges if judge.rule is not rule]
            say("WARN", rule.name, f"its rule raised {type(error).__name__}: {error}; it is not asked again")

    def look(self, items: list[tuple[Any, ...]], start: int) -> None:
        """Ask the rules about the items from `start` on; alarms are put behind them, as items."""
        for item in items[start:]:
            if item[0] == "log" and self.rules:
                _, step, now, row = item
                for rule, several in self._wrong(row):
                    if len(self.found) < MOST:
                        alarm = self._alarm(rule, several, step, now)
                        self.found.append(alarm)
                        self._untold.append(alarm)
                        items.append(("alert", now, step, alarm.level, alarm.name, alarm.text, alarm.key))
                        say(alarm.level, alarm.name, alarm.text, step)
            elif item[0] == "alarm":
                self.add(item[1])

    def _wrong(self, row: dict[str, Any]) -> Iterable[tuple[Rule, list[_Wrong]]]:
        """By rule, the series of a row that are wrong."""
        wrong: dict[str, tuple[Rule, list[_Wrong]]] = {}
        failed: list[tuple[Rule, BaseException]] = []
        for key, given in row.items():
            if isinstance(given, Media):
                continue
            judges = self._by_key.get(key)
            if judges is None:
                judges = self._by_key[key] = []
                for rule in list(self.rules.values()):
                    self._begin(rule, key, judges)
            if not judges:
                continue
            try:
                value = float(given)
            except OverflowError:
                value = float("inf") if given > 0 else float("-inf")
            finite = value - value == 0.0
            for judge in judges:
                if finite or not judge.rule.finite:
                    try:
                        said = judge.says(value, row)
                    except BaseException as error:
                        failed.append((judge.rule, error))
                        continue
                    if said is not None:
                        wrong.setdefault(judge.rule.name, (judge.rule, []))[1].append((key, value, said))
        for rule, raised in failed:
            self._drop(rule, raised)
        return wrong.values()

    def _alarm(self, rule: Rule, several: list[_Wrong], step: int, now: float) -> Alarm:
        key, value, said = several[0]
        text = f"{key} {said}"
        if len(several) > 1:
            others = ", ".join(other for other, _, _ in several[1:4])
            text += f" (and {len(several) - 1} more: {others}{', ...' if len(several) > 4 else ''})"
        if len(self.found) == MOST - 1:
            text += "; no more alarms of this run are said"
        return Alarm(rule.name, key, step, value, rule.level, line(text), now)

    def tell(self) -> None:
        """Call whoever wants to be told; one who raises is not called again."""
        untold, self._untold = self._untold, []
        for alarm in untold:
            for function in list(self.told):
                try:
                    function(alarm)
                except BaseException as error:
                    self.told.remove(function)
                    say("WARN", "on_alarm", f"{type(error).__name__}: {error}; this function is not called again")


def _expected(rules: Iterable[Any]) -> Iterable[Rule]:
    for rule in (rules,) if isinstance(rules, Rule) else rules:
        if not isinstance(rule, Rule):
            raise TypeError(f"alarms: expected rules as monitor.NotFinite(), got {type(rule).__name__}")
        yield rule


def _callable(function: Any) -> Any:
    if not callable(function):
        raise TypeError(f"on_alarm: expected a function of an Alarm, got {type(function).__name__}")
    return function


def line(text: str) -> str:
    """`text` as one line of a terminal: what is no letter is written as Python writes it; not too long."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:LONGEST + 1])
    return shown if len(shown) <= LONGEST else shown[:LONGEST - 3] + "..."


def say(level: str, title: str, text: str = "", step: int | None = None) -> None:
    """A line on stderr, wherever that leads; a program that has closed it is not disturbed."""
    at = "" if step is None else f" (step {step})"
    try:
        print(line(f"facula.monitor: {level.lower()}: {title}{': ' + text if text else ''}") + at, file=sys.stderr)
    except (OSError, ValueError, AttributeError):
        pass
