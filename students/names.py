"""What to tell someone who typed a name that does not exist."""

from collections.abc import Collection
from difflib import SequenceMatcher

_SHOWN = 12
_NEAR, _MARGIN = 0.5, 0.05  # closeness below which a name is not near, and behind the best at which it is left out

EXPORT_FORMATS = ("hf", "s3prl", "onnx")

UPSTREAM_FORMS = (
    "fbank",
    "mini-hubert",
    "FOLDER (a checkpoint of this harness)",
    "FILE (a checkpoint of fairseq, the s3prl toolkit or WavLM)",
    "FILE.ckpt (an official student, its yaml beside it)",
    "official:FILE.ckpt:FILE.yaml",
    "dphubert:FILE",
    "random:STUDENT",
    "hubert_base, hubert_large, wav2vec2_base, wav2vec2_large, wavlm_base, wavlm_base_plus or wavlm_large",
    "hf:FOLDER",
    "hf:OWNER/NAME",
    "torchaudio:BUNDLE",
    "torchaudio:BUNDLE:FILE",
    "s3prl:NAME",
    "s3prl:NAME:CHECKPOINT",
)


def suggestion(name: str, known: Collection[str]) -> str:
    """A question that names the nearest matches of an unknown name, nearest first and at most three, or the first known
    names if nothing is near."""
    found = {candidate: _closeness(name, candidate) for candidate in known}
    least = max(_NEAR, max(found.values(), default=0.0) - _MARGIN)
    near = sorted((candidate for candidate in found if found[candidate] >= least), key=found.__getitem__, reverse=True)
    more = ", ..." if len(known) > _SHOWN else ""
    return (
        f"did you mean {' or '.join(near[:3])}?" if near else f"expected one of {', '.join([*known][:_SHOWN])}{more}."
    )


def _closeness(name: str, candidate: str) -> float:
    """From 0 to 1; the first word alone ("hubert" of "hubert_base") counts a little less than the whole name."""
    whole, first = (
        SequenceMatcher(None, part, name).ratio() for part in (candidate, candidate.replace("_", "-").split("-")[0])
    )
    return max(whole, first - 2 * _MARGIN)
