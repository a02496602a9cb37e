"""A broker that needs no server: files in a folder, to try the task with. Put your own here."""

from pathlib import Path

_folder = Path(__file__).parent / "queue"
_folder.mkdir(exist_ok=True)

broker_url = "filesystem://"
broker_transport_options = {
    "data_folder_in": str(_folder),
    "data_folder_out": str(_folder),
    "control_folder": str(_folder),
}
result_backend = _folder.as_uri()

# A worker takes no more tasks than it works on: the others are for other workers, not for its waiting list.
worker_prefetch_multiplier = 1
