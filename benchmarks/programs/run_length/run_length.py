"""Run-length encoding: `aaab` is `a3b1`."""


def runs(text: str) -> list[tuple[str, int]]:
    """Each run of equal characters with its length, in order."""
    found = []
    previous = ""
    count = 0
    for char in text:
        if char == previous:
            count += 1
            continue
        if count:
            found.append((previous, count))
        previous = char
        count = 1
    return found


def encode(text: str) -> str:
    return "".join(f"{char}{count}" for char, count in runs(text))


def decode(code: str) -> str:
    """The text of an encoding; counts may have several digits, characters may not be digits."""
    text = []
    char = ""
    digits = ""
    for symbol in code + "\0":
        if symbol.isdigit():
            digits += symbol
        else:
            if char:
                text.append(char * int(digits))
            char = symbol
            digits = ""
    return "".join(text)


def longest(text: str) -> tuple[str, int]:
    """The first of the longest runs."""
    return max(runs(text), key=lambda run: run[1])
