"""Records to tabulate."""

from collections.abc import Callable

import pytest

from reports.records import Record


@pytest.fixture
def run(record: Callable[..., Record]) -> list[Record]:
    """Three upstreams on two tasks; the last failed on KS."""
    ks = {"task": "ks", "metric": "Acc", "higher_is_better": True}
    failed = {"value": None, "skipped": ["out of memory | at batch 3"]}
    fbank = {"upstream": "fbank", "upstream_kind": "fbank", "parameters": 0, "macs": None}
    return [
        record(**ks, value=90.0),
        record(value=12.5),
        record(upstream="mini_hubert", upstream_kind="teacher", value=10.0),
        record(upstream="mini_hubert", upstream_kind="teacher", **ks, value=95.0, stderr=0.5, stderr_method="binomial"),
        record(**fbank, value=60.0),
        record(**fbank, **ks, **failed),
    ]
