import numpy as np
import pytest
import torch

from harness.features import PLAIN, Extractor, TooManyBadFiles, read_item
from students.upstreams import fbank, untrained
from tasks.audio import AudioError, write_audio
from tasks.base import AudioChain, Item

SILENT = lambda count: None  # noqa: E731


@pytest.fixture
def items(tmp_path):
    rng = np.random.default_rng(0)
    made = []
    for i, samples in enumerate((5000, 9000, 16_000, 3001)):
        path = tmp_path / f"{i}.wav"
        write_audio(path, rng.standard_normal(samples).astype(np.float32) * 0.1)
        made.append(Item(str(i), path, "x"))
    return made


@pytest.mark.parametrize("upstream", [untrained("starhubert", "mini", 0), fbank()], ids=["network", "fbank"])
def test_states_do_not_depend_on_the_batch(items, upstream):
    together = Extractor(upstream).frames(items, PLAIN, SILENT)
    for item, states in zip(items, together, strict=True):
        wave = torch.from_numpy(read_item(item))[None]
        alone, _ = upstream(wave, torch.tensor([wave.shape[1]]))
        torch.testing.assert_close(states, torch.stack(alone)[:, 0], rtol=1e-4, atol=1e-5)


def test_means_are_the_means_of_the_frames_and_nothing_is_computed_twice(items):
    extractor = Extractor(untrained("starhubert", "mini", 0))
    frames, means = extractor.frames(items, PLAIN, SILENT), extractor.means(items, PLAIN, SILENT)
    for states, mean in zip(frames, means, strict=True):
        torch.testing.assert_close(mean, states.mean(1))
    assert extractor.frames(items, PLAIN, SILENT)[0] is frames[0]


def test_a_broken_file_is_set_aside_and_named(items, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    extractor = Extractor(fbank())
    states = extractor.means([items[0], Item("bad", broken, "x")], PLAIN, SILENT)
    assert states[0] is not None and states[1] is None
    assert "broken.wav" in extractor.skipped["bad"]


def test_too_many_broken_files_stop_the_run(tmp_path):
    missing = [Item(str(i), tmp_path / f"{i}.wav", "x") for i in range(3)]
    with pytest.raises(TooManyBadFiles, match=r"3 audio files .* limit of 2.*no such file"):
        Extractor(fbank(), limit=2).means(missing, PLAIN, SILENT)


def test_gain_and_stretch_of_an_item(items):
    whole = read_item(items[2])
    part = read_item(Item("p", items[2].path, "x", start=100, samples=1000), chain=AudioChain(gain_db=-3.0))
    np.testing.assert_allclose(part, whole[100:1100] * 10 ** (-3 / 20), rtol=1e-6)


def test_a_clip_shorter_than_a_frame_is_refused(items):
    with pytest.raises(AudioError, match=r"100 samples from 0, fewer than a frame's 400"):
        read_item(Item("p", items[2].path, "x", samples=100))
