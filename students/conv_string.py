"""The stem that fairseq writes as a Python expression, read without running it."""

import ast

from students.dims import Stem

_LONGEST, _MOST = 1_000, 64  # characters of the text, convolutions that it may name
_NEXT = (
    "expected lists of (channels, kernel, stride) joined by + and multiplied by counts, as in "
    "[(512, 10, 5)] + [(512, 2, 2)] * 2"
)


def parse_conv_layers(text: str) -> Stem:
    """The (channels, kernel, stride) of each convolution in a text such as "[(512, 10, 5)] + [(512, 3, 2)] * 4".

    Only lists of three positive integers, + and * with a count mean anything; nothing is evaluated. Raises ValueError
    for anything else, for more than 64 convolutions and for more than 1000 characters. Source: fairseq's
    conv_feature_layers (model-zoo.md 5.2).
    """
    shown = text if len(text) <= 60 else f"{text[:60]} ..."
    if len(text) > _LONGEST:
        raise ValueError(f"conv_feature_layers {shown!r} has {len(text)} characters: expected at most {_LONGEST}")
    try:
        found = _convolutions(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ValueError(f"cannot read conv_feature_layers {shown!r}: {reason}; {_NEXT}") from error
    if not found:
        raise ValueError(f"conv_feature_layers {shown!r} names no convolution: {_NEXT}")
    return found


def _convolutions(node: ast.expr) -> Stem:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _few(_convolutions(node.left) + _convolutions(node.right))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        count, repeated = (node.left, node.right) if isinstance(node.left, ast.Constant) else (node.right, node.left)
        times = _positive(count)
        return _few(_convolutions(repeated) * min(times, _MOST + 1))
    if isinstance(node, ast.List | ast.Tuple):
        return _few(tuple(_triple(item) for item in node.elts))
    raise ValueError(f"{type(node).__name__} is not allowed")


def _triple(node: ast.expr) -> tuple[int, int, int]:
    if not isinstance(node, ast.List | ast.Tuple) or len(node.elts) != 3:
        raise ValueError("an entry is not (channels, kernel, stride)")
    channels, kernel, stride = (_positive(item) for item in node.elts)
    return channels, kernel, stride


def _positive(node: ast.expr) -> int:
    if not isinstance(node, ast.Constant) or type(node.value) is not int or node.value < 1:
        raise ValueError(f"{ast.unparse(node)[:20]!r} is not a positive integer")
    return node.value


def _few(found: Stem) -> Stem:
    if len(found) > _MOST:
        raise ValueError(f"over {_MOST} convolutions")
    return found
