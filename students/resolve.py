"""From what a user types to an upstream."""

from pathlib import Path

from students.bundles import TEACHER_BUNDLES, torchaudio_bundle
from students.dphubert import dphubert
from students.fairseq import fairseq_file
from students.huggingface import huggingface
from students.names import UPSTREAM_FORMS, suggestion
from students.official import official
from students.presets import STUDENTS, Size
from students.s3prl_hub import s3prl
from students.upstreams import Upstream, UpstreamError, fbank, from_checkpoint, mini_teacher, untrained


def resolve(spec: str, seed: int, size: Size = "mini") -> Upstream:
    """The upstream that a user names in one of UPSTREAM_FORMS.

    seed: of random weights; size: of a student with random weights. Raises UpstreamError if the name means nothing or
    the model cannot be had, and CheckpointError if a checkpoint of this harness cannot be used.
    """
    scheme, _, rest = spec.partition(":")
    name, _, file = rest.partition(":")
    if file.startswith("~"):  # no shell expands it in the middle of a word
        file = str(Path(file).expanduser())
    if spec == "fbank":
        return fbank()
    if spec == "mini-hubert":
        return mini_teacher()
    if spec in TEACHER_BUNDLES:
        return torchaudio_bundle(TEACHER_BUNDLES[spec], title=spec)
    if scheme == "random" and rest:
        return _random(rest, seed, size)
    if scheme == "hf" and rest:
        return huggingface(rest)
    if scheme == "torchaudio" and rest:
        return torchaudio_bundle(name, Path(file) if file else None)
    if scheme == "s3prl" and rest:
        return s3prl(name, file or None, seed)
    if scheme == "official" and rest:
        return official(Path(name).expanduser(), Path(file) if file else None)
    if scheme == "dphubert" and rest:
        return dphubert(Path(rest).expanduser())
    path = Path(spec).expanduser()
    if path.suffix == ".ckpt":
        return official(path)
    if path.exists():
        return _checkpoint(path) if path.is_dir() or path.suffix == ".safetensors" else fairseq_file(path)
    known = ["fbank", "mini-hubert", *TEACHER_BUNDLES, *(f"random:{student}" for student in STUDENTS)]
    near = suggestion(
        spec, known + [f"{name}:{rest}" for name in ("hf", "torchaudio", "s3prl", "official", "dphubert") if rest]
    )
    hint = f"{near} " if near.startswith("did you") else ""
    raise UpstreamError(f"unknown upstream {spec!r}: {hint}expected one of {', '.join(UPSTREAM_FORMS)}")


def _random(student: str, seed: int, size: Size) -> Upstream:
    if student not in STUDENTS:
        raise UpstreamError(f"unknown student {student!r}: {suggestion(student, STUDENTS)} Type random:STUDENT")
    return untrained(student, size, seed)


def _checkpoint(path: Path) -> Upstream:
    """A student of this harness, or the teacher that `harness pretrain` writes."""
    if (path / "config.json").is_file():
        raise UpstreamError(f"{path} is a Hugging Face folder: expected a checkpoint of this harness; type hf:{path}")
    return from_checkpoint(path)
