"""What a program says is taken up to a limit of bytes and of time."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from aihub import capture, process
from aihub.errors import TaskFailed

ENDLESS = "import os\nwhile True: os.write({}, b'x' * 65536)"


def python(text: str, **more):
    return process.run([sys.executable, "-c", text], **more)


def test_both_streams_and_the_exit_code_are_kept():
    done = python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)


@pytest.mark.parametrize("stream", [1, 2])
def test_who_never_stops_talking_is_ended(stream):
    started = time.monotonic()
    with pytest.raises(TaskFailed, match="said more than 1 MiB"):
        python(ENDLESS.format(stream), most=1 << 20, timeout=60)
    assert time.monotonic() - started < 30


def test_exactly_the_limit_is_no_error():
    assert len(python("print('x' * 999, end='')", most=999).stdout) == 999
    with pytest.raises(TaskFailed, match="said more"):
        python("print('x' * 1000, end='')", most=999)


def test_a_long_input_passes_while_the_output_comes_back():
    text = bytes(range(256)) * 8192
    assert python("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())", stdin=text).stdout == text
    loud = "import sys; sys.stdout.write('y' * (1 << 20)); sys.stdout.flush(); sys.stdin.buffer.read()"
    assert len(python(loud, stdin=text).stdout) == 1 << 20


def test_an_input_that_is_not_wanted_is_no_error():
    assert python("print('done')", stdin=b"x" * (4 << 20)).stdout == b"done\n"


@pytest.mark.parametrize(
    "text", ["import time; time.sleep(60)", "import os, time; os.close(1); os.close(2); time.sleep(60)"]
)
def test_time_is_limited_too(text):
    started = time.monotonic()
    with pytest.raises(TaskFailed, match="did not end within 1 s"):
        python(text, timeout=0.6)
    assert time.monotonic() - started < 20


def test_a_child_s_child_that_holds_the_pipe_is_waited_for_no_longer_than_that():
    left = "import subprocess; subprocess.Popen(['sleep', '20'])"
    with pytest.raises(TaskFailed, match="did not end within 1 s"):
        python(left, timeout=0.6)


def test_without_a_limit_of_time_it_ends_when_the_program_does():
    done = capture.run([sys.executable, "-c", "print(1)"], stdin=b"", timeout=None, most=10)
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.stdout == b"1\n"
