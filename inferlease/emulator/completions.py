"""Answers of an instance in the shapes of OpenAI's API, from a request body to a reply; no HTTP here.

Honoured: `messages`, `prompt`, `input`, `n`, `max_tokens`, `max_completion_tokens`, `stop`, `stream`,
`stream_options.include_usage`, `dimensions`, `encoding_format`. Everything else is accepted and has no effect.
"""

import base64
import hashlib
from array import array
from collections.abc import Iterable, Mapping
from typing import Literal

import orjson
from attrs import frozen

from inferlease.emulator.answers import DEFAULT_DIMENSIONS, expected_answer, expected_embedding, tokens
from inferlease.emulator.replies import InferenceRefusal, Reply

_MOST_CHOICES = 128
_MOST_DIMENSIONS = 4096

Body = Mapping[str, object]


@frozen
class Speaker:
    """Who answers: a model with room for `context_length` tokens; `created` in seconds since 1970."""

    model: str
    context_length: int
    created: int


@frozen
class _Choice:
    pieces: list[str]
    finish_reason: Literal["stop", "length"]

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def chat_completion(body: Body, speaker: Speaker) -> Reply:
    """`POST /chat/completions`: `expected_answer` of the last user message.

    Raises:
        InferenceRefusal: 400.
    """
    messages = _messages(body)
    spoken = [text for role, text in messages if role == "user"]
    prompt_tokens = sum(len(tokens(text)) for _, text in messages)
    limit = _count(body, "max_completion_tokens", most=None) or _count(body, "max_tokens", most=None)
    _require_room(prompt_tokens, limit, speaker, "messages")
    choice = _choose(body, spoken[-1] if spoken else "", limit)
    choices = [choice] * (_count(body, "n", most=_MOST_CHOICES) or 1)
    if _flag(body, "stream"):
        return _stream(body, speaker, "chat.completion.chunk", _chat_chunks(choices), _usage(prompt_tokens, choices))
    return _whole(
        body,
        speaker,
        "chat.completion",
        [
            {
                "index": index,
                "message": {"role": "assistant", "content": choice.text},
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(choices)
        ],
        _usage(prompt_tokens, choices),
    )


def completion(body: Body, speaker: Speaker) -> Reply:
    """`POST /completions`: `expected_answer` of each prompt.

    Raises:
        InferenceRefusal: 400.
    """
    prompts = _texts(body, "prompt")
    limit = _count(body, "max_tokens", most=None)
    for prompt in prompts:
        _require_room(len(tokens(prompt)), limit, speaker, "prompt")
    repeats = _count(body, "n", most=_MOST_CHOICES) or 1
    choices = [_choose(body, prompt, limit) for prompt in prompts for _ in range(repeats)]
    usage = _usage(sum(len(tokens(prompt)) for prompt in prompts), choices)
    if _flag(body, "stream"):
        return _stream(body, speaker, "text_completion", _text_chunks(choices), usage)
    return _whole(
        body,
        speaker,
        "text_completion",
        [_text_choice(index, choice.text, choice.finish_reason) for index, choice in enumerate(choices)],
        usage,
    )


def embeddings(body: Body, speaker: Speaker) -> Reply:
    """`POST /embeddings`: `expected_embedding` of each input.

    Raises:
        InferenceRefusal: 400.
    """
    inputs = _texts(body, "input")
    for text in inputs:
        _require_room(len(tokens(text)), None, speaker, "input")
    dimensions = _count(body, "dimensions", most=_MOST_DIMENSIONS) or DEFAULT_DIMENSIONS
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise _invalid("encoding_format", "must be 'float' or 'base64'")
    vectors = [expected_embedding(text, dimensions) for text in inputs]
    prompt_tokens = sum(len(tokens(text)) for text in inputs)
    return Reply.json(
        {
            "object": "list",
            "model": speaker.model,
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": _packed(vector) if encoding == "base64" else vector,
                }
                for index, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        }
    )


def _choose(body: Body, prompt: str, limit: int | None) -> _Choice:
    text = expected_answer(prompt)
    ends = [text.index(stop) for stop in _stops(body) if stop in text]
    pieces = tokens(text[: min(ends)] if ends else text)
    if limit is not None and limit < len(pieces):
        return _Choice(pieces[:limit], "length")
    return _Choice(pieces, "stop")


def _whole(
    body: Body, speaker: Speaker, kind: str, choices: list[dict[str, object]], usage: dict[str, object]
) -> Reply:
    return Reply.json(_envelope(body, speaker, kind) | {"choices": choices, "usage": usage})


