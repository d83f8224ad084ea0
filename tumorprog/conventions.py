"""Constants that every part shares: grades, sequences, units of time."""

SEQUENCES = ("T1pre", "T1post", "dT1", "FLAIR", "T2", "ADC", "nCBF", "nRCBV", "sRCBV", "other")
"""Canonical names of image series of the head (not of masks or localizers)."""

GRADES = (2, 3, 4)
"""WHO grades: the classes of the grader, in the order of its outputs."""

IMAGE_SIZE = 224
"""Width and height of the grader's input, in pixels."""

DAYS_PER_MONTH = 30.4375
"""A twelfth of a year of 365.25 days."""

SURVIVAL_MONTHS = (1, 2, 3, 4, 6, 9, 12, 18, 24, 36, 48, 60)
"""Months at which the probability of no progression is reported."""
