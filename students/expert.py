"""A network of this harness as s3prl wants its upstreams; an exported folder holds a copy of this file."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from students.checkpoints import load_checkpoint
from students.exposed import shown, shown_stride


class UpstreamExpert(nn.Module):
    """s3prl's upstream of one checkpoint.

    ckpt: the checkpoint's file or folder, by default the one beside this file; s3prl's other settings change nothing.
    Call with a list of waveforms (samples,) at 16 kHz, each at least one frame long; hidden_states are (waveforms,
    frames, dim) each. No waveform sees another's padding, and its last frame fills the rest of its row.
    """

    def __init__(self, ckpt: str | None = None, **settings: Any) -> None:
        super().__init__()
        self.network, info = load_checkpoint(Path(ckpt) if ckpt else Path(__file__).parent)
        self.exposes = info.exposes

    def get_downsample_rates(self, key: str = "hidden_states") -> int:
        """Samples from one frame to the next, the same for every key."""
        return shown_stride(self.network.dims, self.exposes)

    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        lengths = torch.tensor([len(wave) for wave in wavs])
        encoded = self.network(pad_sequence(wavs, batch_first=True), lengths)
        states, frames = shown(encoded, self.network.dims, self.exposes)
        time = torch.arange(states[0].shape[1], device=frames.device)
        places = torch.minimum(time[None], frames[:, None] - 1)
        rows = torch.arange(len(wavs), device=frames.device)[:, None]
        states = [state[rows, places] for state in states]
        return {"hidden_states": states, "last_hidden_state": states[-1]}
