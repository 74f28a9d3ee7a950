"""The plan of a run: its stages and about how long they take."""

from dataclasses import dataclass

from harness.config import RunSettings

# Seconds of each stage on two CPU cores, for the plan's estimate only.
ESTIMATES = {"suite": 30, "teacher states": 45, "distil": 90, "count": 15, "report": 5}
TASK_ESTIMATE = {"pr": 8, "asr": 12, "ks": 6, "sid": 6, "er": 6}


@dataclass(frozen=True)
class PlannedStage:
    """One line of the plan: what is done, on what, and about how long it takes on two CPU cores."""

    stage: str
    what: str
    seconds: int


def plan(settings: RunSettings) -> list[PlannedStage]:
    """The stages of a run in order, without doing any of them."""
    from tasks.mini.suite import SUITE_NAME, suite_exists

    stages = []
    if not suite_exists(settings.corpora):
        stages.append(PlannedStage("suite", f"write {SUITE_NAME}", ESTIMATES["suite"]))
    distilled = f"{settings.student} from {settings.teacher}, objective {settings.objective}"
    stages.append(PlannedStage("teacher states", settings.teacher, ESTIMATES["teacher states"]))
    stages.append(PlannedStage("distil", distilled, ESTIMATES["distil"]))
    for upstream in upstream_names(settings):
        for task in settings.tasks:
            stages.append(PlannedStage("evaluate", f"{upstream} on {task}", TASK_ESTIMATE[task]))
    stages.append(PlannedStage("count", "parameters and MACs", ESTIMATES["count"]))
    stages.append(PlannedStage("report", str(settings.out), ESTIMATES["report"]))
    return stages


def upstream_names(settings: RunSettings) -> list[str]:
    """The rows of the measured table, in order."""
    return ["fbank", settings.teacher, f"random:{settings.student}", settings.student]
