"""Our programs for guests and the node, as they are sent: each with the parts that it imports.

A program uses the standard library, and parts that other programs use, too: it imports them as modules of aihub, which
there is none of on a guest, so they are sent before it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from aihub.paths import ROOT


@cache
def bundle(program: Path) -> bytes:
    """A program with the parts that it imports, each of which becomes a module under its own name."""
    parts = _parts(program.read_text())
    if not parts:
        return program.read_bytes()
    told = [_AS_MODULE, *(f"_module({name!r}, {text!a})\n" for name, text in parts.items())]
    return "".join([*told, f"_module('__main__', {program.read_text()!a})\n"]).encode()


_PART = re.compile(r"^from (aihub(?:\.\w+)+) import ", re.MULTILINE)
_AS_MODULE = """import sys, types
def _module(name, text):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
"""


def _parts(text: str) -> dict[str, str]:
    """The modules of ours that a text imports, by name; what one of them needs comes before it."""
    found: dict[str, str] = {}
    for name in _PART.findall(text):
        part = (ROOT / "python" / name.replace(".", "/")).with_suffix(".py").read_text()
        found |= {**_parts(part), name: part}
    return found
