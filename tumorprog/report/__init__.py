"""Build one self-contained HTML page from metrics and figures."""
