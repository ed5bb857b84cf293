"""The one way in: configuration, keys and pins, and commands, programs and forwards over the shared connections."""

from .config import (
    NODE,
    Lab,
    Pve,
    aliases,
    argv,
    ensure_key,
    fingerprint,
    forget,
    make_key,
    node_address,
    pin,
    pinned,
    scan,
    scan_and_pin,
    write,
)
from .connection import close, close_all, copy, failure, forward, forward_tcp, run
from .programs import answer, ask, stream

__all__ = [
    "NODE",
    "Lab",
    "Pve",
    "aliases",
    "answer",
    "argv",
    "ask",
    "close",
    "close_all",
    "copy",
    "ensure_key",
    "failure",
    "fingerprint",
    "forget",
    "forward",
    "forward_tcp",
    "make_key",
    "node_address",
    "pin",
    "pinned",
    "run",
    "scan",
    "scan_and_pin",
    "stream",
    "write",
]