def _stream(
    body: Body, speaker: Speaker, kind: str, chunks: Iterable[dict[str, object]], usage: dict[str, object]
) -> Reply:
    """Server-sent events: one for each choice of a chunk and, if asked for, a last one with the usage."""
    envelope = _envelope(body, speaker, kind)
    events: list[dict[str, object]] = [envelope | {"choices": [choice]} for choice in chunks]
    if _include_usage(body):
        events = [event | {"usage": None} for event in events]
        events.append(envelope | {"choices": [], "usage": usage})
    lines = [orjson.dumps(event) for event in events] + [b"[DONE]"]
    return Reply(200, [b"data: " + line + b"\n\n" for line in lines], "text/event-stream; charset=utf-8")


def _chat_chunks(choices: list[_Choice]) -> Iterable[dict[str, object]]:
    for index, choice in enumerate(choices):
        yield _delta(index, {"role": "assistant", "content": ""}, None)
        for piece in choice.pieces:
            yield _delta(index, {"content": piece}, None)
        yield _delta(index, {}, choice.finish_reason)


def _delta(index: int, delta: dict[str, object], finish_reason: str | None) -> dict[str, object]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _text_chunks(choices: list[_Choice]) -> Iterable[dict[str, object]]:
    for index, choice in enumerate(choices):
        for piece in choice.pieces:
            yield _text_choice(index, piece, None)
        yield _text_choice(index, "", choice.finish_reason)


def _text_choice(index: int, text: str, finish_reason: str | None) -> dict[str, object]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}


def _envelope(body: Body, speaker: Speaker, kind: str) -> dict[str, object]:
    digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    prefix = "cmpl" if kind == "text_completion" else "chatcmpl"
    return {"id": f"{prefix}-{digest[:24]}", "object": kind, "created": speaker.created, "model": speaker.model}


def _usage(prompt_tokens: int, choices: list[_Choice]) -> dict[str, object]:
    completion_tokens = sum(len(choice.pieces) for choice in choices)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _packed(vector: list[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode()


def _messages(body: Body) -> list[tuple[str, str]]:
    """Role and text of each message."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "must be a list with at least one message")
    return [_message(message) for message in messages]


def _message(message: object) -> tuple[str, str]:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(role, str):
        raise _invalid("messages", "must hold objects with a 'role'")
    content = message.get("content")
    if content is None and role == "assistant":
        return role, ""
    if isinstance(content, str):
        return role, content
    if isinstance(content, list):
        return role, "\n".join(_part(part) for part in content)
    raise _invalid("messages", "must have a 'content' that is a string or a list of parts")


def _part(part: object) -> str:
    """The text of one part of a message; what is no text, such as an image, has none."""
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise _invalid("messages", "must have parts that are objects with a 'type'")
    if part["type"] != "text":
        return ""
    if not isinstance(part.get("text"), str):
        raise _invalid("messages", "must have text parts with a 'text'")
    return str(part["text"])


def _texts(body: Body, name: str) -> list[str]:
    """A text, several, or the same as token ids, which are read as their numbers."""
    value = body.get(name)
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(item, str) and item for item in value):
            return [str(item) for item in value]
        if _are_token_ids(value):
            return [_spelled(value)]
        if all(isinstance(item, list) and item and _are_token_ids(item) for item in value):
            return [_spelled(item) for item in value]
    raise _invalid(name, "must be a text, a list of texts or token ids, and not empty")


def _are_token_ids(value: list[object]) -> bool:
    return all(isinstance(item, int) and not isinstance(item, bool) for item in value)


def _spelled(token_ids: list[object]) -> str:
    return " ".join(str(token_id) for token_id in token_ids)


def _stops(body: Body) -> list[str]:
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else [] if stop is None else stop
    if not isinstance(stops, list) or not all(isinstance(item, str) for item in stops):
        raise _invalid("stop", "must be a text or a list of texts")
    return [item for item in stops if item]


def _count(body: Body, name: str, *, most: int | None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most is not None and value > most):
        raise _invalid(name, "must be a positive whole number" + (f" of at most {most}" if most else ""))
    return value


def _flag(body: Body, name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise _invalid(name, "must be true or false")
    return bool(value)


def _include_usage(body: Body) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise _invalid("stream_options", "must be an object")
    return _flag(options, "include_usage")


def _require_room(prompt_tokens: int, limit: int | None, speaker: Speaker, param: str) -> None:
    asked = prompt_tokens + (limit or 0)
    if asked > speaker.context_length:
        raise InferenceRefusal(
            400,
            f"This model's maximum context length is {speaker.context_length} tokens, but you asked for {asked}.",
            param=param,
            code="context_length_exceeded",
        )


def _invalid(param: str, problem: str) -> InferenceRefusal:
    return InferenceRefusal(400, f"'{param}' {problem}.", param=param, code="invalid_value")
