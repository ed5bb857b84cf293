"""What a person reads."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aihub import paths, report
from aihub.checks.runner import CheckResult
from aihub.errors import Conflict, InvalidInput, Problem
from aihub.plan import Change, Difference, Plan, Undeclared, joined
from aihub.reading import load
from aihub.report import SecretRow, problems
from rich.console import Console

GROW = Change(
    "db",
    "update",
    "api",
    "token",
    "memory grows",
    differences=(Difference("memory", "8192", "16384"),),
    restart=True,
)


def test_an_empty_plan_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    report.plan(Plan())
    assert capsys.readouterr().out == "nothing to change\n"


def test_a_plan_reads_like_a_diff(capsys: pytest.CaptureFixture[str]) -> None:
    lost = Change("old", "delete", "guests", "token", "LXC 199", data_at_risk="its disk of 8GiB")
    report.plan(Plan((GROW, lost), warnings=("one pool only",)))
    out = capsys.readouterr().out
    assert "~ db   update: memory grows  as token  restarts" in out
    assert "memory: 8192 -> 16384" in out
    assert "- old  delete: LXC 199" in out
    assert "data at risk: its disk of 8GiB" in out
    assert "warning: one pool only" in out
    assert out.endswith("plan: 1 to update, 1 to delete, 1 with a restart, 1 with data at risk\n")


def test_what_restarts_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    stops = Change("app", "configure", "insides", "guest", "x", restart=True, restarting=("notes@app", "client@app"))
    report.plan(Plan((stops,)))
    assert "~ app  configure: x  as guest  restarts notes@app client@app" in capsys.readouterr().out


def test_what_is_undeclared_is_listed_though_nothing_is_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    """What goes stands among the changes already."""
    probe = Undeclared("app", "container probe is not ours", way="docker rm --force probe")
    report.plan(Plan(undeclared=(probe, Undeclared("app", "stack/notes goes", ours=True, way="aihub up"))))
    assert capsys.readouterr().out == (
        "nothing to change\n! app  undeclared: container probe is not ours  docker rm --force probe\n"
    )
    report.undeclared([probe, Undeclared("app", "stack/notes goes", ours=True, way="aihub up")])
    assert "undeclared: stack/notes goes  aihub up" in capsys.readouterr().out


def test_an_object_stands_beside_its_instance_and_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    made = Change("pg@db: database app", "create", "services", "service", "database app")
    gone = Change("pg@db: login old_a", "update", "services", "service", "login old_a has no consumer any more")
    other = Change("vault@db: policy app", "update", "vault", "vault", "missing")
    report.plan(Plan((made, gone, other)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "+ pg@db     create: database app  as service"
    assert lines[1] == "~ pg@db     update: login old_a has no consumer any more  as service"
    assert lines[2] == "~ vault@db  update: policy app: missing  as vault"


def test_a_guest_that_cannot_be_looked_into_is_never_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    report.plan(Plan(unknown=("cicd",)))
    out = capsys.readouterr().out
    assert "? cicd  unknown" in out
    assert "nothing to change" not in out


def test_foreign_text_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = Change("x\x1b[2J", "update", "guests", "token", "[red]name[/red]\r", ())
    report.plan(Plan((hostile,)))
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\r" not in out
    assert "[red]name[/red]" in out


def test_the_table_shows_failures_skips_and_what_is_simulated(capsys: pytest.CaptureFixture[str]) -> None:
    report.checks(
        [
            CheckResult("db", "its clock is right", "passed", 0.1, origin="guest"),
            CheckResult("db", "no unit has failed", "failed", 0.2, "docker.service", origin="guest"),
            CheckResult(
                "ollama@private-ai",
                "it names the capital of France",
                "passed",
                1.0,
                label="lab: SmolLM2-135M",
                origin="stacks/ollama",
            ),
            CheckResult("gitea@cicd", "it runs", "skipped", 0.0, "no build for the lab"),
        ]
    )
    out = capsys.readouterr().out
    assert "✘ db  no unit has failed\n    docker.service" in out
    assert "✔ ollama@private-ai  it names the capital of France  (lab: SmolLM2-135M)" in out
    assert "○ gitea@cicd  it runs\n    no build for the lab" in out
    assert out.endswith("4 checks: 2 passed, 1 failed, 1 skipped\n")


def test_an_error_says_what_where_and_what_next(capsys: pytest.CaptureFixture[str]) -> None:
    report.error(Conflict("VMID 110 is taken by web", where="guest db", hint="choose another vmid"))
    assert capsys.readouterr().err == "error: guest db: VMID 110 is taken by web\nnext: choose another vmid\n"


def test_every_mistake_in_a_file_is_shown_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        Problem("hub.yml", 3, 7, "guests.db", "unknown key"),
        Problem("hub.yml", 9, 1, "", "two documents"),
    ]
    report.error(InvalidInput(found))
    err = capsys.readouterr().err
    assert "hub.yml:3:7: guests.db: unknown key" in err
    assert "hub.yml:9:1: two documents" in err
    assert "2 mistakes; nothing was contacted" in err


def test_a_fault_of_our_own_leaves_its_trace_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(problems, "LOG", tmp_path / "build" / "debug.log")
    try:
        {}["nothing"]
    except KeyError as fault:
        report.unexpected(fault, "plan")
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "test_report.py:" in err
    assert "Traceback" in problems.LOG.read_text()


def test_progress_in_a_log_is_plain_lines() -> None:
    log = io.StringIO()
    with report.Progress("guests", Console(file=log, width=100)) as progress:
        progress("db", "being created")
        progress("db", "being created")
        progress.done("db", "reachable")
        progress.failed("cache", "no ssh")
    lines = log.getvalue().splitlines()
    assert lines[:2] == ["guests", "db: being created"]
    assert lines[2].startswith("db: reachable (")
    assert lines[3].startswith("cache: FAILED: no ssh (")
    assert lines[4].startswith("guests: done (")


def test_progress_in_a_log_is_plain_where_colours_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as CI services set it
    log = io.StringIO()
    with report.Progress("guests", Console(file=log, width=100, color_system=None)) as progress:
        progress("db", "being created")
    assert log.getvalue().splitlines()[:2] == ["guests", "db: being created"]


def test_json_is_the_only_thing_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    report.as_json({"plan": Plan((GROW,)).as_json()})
    assert json.loads(capsys.readouterr().out)["plan"]["changes"][0]["subject"] == "db"


def test_nobody_at_the_terminal_means_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert report.confirm("Apply?") is False


def test_addresses_say_where_everything_answers(capsys: pytest.CaptureFixture[str]) -> None:
    hub = load.load(paths.DEFAULT_HUB, target="lab")
    report.addresses(hub, {**dict.fromkeys(hub.models, "SmolLM2-135M"), "redis@cache": "another cache"})
    out = capsys.readouterr().out
    assert "https://private-ai.hub.home.arpa:11434" in out
    assert "(lab: SmolLM2-135M)" in out
    assert "redis@cache redis (lab: another cache)" in out
    assert "aihub ssh db" in out


def test_status_names_state_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    row = report.StatusRow("db", "lxc", "infra", "10.10.10.11", "stopped", 110, ("postgres",), "start it: aihub up")
    report.status([row], ["lab: memory limits are divided by 8"])
    out = capsys.readouterr().out
    assert "stopped" in out and "110" in out and "divided by 8" in out


def test_a_plan_names_what_waits_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = {"notes@app": "waits for aihub secrets set notes@app/token", "web@app": "waits for notes@app"}
    report.plan(Plan(waiting=waiting))
    out = capsys.readouterr().out
    assert "nothing to change" not in out
    assert "notes@app  waits for aihub secrets set notes@app/token" in out
    assert out.endswith("plan: 2 waiting\n")
    assert Plan(waiting=waiting).as_json()["waiting"] == waiting
    assert joined([Plan(waiting=waiting), Plan((GROW,))]).waiting == waiting


def test_a_secret_that_is_never_replaced_or_given_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    report.secrets(
        [],
        [
            SecretRow("notes@app/salt", "value", None, datetime.now(UTC), 3, keep="never"),
            SecretRow("notes@app/token", "value", None, keep="given"),
        ],
    )
    salt, token = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[-2:])
    assert salt.startswith("notes@app/salt 3 d never")
    assert token.startswith("notes@app/token ? given")
    assert token.endswith("its instance waits for it")
