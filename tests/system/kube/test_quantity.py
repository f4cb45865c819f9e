from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.system.kube.quantity import Quantity

SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("100m", Fraction(1, 10)),
        ("1Gi", Fraction(2**30)),
        ("1e3", Fraction(1000)),
        ("1E3", Fraction(1000)),
        ("128974848", Fraction(128974848)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("+1", Fraction(1)),
        ("-1.5Ki", Fraction(-1536)),
        ("1.5Gi", Fraction(3 * 2**29)),
        ("129M", Fraction(129_000_000)),
        ("123Mi", Fraction(123 * 2**20)),
        ("1e-3", Fraction(1, 1000)),
        ("250u", Fraction(250, 10**6)),
        ("1E", Fraction(10**18)),
        ("0", Fraction(0)),
    ],
)
def test_quantities_are_exact(text: str, amount: Fraction) -> None:
    assert Quantity.parse(text).amount == amount


@pytest.mark.parametrize(
    "text", ["", "1x", "Ki", "1 Gi", "1GiB", "0x10", "1e", "--1", "1e99999", "9" * 70, "1,5", "1mi", "NaN"]
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        Quantity.parse(text)


def test_too_much_becomes_the_largest_and_too_little_one_billionth() -> None:
    assert Quantity.parse("9999999999999E").amount == 2**63 - 1
    assert Quantity.parse("1e9999").amount == 2**63 - 1
    assert Quantity.parse("0.1n").amount == Fraction(1, 10**9)


def test_units_and_millis_round_up() -> None:
    assert Quantity.parse("100m").units == 1
    assert Quantity.parse("1500u").millis == 2
    assert Quantity.parse("2").millis == 2000


@given(st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(sorted(SUFFIXES)))
def test_any_decimal_number_has_its_exact_value(whole: int, thousandths: int, suffix: str) -> None:
    found = Quantity.parse(f"{whole}.{thousandths:03}{suffix}")
    assert found.amount == (whole + Fraction(thousandths, 1000)) * SUFFIXES[suffix]


@given(st.fractions(0, 2**60))
def test_what_is_written_is_read_back_as_the_same(amount: Fraction) -> None:
    quantity = Quantity(Fraction(int(amount * 10**9), 10**9))
    assert Quantity.parse(str(quantity)) == quantity


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        Quantity.parse(text)
    except ValueError:
        return
