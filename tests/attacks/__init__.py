"""Attacks: somebody is root on a guest, in a container, or owns a login, and gets that and nothing more."""
