"""How many tokens a text is, about."""

from __future__ import annotations

from collections.abc import Callable

CountTokens = Callable[[str], int]
"""Tokens in a text; give the model's own tokenizer where the limit must be met exactly."""


def estimate_tokens(text: str) -> int:
    """A quarter token per character and half a token per further UTF-8 byte, rounded up.

    So about 4 English letters or 0.8 Chinese characters to a token, which is on the high side for the tokenizers
    in use: a prompt made with it rarely exceeds the real limit. O(length), without a model's vocabulary.
    """
    characters = len(text)
    further = len(text.encode("utf-8", "replace")) - characters
    return (characters + 2 * further + 3) // 4
