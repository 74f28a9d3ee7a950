"""Rules that every file of the project keeps, read off its syntax tree; each rule is also shown a breach to catch."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("harness", "students", "tasks", "reports")
HEAVY = frozenset(
    "torch torchaudio s3prl pandas matplotlib sklearn transformers accelerate lhotse scipy jiwer fvcore".split()
)
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS, MAX_BYTES = 399, 59, 8, 10_000_000
UNSAFE = frozenset(
    "eval exec builtins.eval builtins.exec os.system yaml.load yaml.unsafe_load yaml.full_load "
    "pickle.load pickle.loads pickle.Unpickler joblib.load pandas.read_pickle marshal.load marshal.loads shelve.open "
    "dill.load dill.loads cloudpickle.load os.popen subprocess.getoutput shutil.unpack_archive tempfile.mktemp".split()
)
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:root|home|work|tmp)(?![\w-])")
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef

Rule = Callable[[str], list[str]]
parse = lru_cache(maxsize=None)(ast.parse)


# The rules: source text to a list of "line: what is wrong".


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every absolute import at any depth, import_module("...") included."""
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def forbidden_imports(source: str, forbidden: frozenset[str]) -> list[str]:
    return [f"{line}: imports {name}" for line, name in imports(source) if name.split(".")[0] in forbidden]


def undeclared_imports(source: str, declared: frozenset[str]) -> list[str]:
    """Imports of packages that pyproject.toml does not name; declared holds normalised distribution names."""
    problems = []
    for line, name in imports(source):
        package = name.split(".")[0]
        if package in sys.stdlib_module_names or package in ROOMS or package == "__future__":
            continue
        providers = {normalised(found) for found in distributions().get(package, [package])}
        if not providers & declared:
            problems.append(f"{line}: imports {name}, of {' or '.join(sorted(providers))}")
    return problems


def long_file(source: str) -> list[str]:
    lines = len(source.splitlines())
    return [f"1: {lines} lines"] if lines > MAX_FILE_LINES else []


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(parse(source)) if isinstance(node, FUNCTION))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """Every parameter but self and cls."""
    given = function.args
    found = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return [arg for arg in found if arg is not None and arg.arg not in ("self", "cls")]


def long_functions(source: str) -> list[str]:
    lengths = ((node, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions(source))
    return [f"{node.lineno}: {node.name} has {n} lines" for node, n in lengths if n > MAX_FUNCTION_LINES]


def wide_signatures(source: str) -> list[str]:
    counts = ((node, len(parameters(node))) for node in functions(source))
    return [f"{node.lineno}: {node.name} has {n} parameters" for node, n in counts if n > MAX_PARAMETERS]


def unsafe_calls(source: str) -> list[str]:
    """Code or data used unchecked: eval, pickles, yaml.load, torch.load without weights_only=True, a shell, whole
    archives unpacked."""
    aliases: dict[str, str] = {}
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            aliases |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    def dotted(node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return aliases.get(node.id, node.id)
        return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"

    problems = []
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Name | ast.Attribute) and dotted(node) in UNSAFE:
            problems.append(f"{node.lineno}: {dotted(node)}")
        elif isinstance(node, ast.Attribute) and node.attr == "extractall":
            problems.append(f"{node.lineno}: extractall")
        elif isinstance(node, ast.Call):
            settings = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            if dotted(node.func) == "torch.load" and settings.get("weights_only") is not True:
                problems.append(f"{node.lineno}: torch.load without weights_only=True")
            risky = [word for word in ("shell", "allow_pickle") if settings.get(word) is True]
            problems += [f"{node.lineno}: {word}=True" for word in risky]
    return problems


def public(source: str) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Public classes and functions of a module, and the public methods of those classes."""
    for node in parse(source).body:
        if isinstance(node, ast.ClassDef | FUNCTION) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (sub for sub in node.body if isinstance(sub, FUNCTION) and not sub.name.startswith("_"))


def undocumented(source: str) -> list[str]:
    """Public names without a docstring, but for a network's forward: its class says what goes in and out."""
    bare = (node for node in public(source) if not ast.get_docstring(node) and node.name != "forward")
    return [f"{node.lineno}: {node.name} has no docstring" for node in bare]


def unannotated(source: str) -> list[str]:
    problems = []
    for node in public(source):
        if isinstance(node, FUNCTION):
            bare = [arg.arg for arg in parameters(node) if arg.annotation is None]
            bare += [] if node.returns else ["return"]
            problems += [f"{node.lineno}: {node.name} has no type for {', '.join(bare)}"] if bare else []
    return problems


def machine_paths(text: str) -> list[str]:
    lines = enumerate(text.splitlines(), 1)
    return [f"{number}: {line.strip()[:100]}" for number, line in lines if MACHINE_PATH.search(line)]


def heavy_modules(source: str) -> list[str]:
    """Heavy packages that are loaded once a fresh interpreter has run the source."""
    show = f"\nimport sys\nprint(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", source + show], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{source!r} failed:\n{done.stderr}", pytrace=False)
    return done.stdout.split()


