"""The learning-rate schedule of distillation and pretraining."""

import math


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate at update `step` (from 0) of `steps`: linear up over the share `warmup`, then a
    cosine down to zero."""
    ramp = max(1, round(warmup * steps))
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, steps - ramp)))
