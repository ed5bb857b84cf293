"""Ctrl-C, which Python may lose: what is raised while it runs a callback of its own goes nowhere."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_heard = threading.Event()


def listen() -> None:
    """Remembers a Ctrl-C from now on; where it is to be ignored, as in the background of a script, that stays."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _hear)


def _hear(number: int, frame: FrameType | None) -> None:
    _heard.set()
    raise KeyboardInterrupt


def require_none() -> None:
    """Raises KeyboardInterrupt when there was a Ctrl-C, which the run did not end with."""
    if _heard.is_set():
        raise KeyboardInterrupt
