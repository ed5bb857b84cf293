"""Helpers beside this file (hubs) are importable from every test below it."""
