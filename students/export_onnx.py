"""A network as one ONNX file that takes an utterance of any length."""

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from students.checkpoints import CheckpointInfo
from students.encoded import Encoded
from students.encoder import SpeechEncoder
from students.export_folder import ExportError
from students.exposed import shown

_FILE = "model.onnx"


class Alone(nn.Module):
    """An encoder on one utterance (1, samples) without padding: the states that it exposes, (1, frames, dim) each."""

    def __init__(self, network: SpeechEncoder, info: CheckpointInfo) -> None:
        super().__init__()
        self.network, self.exposes = network, info.exposes

    def forward(self, waveform: Tensor) -> list[Tensor]:
        network, step = self.network, self.network.dims.reduction
        projected = network.feature_projection(network.feature_extractor(waveform, [waveform.shape[1]]))
        states, _ = network.encoder(projected, None, False)
        predictions = {layer: network.heads[str(layer)](states[layer]) for layer in network.dims.predicted}
        frames = torch.tensor([states[0].shape[1]])
        encoded = Encoded(projected[:, : states[0].shape[1] * step], states, frames, [], predictions)
        return shown(encoded, network.dims, self.exposes)[0]


def write_onnx(folder: Path, network: SpeechEncoder, info: CheckpointInfo, states: tuple[str, ...]) -> str:
    """Write model.onnx, from waveform (1, samples) to state_00, state_01, ...; return how to load it, in Markdown.

    states: what each of them is. Raises ExportError without the packages of the extra "onnx".
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"--format onnx needs {' and '.join(missing)}, not installed here: pip install 'star-harness[onnx]', or "
            "export with --format s3prl"
        )
    names = [f"state_{index:02d}" for index in range(len(states))]
    shortest = shortest_length(network)
    example = torch.zeros(1, 16_000)
    logger = logging.getLogger("torch.onnx")  # it warns of torchvision, which no speech network needs
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)  # of torch about itself
            program = torch.onnx.export(
                Alone(network, info).eval(),
                (example,),
                input_names=["waveform"],
                output_names=names,
                dynamic_shapes={"waveform": {1: torch.export.Dim("samples", min=shortest)}},
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    program.save(folder / _FILE)
    return f"""```python
import onnxruntime

session = onnxruntime.InferenceSession("FOLDER/{_FILE}")
states = session.run(None, {{"waveform": waveform}})  # waveform: float32 array (1, samples)
```

Outputs `{names[0]}` to `{names[-1]}`, each (1, frames, dim), for one utterance of at least {shortest} samples.
"""


def shortest_length(network: SpeechEncoder) -> int:
    """Samples of the shortest utterance that gives a frame, after any reduction."""
    frames = network.dims.reduction
    for _, kernel, stride in reversed(network.dims.stem):
        frames = (frames - 1) * stride + kernel
    return frames
