import pytest
from cipher import decrypt, encrypt, shift


def test_shift():
    assert shift("A", 3) == "D"
    assert shift("Z", 1) == "A"
    assert shift("A", -1) == "Z"


@pytest.mark.parametrize(
    ("text", "key", "secret"),
    [
        ("ATTACK", "LEMON", "LXFOPV"),
        ("attack", "lemon", "LXFOPV"),
        ("ATTACK AT DAWN", "LEMON", "LXFOPV EF RNHR"),
        ("A-A-A", "BC", "B-C-B"),
        ("", "KEY", ""),
    ],
)
def test_there_and_back(text, key, secret):
    assert encrypt(text, key) == secret
    assert decrypt(secret, key) == text.upper()


def test_the_key_a_changes_nothing():
    assert encrypt("HELLO WORLD!", "A") == "HELLO WORLD!"
