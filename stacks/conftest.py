"""Loads aihub's fixtures, so that `pytest stacks/postgres` checks the running hub by itself."""

pytest_plugins = ["aihub.checks.plugin"]
