"""A Celery task that leases an instance for as long as it runs.

    celery --app tasks worker

and from another process in this folder

    python -c 'import tasks; print(tasks.answer.delay(["Say hello."]).get())'

The broker is in `celeryconfig.py`. The worker takes its credentials from CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET,
the key for the instance from INFERLEASE_INFERENCE_KEY; `inferlease emulator` prints values to try it with. Needs the
extra `openai`, and celery.
"""

from celery import Celery

from inferlease.sync import Client

MODEL = "meta-llama/Llama-3.1-8B-Instruct"

app = Celery("tasks", config_source="celeryconfig")


# A start takes minutes: give a task all questions that belong together. At the soft limit celery raises in the task,
# which stops the instance; at the hard one it kills the process, which leaves that to the guard.
@app.task(soft_time_limit=3600, time_limit=3600 + 130)
def answer(questions: list[str]) -> list[str]:
    """The answers to some questions."""
    with Client() as client, client.lease(MODEL, probe=True, label="celery") as instance, instance.openai() as llm:
        answers = [
            llm.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": question}])
            for question in questions
        ]
    return [each.choices[0].message.content or "" for each in answers]
