"""One module per command; each reads files of a run directory and leaves files there."""
