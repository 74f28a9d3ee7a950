import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from students.dims import Dims
from students.encoder import SpeechEncoder

LENGTHS = [8_000, 5_123, 8_000, 1_600]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def random_encoder():
    def make(dims: Dims) -> SpeechEncoder:
        """An encoder in eval mode whose every parameter, biases and norms too, is away from its initial value."""
        encoder = SpeechEncoder(dims).eval()
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
        return encoder

    return make


@pytest.fixture
def waves():
    """Utterances with an offset, so that a normalisation left out or done twice is seen."""
    torch.manual_seed(0)
    return [0.1 * torch.randn(length) + 0.02 for length in LENGTHS]


@pytest.fixture
def assert_each_alone():
    def check(upstream, waves, reference):
        """A ragged batch gives what the reference gives for one waveform (1, samples) at a time."""
        states, frames = upstream(pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves]))
        assert len(states) == len(upstream.states) and states[0].shape[-1] == upstream.dim
        for row, wave in enumerate(waves):
            with torch.no_grad():
                expected = reference(wave[None])
            assert len(expected) == len(states) and frames[row] == expected[0].shape[1]
            for state, one in zip(states, expected, strict=True):
                torch.testing.assert_close(state[row, : frames[row]], one[0], rtol=1e-5, atol=1e-5)

    return check
