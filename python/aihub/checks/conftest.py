"""Loads the plugin for the checks of this folder."""

pytest_plugins = ["aihub.checks.plugin"]
