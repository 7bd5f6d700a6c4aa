"""`TorchVersion`: a version string that compares as a version, with strings, tuples and Version objects."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any


@functools.cache  # not at import: 1.5 ms
def _pattern() -> re.Pattern[str]:
    """Source: PEP 440, without epochs: release [pre] [.postN] [.devN] [+local]"""
    return re.compile(
        r"\s*v?(?P<release>\d+(?:\.\d+)*)(?:[-_.]?(?P<pre>a|b|c|rc|alpha|beta|pre|preview)[-_.]?(?P<pre_n>\d*))?"
        r"(?:[-_.]?(?:post|rev|r)[-_.]?(?P<post>\d*)|-(?P<post_implicit>\d+))?(?:[-_.]?dev[-_.]?(?P<dev>\d*))?"
        r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*\Z", re.IGNORECASE)


_PRE = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_LOW, _HIGH = (-1,), (9,)


def _key(text: str) -> tuple[Any, ...] | None:
    """A tuple that orders versions as PEP 440 does; None if `text` is not a version."""
    match = _pattern().match(text)
    if match is None:
        return None
    release = tuple(int(part) for part in match["release"].split("."))
    while len(release) > 1 and release[-1] == 0:
        release = release[:-1]
    post_text = match["post"] if match["post"] is not None else match["post_implicit"]
    dev = _HIGH if match["dev"] is None else (0, int(match["dev"] or 0))
    post = _LOW if post_text is None else (0, int(post_text or 0))
    if match["pre"] is not None:
        pre: tuple[Any, ...] = (_PRE[match["pre"].lower()], int(match["pre_n"] or 0))
    else:  # 1.0.dev1 comes before 1.0a1, which comes before 1.0
        pre = _LOW if post is _LOW and dev is not _HIGH else _HIGH
    local: tuple[Any, ...] = ()
    if match["local"] is not None:  # numbers come after words
        local = tuple((1, int(part), "") if part.isdigit() else (0, 0, part)
                      for part in re.split(r"[-_.]", match["local"].lower()))
    return release, pre, post, dev, local


class TorchVersion(str):
    """A version string. `<`, `>=`, `==`... follow PEP 440 where the other side is a version, as a string, a
    tuple of numbers, or a `packaging` Version; otherwise they compare the text.

    Example:
        >>> from facula.torch_version import TorchVersion
        >>> TorchVersion("2.13.0+facula") >= (2, 5), TorchVersion("1.10.0") > "1.9"
        (True, True)
    """

    __slots__ = ()

    def _compare(self, other: Any, method: str) -> Any:
        if isinstance(other, str):
            text: str = other
        elif isinstance(other, Iterable):
            text = ".".join(str(item) for item in other)
        else:
            text = str(other)
        mine, theirs = _key(self), _key(text)
        if mine is None or theirs is None:
            return getattr(str, method)(self, other)
        return getattr(tuple, method)(mine, theirs)

    def __lt__(self, other: Any) -> bool:
        return self._compare(other, "__lt__")  # type: ignore[no-any-return]

    def __le__(self, other: Any) -> bool:
        return self._compare(other, "__le__")  # type: ignore[no-any-return]

    def __gt__(self, other: Any) -> bool:
        return self._compare(other, "__gt__")  # type: ignore[no-any-return]

    def __ge__(self, other: Any) -> bool:
        return self._compare(other, "__ge__")  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return self._compare(other, "__eq__")  # type: ignore[no-any-return]

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__
