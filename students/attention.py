"""Attention maps of student and teacher against each other (arXiv 2312.09040, average and last attention map).

With p and q the rows of the teacher's and the student's map of a layer, each the mean over its own heads (so their
numbers may differ), the loss of an utterance is the sum over layers and over valid rows of

    KL(p || q) = sum over valid columns of p (log p - log q),

and that of a batch the mean over its utterances. A longer utterance thus weighs more, as the paper defines it. Entries
of p that are zero count nothing; entries of q under the smallest normal number of fp32 count as that number and get no
gradient.
"""

import torch
from torch import Tensor

from students.encoded import Encoded
from students.layers import teacher_layer


def average_attention(student: Encoded, teacher: Encoded) -> Tensor:
    """The mean over heads of every layer's map against the teacher's; a scalar in fp32 or better.

    A shallower student's layers are spread over the teacher's as `students.layers` says. The teacher gets no gradient;
    what lies behind an utterance's frames changes nothing. Raises ValueError where maps are missing or do not fit.
    Source: arXiv 2312.09040, average attention map.
    """
    _check(student, teacher)
    depth, teacher_depth = len(student.maps), len(teacher.maps)
    chosen = [teacher.maps[teacher_layer(layer, depth, teacher_depth) - 1] for layer in range(1, depth + 1)]
    return _divergence(student.maps, chosen, student.frames)


def last_attention(student: Encoded, teacher: Encoded) -> Tensor:
    """The same for the last layers alone (arXiv 2312.09040, ablation)."""
    _check(student, teacher)
    return _divergence(student.maps[-1:], teacher.maps[-1:], student.frames)


def _divergence(student: list[Tensor], teacher: list[Tensor], frames: Tensor) -> Tensor:
    device, size = student[0].device, student[0].shape[-1]
    valid = torch.arange(size, device=device) < frames.to(device)[:, None]
    pairs = valid[:, :, None] & valid[:, None, :]
    total = torch.zeros((), device=device)
    with torch.autocast(device.type, enabled=False):
        for ours, theirs in zip(student, teacher, strict=True):
            p, q = (torch.where(pairs, _mean_over_heads(maps), 1.0) for maps in (theirs.detach(), ours))
            log_q = q.clamp(min=torch.finfo(torch.float32).tiny).log()
            total = total + (torch.xlogy(p, p) - p * log_q).sum()
    return total / len(frames)


def _mean_over_heads(maps: Tensor) -> Tensor:
    return maps.mean(1, dtype=torch.promote_types(maps.dtype, torch.float32))


def _check(student: Encoded, teacher: Encoded) -> None:
    for who, encoded in (("student", student), ("teacher", teacher)):
        if not encoded.maps:
            raise ValueError(f"the {who} has no attention maps; expected one a layer: ask its encoder for maps")
        shapes = sorted({(*maps.shape[:1], *maps.shape[2:]) for maps in encoded.maps})
        batch, size = len(student.frames), student.maps[0].shape[-1]
        if shapes != [(batch, size, size)]:
            raise ValueError(
                f"the {who}'s maps have shapes {', '.join(str(tuple(maps.shape)) for maps in encoded.maps)}; expected "
                f"({batch}, heads, {size}, {size}) each: give both encoders the same padded waveforms, at one stride"
            )
