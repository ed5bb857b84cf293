"""surface.json holds facts of an interface and no text, and can be made anew from a node's own schema."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pvelab
import pytest
from pvelab.api import endpoints, registry
from pvelab.api.formats import FORMATS
from pvelab.api.tables import table

PROJECT = Path(pvelab.__file__).parents[2]
SURFACE = Path(pvelab.__file__).with_name("api") / "surface.json"


@pytest.fixture(scope="module")
def refresh() -> ModuleType:
    """The script, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("refresh_surface", PROJECT / "refresh_surface.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def surface() -> dict[str, Any]:
    return dict(json.loads(SURFACE.read_text()))


def texts(found: Any) -> Iterator[str]:
    """Every key and every value that is a string."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield key
            yield from texts(value)
    elif isinstance(found, list):
        for value in found:
            yield from texts(value)
    elif isinstance(found, str):
        yield found


def is_prose(text: str) -> bool:
    """Whether it reads like a sentence: three words of letters in a row. Patterns have no such thing."""
    return re.search(r"[A-Za-z]{2,} [A-Za-z]{2,} [A-Za-z]{2,}", text) is not None


def test_the_facts_hold_no_sentence(refresh: ModuleType, surface: dict[str, Any]) -> None:
    assert [text for text in texts(surface) if is_prose(text)] == []
    assert {key for kind in surface["types"] for key in kind} <= set(refresh.FACTS)
    assert is_prose("Read the configuration of a guest."), "the check itself finds prose"


def schema_of(surface: dict[str, Any]) -> str:
    """The facts as a node publishes them, with what is written for people around them."""
    nodes: dict[str, Any] = {}
    for name, about in surface["methods"].items():
        method, _, path = name.partition(" ")
        properties = {
            re.sub(r"\[\d+-\d+\]$", "[n]", key): {**surface["types"][index], "description": "What it is for."}
            for key, index in about["params"].items()
        }
        info: dict[str, Any] = {
            "description": "Does what it says here.",
            "allowtoken": 0 if about.get("token") == 0 else 1,
            "parameters": {"additionalProperties": about.get("open", 0), "properties": properties},
            "permissions": {**about.get("perm", {}), "description": "Who may call this."},
            "returns": {"type": "null"},
        }
        if "proxyto" in about:
            info["proxyto_callback" if about["proxyto"] == "check-node" else "proxyto"] = about["proxyto"]
        nodes.setdefault(path, {"path": path, "info": {}})["info"][method] = info
    tree = [{"path": "/", "children": list(nodes.values())}]
    return f"const apiSchema = {json.dumps(tree)}\n;\nlet viewer = [];\n"


def whole(surface: dict[str, Any]) -> dict[str, Any]:
    """All methods with their parameters' types in place of numbers."""
    types = surface["types"]
    return {
        name: {**about, "params": {key: types[index] for key, index in about["params"].items()}}
        for name, about in surface["methods"].items()
    }


def test_a_schema_that_says_the_same_makes_the_same_file(refresh: ModuleType, surface: dict[str, Any]) -> None:
    made, missing = refresh.surface(refresh.read(schema_of(surface)), surface)
    assert whole(made) == whole(surface)
    assert made["formats"] == surface["formats"]
    assert missing == []


def test_what_the_schema_leaves_open_is_listed(refresh: ModuleType, surface: dict[str, Any]) -> None:
    kind = {"type": "string", "format": "pve-new", "description": "Something new."}
    new = {"path": "/new", "info": {"GET": {"parameters": {"properties": {"thing[n]": kind}}}}}
    _, missing = refresh.surface([new], surface)
    assert missing == ["GET /new: how far thing[n] goes", "format pve-new"]


@pytest.mark.parametrize("text", ["", "let x = 1;", "[1, 2]"])
def test_another_file_is_refused(refresh: ModuleType, text: str) -> None:
    with pytest.raises(ValueError, match=r"apidoc\.js"):
        refresh.read(text)


def formats_of(found: Any) -> Iterator[str]:
    """The values of all `format` in some facts."""
    if isinstance(found, dict):
        if isinstance(found.get("format"), str):
            yield found["format"]
        for value in found.values():
            yield from formats_of(value)
    elif isinstance(found, list):
        for value in found:
            yield from formats_of(value)


def test_only_what_nobody_answers_takes_a_text_that_nobody_looks_into(surface: dict[str, Any]) -> None:
    endpoints.load()
    known, unchecked = FORMATS.keys() | surface["formats"].keys(), set(table("unchecked formats").split()) - {"string"}
    for name, about in surface["methods"].items():
        route, _ = registry.find(*name.split(" ", 1)) or (None, None)
        assert route is not None, name
        named = set(formats_of([surface["types"][index] for index in about["params"].values()]))
        taken = {text if text in known else re.sub(r"-(list|opt)$", "", text) for text in named}
        assert taken <= known, name
        assert route.handler is endpoints.missing or not taken & unchecked, name
