"""What holds for every test."""

from __future__ import annotations

import signal

pytest_plugins = ["tests.lab.hubs"]

# A runner in the background of a shell inherits SIGINT as ignored, and hands that on to all that it starts: Ctrl-C
# would be tested against processes that can't hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
