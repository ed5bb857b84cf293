"""A new folder in stacks/ that works as it is. How one gets in at what it needs, the folder of the giver shows."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from aihub.errors import InvalidInput
from aihub.model.findings import did_you_mean
from aihub.model.types import MEANING, NAME, Name
from aihub.paths import ROOT, STACKS
from aihub.reading import load

from .stacks import rendered

TEMPLATES = ROOT / "templates" / "new-stack"
REGISTRY = "registry.example.org"  # reserved: nobody can put an image there
_CLIENT = "client"  # in a giver's folder: client/KIND/login.sh, and the Debian packages that it needs


def write(name: str, kinds: Sequence[str]) -> Path:
    """Makes the folder. Raises InvalidInput for a name that is bad or taken, and for a kind that nobody gives."""
    folder = STACKS / name
    texts = files(name, kinds)
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise InvalidInput("there is such a stack already", where=str(folder), hint="take another name") from error
    try:
        for path, text in texts.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text)
    except OSError:
        shutil.rmtree(folder)
        raise
    return folder


def files(name: str, kinds: Sequence[str]) -> dict[str, str]:
    """Every file of the folder by its path in it. Raises InvalidInput."""
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise InvalidInput(f'"{name}" is no name of a stack: {MEANING[NAME]}') from error
    givers = {kind: _giver(kind) for kind in kinds}
    packages = sorted({"ca-certificates", *(one for kind in givers for one in _packages(givers[kind], kind))})
    title = name.replace("-", " ").capitalize()
    context = {"name": name, "title": title, "kinds": list(givers), "packages": packages, "registry": REGISTRY}
    made = {
        str(path.relative_to(TEMPLATES)).removesuffix(".j2"): _text(path, context)
        for path in sorted(TEMPLATES.rglob("*.j2"))
        if path.name != "connect.sh.j2"
    }
    made[f"test_{name}.py"] = made.pop("test.py")
    return {**made, **{f"config/{kind}.sh": _login(giver, kind) for kind, giver in givers.items()}}


def _giver(kind: str) -> str:
    """The stack whose folder shows how one gets in at a kind; the first where several give it."""
    givers = load.givers(kind)
    if not givers:
        known = {given for name in load.stack_names() for given in load.stack(name).gives}
        raise InvalidInput(f'no stack gives "{kind}"{did_you_mean(kind, known)}')
    return next((name for name in givers if (STACKS / name / _CLIENT / kind).is_dir()), givers[0])


def _login(giver: str, kind: str) -> str:
    shown = STACKS / giver / _CLIENT / kind / "login.sh"
    return shown.read_text() if shown.is_file() else _text(TEMPLATES / "connect.sh.j2", {"kind": kind})


def _packages(giver: str, kind: str) -> list[str]:
    named = STACKS / giver / _CLIENT / kind / "packages"
    return named.read_text().split() if named.is_file() else []


def _text(path: Path, context: dict[str, Any]) -> str:
    return rendered(path, path.read_bytes(), context).decode()
