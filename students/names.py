"""What to tell someone who typed a name that does not exist."""

from collections.abc import Collection
from difflib import get_close_matches

_SHOWN = 12

EXPORT_FORMATS = ("hf", "s3prl", "onnx")

UPSTREAM_FORMS = (
    "fbank",
    "mini-hubert",
    "FOLDER (a checkpoint of this harness)",
    "random:STUDENT",
    "hf:FOLDER",
    "hf:OWNER/NAME",
    "torchaudio:BUNDLE",
    "torchaudio:BUNDLE:FILE",
    "s3prl:NAME",
    "s3prl:NAME:CHECKPOINT",
)


def suggestion(name: str, known: Collection[str]) -> str:
    """A question that names the near matches of an unknown name, or the first known names if nothing is near."""
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    more = ", ..." if len(known) > _SHOWN else ""
    return f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join([*known][:_SHOWN])}{more}."
