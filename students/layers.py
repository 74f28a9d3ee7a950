"""Which layer of a teacher a layer of a shallower student learns from."""


def teacher_layer(layer: int, depth: int, teacher_depth: int) -> int:
    """The teacher's layer for a student's, both counted from 1; layer 0, the input, stays 0.

    round(layer teacher_depth / depth), halves to even: the layer itself at equal depth (star-objective.md, Objectives).
    Raises ValueError for a student deeper than its teacher.
    """
    if depth > teacher_depth:
        raise ValueError(
            f"the student has {depth} layers and the teacher {teacher_depth}; expected no more than the teacher's: "
            "choose a shallower student or a deeper teacher"
        )
    return round(layer * teacher_depth / depth)
