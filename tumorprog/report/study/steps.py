"""A step of the flow of participants."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One box of the flow of participants.

    Attributes:
        label: of the box.
        included: lines with the numbers that remain.
        excluded: numbers that are excluded, with reasons; "" if none.
        alternative: whether it stands beside the previous step instead of following it.
    """

    label: str
    included: tuple[str, ...]
    excluded: str = ""
    alternative: bool = False
