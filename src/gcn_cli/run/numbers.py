"""Whole numbers as users write them: ``int`` and ``str.isdigit`` know more digits than ours."""

from __future__ import annotations

import re

MOST = 2**63 - 1
"""The largest seed, and the largest whole number that is read anywhere."""
_DIGITS = re.compile(r"[0-9]{1,19}")


def whole(text: str, most: int = MOST) -> int | None:
    """The number that a text of the digits 0 to 9 writes; None of anything else, or more."""
    text = text.strip()
    number = int(text) if _DIGITS.fullmatch(text) else most + 1
    return number if number <= most else None
