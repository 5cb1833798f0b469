"""The rooms of csrc/ and of python/sslmed may use each other in one direction only (docs/architecture.md)."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPP, PYTHON = ROOT / "csrc", ROOT / "python/sslmed"

# Each room of csrc/, and the rooms whose headers it may include.
ALLOWED = {
    "core": set(),
    "io": {"core"},
    "transforms": {"core"},
    "masking": {"core"},
    "metrics": {"core"},
    "federated": {"core"},
    "ops": {"core", "transforms"},
    "nn": {"core", "ops"},
    "data": {"core", "io", "transforms", "masking", "ops"},
    "modalities": {"core", "io", "transforms", "masking", "ops", "data"},
    "methods": {"core", "masking", "data", "nn", "ops"},
    "tasks": {"core", "masking", "metrics", "data", "nn", "ops", "methods"},
    "train": {"core", "io", "data", "nn", "methods", "tasks"},
    "bindings": {"core", "io", "transforms", "masking", "metrics", "federated", "ops", "nn", "data", "modalities", "methods", "tasks", "train"},
}
TORCH_FREE = {"core", "io", "transforms", "masking", "metrics", "federated"}
TORCH = re.compile(r"^(ATen|c10|torch)/")
PYTHON_HEADERS = re.compile(r"^(pybind11/|Python\.h|torch/csrc/utils/pybind\.h)")

# Rooms of python/sslmed, a folder or a module each, from the ground up. A room may import from the rows above its own, and from nothing in its own row.
FLOORS = (
    ("_core",),
    ("_checks", "_world", "sources", "digests", "naming", "annotations"),
    ("io", "transforms", "masking", "losses", "metrics", "nn", "tables", "distributed", "reporting", "privacy", "federated"),
    ("bids", "inference", "objects", "unpacking"),
    ("modalities",),
    ("contents",),
    ("near_duplicates",),
    ("leakage", "provenance"),
    ("encoders",),
    ("cohort_report", "cohort_table", "folders", "joining", "splitting"),
    ("cohort", "lifting", "exporting"),
    ("preparation",),
    ("training",),
    ("methods",),
    ("labels", "runs"),
    ("dense_tasks",),
    ("pretraining", "finetuning", "segmentation", "detection", "anomaly"),
    ("evaluation",),
    ("shift", "presets", "bags"),
    ("grid", "demo", "benchmarking", "deployment"),
    ("cli",),
    ("__main__",),
)
# Inside modalities/: the ground floor, several views of a sample, pictures, the modalities themselves (which may not see each other), and the package.
MODALITY_FLOORS = (
    ("label_maps",),
    ("base",),
    ("views", "file_kinds", "matching"),
    ("joined", "pictures", "picture_copies"),
    ("registry",),
    ("eeg", "slides", "images", "volumes"),
    ("__init__",),
)
# The package itself loads names on demand, and is no room.
PACKAGE = "__init__"

# Rooms that must not know which modalities there are.
GENERIC = (
    "bids", "cli", "cohort", "cohort_report", "cohort_table", "contents", "dense_tasks", "digests", "encoders", "evaluation", "exporting", "finetuning",
    "folders",
    "grid", "joining", "leakage", "methods", "near_duplicates", "preparation",
    "pretraining", "provenance", "runs", "shift", "sources", "splitting", "tables", "training",
)  # fmt: skip
WORDS = ("eeg", "slide", "slides", "image", "images", "picture", "pictures", "volume", "volumes")
# Public names that callers have, and what generic rooms may say of them.
KNOWN_WORDS = ("img_size",)


def include_problems() -> Iterator[str]:
    """Includes that go against ALLOWED, torch and Python where they must not be."""
    for path in sorted([*CPP.rglob("*.h"), *CPP.rglob("*.cpp"), *CPP.rglob("*.cu")]):
        room = path.relative_to(CPP).parts[0]
        if room not in ALLOWED:
            yield f"{path}: room {room!r} is in no table"
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#include\s+[<"]([^>"]+)[>"]', line)
            if not found:
                continue
            name, where = found[1], f"{path.relative_to(ROOT)}:{number}"
            other = name.split("/")[0]
            if other in ALLOWED and other != room and other not in ALLOWED[room]:
                yield f"{where}: {room} must not include {other}"
            if TORCH.match(name) and (room in TORCH_FREE or path.suffix == ".cu"):
                yield f"{where}: no torch header here"
            if PYTHON_HEADERS.match(name) and room != "bindings":
                yield f"{where}: Python only in bindings/"
            if name == "torch/extension.h":
                yield f"{where}: costs 20 s a file"
    torch = re.compile(r'#include "(ops/(?!cuda/)|nn/|methods/|tasks/|train/|data/(batch|buffer_pool|loader)|modalities/(eeg|volume)/regions)')
    for path in sorted((ROOT / "tests/cpp").rglob("*.cpp")):
        text = path.read_text()
        if torch.search(text) and '#include "catch.h"' not in text:
            yield f"{path.relative_to(ROOT)}: torch tests include catch.h, or c10's CHECK replaces Catch2's"


def module_of(path: Path) -> tuple[str, ...]:
    """sslmed/modalities/eeg/__init__.py is ("modalities", "eeg")."""
    parts = path.relative_to(PYTHON).with_suffix("").parts
    return parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts


def is_type_checking(node: ast.If) -> bool:
    return (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING") or (isinstance(node.test, ast.Attribute) and node.test.attr == "TYPE_CHECKING")


def imports(node: ast.AST) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, module) of each import of ours below a node, also inside functions, but not under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and is_type_checking(child):
            for other in child.orelse:
                yield from imports(other)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                if alias.name.split(".")[0] == "sslmed":
                    yield child.lineno, tuple(alias.name.split(".")[1:])
        elif isinstance(child, ast.ImportFrom) and child.module and child.module.split(".")[0] == "sslmed":
            parts = tuple(child.module.split(".")[1:])
            for alias in child.names:
                yield child.lineno, resolved((*parts, alias.name))
        else:
            yield from imports(child)


def resolved(parts: tuple[str, ...]) -> tuple[str, ...]:
    """A name that is imported, cut down to the module that has it."""
    while parts and not ((PYTHON / Path(*parts)).is_dir() or (PYTHON / Path(*parts)).with_suffix(".py").exists()):
        parts = parts[:-1]
    return parts


def floor_of(name: str, floors: tuple[tuple[str, ...], ...]) -> int | None:
    return next((number for number, names in enumerate(floors) if name in names), None)


def import_problems() -> Iterator[str]:
    """Imports that go up or sideways between the rooms of python/sslmed, and circles of modules."""
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for path in sorted(PYTHON.rglob("*.py")):
        here, where = module_of(path), path.relative_to(ROOT)
        room = here[0]
        if room == PACKAGE:
            continue
        if floor_of(room, FLOORS) is None:
            yield f"{where}: room {room!r} is in no table"
            continue
        for line, there in imports(ast.parse(path.read_text())):
            if not there or there == here:
                continue  # the package, for its version and its errors
            graph.setdefault(here, set()).add(there)
            up = crosses(here, there)
            if up:
                yield f"{where}:{line}: {up}"
    yield from circles(graph)


def crosses(here: tuple[str, ...], there: tuple[str, ...]) -> str:
    """What is wrong with an import, or nothing."""
    if here[0] == there[0] == "modalities":
        a, b = (floor_of(parts[1] if len(parts) > 1 else "__init__", MODALITY_FLOORS) for parts in (here, there))
        same = here[1:2] == there[1:2]
        if a is None or b is None:
            return f"{'.'.join(here if a is None else there)} is in no table of modalities/"
        return "" if same or b < a else f"{'.'.join(here)} must not import {'.'.join(there)}"
    if here[0] == there[0]:
        return ""
    mine, theirs = floor_of(here[0], FLOORS), floor_of(there[0], FLOORS)
    if theirs is None:
        return f"room {there[0]!r} is in no table"
    return "" if mine is not None and theirs < mine else f"{here[0]} must not import {there[0]}"


def circles(graph: dict[tuple[str, ...], set[tuple[str, ...]]]) -> Iterator[str]:
    """Modules that import each other. A package's own modules may import each other's siblings through it at most downwards."""
    state: dict[tuple[str, ...], int] = {}

    def visit(node: tuple[str, ...], path: list[tuple[str, ...]]) -> Iterator[str]:
        state[node] = 1
        for other in sorted(graph.get(node, ())):
            if state.get(other) == 1:
                ring = [*path[path.index(other) :], other] if other in path else [node, other]
                yield "circle: " + " -> ".join(".".join(parts) for parts in ring)
            elif other not in state:
                yield from visit(other, [*path, other])
        state[node] = 2

    for node in sorted(graph):
        if node not in state:
            yield from visit(node, [node])


def docstrings(tree: ast.AST) -> set[int]:
    """Constants that are docstrings, of anything: an expression that is a text alone."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}


def word_problems() -> Iterator[str]:
    """Modalities that generic rooms name: in names and texts, examples in docstrings excepted."""
    for path in sorted(PYTHON.rglob("*.py")):
        if module_of(path)[0] not in GENERIC:
            continue
        tree = ast.parse(path.read_text())
        skip = docstrings(tree)
        for node in ast.walk(tree):
            texts: list[str] = []
            if isinstance(node, ast.Name):
                texts = [node.id]
            elif isinstance(node, ast.Attribute):
                texts = [node.attr]
            elif isinstance(node, (ast.arg, ast.keyword)):
                texts = [node.arg or ""]
            elif isinstance(node, (ast.alias, ast.FunctionDef, ast.ClassDef)):
                texts = [node.name]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip:
                texts = [node.value]
            for text in texts:
                words = [word for word in re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower()) if word in WORDS]
                if words and text not in KNOWN_WORDS:
                    yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', '?')}: names a modality: {text[:60]!r}"


def main() -> int:
    problems = [*include_problems(), *import_problems(), *word_problems()]
    print("\n".join(problems) or "arrows: ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
