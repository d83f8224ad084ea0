"""One module per command; each reads from the run directory, and writes its outputs into a partial directory."""
