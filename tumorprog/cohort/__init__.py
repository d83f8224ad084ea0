"""Which patients are in the study, when they were scanned, and to which set of a split they belong."""
