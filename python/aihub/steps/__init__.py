"""The steps that verbs are made of: each does one thing to a `Run`."""
