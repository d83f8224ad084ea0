"""The report on the grader."""
