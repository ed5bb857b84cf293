"""Where things are on a guest, and what they are called."""

from __future__ import annotations

import re

MANIFEST = "/etc/hub/manifest.json"
CONFIGURATION = "/etc/hub"
AGENT = "/run/hub/agent"
DATA = "/var/lib/hub"
HOME = "/opt/hub"
SECRETS = "/run/hub"
LOGROTATE = "/etc/logrotate.d/hub-"
TRUST = "/usr/local/share/ca-certificates/"
UNITS = "/etc/systemd/system/"
DOCKER_SOCKET = "/var/run/docker.sock"
DOCKER_UNIT = "docker.service"
STACK_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
PROJECT = "com.docker.compose.project"
