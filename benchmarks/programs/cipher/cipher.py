"""The Vigenère cipher over the letters A to Z; everything else passes unchanged."""

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def shift(letter: str, by: int) -> str:
    place = ALPHABET.index(letter)
    return ALPHABET[(place + by) % len(ALPHABET)]


def encrypt(text: str, key: str) -> str:
    return _crypt(text, key, 1)


def decrypt(text: str, key: str) -> str:
    return _crypt(text, key, -1)


def _crypt(text: str, key: str, direction: int) -> str:
    """The key moves on with every letter, not with other characters."""
    result = []
    used = 0
    for position, char in enumerate(text.upper()):
        if char not in ALPHABET:
            result.append(char)
            continue
        by = ALPHABET.index(key[position % len(key)].upper())
        result.append(shift(char, by * direction))
        used += 1
    return "".join(result)
