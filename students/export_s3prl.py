"""A network as an upstream folder for s3prl: its weights, and the code of the network, which needs nothing of ours."""

import re
import shutil
from pathlib import Path

from students.checkpoints import FILE_NAME, CheckpointInfo

_MODULES = ("dims", "encoded", "stem", "transformer", "encoder", "presets", "checkpoints", "exposed", "expert")
_HUBCONF = '''"""The entry that s3prl and torch.hub look for; written by `harness export`."""

dependencies = ["torch", "safetensors"]


def {entry}(ckpt=None, **settings):
    """The upstream; ckpt: another checkpoint of the same harness."""
    return _expert().UpstreamExpert(ckpt, **settings)


def _expert():
    # Under a name of this folder's own, so that several exported networks can be used side by side.
    import sys
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    folder = Path(__file__).resolve().parent
    name = "exported_" + str(folder).encode().hex()
    if name not in sys.modules:
        spec = spec_from_file_location(name, folder / "expert.py", submodule_search_locations=[str(folder)])
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
'''


def write_s3prl(folder: Path, checkpoint: Path, info: CheckpointInfo) -> str:
    """Write hubconf.py, expert.py with the modules that it needs, and the checkpoint's file; return how to load them,
    in Markdown."""
    entry = entry_name(info.name)
    shutil.copyfile(checkpoint / FILE_NAME if checkpoint.is_dir() else checkpoint, folder / FILE_NAME)
    for name in _MODULES:
        source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
        (folder / f"{name}.py").write_text(source.replace("from students.", "from ."), encoding="utf-8")
    (folder / "hubconf.py").write_text(_HUBCONF.format(entry=entry), encoding="utf-8")
    return f"""```python
import torch

upstream = torch.hub.load("FOLDER", "{entry}", source="local").eval()
states = upstream([waveform])["hidden_states"]  # waveform: (samples,)
```

For what looks names up in `s3prl.hub`:

```python
from functools import partial

import torch
from s3prl import hub
from s3prl.nn import S3PRLUpstream

hub.{entry} = partial(torch.hub.load, "FOLDER", "{entry}", source="local")
upstream = S3PRLUpstream("{entry}").eval()
```

For `run_downstream.py -u {entry}` copy the folder to `s3prl/upstream/{entry}` and add
`from s3prl.upstream.{entry}.hubconf import *` to `s3prl/hub.py`.

The network can be fine-tuned. A waveform's features do not depend on what else is in its batch. The folder needs torch,
safetensors (both come with s3prl) and Python 3.10 or newer; its code is the harness's own, under Apache-2.0.
"""


def entry_name(name: str) -> str:
    """The name of a network's entry, one that s3prl has none of: harness_ and the name as an identifier."""
    return "harness_" + re.sub(r"\W", "_", name)
