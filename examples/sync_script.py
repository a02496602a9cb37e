"""Answer each line of stdin, with an instance of its own.

    python sync_script.py < questions.txt > answers.txt

Credentials come from CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET, the key for the instance from
INFERLEASE_INFERENCE_KEY; `inferlease emulator` prints values to try it with. Needs the extra `openai`.
"""

import sys

from inferlease import InferleaseError
from inferlease.sync import Client

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def main() -> None:
    """Read, lease, answer, release."""
    questions = [line.strip() for line in sys.stdin if line.strip()]  # all of them, before anything is billed
    # Ctrl-C and SIGTERM end the block too, and the instance with it.
    with (
        Client() as client,
        client.lease(MODEL, probe=True, max_duration=3600) as instance,
        instance.openai() as llm,
    ):
        for question in questions:
            answer = llm.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": question}])
            print(answer.choices[0].message.content)


if __name__ == "__main__":
    try:
        main()
    except InferleaseError as error:
        sys.exit(f"error: {error}")
