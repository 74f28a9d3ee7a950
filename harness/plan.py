"""The plan of a run: its stages and about how long they take."""

from dataclasses import dataclass

from harness.config import RunSettings

# Measured seconds on two idle cores (AMD EPYC), tasks as the mean over the four upstreams; for the estimate only.
ESTIMATES = {"suite": 25, "teacher states": 7, "distil": 40, "count": 9, "report": 6}
TASK_ESTIMATE = {
    "pr": 9,
    "asr": 15,
    "ks": 4,
    "qbe": 2,
    "sid": 5,
    "asv": 9,
    "sd": 6,
    "ic": 5,
    "sf": 19,
    "er": 6,
}


@dataclass(frozen=True)
class PlannedStage:
    """One line of the plan: what is done, on what, and about how long it takes on two CPU cores, None if not known."""

    stage: str
    what: str
    seconds: int | None


def plan(settings: RunSettings) -> list[PlannedStage]:
    """The stages of a run in order, without doing any of them; estimates are for the mini suite."""
    from tasks.mini.suite import SUITE_NAME, suite_exists

    stages = []

    def add(stage: str, what: str, seconds: int) -> None:
        stages.append(PlannedStage(stage, what, seconds if settings.suite == "mini" else None))

    if settings.suite == "mini" and not suite_exists(settings.corpora):
        add("suite", f"write {SUITE_NAME}", ESTIMATES["suite"])
    add("teacher states", settings.teacher, ESTIMATES["teacher states"])
    for cell in settings.cells:
        what = f"{cell.student} from {settings.teacher}, objective {cell.objective}"
        add("distil", what, ESTIMATES["distil"])
    for upstream in upstream_names(settings):
        for task in settings.tasks:
            add("evaluate", f"{upstream} on {task}", TASK_ESTIMATE[task])
    add("count", "parameters and MACs", ESTIMATES["count"])
    add("report", str(settings.out), ESTIMATES["report"])
    return stages


def upstream_names(settings: RunSettings) -> list[str]:
    """The rows of the measured table, in order."""
    controls = [f"random:{name}" for name in settings.students]
    return ["fbank", settings.teacher, *controls, *(cell.name for cell in settings.cells)]
