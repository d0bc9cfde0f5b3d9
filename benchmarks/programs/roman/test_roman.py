import pytest
from roman import from_roman, to_roman

PAIRS = [
    (1, "I"),
    (4, "IV"),
    (8, "VIII"),
    (14, "XIV"),
    (49, "XLIX"),
    (99, "XCIX"),
    (448, "CDXLVIII"),
    (1994, "MCMXCIV"),
]


@pytest.mark.parametrize(("number", "numeral"), PAIRS)
def test_to_roman(number, numeral):
    assert to_roman(number) == numeral


@pytest.mark.parametrize(("number", "numeral"), PAIRS)
def test_from_roman(number, numeral):
    assert from_roman(numeral) == number


@pytest.mark.parametrize("number", [0, -3, 4000])
def test_out_of_range(number):
    with pytest.raises(ValueError, match="no Roman numeral"):
        to_roman(number)
