"""Turns in the forms of OpenAI's chat completions and Anthropic's messages.

A rendered turn is a list of *blocks* in the target's own form; `openai` and `anthropic` put them into messages. Part
contents: text as it is, data as JSON, images by URL or inline, everything else as one line that says what it is.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from schemas.conversation import Turn
from schemas.part import Part

JSON = dict[str, Any]

_OPENAI_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
CUT = "(earlier turns are left out)"


def text_of(turn: Turn) -> str:
    """Everything of a turn that costs tokens, as text."""
    pieces = [_text(part) or _described(part) for part in turn.parts]
    pieces += [f"{call.call_id} {call.name} {_json(call.arguments)}" for call in turn.tool_calls]
    return "\n".join([*pieces, turn.tool_call_id, turn.author])


def openai(turns: Sequence[Turn]) -> list[JSON]:
    """Messages for ``chat.completions``; turns without any content are left out."""
    return [message for turn in turns if (message := _openai_message(turn))]


def _openai_message(turn: Turn) -> JSON | None:
    blocks = [block for part in turn.parts if (block := _openai_block(part))]
    if turn.role == "tool":
        return {"role": "tool", "tool_call_id": turn.tool_call_id, "content": _flat(turn)}
    message: JSON = {"role": turn.role}
    if _OPENAI_NAME.fullmatch(turn.author):
        message["name"] = turn.author
    only_text = all(block["type"] == "text" for block in blocks)
    # Only users may send images; for the others an image is described in text.
    message["content"] = _flat(turn) if only_text or turn.role != "user" else blocks
    if turn.tool_calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = [
            {"id": c.call_id, "type": "function", "function": {"name": c.name, "arguments": _json(c.arguments)}}
            for c in turn.tool_calls
        ]
    elif not message["content"]:
        return None
    return message


def _openai_block(part: Part) -> JSON | None:
    if (url := _image_url(part)) is not None:
        return {"type": "image_url", "image_url": {"url": url}}
    text = _text(part)
    text = _described(part) if text is None else text
    return {"type": "text", "text": text} if text else None


def anthropic(turns: Sequence[Turn]) -> tuple[str, list[JSON]]:
    """``system`` and ``messages``: system turns go into the first; the rest alternate, starting with ``user``.

    Neighbours of one role are merged into one message; tool results come first in theirs, as the API demands.
    """
    system = "\n\n".join(text for turn in turns if turn.role == "system" and (text := _flat(turn)))
    messages: list[JSON] = []
    for turn in turns:
        if turn.role == "system":
            continue
        role = "assistant" if turn.role == "assistant" else "user"
        blocks = _anthropic_blocks(turn)
        if not blocks:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": role, "content": blocks})
    if messages and messages[0]["role"] == "assistant":
        messages.insert(0, {"role": "user", "content": [{"type": "text", "text": CUT}]})
    for message in messages:
        message["content"].sort(key=lambda block: block["type"] != "tool_result")
    return system, messages


def _anthropic_blocks(turn: Turn) -> list[JSON]:
    if turn.role == "tool":
        return [{"type": "tool_result", "tool_use_id": turn.tool_call_id, "content": _flat(turn)}]
    blocks = [block for part in turn.parts if (block := _anthropic_block(part, images=turn.role == "user"))]
    return blocks + [
        {"type": "tool_use", "id": call.call_id, "name": call.name, "input": call.arguments} for call in turn.tool_calls
    ]


def _anthropic_block(part: Part, *, images: bool) -> JSON | None:
    if images and _is_image(part):
        if part.url is not None:
            return {"type": "image", "source": {"type": "url", "url": part.url}}
        if part.raw is not None:
            data = base64.b64encode(part.raw).decode()
            return {"type": "image", "source": {"type": "base64", "media_type": part.media_type, "data": data}}
    text = _text(part)
    text = _described(part) if text is None else text
    return {"type": "text", "text": text} if text.strip() else None  # the API refuses blank text


def _flat(turn: Turn) -> str:
    texts = [text if (text := _text(part)) is not None else _described(part) for part in turn.parts]
    return "\n".join(text for text in texts if text)


def _text(part: Part) -> str | None:
    if part.text is not None:
        return part.text
    return _json(part.data) if part.data is not None else None


def _described(part: Part) -> str:
    """One line for what a model cannot be given: a file, an image in the wrong place, nothing."""
    what = " ".join(word for word in (part.filename, part.media_type and f"({part.media_type})") if word)
    if part.url is not None:
        return f"[{what or 'file'} at {part.url}]"
    if part.blob is not None:
        return f"[{what or 'file'}, stored as {part.blob}]"
    if part.raw is not None:
        return f"[{what or 'bytes'}, {len(part.raw)} bytes]"
    return ""


def _is_image(part: Part) -> bool:
    return (part.media_type or "").startswith("image/") and (part.url is not None or part.raw is not None)


def _image_url(part: Part) -> str | None:
    if not _is_image(part):
        return None
    if part.raw is not None:
        return f"data:{part.media_type};base64,{base64.b64encode(part.raw).decode()}"
    return part.url


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
