"""The catalogue of an archive: which slices form a stack, which files are copies, what there is."""
