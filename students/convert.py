"""A file that needs pickle as one that does not: the only place where a pickle is opened, and only when asked for.

Classes whose library is not installed are replaced by stand-ins that hold what the file says of their objects.
"""

import enum
import pickle
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from students.torch_file import read_torch_file
from students.upstreams import UpstreamError, one_line

_PLAIN = (type(None), bool, int, float, str, bytes)
_OMEGACONF = ("_content", "_val")  # what its containers and its leaves hold


def convert(file: Path, out: Path) -> list[str]:
    """Unpickle a file, which runs whatever code it holds, and write its tensors and plain values to another one.

    Returns the names of classes of which nothing could be kept. Modules become their state dicts, other objects
    dictionaries of their attributes. Raises UpstreamError if the file cannot be unpickled, holds no mapping, or `out`
    is that file, a folder or a device, or if something is left that could run code.
    """
    if out.exists() and (not out.is_file() or out.samefile(file)):
        raise UpstreamError(f"cannot write {out}: expected the name of another file")
    try:
        content = torch.load(file, map_location="cpu", weights_only=False, pickle_module=_LENIENT)
    except Exception as error:  # whatever a pickle's own code raises
        raise UpstreamError(
            f"cannot convert {file}: {type(error).__name__}: {one_line(error)}; expected a file written by torch.save: "
            "get it again"
        ) from error
    lost: dict[str, None] = {}
    plain = _plain(content, lost, ())
    if not isinstance(plain, dict):
        raise UpstreamError(f"{file} holds a {type(content).__name__}: expected a state dict or a checkpoint")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.partial")
    content = BytesIO()  # PyTorch hides why it could not write to a file
    torch.save(plain, content)
    try:
        partial.write_bytes(content.getvalue())
        read_torch_file(partial)
        partial.replace(out)
    except UpstreamError as error:
        raise UpstreamError(f"cannot convert {file}: what is left of it could still run code: get it again") from error
    finally:
        partial.unlink(missing_ok=True)
    return list(lost)


class _StandIn:
    """An object of a class that is not installed: its arguments, items and attributes."""

    def __init__(self, *args: Any) -> None:
        self.__dict__["args"] = args

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__[key] = value

    def append(self, item: Any) -> None:
        self.__dict__.setdefault("items", []).append(item)

    def extend(self, items: Any) -> None:
        self.__dict__.setdefault("items", []).extend(items)

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            self.__dict__.update(part if isinstance(part, dict) else {"args": (part,)})


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return type(name, (_StandIn,), {"__module__": module})


# torch.load takes a module; these are the two of its names that it calls.
_LENIENT: Any = SimpleNamespace(
    __name__="pickle", Unpickler=_Unpickler, load=lambda file, **options: _Unpickler(file, **options).load()
)


def _plain(value: Any, lost: dict[str, None], inside: tuple[int, ...]) -> Any:
    """The value without classes; lost: names of classes without anything to keep; inside: what it lies in, by id,
    and is left out of."""

    def inner(part: Any) -> Any:
        return _plain(part, lost, (*inside, id(value)))

    if type(value) in _PLAIN:
        return value
    if isinstance(value, Tensor):
        return value.detach()
    if id(value) in inside:
        return None
    simple = _simple(value)
    if simple is not value:
        return inner(simple)
    if isinstance(value, Mapping):
        return {key if type(key) in _PLAIN else str(key): inner(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(map(inner, value)) if isinstance(value, tuple) else list(map(inner, value))
    attributes = getattr(value, "__dict__", None)
    if not isinstance(attributes, dict) or isinstance(value, type) or callable(value):
        lost[f"{type(value).__module__}.{type(value).__qualname__}"] = None
        return None
    return {str(key): inner(item) for key, item in attributes.items()}


def _simple(value: Any) -> Any:
    """What stands for the value: an enum's value, a module's weights, a stand-in's only argument and the like."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, nn.Module):
        return dict(value.state_dict())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value) if value.dtype.kind in "biuf" else value.tolist()
    if isinstance(value, Path | torch.dtype | torch.device):
        return str(value)
    attributes = getattr(value, "__dict__", {})
    if type(value).__module__.startswith("omegaconf"):
        return next((attributes[name] for name in _OMEGACONF if name in attributes), None)
    if isinstance(value, _StandIn):
        rest = {key: item for key, item in attributes.items() if key != "args"}
        args = attributes.get("args", ())
        return rest.get("items") if list(rest) == ["items"] else rest or (args[0] if len(args) == 1 else list(args))
    return value
