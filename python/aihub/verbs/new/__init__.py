"""`aihub new ...`: one file per command."""
