"""Sizes that fit together and sizes that do not."""

import json
from dataclasses import asdict, replace

import pytest

from students.dims import Dims, LayerDims, dims_from
from students.presets import NETWORKS, thin_stem, wide_stem

FITTING = Dims(wide_stem(8), width=16, layers=2, heads=2, ffn=8, projection=True)


def test_dims_tell_all_problems_at_once():
    with pytest.raises(ValueError) as caught:
        Dims(((8, 10, 5),), width=30, layers=1, heads=4, ffn=8, pos_groups=16)
    message = str(caught.value)
    assert "width 30 is not a multiple of heads 4" in message
    assert "width 30 is not a multiple of pos_groups 16" in message
    assert "stem ends at 8 channels, width is 30, and no projection" in message
    assert "stem strides multiply to other than 320" in message


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"layers": 0, "ffn": -1}, "layers is 0, expected at least 1; ffn is -1, expected at least 1"),
        ({"reduction": 0}, "reduction is 0, expected at least 1"),
        ({"stem": ()}, "stem is empty"),
        ({"stem_norm": "batch"}, "stem_norm is 'batch', expected group or layer"),
        ({"sizes": ((2, 8),)}, "sizes has 1 entries for 2 layers"),
        ({"reuse": (3,)}, "must name layers 1 to 2"),
        ({"reuse": (1,)}, "reuse not 1"),
        ({"reuse": (2,), "sizes": ((1, 8), (2, 8))}, r"reuse needs as many heads in every layer, sizes has \[1, 2\]"),
        ({"gated_position": True, "sizes": ((0, 8), (2, 8))}, r"kept_heads \(\) does not name the heads of sizes"),
        (
            {"gated_position": True, "sizes": ((0, 8), (2, 8)), "kept_heads": ((), (0, 1))},
            "gated_position needs heads in layer 1, whose position table all layers share",
        ),
        ({"gated_position": True, "reuse": (2,)}, r"reuse \(2,\) does not go with gated_position"),
        ({"predicted": (0,), "prediction_width": 4}, "must name layers 1 to 2"),
        ({"predicted": (2,)}, r"predicted \(2,\) does not go with prediction_width 0"),
        ({"prediction_width": 4}, r"predicted \(\) does not go with prediction_width 4"),
    ],
)
def test_sizes_that_misfit_are_named(changes, problem):
    with pytest.raises(ValueError, match=problem):
        replace(FITTING, **changes)


def test_dims_without_problems_pass():
    Dims(thin_stem(16), width=16, layers=1, heads=2, ffn=8)
    replace(FITTING, heads=3, head_width=4)
    replace(FITTING, reuse=(2,), predicted=(1, 2), prediction_width=5, sizes=((1, 8), (1, 0)))


def test_a_layer_has_its_own_sizes_where_there_are_any():
    assert FITTING.layer(2) == LayerDims(heads=2, head_width=8, ffn=8, reuses=False)
    pruned = replace(FITTING, head_width=3, sizes=((4, 5), (0, 6)), reuse=())
    assert pruned.layer(1) == LayerDims(heads=4, head_width=3, ffn=5, reuses=False)
    assert pruned.layer(2).attention == 0 and pruned.layer(1).attention == 12
    assert replace(FITTING, reuse=(2,)).layer(2).reuses


@pytest.mark.parametrize("name", NETWORKS)
def test_dims_survive_json(name):
    preset = NETWORKS[name]()
    for dims in (preset.paper, preset.mini):
        assert dims is None or dims_from(json.loads(json.dumps(asdict(dims)))) == dims


def test_an_unknown_name_is_refused():
    with pytest.raises(TypeError, match="depth"):
        dims_from(asdict(FITTING) | {"depth": 3})