# What the rules are applied to.


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


distributions = lru_cache(maxsize=None)(packages_distributions)


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def declared() -> frozenset[str]:
    """Distributions that pyproject.toml names, those of its extras among them."""
    project = pyproject()["project"]
    wanted = sum(project["optional-dependencies"].values(), start=project["dependencies"])
    return frozenset(normalised(re.split(r"[^\w.-]", name)[0]) for name in wanted)


def project_files() -> list[Path]:
    """Files that git tracks or would track."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the project cannot be told")
    git = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in (ROOT / name for name in listed.split("\0") if name) if path.is_file()]


def unshipped(files: list[Path], root: Path, data: dict[str, list[str]]) -> list[str]:
    """Data files inside the packages that a wheel would lack; data: package to the patterns of package-data."""
    shipped = {path for package in data for pattern in data[package] for path in (root / package).glob(pattern)}
    names = [path.relative_to(root) for path in files if path.suffix != ".py" and path not in shipped]
    return [str(name) for name in names if name.parts[0] in ROOMS]


def assert_kept(rule: Rule, folders: tuple[str, ...], cure: str, but: str = "") -> None:
    """but: the one file that may break the rule."""
    problems = []
    for folder in folders:
        paths = [path for path in sorted((ROOT / folder).rglob("*.py")) if path != ROOT / but]
        assert paths, f"no Python file under {folder}/: was the folder renamed?"
        for path in paths:
            found = rule(path.read_text(encoding="utf-8"))
            problems += [f"  {path.relative_to(ROOT)}:{problem}" for problem in found]
    if problems:
        pytest.fail("\n".join([cure, *problems]), pytrace=False)


@pytest.mark.parametrize("room", ROOMS[1:])
def test_rooms_below_harness_stand_alone(room: str) -> None:
    others = frozenset(ROOMS) - {room}
    cure = f"{room}/ must not import {', '.join(sorted(others))}: move the code that joins them to harness/"
    assert_kept(partial(forbidden_imports, forbidden=others), (room,), cure)


def test_command_line_loads_nothing_heavy() -> None:
    loaded = heavy_modules("import harness.cli")
    if loaded:
        cure = "import them inside the functions that use them (python -X importtime tells where)"
        pytest.fail(f"`import harness.cli` loads {', '.join(loaded)}: {cure}", pytrace=False)


def test_reports_do_without_torch() -> None:
    rule = partial(forbidden_imports, forbidden=frozenset({"torch", "torchaudio", "transformers", "s3prl"}))
    assert_kept(rule, ("reports",), "reports/ reads records only, no tensors")


def test_every_import_is_declared() -> None:
    cure = "name the package in pyproject.toml, or do without it"
    assert_kept(partial(undeclared_imports, declared=declared()), (*ROOMS, "tests"), cure)


def test_files_are_short() -> None:
    assert_kept(long_file, (*ROOMS, "tests"), f"over {MAX_FILE_LINES} lines: split by subject")


def test_functions_are_short() -> None:
    assert_kept(long_functions, (*ROOMS, "tests"), f"over {MAX_FUNCTION_LINES} lines: split into named steps")


def test_signatures_are_narrow() -> None:
    cure = f"over {MAX_PARAMETERS} parameters: group them in a frozen dataclass"
    assert_kept(wide_signatures, (*ROOMS, "tests"), cure)


def test_nothing_unsafe_is_called() -> None:
    cure = "use yaml.safe_load, safetensors, torch.load(..., weights_only=True) or an argument list instead"
    assert_kept(unsafe_calls, ROOMS, cure, but="students/convert.py")


def test_only_its_own_command_opens_a_pickle() -> None:
    users = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if "students.convert" in path.read_text()]
    assert [str(path.relative_to(ROOT)) for path in users] == ["harness/commands/exports.py"]


def test_public_names_have_docstrings() -> None:
    assert_kept(undocumented, ROOMS, "write a docstring, or start the name with an underscore")


def test_public_functions_are_annotated() -> None:
    assert_kept(unannotated, ROOMS, "annotate every parameter and the result")


def test_no_machine_paths() -> None:
    problems = []
    for path in project_files():
        if path.name != ".gitignore" and b"\0" not in (content := path.read_bytes()):
            found = machine_paths(content.decode("utf-8", errors="replace"))
            problems += [f"  {path.relative_to(ROOT)}:{problem}" for problem in found]
    if problems:
        cure = "a path of one machine: take it from an option, or use tmp_path"
        pytest.fail("\n".join([cure, *problems]), pytrace=False)


def test_data_files_are_shipped() -> None:
    left_out = unshipped(project_files(), ROOT, pyproject()["tool"]["setuptools"]["package-data"])
    if left_out:
        cure = "not in a wheel: name them under package-data in pyproject.toml"
        pytest.fail("\n  ".join([cure, *left_out]), pytrace=False)


def test_no_large_files() -> None:
    large = [f"  {path.relative_to(ROOT)}" for path in project_files() if path.stat().st_size > MAX_BYTES]
    if large:
        pytest.fail("\n".join([f"over {MAX_BYTES} bytes: leave it out of the repository", *large]), pytrace=False)


# Each rule catches a planted breach and passes what is right.

no_harness = partial(forbidden_imports, forbidden=frozenset({"harness"}))
only_numpy = partial(undeclared_imports, declared=frozenset({"numpy"}))
folder = "/".join(["", "tmp", "x"])

BREACHES = [
    (no_harness, "import harness.cli as c", "1: imports harness.cli"),
    (no_harness, "from harness import run", "1: imports harness"),
    (no_harness, "def f():\n    from harness.run import plan", "2: imports harness.run"),
    (no_harness, "import importlib\nimportlib.import_module('harness.run')", "2: imports harness.run"),
    (only_numpy, "import pytest", "1: imports pytest, of pytest"),
    (only_numpy, "import no_such_package.sub", "1: imports no_such_package.sub, of no-such-package"),
    (long_file, "x = 1\n" * 400, "1: 400 lines"),
    (long_functions, "def f():\n" + "    x = 1\n" * 59, "1: f has 60 lines"),
    (long_functions, "class A:\n  async def f():\n" + "    x = 1\n" * 59, "2: f has 60 lines"),
    (wide_signatures, "def f(a, b, /, c, d, *e, g, h, i, **j): ...", "1: f has 9 parameters"),
    (unsafe_calls, "eval('1')", "1: eval"),
    (unsafe_calls, "import builtins\nbuiltins.exec('1')", "2: builtins.exec"),
    (unsafe_calls, "import torch as t\nt.load('f')", "2: torch.load without weights_only=True"),
    (unsafe_calls, "from torch import load\nload('f', weights_only=False)", "2: torch.load without weights_only=True"),
    (unsafe_calls, "import yaml\nyaml.load(f)", "2: yaml.load"),
    (unsafe_calls, "from pickle import load as read\nread(f)", "2: pickle.load"),
    (unsafe_calls, "import subprocess\nsubprocess.run('ls', shell=True)", "2: shell=True"),
    (unsafe_calls, "import numpy as np\nnp.load(f, allow_pickle=True)", "2: allow_pickle=True"),
    (unsafe_calls, "import shutil as s\ns.unpack_archive(f)", "2: shutil.unpack_archive"),
    (unsafe_calls, "with tarfile.open(f) as archive:\n    archive.extractall(out)", "2: extractall"),
    (undocumented, "def f(): ...", "1: f has no docstring"),
    (undocumented, "class A:\n    'Doc.'\n    def f(self): ...", "3: f has no docstring"),
    (undocumented, "class A: ...", "1: A has no docstring"),
    (unannotated, "def f(a: int, *b, c=1) -> None: ...", "1: f has no type for b, c"),
    (unannotated, "class A:\n    def f(self, a: int): ...", "2: f has no type for return"),
    (machine_paths, f"ok\nread {folder}.wav", f"2: read {folder}.wav"),
    (heavy_modules, "import scipy", "scipy"),
]

RIGHT = [
    (no_harness, "import harnessed\nfrom tasks import harness\nfrom . import harness"),
    (only_numpy, "from __future__ import annotations\nimport json, numpy.linalg, tasks.audio"),
    (long_file, "x = 1\n" * 399),
    (long_functions, "@cache\ndef f():\n" + "    x = 1\n" * 58),
    (wide_signatures, "class A:\n    def f(self, a, b, c, d, e, g, h, i): ..."),
    (unsafe_calls, "import torch, yaml\nmodel.eval()\ntorch.load('f', weights_only=True)\nyaml.safe_load(f)"),
    (unsafe_calls, "import json, subprocess\njson.load(f)\nsubprocess.run(['ls'])"),
    (undocumented, "def f():\n    'Doc.'\n    def g(): ...\ndef _h(): ...\nclass _B:\n    def f(self): ..."),
    (unannotated, "class A:\n    @classmethod\n    def f(cls, a: int) -> None: ...\n    def _g(self, a): ..."),
    (machine_paths, "https://example.org/home and a/work/b and /tmpfs and ~/work and ../tmp and {out}/work"),
    (heavy_modules, "import json"),
]


def test_unshipped_names_what_a_wheel_would_lack(tmp_path: Path) -> None:
    names = ["tasks/words.txt", "tasks/a.py", "reports/data/x.csv", "reports/data/deep/y.csv", "README.md"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = unshipped([tmp_path / name for name in names], tmp_path, {"reports": ["data/**/*"]})
    assert found == ["tasks/words.txt"]


@pytest.mark.parametrize(("rule", "source", "expected"), BREACHES)
def test_rule_catches_a_breach(rule: Rule, source: str, expected: str) -> None:
    assert rule(source) == [expected]


@pytest.mark.parametrize(("rule", "source"), RIGHT)
def test_rule_passes_what_is_right(rule: Rule, source: str) -> None:
    assert rule(source) == []
