"""Sizes and steps of the mini suite, all in one place; heads, losses and metrics are the official ones."""

from dataclasses import replace
from typing import Any

from tasks.base import ProbeSettings

# Of harness.distill.DistillSettings; what is not named here is as published.
MINI_DISTILLATION: dict[str, Any] = {"steps": 400, "batch_seconds": 12.0, "learning_rate": 3e-3}

_BILSTM = ProbeSettings(
    steps=400,
    batch=16,
    learning_rates=(5e-3,),
    eval_every=100,
    hidden=96,
    recurrent=128,
    layers=1,
    dropout=0.2,
)

MINI_PROBES = {
    "pr": ProbeSettings(steps=300, batch=16, learning_rates=(1e-2, 3e-3), eval_every=100),
    "asr": _BILSTM,
    "ks": ProbeSettings(steps=600, batch=32, learning_rates=(1e-2, 3e-3, 1e-3), eval_every=100),
    "sid": ProbeSettings(steps=600, batch=32, learning_rates=(1e-2, 3e-3, 1e-3), eval_every=100),
    "er": ProbeSettings(steps=300, batch=32, learning_rates=(1e-2, 3e-3, 1e-3), eval_every=50),
    "ic": ProbeSettings(steps=600, batch=32, learning_rates=(1e-2, 3e-3, 1e-3), eval_every=100),
    "sf": replace(_BILSTM, steps=250, eval_every=50),
    "sd": ProbeSettings(steps=100, batch=8, learning_rates=(1e-2, 3e-3), eval_every=50, recurrent=64, layers=1),
    "asv": ProbeSettings(
        steps=200,
        batch=32,
        learning_rates=(1e-3,),
        eval_every=50,
        hidden=64,
        pooled=192,
        clip=1000.0,
        weight_decay=0.01,
        shortest=1.0,
    ),
    "qbe": ProbeSettings(steps=0, batch=1, learning_rates=(), eval_every=0),
}
