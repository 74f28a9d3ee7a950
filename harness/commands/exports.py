"""The commands that turn files into others: export, convert and features."""

from pathlib import Path

import click

from harness.config import UsageError
from students.names import EXPORT_FORMATS


@click.command()
@click.argument("checkpoint")
@click.option("--format", "form", type=click.Choice(EXPORT_FORMATS), required=True, help="Whose tool it is for.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write; an older export goes.")
def export(checkpoint: str, form: str, out: Path) -> None:
    """Write a checkpoint's network for Hugging Face, s3prl or ONNX, with a card that shows how to load it.

    CHECKPOINT is a checkpoint folder of this harness, or mini-hubert.

    \b
    harness export runs/starhubert-mini-seed0/students/starhubert --format hf --out starhubert-hf
    harness export mini-hubert --format onnx --out mini-hubert-onnx
    """
    from students.export import export as write

    write(checkpoint, form, out)
    click.echo(f"Export: {out} ({out / 'README.md'} shows how to load it)")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--trust-pickle", is_flag=True, help="Open FILE although that runs whatever code it holds.")
def convert(file: Path, out: Path, trust_pickle: bool) -> None:
    """Write the tensors and plain values of a torch.save FILE to another, which is then read without running code.

    Give the new file in the place of the old one. Classes whose library is not installed are no obstacle.

    \b
    harness convert hubert.pt --out hubert-plain.pt --trust-pickle
    harness evaluate --upstream hubert-plain.pt
    """
    if not trust_pickle:
        raise UsageError(
            f"{file} is not opened: a pickle runs whatever code it holds; if you trust it, give --trust-pickle"
        )
    from students.convert import convert as write

    lost = write(file, out)
    click.echo(f"Converted: {out}" + (f" (without objects of {', '.join(lost)})" if lost else ""))


@click.command()
@click.argument("audio", type=click.Path(path_type=Path))
@click.option("--upstream", required=True, help="Model to run: `harness list upstreams`.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write, F.npz.")
def features(audio: Path, upstream: str, out: Path) -> None:
    """Hidden states of one audio file: arrays state_00, state_01, ... (frames, dim), with their names and stride.

    \b
    harness features --upstream runs/starhubert-mini-seed0/students/starhubert speech.wav --out speech.npz
    """
    from harness.features import write_features
    from students.resolve import resolve

    write_features(resolve(upstream, seed=0), audio, out)
    click.echo(f"Features: {out}")
