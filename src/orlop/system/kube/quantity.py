"""Kubernetes' quantities, exactly: `100m`, `1Gi`, `1e3`, `0.5` (apimachinery, api/resource, "Quantity")."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import total_ordering

_PATTERN = re.compile(
    r"([+-]?)(\d+\.?\d*|\.\d+)(?:([eE])([+-]?\d{1,4})|(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E)?)"
)
_SUFFIXES = {
    **{
        name: Fraction(1024 ** (power + 1)) for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))
    },
    **{name: Fraction(1000 ** (power + 1)) for power, name in enumerate("kMGTPE")},
    **{name: Fraction(1, 1000 ** (power + 1)) for power, name in enumerate("mun")},
    "": Fraction(1),
}
_NANO = 10**9
_LARGEST = 2**63 - 1
_LENGTH = 64
_EXPONENT = 30


@total_ordering
class Quantity:
    """An exact amount, a whole number of billionths as Kubernetes keeps it (rounded away from zero).

    No dataclass, because msgspec writes those as objects.
    """

    __slots__ = ("amount",)

    def __init__(self, amount: Fraction) -> None:
        self.amount = amount

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.amount == other.amount

    def __lt__(self, other: Quantity) -> bool:
        return self.amount < other.amount

    def __hash__(self) -> int:
        return hash(self.amount)

    def __repr__(self) -> str:
        return f"Quantity({self})"

    @classmethod
    def parse(cls, text: str) -> Quantity:
        """Raises ValueError where `text` is none. More than 2^63-1 becomes that, as in Kubernetes."""
        found = _PATTERN.fullmatch(text) if len(text) <= _LENGTH else None
        if found is None:
            raise ValueError("is not a quantity, such as 100m, 0.5, 128974848 or 1Gi")
        sign, number, exponential, exponent, suffix = found.groups()
        scale = _power(int(exponent)) if exponential else _SUFFIXES[suffix or ""]
        amount = Fraction(number) * scale
        rounded = min(Fraction(-(-amount * _NANO // 1), _NANO), Fraction(_LARGEST))
        return cls(-rounded if sign == "-" else rounded)

    @property
    def units(self) -> int:
        """Whole units (bytes, processes), rounded up."""
        return -(-self.amount // 1)

    @property
    def millis(self) -> int:
        """Thousandths (of a core), rounded up."""
        return -(-self.amount * 1000 // 1)

    def __str__(self) -> str:
        """A decimal number that `parse` reads back as the same amount."""
        whole, rest = divmod(abs(self.amount.numerator) * (_NANO // self.amount.denominator), _NANO)
        digits = f"{whole}.{rest:09}".rstrip("0").rstrip(".")
        return f"-{digits}" if self.amount < 0 else digits


ZERO = Quantity(Fraction(0))


def _power(exponent: int) -> Fraction:
    """10^exponent; beyond what any quantity can tell apart it is all the same, so it stays small."""
    return Fraction(10) ** max(-_EXPONENT, min(_EXPONENT, exponent))
