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


@pytest.fixture
def shaken():
    def shake(module):
        """The module in eval mode, every parameter away from its initial value."""
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        return module.eval()

    return shake


@pytest.fixture
def hugging_face_model(shaken):
    """Small random models of Hugging Face by name, -large ones with the layer order and stem of the Large models."""
    import transformers

    classes = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}
    tiny = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    }

    def make(name, head="Model", **settings):
        family, _, large = name.partition("-")
        order = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True} if large else {}
        config = getattr(transformers, f"{classes[family]}Config")(**tiny | order | settings)
        return shaken(getattr(transformers, classes[family] + head)(config))

    return make


@pytest.fixture
def hugging_face_states():
    def states(model, values):
        """hidden_states of the library, but the last after the final LayerNorm of the -large ones."""
        found = model(values, output_hidden_states=True)
        return [*found.hidden_states[:-1], found.last_hidden_state]

    return states


@pytest.fixture
def zero_mean():
    return lambda wave: (wave - wave.mean()) / wave.std(correction=0)
