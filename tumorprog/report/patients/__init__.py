"""The report on single patients over time: scans, events, masked volumes, and images of two dates."""
