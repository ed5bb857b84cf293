"""The server side of secrets: what the vault must hold, how it comes up, who gets in, how it is recovered."""
