"""One shell per machine: here a local `sh`, which speaks exactly as the one behind ssh."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from aihub.checks.shell import Shell, Shells
from aihub.errors import TaskFailed, Unreachable


@pytest.fixture
def shell() -> Iterator[Shell]:
    made = Shell("db", ["sh"])
    yield made
    made.close()


def test_output_errors_and_exit_code_come_back_apart(shell: Shell) -> None:
    found = shell.run("echo out; echo err >&2; exit 7")
    assert (found.code, found.stdout, found.stderr) == (7, b"out\n", b"err\n")


def test_output_needs_no_line_end_and_may_be_binary(shell: Shell) -> None:
    assert shell.run(r"printf 'a\000b'").stdout == b"a\0b"


def test_a_command_cannot_read_the_next_one(shell: Shell) -> None:
    assert shell.run("cat").stdout == b""
    assert shell.run("echo still here").stdout == b"still here\n"


def test_a_command_changes_nothing_for_the_next_one(shell: Shell) -> None:
    shell.run("cd /; X=1; set -e; exit 3")
    assert shell.run('echo "${X:-unset}"').stdout == b"unset\n"


def test_long_output_on_both_streams_does_not_block(shell: Shell) -> None:
    found = shell.run("head -c 400000 /dev/zero; head -c 400000 /dev/zero >&2")
    assert (len(found.stdout), len(found.stderr)) == (400_000, 400_000)


def test_quotes_and_newlines_reach_the_command_unchanged(shell: Shell) -> None:
    assert shell.run("""printf '%s' 'a "b" $c' "d'e"\nprintf x""").stdout == b'a "b" $cd\'ex'


def test_no_answer_in_time_is_an_error_then_and_ever_after(shell: Shell) -> None:
    started = time.monotonic()
    with pytest.raises(Unreachable, match=r"db: no answer within 0 s to: sleep 30"):
        shell.run("sleep 30", timeout=0.2)
    with pytest.raises(Unreachable, match="no answer"):
        shell.run("true")
    assert time.monotonic() - started < 5


def test_a_lost_connection_says_its_last_words() -> None:
    lost = Shell("db", ["sh", "-c", "echo Permission denied >&2; exit 255"])
    with pytest.raises(Unreachable, match=r"db: the connection ended: Permission denied"):
        lost.run("true")
    lost.close()


def test_a_missing_program_is_named() -> None:
    with pytest.raises(TaskFailed, match="no-such-ssh is not installed"):
        Shell("db", ["no-such-ssh"]).run("true")


def test_testinfra_modules_work_over_it() -> None:
    shells = Shells(lambda alias: ["sh"])
    host = shells.host("db")
    assert host.file("/etc/passwd").user == "root"
    assert host.check_output("printf %s", "it's quoted") == "it's quoted"
    assert host is shells.host("db")
    shells.close()


def test_a_failed_command_reads_well_in_an_assertion() -> None:
    shells = Shells(lambda alias: ["sh"])
    with pytest.raises(AssertionError, match="exit code 2 for `echo no such thing >&2; exit 2`: no such thing"):
        shells.host("db").check_output("echo no such thing >&2; exit 2")
    shells.close()


def test_shells_connect_side_by_side() -> None:
    started = time.monotonic()
    shells = Shells(lambda alias: ["sh", "-c", "sleep 0.5; exec sh"])
    shells.open(["a", "b", "c", "d"])
    assert [shells.shell(name).run("echo up").stdout for name in "abcd"] == [b"up\n"] * 4
    assert time.monotonic() - started < 1.5
    shells.close()
