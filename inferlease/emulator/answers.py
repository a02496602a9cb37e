"""What an emulated instance says: pure functions of the request, so that a test can tell whose answer it got."""

import hashlib
import math
import random
import re

DEFAULT_DIMENSIONS = 384
"""Length of an embedding where the request does not say."""

_QUOTED_WORDS = 12


def expected_answer(prompt: str) -> str:
    """The text that an emulated instance answers to `prompt`.

    It holds a digest of the whole prompt and its first twelve words, so that an answer belongs to one prompt only.
    For a chat, the prompt is the text of the last user message. A limit on the tokens cuts the answer short.
    """
    words = prompt.split()
    quoted = " ".join(words[:_QUOTED_WORDS]) + (" …" if len(words) > _QUOTED_WORDS else "")
    length = "1 word" if len(words) == 1 else f"{len(words)} words"
    return f"Emulated answer {_digest(prompt)[:16]} to a prompt of {length}: {quoted}".rstrip()


def expected_embedding(text: str, dimensions: int = DEFAULT_DIMENSIONS) -> list[float]:
    """The unit vector of `dimensions` numbers that an emulated instance returns for `text`."""
    source = random.Random(int(_digest(text), 16))
    vector = [source.random() * 2 - 1 for _ in range(dimensions)]
    length = math.sqrt(math.fsum(number * number for number in vector))
    return [number / length for number in vector]


def tokens(text: str) -> list[str]:
    """`text` cut into the emulator's tokens, a word and the space before it each; joined they are `text` again."""
    return re.findall(r"\s*\S+|\s+$", text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
