"""The rooms of csrc/ may include each other in one direction only (docs/architecture.md)."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "csrc"
ALLOWED = {
    "core": set(),
    "io": {"core"},
    "transforms": {"core"},
    "masking": {"core"},
    "ops": {"core", "transforms"},
    "nn": {"core", "ops"},
    "data": {"core", "io", "transforms", "masking", "ops"},
    "methods": {"core", "masking", "data", "nn", "ops"},
    "train": {"core", "io", "data", "nn", "methods"},
    "bindings": {"core", "io", "transforms", "masking", "ops", "nn", "data", "methods", "train"},
}
TORCH_FREE = {"core", "io", "transforms", "masking"}
TORCH = re.compile(r"^(ATen|c10|torch)/")
PYTHON = re.compile(r"^(pybind11/|Python\.h|torch/csrc/utils/pybind\.h)")


def main() -> int:
    problems = []
    for path in sorted([*ROOT.rglob("*.h"), *ROOT.rglob("*.cpp"), *ROOT.rglob("*.cu")]):
        room = path.relative_to(ROOT).parts[0]
        if room not in ALLOWED:
            problems.append(f"{path}: room {room!r} is in no table")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#include\s+[<"]([^>"]+)[>"]', line)
            if not found:
                continue
            name, where = found[1], f"{path.relative_to(ROOT.parent)}:{number}"
            other = name.split("/")[0]
            if other in ALLOWED and other != room and other not in ALLOWED[room]:
                problems.append(f"{where}: {room} must not include {other}")
            if TORCH.match(name) and (room in TORCH_FREE or path.suffix == ".cu"):
                problems.append(f"{where}: no torch header here")
            if PYTHON.match(name) and room != "bindings":
                problems.append(f"{where}: Python only in bindings/")
            if name == "torch/extension.h":
                problems.append(f"{where}: costs 20 s a file")
    for path in sorted((ROOT.parent / "tests/cpp").glob("*.cpp")):
        text = path.read_text()
        if re.search(r'#include "(ops/(?!cuda/)|nn/|methods/|train/)', text) and '#include "catch.h"' not in text:
            problems.append(f"{path.name}: torch tests include catch.h, or c10's CHECK replaces Catch2's")
    print("\n".join(problems) or "include arrows: ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
