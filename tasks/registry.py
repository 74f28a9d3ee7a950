"""Every task by name, imported when asked for."""

from importlib import import_module

from tasks.base import Protocol, Task

TASKS = ("pr", "asr", "ks", "qbe", "sid", "asv", "sd", "ic", "sf", "er")
PROTOCOLS: tuple[Protocol, ...] = ("corrected", "official")


def load_task(name: str, protocol: Protocol = "corrected") -> Task:
    """The declaration of one of TASKS.

    "official" chooses on the test set where the published numbers did (SD's decision setting, ASV's checkpoint) and
    scores QbE over all languages (superb-protocol 6.1, items 14, 17 and 18); the other tasks are the same in both.
    """
    module = import_module(f"tasks.{name}")
    task: Task = getattr(module, name.upper())
    if protocol == "official":
        task = getattr(module, f"{name.upper()}_OFFICIAL", task)
    return task
