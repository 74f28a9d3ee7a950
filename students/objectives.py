"""The objectives of distillation that train nothing but the student: relations of frames, and attention maps.

`students.objective_names.parse` reads a name into a sum of weighted terms; here is what each term means:

| name | definition |
|---|---|
| layer-wise | layer-wise temporal Gram matrices (students.relations, gap 0) |
| intra-layer | intra-layer temporal Gram matrices (students.relations, gap 1) |
| star | layer-wise + intra-layer, the paper's choice |
| star-post-cnn | the same with the projected features as state 0 on both sides, and in the layer-wise term too |
| avg-attn | average attention maps of all layers (students.attention) |
| last-attn | those of the last layer |

star-post-cnn replays a public reproduction (model-zoo.md 7), but for padding, which is left out here, and for layers,
which are summed here. Terms out of layer-wise, intra-layer and star share their products whatever their weights.
"""

import torch
from torch import Tensor

from students.attention import average_attention, last_attention
from students.encoded import Encoded
from students.objective_names import Objective
from students.relations import Relations

_RELATIONS = {"layer-wise": (1.0, 0.0), "intra-layer": (0.0, 1.0), "star": (1.0, 1.0)}


def star_post_cnn(student: Encoded, teacher: Encoded) -> Tensor:
    """The STaR loss with the projected features as state 0 in both terms (model-zoo.md 7).

    Result and errors as for `students.relations.Relations.loss`.
    """
    ours, theirs = ([encoded.projected, *encoded.states[1:]] for encoded in (student, teacher))
    return Relations(1.0, 1.0, first=0).loss(ours, theirs, student.frames)


_OTHERS = {"star-post-cnn": star_post_cnn, "avg-attn": average_attention, "last-attn": last_attention}


def evaluate(objective: Objective, student: Encoded, teacher: Encoded) -> Tensor:
    """The loss of one batch, a scalar in fp32 or better: the mean over utterances of their own losses.

    student, teacher: what both say of the same padded waveforms; the student's frames count. The teacher gets no
    gradient, and padding, whatever it holds, changes neither the loss nor a gradient. Raises ValueError for encodings
    that do not fit together, and for maps that are missing.
    """
    total = torch.zeros((), device=student.states[0].device)
    layer_wise = intra_layer = 0.0
    for name, weight in objective.terms:
        if name in _RELATIONS:
            layer_wise += weight * _RELATIONS[name][0]
            intra_layer += weight * _RELATIONS[name][1]
        else:
            total = total + weight * _OTHERS[name](student, teacher)
    if layer_wise or intra_layer:
        total = total + Relations(layer_wise, intra_layer).loss(student.states, teacher.states, student.frames)
    return total
