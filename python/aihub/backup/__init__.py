"""Copies of what the guests keep: making them, looking at them, putting them back."""
