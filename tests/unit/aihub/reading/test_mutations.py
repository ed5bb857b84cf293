"""A right file, changed at random, is still right or is refused with places: never a traceback, never a contact.

$AIHUB_MUTATIONS raises the number of changed files (`make test` takes 2000).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from aihub.errors import Problem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.aihub import cases

pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("AIHUB_MUTATIONS", "200"))
SOURCES = {
    kind: [cases.text(path) for path in cases.files(kind, "valid") if "\r" not in cases.text(path)]
    for kind in ("hub", "stack")
}
TOKENS = [
    "no", "0644", "22:22", "1e3", "~", "null", "[", "]", "{", "}", ": ", "- ", "\t", "&a ", "*a", "<<: *a", "!!int ",
    "? ", "|\n", ">-\n", "'", '"', "#", "%YAML 1.1", "---\n", "...\n", "\0", "\ufeff", "\u202e", "\u2028", "\x85",
    "\x1b[0m", "{{ 7 }}", "$(id)", "../..", "-x", "99999999999999999999999", "-1", "10.10.10.1", "255.255.255.255",
    "0.0.0.0/0", "a" * 300, "\U0001f600", "é", "\r", "<<<<<<< HEAD\n", "@x", "`x`", "\\", "=", ",",
]  # fmt: skip


@st.composite
def changed_files(draw: st.DrawFn, kind: str) -> str:
    """A valid file after one to four changes."""
    text = draw(st.sampled_from(SOURCES[kind]))
    for _ in range(draw(st.integers(1, 4))):
        change = draw(st.sampled_from(["cut", "insert", "replace", "drop line", "repeat line", "move line", "indent"]))
        text = _changed(draw, change, text)
    return text


def _changed(draw: st.DrawFn, kind: str, text: str) -> str:
    if kind in ("cut", "insert"):
        at = draw(st.integers(0, len(text)))
        if kind == "cut":
            return text[:at] + text[at + draw(st.integers(1, 12)) :]
        return text[:at] + draw(st.sampled_from(TOKENS) | st.text(max_size=4)) + text[at:]
    if kind == "replace":
        words = list(re.finditer(r"[^\s,\[\]{}:]+", text))
        if not words:
            return text
        word = draw(st.sampled_from(words))
        other = draw(st.sampled_from([w[0] for w in words]) | st.sampled_from(TOKENS))
        return text[: word.start()] + other + text[word.end() :]
    lines = text.splitlines(keepends=True) or [""]
    at = draw(st.integers(0, len(lines) - 1))
    line = lines.pop(at) if kind in ("drop line", "move line") else lines[at]
    if kind == "repeat line":
        lines.insert(at, line)
    elif kind == "move line":
        lines.insert(draw(st.integers(0, len(lines))), line)
    elif kind == "indent":
        lines[at] = draw(st.sampled_from([f"  {line}", f" {line}", line.lstrip()]))
    return "".join(lines)


often = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="AIHUB_MUTATIONS" not in os.environ,
    suppress_health_check=list(HealthCheck),
)


def _check_places(problems: tuple[Problem, ...], text: str) -> None:
    lines = re.split("\r\n|\n", text)
    for problem in problems:
        assert 1 <= problem.line <= len(lines) + 1, problem
        assert problem.column >= 1, problem
        assert str(problem).isprintable(), problem


@often
@given(text=changed_files("hub"))
def test_a_changed_hub_file_is_right_or_refused_with_places(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "changed.yml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    _check_places(cases.hub_problems(path), text)


@often
@given(text=changed_files("stack"))
def test_a_changed_manifest_is_right_or_refused_with_places(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path: Path = folder / "changed-stack.yml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    _check_places(cases.stack_problems(path, folder), text)
