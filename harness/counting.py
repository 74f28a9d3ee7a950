"""Counts of the networks by name, as flat rows for tables and files."""

from collections.abc import Sequence
from typing import Any

from harness.complexity import PROFILING_SAMPLES, count_network, profile, superb_extra
from harness.progress import Stages
from students.presets import NETWORKS, Size
from students.upstreams import Upstream


def count_rows(plan: Sequence[tuple[str, Size, tuple[str, ...]]], stages: Stages) -> list[dict[str, Any]]:
    """One row a network: parameters, `strict` MACs by bucket and in all, `superb` MACs in all, and how they were had.

    plan: name, size and the buckets to trace with fvcore. Raises ComplexityError where trace and formula differ.
    """
    traces = sum(len(PROFILING_SAMPLES[bucket]) for *_, buckets in plan for bucket in buckets)
    with stages.stage("count", traces) as advance:
        return [_row(name, size, buckets, lambda _: advance(1)) for name, size, buckets in plan]


def macs(upstream: Upstream) -> dict[str, Any]:
    """The record's fields on an upstream's cost: `strict` MACs over the profiling lengths, None where no closed formula
    is known."""
    if upstream.dims is None:
        return {"macs": None, "macs_convention": None}
    return {"macs": sum(count.total for count in profile(upstream.dims).values()), "macs_convention": "strict"}


def _row(name: str, size: Size, buckets: tuple[str, ...], done: Any) -> dict[str, Any]:
    preset = NETWORKS[name]()
    dims = preset.dims(size)
    counted = count_network(name, dims, buckets, done)
    strict = counted.total.total
    lengths = [samples for bucket in PROFILING_SAMPLES.values() for samples in bucket]
    fused = preset.fused_attention
    extra = 0 if fused is None else sum(superb_extra(dims, samples, fused) for samples in lengths)
    traced = "all" if len(buckets) == len(PROFILING_SAMPLES) else ", ".join(buckets)
    return {
        "name": name,
        "size": size,
        "parameters": counted.parameters,
        **{bucket: count.total for bucket, count in counted.macs.items()},
        "strict": strict,
        "superb": strict + extra,
        "method": f"formula; traced by fvcore: {traced or 'none'}",
    }
