"""One file per verb; each has `run(options) -> int`, most are a tuple of steps."""
