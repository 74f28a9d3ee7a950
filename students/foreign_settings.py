"""Settings of other people's networks: what of them counts, what is wrong with them, what nobody knows."""

import warnings
from dataclasses import dataclass
from typing import Any

from students.upstreams import UpstreamError


@dataclass(frozen=True)
class Fields:
    """What the settings of one kind of file may hold.

    used: by name the default, or the type of a value that the file must give. only: by name the one value that our
    networks have. ignored: names without effect on the states of a trained network.
    """

    used: dict[str, Any]
    only: dict[str, Any]
    ignored: frozenset[str]

    def read(self, settings: dict[str, Any], source: str) -> dict[str, Any]:
        """The value of every used field; a warning names the defaults taken and the fields that nobody knows.

        source: the file, for the messages. Raises UpstreamError with every missing, mistyped and unsupported field.
        """
        values = {name: settings.get(name, default) for name, default in self.used.items()}
        kinds = {name: default if isinstance(default, type) else type(default) for name, default in self.used.items()}
        problems = [f"{name} is missing" for name in kinds if values[name] is kinds[name]]
        problems += [
            f"{name} is {settings[name]!r}, expected {kind.__name__}"
            for name, kind in kinds.items()
            if name in settings and type(settings[name]) is not kind
        ]
        problems += [
            f"{name} is {values[name]!r}{'' if name in settings else ' by default'}: only {value!r} is supported"
            for name, value in self.only.items()
            if values[name] != value and type(values[name]) is kinds[name]
        ]
        if problems:
            raise UpstreamError(
                f"cannot use the settings in {source}: {'; '.join(problems)}; expected those of a released model"
            )
        taken = [f"{name} {values[name]!r}" for name in self.used if name not in settings]
        unknown = sorted(str(name) for name in settings.keys() - self.used.keys() - self.ignored)
        notes = [f"took the published code's defaults for {', '.join(taken)}"] if taken else []
        notes += [f"passed over unknown fields: {', '.join(unknown)}"] if unknown else []
        if notes:
            warnings.warn(f"{source}: {'; '.join(notes)}", stacklevel=2)
        return values
