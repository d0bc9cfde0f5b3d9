"""Roman numerals."""

VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}

SYMBOLS = [
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
]


def to_roman(number: int) -> str:
    """The numeral of a number from 1 to 3999."""
    if not 1 <= number <= 3999:
        raise ValueError(f"there is no Roman numeral for {number}")
    numeral = ""
    for value, symbol in SYMBOLS:
        while number > value:
            numeral += symbol
            number -= value
    return numeral


def from_roman(numeral: str) -> int:
    """The number of a numeral; a smaller symbol before a larger one is subtracted."""
    total = 0
    for index, symbol in enumerate(numeral):
        value = VALUES[symbol]
        following = numeral[index + 1 : index + 2]
        if following and value < VALUES[following]:
            total -= value
        else:
            total += value
    return total
