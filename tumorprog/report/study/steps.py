"""A step of the flow of participants."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One box of the flow of participants.

    Attributes:
        label: of the box.
        included: numbers that remain.
        excluded: numbers that are excluded, with reasons; "" if none.
    """

    label: str
    included: str
    excluded: str
