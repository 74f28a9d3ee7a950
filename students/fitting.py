"""Whether an objective suits a student and a teacher, told from their sizes without loading torch."""

from students.dims import Dims
from students.layers import teacher_layer
from students.objective_names import Objective

_TRAINS_HEADS = ("hint", "masking")


def student_problems(objective: Objective, student: Dims) -> list[str]:
    """Why the objective does not suit the student, one line each with what to type instead."""
    names, problems = [name for name, _ in objective.terms], []
    framewise = [name for name in names if name != "hint"]
    if student.reduction > 1 and framewise:
        problems.append(
            f"objective {framewise[0]} compares frame by frame and the student joins {student.reduction} frames into "
            "one: expected an objective whose heads undo that; type --objective hint"
        )
    if objective.masks and not student.mask_vector:
        problems.append(
            "objective masking needs a mask vector and the student has none: expected one such as maskhubert; type "
            "--objective hint for others"
        )
    if student.predicted and not set(names) & set(_TRAINS_HEADS):
        problems.append(
            f"the student's features are what its heads predict, which objective {objective.name} does not train: "
            "expected hint or masking among its terms; type --objective masking, or --objective hint"
        )
    return problems


def teacher_problems(objective: Objective, student: Dims, teacher: Dims) -> list[str]:
    """Why the teacher does not suit them, one line each with what to type instead."""
    problems = []
    try:
        teacher_layer(1, student.layers, teacher.layers)
    except ValueError as error:
        problems.append(str(error))
    if teacher.reduction > 1:
        problems.append(
            f"the teacher joins {teacher.reduction} frames into one: expected one state a frame; choose another teacher"
        )
    if objective.masks and not teacher.mask_vector:
        problems.append(
            "objective masking needs a mask vector and this teacher's file has none (torchaudio's leave it out): type "
            "--teacher hf:facebook/hubert-base-ls960, or --objective hint"
        )
    if student.predicted and student.prediction_width != teacher.width:
        problems.append(
            f"the student's heads predict {student.prediction_width} values and the teacher's states have "
            f"{teacher.width}: expected the same; choose a teacher of that width"
        )
    return problems
