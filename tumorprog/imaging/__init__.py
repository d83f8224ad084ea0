"""Image processing on arrays: intensity scaling, resizing, and volumes."""
