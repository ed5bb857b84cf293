"""A value for what a template names and the floor does not have: renders as nothing, whatever is done with it."""

from __future__ import annotations

from typing import Any

from jinja2 import ChainableUndefined


class Blank(ChainableUndefined):
    """Undefined that can be called, added, compared and looped over."""

    def __call__(self, *_: Any, **__: Any) -> Blank:
        return self

    def __add__(self, other: Any) -> Any:
        return other

    __radd__ = __add__
    __sub__ = __mul__ = __floordiv__ = __truediv__ = __mod__ = __call__
    __lt__ = __le__ = __gt__ = __ge__ = lambda self, other: False  # type: ignore[assignment]

    def __int__(self) -> int:
        return 0
