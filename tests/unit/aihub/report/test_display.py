"""One live display per run, as a person sees it on a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from .screen import shown

pytestmark = pytest.mark.slow  # each takes up to seconds; `make test` has them

START = """
import time
from aihub import report
from aihub.plan import Change, Plan

def wait():
    time.sleep(0.3)  # at least one redraw
"""

# What `up` does: images are made beside every step that follows, and outlast all but the last one.
SIDE_BY_SIDE = """
with report.progress("images") as images:
    images("redis", "is being built")
    with report.progress("node") as node:
        node("pve", "4 changes")
        wait()
    with report.progress("guests") as guests:
        guests("db", "being created")
        wait()
        guests.done("db", "runs")
        guests.failed("cache", "no ssh")
        wait()
    images("redis", "is in the registry")
    wait()
with report.progress("services") as services:
    services("postgres", "4 databases")
    wait()
"""

ROWS = {
    "pve": "✔ pve 4 changes",
    "db": "✔ db runs",
    "cache": "✘ cache no ssh",
    "redis": "✔ redis is in the registry",
    "postgres": "✔ postgres 4 databases",
}


def lines(frame: str) -> list[str]:
    """The lines of a screen, without times and the gaps between columns."""
    return [re.sub(r"\s+", " ", re.sub(r"\d+ s$", "", line)).strip() for line in frame.splitlines()]


@pytest.fixture(scope="module")
def frames() -> list[list[str]]:
    return [lines(frame) for frame in shown(START + SIDE_BY_SIDE)]


def test_steps_share_one_display_and_what_has_ended_stays_in_order(frames: list[list[str]]) -> None:
    assert frames[-1] == [
        *("node", ROWS["pve"]),
        *("guests", ROWS["db"], ROWS["cache"]),
        *("images", ROWS["redis"]),
        *("services", ROWS["postgres"]),
    ]


def test_steps_that_go_on_side_by_side_are_seen_side_by_side(frames: list[list[str]]) -> None:
    assert ["images", "… redis is being built", "node", "… pve 4 changes"] in frames
    for ended, later in (("pve", "db"), ("cache", "redis"), ("redis", "postgres")):
        both = [frame for frame in frames if ROWS[ended] in frame and any(f" {later} " in line for line in frame)]
        assert both, f"{ended} was gone when {later} went on"


def test_what_has_ended_is_never_erased(frames: list[list[str]]) -> None:
    ended = [ROWS[name] for name in ("pve", "db", "cache", "redis")]
    for row, after in zip(ended, ("guests", "images", "images", "services"), strict=True):
        begun = next(n for n, frame in enumerate(frames) if row in frame and after in frame[frame.index(row) :])
        assert all(row in frame for frame in frames[begun:]), f"{row} went away"


PRINTS = """
with report.progress("images") as images:
    images("redis", "is being built")
    wait()
    report.say("the lease stays")
    wait()
    report.plan(Plan((Change("db", "update", "guests", "token", "memory grows"),)))
    wait()
    report.as_json({"checks": ["x" * 150]})
    wait()
"""


def test_what_is_printed_meanwhile_stays_whole() -> None:
    frames = shown(START + PRINTS)
    long = '"' + "x" * 150 + '"'
    assert lines(frames[-1]) == [
        "the lease stays",
        "~ db update: memory grows as token",
        "plan: 1 to update",
        *("{", '"checks": [', long[:96], long[96:], "]", "}"),
        *("images", "✔ redis is being built"),
    ]


def test_standard_output_in_a_file_gets_its_own_and_no_more(tmp_path: Path) -> None:
    frames = shown(START + PRINTS, out=tmp_path / "out")
    text = (tmp_path / "out").read_text()
    assert "\x1b" not in text
    assert text.startswith("~ db  update: memory grows  as token\nplan: 1 to update\n{")
    assert json.loads(text[text.index("{") :]) == {"checks": ["x" * 150]}
    assert lines(frames[-1]) == ["the lease stays", "images", "✔ redis is being built"]


ASKS = """
with report.progress("guests configured") as progress:
    progress("security", "unsealed")
    wait()
    typed = report.ask("The code it shows?")
    progress("security", f"proven by {typed}")
    wait()
"""


def test_nothing_is_drawn_over_a_question() -> None:
    frames = shown(START + ASKS, typed="1234\n")
    assert lines(frames[-1]) == ["The code it shows?1234", "guests configured", "✔ security proven by 1234"]


MANY = """
names = [f"image-{n:02}" for n in range(60)]
with report.progress("images") as images:
    with report.progress("guests") as guests:
        guests("db", "being created")
        for count, name in enumerate(names):
            images(name, "is being built")
            if count >= 6:
                images.done(names[count - 6], "is in the registry")
            time.sleep(0.03)
    time.sleep(0.5)  # the images have the screen to themselves for more than a moment
"""


def drawn_at_once(frames: Sequence[str]) -> int:
    return max(sum(line.startswith("…") for line in lines(frame)) for frame in frames)


@pytest.mark.parametrize("height", [24, 6])
def test_more_rows_than_the_screen_has_lines_leave_no_trace(height: int) -> None:
    frames = shown(START + MANY, height=height)
    images = [f"✔ image-{n:02} is in the registry" for n in range(54)]
    assert lines(frames[-1]) == [
        *("guests", "✔ db being created"),
        *("images", *images, *(f"✔ image-{n:02} is being built" for n in range(54, 60))),
    ]
    # What goes on is not hidden by what has ended; six images do at any time.
    assert min(6, height - 2) <= drawn_at_once(frames) <= height - 2


FAILS = """
try:
    with report.progress("images") as images:
        images("redis", "is being built")
        with report.progress("guests") as guests:
            guests("db", "being created")
            wait()
            raise RuntimeError
except RuntimeError:
    report.say("error: it ended early")
"""


def test_an_error_leaves_everything_that_was_going_on() -> None:
    frames = shown(START + FAILS)
    assert lines(frames[-1]) == [
        *("guests", "= db being created"),
        *("images", "= redis is being built"),
        "error: it ended early",
    ]
