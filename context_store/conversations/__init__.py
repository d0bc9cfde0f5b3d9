"""Conversations: append-only turns, and what of them fits into a prompt.

=================  ==================================================================================
``conversations``  `Conversations`: create, append, read, fork, adopt, search
``chain``          which stored turns a conversation consists of, as a list of pieces of lines
``joining``        the turns of a branch behind those of its parent
``turn_log``       turns as they are stored: batches in a line, and an index of them
``prompt``         which turns fit: pinned ones, then the newest, tool calls with their results
``rendering``      turns in the forms of OpenAI and Anthropic
``tokens``         how many tokens a text is, about
=================  ==================================================================================
"""

from context_store.conversations.conversations import Conversations, SearchHit
from context_store.conversations.prompt import Cut, Prompt, Summarise
from context_store.conversations.tokens import CountTokens, estimate_tokens

__all__ = ["Conversations", "CountTokens", "Cut", "Prompt", "SearchHit", "Summarise", "estimate_tokens"]
