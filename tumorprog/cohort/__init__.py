"""Who is in the study, when they were scanned, and on which side they stand."""
