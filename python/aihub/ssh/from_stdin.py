"""Runs the program that comes first on stdin, so many bytes; it finds its request behind it. For `python3 -c`."""

import sys

exec(sys.stdin.buffer.read(int(sys.argv[1])))  # noqa: S102
