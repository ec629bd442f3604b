"""The rules of the house that a program can check."""

import ast
import io
import re
import statistics
import sys
import tokenize
import tomllib
from collections import Counter
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "data_prep", "models")
MODULES = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
DECODERS = {"av": "data_prep/media/pyav_media.py", "decord": "data_prep/video/decord_reader.py",
            "openvino": "pipeline/features/openvino_encoder.py"}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Dotted names a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module.partition(".")[0] in PACKAGES:  # a module, or a name in one
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    package = name.partition("/")[0]
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    if package != "pipeline":
        assert not roots(path) & (set(PACKAGES) - {package})
    if package == "data_prep":
        assert not roots(path) & {"torch", "torchvision", "torchaudio"}
    if package == "models":
        assert not roots(path) & {"os", "io", "pathlib", "shutil", "subprocess", "av", "decord"}
        assert not re.search(r"\bopen\(|torch\.(load|save)\(", text)
    for decoder, home in DECODERS.items():
        assert (decoder in roots(path)) == (name == home)
    if name not in ("pipeline/cli/main.py", "pipeline/cli/console.py"):
        assert not re.search(r"(?<![\w.])print\(", text)
    assert ast.get_docstring(ast.parse(text)) or path.name == "__main__.py"


ROOMS = {
    "models": ("backbones", "audio", "temporal", "heads"),
    "data_prep": ("media", "audio", "video", "clips", "fingerprints", "worker", "annotations",
                  "dataset"),
    "pipeline": ("storage", "features", "metrics", "tasks", "prep", "checkpoints", "training",
                 "inference",
                 "leak_audit", "evaluation", "crossval", "report", "cli"),
}  # fmt: skip
SHARED = {
    "models": {"modality_branches", "settings", "shapes"},
    "data_prep": {"clip", "csv_table", "decode_errors", "files", "heartbeat", "manifest",
                  "segments", "settings", "status"},
    "pipeline": {"config", "cores", "errors", "reporter", "text_format"},
}  # fmt: skip


@pytest.mark.parametrize(("package", "room"), [(p, r) for p in ROOMS for r in ROOMS[p]])
def test_rooms_use_only_those_before_them(package: str, room: str) -> None:
    rooms = ROOMS[package]
    used = {
        name.split(".")[1]
        for path in (ROOT / package / room).rglob("*.py")
        for name in imports(path)
        if name.startswith(f"{package}.")
    }
    assert used <= {*rooms[: rooms.index(room) + 1], *SHARED[package]}


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_is_known_and_shipped(package: str) -> None:
    rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert rooms == set(ROOMS[package])
    shipped = (ROOT / "pyproject.toml").read_text()
    assert all(f'"{package}.{room}"' in shipped for room in rooms)


def test_what_rooms_share_uses_no_room() -> None:
    for package, names in SHARED.items():
        for name in names:
            used = {used.split(".")[1] for used in imports(ROOT / package / f"{name}.py")
                    if used.startswith(f"{package}.")}  # fmt: skip
            assert used <= names


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """{module: the modules of ours that it imports}, for types only as well."""
    names = {name_of(path) for path in MODULES}
    found = {}
    for path in MODULES:
        used = (imports(path) & names) - {name_of(path)}
        # `from package import module` is the module's, not the package's
        found[name_of(path)] = {n for n in used if not any(u.startswith(f"{n}.") for u in used)}
    return found


def test_no_module_imports_itself_in_a_circle(imported) -> None:
    TopologicalSorter(imported).prepare()  # raises CycleError


def test_modules_are_worth_a_file(imported) -> None:
    """What only one other module imports usually belongs into that one."""
    importers = Counter(name for used in imported.values() for name in used)
    packages = {name_of(path) for path in MODULES if path.name == "__init__.py"}
    alone = sorted(name for name, n in importers.items() if n == 1 and name not in packages)
    assert len(alone) <= 15, alone
    lengths = [len(p.read_text().splitlines()) for p in MODULES if p.name != "__init__.py"]
    assert statistics.median(lengths) >= 150


def test_functions_fit_a_screen() -> None:
    lengths = {
        f"{path.relative_to(ROOT)}: {node.name}": node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: n for name, n in lengths.items() if n > 60} == {}
    assert 7 <= statistics.median(lengths.values()) <= 12


def test_surprising_lines_say_why() -> None:
    """At least four lines in a hundred have a comment; those for programs are not counted."""
    n_lines = n_comments = 0
    for path in MODULES:
        text = path.read_text()
        n_lines += len(text.splitlines())
        n_comments += sum(
            token.type == tokenize.COMMENT and not re.match(r"# (fmt:|noqa|type:)", token.string)
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
        )
    assert n_comments / n_lines >= 0.04


def test_nothing_is_unpickled_but_our_own_messages() -> None:
    users = {str(p.relative_to(ROOT)) for p in MODULES if "pickle" in roots(p)}
    assert users == {"data_prep/worker/protocol.py"}
    for path in MODULES:
        for call in re.findall(r"torch\.load\([^)]*\)", path.read_text()):
            assert "weights_only=True" in call, path


def test_the_torch_trio_imports_together() -> None:
    import torch
    import torchaudio
    import torchvision

    versions = [m.__version__.split("+")[0] for m in (torch, torchvision, torchaudio)]
    pins = re.findall(
        r'"(?:torch|torchvision|torchaudio)==([\d.]+)"', (ROOT / "pyproject.toml").read_text()
    )
    assert versions == pins


def test_another_package_of_our_name_is_noticed(tmp_path, monkeypatch) -> None:
    import importlib.util

    from pipeline.cli import main
    from pipeline.errors import UserError

    main.check_packages()
    fake = importlib.util.spec_from_file_location("models", tmp_path / "models" / "__init__.py")
    monkeypatch.setattr(main.importlib.util, "find_spec", lambda name: fake)
    with pytest.raises(UserError, match="virtual environment of its own"):
        main.check_packages()


def test_every_import_is_declared_and_every_package_is_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = {
        re.split(r"[^\w.-]", need)[0].lower().replace("_", "-")
        for need in project["project"]["dependencies"]
    }
    distributions = packages_distributions()
    for path in MODULES:
        for name in roots(path) - set(PACKAGES) - set(sys.stdlib_module_names):
            owners = {owner.lower().replace("_", "-") for owner in distributions.get(name, [name])}
            assert owners & declared, f"{path} imports {name}, which nobody declares"
    packages = set(project["tool"]["setuptools"]["packages"])
    for path in MODULES:
        assert ".".join(path.relative_to(ROOT).parent.parts) in packages
    assert {"configs", *PACKAGES} <= set(project["tool"]["setuptools"]["package-data"])
