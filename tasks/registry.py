"""Every task by name, imported when asked for."""

from importlib import import_module

from tasks.base import Task

TASKS = ("pr", "asr", "ks", "sid", "er")


def load_task(name: str) -> Task:
    """The declaration of one of TASKS."""
    task: Task = getattr(import_module(f"tasks.{name}"), name.upper())
    return task
