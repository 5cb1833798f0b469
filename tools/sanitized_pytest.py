"""pytest with the sanitizers' build of the core in place of the installed one: ``sanitized_pytest.py BUILD_FOLDER [pytest arguments]``.

Children that tests start use the installed build; what is tested in this process runs instrumented.
"""

import contextlib
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
site = Path(sys.argv[1]).resolve() / "site"
package = site / "sslmed"
package.mkdir(parents=True, exist_ok=True)
for path in [*(root / "python/sslmed").iterdir(), *Path(sys.argv[1]).resolve().glob("_C.*.so")]:
    if path.suffix in (".py", ".so", ".typed") or (path.is_dir() and path.name != "__pycache__"):
        link = package / path.name
        with contextlib.suppress(FileExistsError):  # several of these may start at once
            link.symlink_to(path)
# The editable install answers for the package before the path is looked at.
sys.meta_path = [finder for finder in sys.meta_path if type(finder).__name__ != "ScikitBuildRedirectingFinder"]
sys.path.insert(0, str(site))

import pytest  # noqa: E402

import sslmed  # noqa: E402

if not (package / Path(sslmed._core.C.__file__).name).exists() or site not in Path(sslmed.__file__).parents:
    sys.exit(f"expected the core of {site}, found {sslmed._core.C.__file__}")
sys.exit(pytest.main(sys.argv[2:]))
