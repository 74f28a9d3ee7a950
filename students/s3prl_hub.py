"""Entries of s3prl's hub as upstreams, run by s3prl itself.

None of them is ever given a padded batch: their states move with the padding (model-zoo.md 6). Rows of equal length run
together where that changes a feature by rounding alone.
"""

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from students.checkpoints import module_hash
from students.names import suggestion
from students.upstreams import States, Upstream, UpstreamError, one_line, parameter_count

Forward = Callable[[Tensor], list[Tensor]]  # waveforms (rows, samples) without padding to states (rows, frames, dim)


def s3prl(name: str, checkpoint: str | None, seed: int) -> Upstream:
    """An entry of s3prl.hub as an upstream: its hidden_states, every utterance computed alone.

    checkpoint: the file or URL of the weights, in place of those that the entry would download; s3prl unpickles it, so
    trust its source. seed: for entries with random weights. Raises UpstreamError if the entry is unknown or cannot be
    used.
    """
    with redirect_stdout(sys.stderr):
        hub = import_module("s3prl.hub")
    entries = {
        key: value
        for key, value in vars(hub).items()
        if key[0] != "_" and getattr(value, "__module__", "").endswith("hubconf")
    }
    if name not in entries:
        raise UpstreamError(f"unknown s3prl upstream {name!r}: {suggestion(name, entries)} Type s3prl:NAME")
    if checkpoint and "://" not in checkpoint and not Path(checkpoint).is_file():
        raise UpstreamError(f"no file {checkpoint} for s3prl's {name}: type s3prl:{name}:CHECKPOINT, a file or a URL")
    torch.manual_seed(seed)
    try:
        with redirect_stdout(sys.stderr):
            module = _build(name, entries, checkpoint).eval()
    except Exception as error:  # whatever an entry's own code raises
        raise UpstreamError(
            f"s3prl cannot build {name!r}: {type(error).__name__}: {one_line(error)}; expected an entry that loads: "
            f"one without weights wants s3prl:{name}:CHECKPOINT, one that downloads them a network"
        ) from error

    def forward(waves: Tensor) -> list[Tensor]:
        alone = [module([wave])["hidden_states"] for wave in waves]
        return [torch.cat(states) for states in zip(*alone, strict=True)]

    module.requires_grad_(False)
    title = f"s3prl:{name}" + (f":{Path(checkpoint).name}" if checkpoint else "")
    dim, stride, states = _sizes(name, module, forward)
    return Upstream(
        title,
        "upstream",
        dim,
        stride,
        states,
        module_hash(module, json.dumps({"entry": name})),
        lambda waves, lengths: _unpadded(forward, waves, lengths),
        _parameters(module),
    )


def _parameters(module: Any) -> int:
    """Of LightHuBERT's supernets, those of the active sub-network alone, as published (model-zoo.md 3.3)."""
    active = getattr(getattr(module, "model", None), "calc_sampled_param_num", None)
    return int(active()) if active else parameter_count(module)


def _build(name: str, entries: dict[str, Callable[..., Any]], checkpoint: str | None) -> Any:
    """The entry's module. One that downloads weights of its own passes over a checkpoint without a word, so that the
    entry of its family for files, or for URLs, takes its place."""
    if checkpoint is None:
        return entries[name]()
    family = entries[name].__module__.split(".")[-2]
    taker = f"{family}_url" if "://" in checkpoint else f"{family}_local"
    return entries.get(taker, entries[name])(ckpt=checkpoint)


def _unpadded(forward: Forward, waves: Tensor, lengths: Tensor) -> States:
    """The states of each row without its padding; see Upstream for the shapes."""
    sizes = lengths.tolist()
    alone: dict[int, list[Tensor]] = {}
    for size in sorted(set(sizes)):
        rows = [row for row, length in enumerate(sizes) if length == size]
        found = forward(waves[rows, :size])
        alone |= {row: [state[place] for state in found] for place, row in enumerate(rows)}
    states = [alone[row] for row in range(len(sizes))]
    frames = torch.tensor([len(first) for first, *_ in states], device=waves.device)
    return [pad_sequence(list(state), batch_first=True) for state in zip(*states, strict=True)], frames


def _sizes(name: str, module: Any, forward: Forward) -> tuple[int, int, tuple[str, ...]]:
    """Dim, stride and names of the states, found on a second of sound as s3prl itself does."""
    try:
        with torch.no_grad():
            states = forward(torch.sin(torch.arange(16_000) / 10)[None])
        strides = module.get_downsample_rates("hidden_states")
    except Exception as error:  # whatever an entry's own code raises
        raise UpstreamError(
            f"s3prl's {name!r} gives no hidden states for a second of sound: {type(error).__name__}: {one_line(error)}"
            "; choose another entry"
        ) from error
    shapes = {tuple(state.shape) for state in states}
    rates = {strides} if isinstance(strides, int) else set(strides)
    if len(shapes) != 1 or len(rates) != 1:
        raise UpstreamError(
            f"s3prl's {name!r} has states of shapes {sorted(shapes)} and strides {sorted(rates)}: expected one shape "
            "and one stride; choose another entry"
        )
    return states[0].shape[-1], rates.pop(), tuple(f"hidden state {i}" for i in range(len(states)))
