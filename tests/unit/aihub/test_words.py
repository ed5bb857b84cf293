"""What others say stands among our own words without doing anything there."""

from __future__ import annotations

import unicodedata

import pytest
from aihub import words

STEERING = ("\x1b[2J", "\r", "\x00", "\x9b2J", "\u202e", "\u200b", "\u2028", "\x85", "\ud800", "\ufeff")


@pytest.mark.parametrize("text", STEERING, ids=[text.encode("unicode_escape").decode() for text in STEERING])
def test_nothing_of_it_steers_a_terminal_or_an_eye(text: str) -> None:
    said = f"one{text}two"
    assert not words.harmless(said)
    for told in (words.line(said), words.last(said), words.name(said)):
        assert told.isprintable() or "\n" in told
        assert not [c for c in told if unicodedata.category(c)[0] == "C" and c != "\n"]
    assert "\n" not in words.line(said) + words.name(said)


def test_usual_words_stay_as_they_are() -> None:
    assert words.line("Grüße, 東京: 100 %") == "Grüße, 東京: 100 %"
    assert words.name("/etc/systemd/system/hub-x@1.service") == "/etc/systemd/system/hub-x@1.service"


def test_it_is_bounded() -> None:
    said = "\n".join(f"line {number} {'x' * 10_000}" for number in range(10_000))
    assert len(words.line(said)) <= words.WIDTH
    assert 1 < len(words.last(said).splitlines()) <= words.LINES
    assert max(map(len, words.last(said).splitlines())) <= words.WIDTH
    assert len(words.name("x" * 100_000)) <= 300


def test_a_name_can_not_look_like_the_next_line() -> None:
    told = words.name("/etc/x" + " " * 100 + "- db  delete: VM 110 with its disk")
    assert " " not in told
