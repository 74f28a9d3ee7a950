"""The distilled student of a run: from its folder, or made now."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness import provenance
from harness.cells import CURVE, STATE
from harness.config import Cell
from harness.distill import DistillSettings, Trainer, distill, told
from harness.distill_data import DistillationData
from harness.features import Extractor
from harness.progress import Stages
from harness.states import StateFile
from reports.records import write_text
from students.checkpoints import FILE_NAME, save_checkpoint
from students.criterion import Criterion
from students.encoder import SpeechEncoder
from students.objective_names import parse
from students.presets import STUDENTS, Size
from students.upstreams import Upstream, UpstreamError, from_checkpoint
from tasks.base import Splits


def new_student(name: str, size: Size, teacher: Upstream, seed: int) -> SpeechEncoder:
    """The network of a student before training: random, or what its preset copies of the teacher.

    Heads of its own predict states of the teacher's width.
    Raises UpstreamError if the teacher has no network of our own blocks, or none that can be copied from.
    """
    preset, network = STUDENTS[name](), teacher.inside()
    dims = preset.dims(size)
    torch.manual_seed(seed)
    student = SpeechEncoder(replace(dims, prediction_width=network.dims.width) if dims.predicted else dims)
    if preset.copies:
        weights, own = network.state_dict(), student.state_dict()
        copied = {key: weights.get(key) for key in own if key.startswith(preset.copies)}
        misfits = [key for key, value in copied.items() if value is None or value.shape != own[key].shape]
        if misfits:
            raise UpstreamError(
                f"{name} starts from weights of its teacher, and {misfits[0]} of {teacher.name} does not fit: expected "
                f"a teacher of the sizes of {preset.teacher}"
            )
        student.load_state_dict(own | copied)
    return student


def distilled(
    folder: Path,
    cell: Cell,
    splits: Splits,
    teacher: Extractor,
    settings: DistillSettings,
    config: Mapping[str, Any],
    stages: Stages,
) -> Upstream:
    """The distilled student as an upstream. A half-done distillation goes on from its last validation.

    splits: with "train" and "dev"; config: everything that decides the student, as plain values, which go into the
    checkpoint's history.
    """
    state = StateFile(folder / STATE, dict(config), stages.say)
    if not (folder / FILE_NAME).exists():
        folder.mkdir(parents=True, exist_ok=True)
        size: Size = "mini" if config["suite"] == "mini" else "paper"
        student = new_student(cell.student, size, teacher.upstream, config["seed"])
        criterion = Criterion(parse(cell.objective), student.dims, teacher.upstream.inside().dims)
        live = criterion.live or config["device"] != "cpu"
        what = "utterances" if live else f"{teacher.upstream.name} states"
        with stages.stage(what, len(splits["train"]) + len(splits["dev"])) as advance:
            train, valid = (DistillationData(splits[part], teacher, live, advance) for part in ("train", "dev"))
        trainer = Trainer(student, criterion, teacher.upstream, settings, config["seed"], config["device"])
        set_aside: dict[str, str] = {}
        if kept := state.read():
            trainer.restore(kept["trainer"])
            set_aside = kept["set_aside"]

        def save() -> None:
            state.write({"trainer": trainer.state(), "set_aside": set_aside | teacher.skipped})

        with stages.stage(f"distil {cell.name}", settings.steps) as advance:
            advance(trainer.step)
            reporter = _reporter(folder / CURVE, trainer.step, advance, stages.say)
            distill(trainer, train, valid, save, reporter)
        teacher.upstream.inside().cpu()  # where the probes want it
        history = {key: value for key, value in config.items() if key != "dims"}
        history["set_aside"] = set_aside | teacher.skipped | trainer.left_out
        commit, dirty = provenance.commit()
        history |= {"commit": commit, "dirty": dirty, "versions": provenance.versions()}
        history["extra_parameters"] = criterion.parameter_count
        save_checkpoint(folder, student, cell.student, STUDENTS[cell.student]().exposes, history)
    state.path.unlink(missing_ok=True)
    return from_checkpoint(folder, cell.name)


def _reporter(
    curve: Path, step: int, advance: Callable[[int], None], tell: Callable[[str], None]
) -> Callable[[dict[str, Any]], None]:
    """What appends rows to the curve, of which the steps up to the given one are kept, and tells what is set aside."""
    lines = curve.read_text(encoding="utf-8", errors="replace").splitlines() if curve.exists() else []
    kept = []
    for line in lines:
        with suppress(ValueError, TypeError, KeyError):  # a line that was cut or altered
            kept += [f"{line}\n"] if json.loads(line)["step"] <= step else []
    write_text(curve, "".join(kept))

    def report(row: dict[str, Any]) -> None:
        with curve.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        for line in told(row):
            tell(line)
        if row["loss"] is not None:
            advance(1)

    return report
