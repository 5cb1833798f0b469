"""What README and docs/ name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
# `csrc/nn/vit.cpp`, `csrc/nn/foo.{h,cpp}` …; a name without a room is of the sentence's own folder.
FILES = re.compile(r"`((?:csrc|python|tests|tools|docs|notebooks|benchmarks)/[\w./-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_page_names(page):
    text = page.read_text()
    named = [ROOT / name for name in FILES.findall(text) if "foo" not in name.lower()]
    linked = [page.parent / name for name in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text)]
    missing = [str(path) for path in [*named, *linked] if not path.exists()]
    assert not missing
