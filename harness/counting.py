"""Counts of the networks by name, as flat rows for tables and files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.complexity import (
    PROFILING_SAMPLES,
    ComplexityError,
    count_network,
    parameters,
    profile,
    superb_extra,
)
from students.presets import NETWORKS, Preset, Size

if TYPE_CHECKING:
    from harness.progress import Stages
    from students.dims import Dims
    from students.upstreams import Upstream

Plan = Sequence[tuple[str, Size, tuple[str, ...]]]


def count_rows(plan: Plan, stages: Stages) -> list[dict[str, Any]]:
    """One row a network: parameters of inference and as published, `strict` MACs by bucket and in all, `superb` MACs in
    all, and how they were had.

    plan: name, size and the buckets to trace with fvcore; without any the formulas alone serve and nothing is built.
    Raises ComplexityError where trace and formula differ.
    """
    traces = sum(len(PROFILING_SAMPLES[bucket]) for *_, buckets in plan for bucket in buckets)
    with stages.stage("count", traces) as advance:
        rows = []
        for name, size, buckets in plan:
            if buckets:
                count_network(name, NETWORKS[name]().dims(size), buckets, lambda _: advance(1))
            rows.append(formula_row(name, size, buckets))
        return rows


def formula_row(name: str, size: Size, buckets: tuple[str, ...]) -> dict[str, Any]:
    """The row that `count_rows` gives for a network, if its traces agree."""
    preset = NETWORKS[name]()
    row = {"name": name, "size": size, "reconstructed": preset.reconstructed}
    return {**row, **_counts(preset, preset.dims(size), size), "method": _method(buckets)}


def upstream_row(spec: str) -> dict[str, Any]:
    """The same row for an upstream as `students.resolve` spells it, by formula.

    Raises ComplexityError for one that is not built of our own blocks, and as `resolve` does.
    """
    from students.resolve import resolve

    upstream = resolve(spec, 0)
    if upstream.dims is None:
        raise ComplexityError(
            f"{spec} has no network that we know: expected one of `harness list networks`, a checkpoint or a teacher; "
            "for LightHuBERT type lighthubert_small"
        )
    blank = {"reconstructed": False, "as_published": None, "superb": None}
    return {"name": upstream.name, "size": None, **_strict(upstream.dims), **blank, "method": _method(())}


def macs(upstream: Upstream) -> dict[str, Any]:
    """The record's fields on an upstream's cost: `strict` MACs over the profiling lengths, None where no closed formula
    is known."""
    if upstream.dims is None:
        return {"macs": None, "macs_convention": None}
    return {"macs": sum(count.total for count in profile(upstream.dims).values()), "macs_convention": "strict"}


def _counts(preset: Preset, dims: Dims, size: Size) -> dict[str, Any]:
    lengths = [samples for bucket in PROFILING_SAMPLES.values() for samples in bucket]
    fused = preset.fused_attention
    extra = 0 if fused is None else sum(superb_extra(dims, samples, fused) for samples in lengths)
    padded = sum(count.total for count in profile(dims, preset.pad_multiple).values())
    published = parameters(dims) + preset.extra_parameters if size == "paper" else None
    return {**_strict(dims), "as_published": published, "superb": padded + extra}


def _strict(dims: Dims) -> dict[str, Any]:
    counts = profile(dims)
    buckets = {bucket: count.total for bucket, count in counts.items()}
    heads = sum(count.heads for count in counts.values())
    return {"parameters": parameters(dims.bare()), **buckets, "strict": sum(buckets.values()), "heads": heads}


def _method(buckets: tuple[str, ...]) -> str:
    traced = "all" if len(buckets) == len(PROFILING_SAMPLES) else ", ".join(buckets)
    return f"formula; traced by fvcore: {traced or 'none'}"
