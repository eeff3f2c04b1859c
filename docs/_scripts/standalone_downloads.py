"""Downloads of the gallery run by themselves: what a page shares with others is written into its files."""

from __future__ import annotations

import ast
import json
import re
import zipfile
from pathlib import Path

SHARED = ("next_word", "_small_models")  # modules beside the examples
_IMPORT = re.compile(rf"^from ({'|'.join(SHARED)}) import .*$", flags=re.MULTILINE)
_TABLE = re.compile(r'Path\("(?:\.\./)+(docs/tables/\w+\.csv)"\)')
_BESIDE = re.compile(r"^import sys\n\n?sys\.path\.append\(.*\n+", flags=re.MULTILINE)


def rewrite(downloads: Path, root: Path) -> None:
    """Make scripts, notebooks and archives below `downloads` complete, by the files of the checkout at `root`."""
    for path in sorted(downloads.rglob("*")):
        if path.suffix in (".py", ".ipynb"):
            path.write_bytes(complete(path.name, path.read_bytes(), root))
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                members = [(info, archive.read(info)) for info in archive.infolist()]
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for info, content in members:
                    archive.writestr(info, complete(info.filename, content, root))


def complete(name: str, content: bytes, root: Path) -> bytes:
    """A script or a notebook with the modules and tables that it shares; anything else as it is."""
    if name.endswith(".py"):
        return standalone(content.decode(), root).encode()
    if not name.endswith(".ipynb"):
        return content
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = standalone("".join(cell["source"]), root)
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode()


def standalone(source: str, root: Path) -> str:
    """Source with what shared modules define in the place of their imports, and a table's lines in that of its path."""
    source = _BESIDE.sub("", source)
    source = _IMPORT.sub(lambda found: definitions(root / "examples" / f"{found[1]}.py"), source)
    if _TABLE.search(source):
        source = _TABLE.sub(lambda found: f'io.StringIO("""{(root / found[1]).read_text(encoding="utf-8")}""")', source)
        future = "from __future__ import annotations\n"
        # The table may be read in another cell than the one that begins with this line.
        source = source.replace(future, f"{future}\nimport io\n", 1) if future in source else f"import io\n\n{source}"
    return source


def definitions(module: Path) -> str:
    """A module without docstring and ``from __future__`` line, which may stand at the top of a file only."""
    text = module.read_text(encoding="utf-8")
    body = ast.parse(text).body
    first = next(node for node in body[1:] if not (isinstance(node, ast.ImportFrom) and node.module == "__future__"))
    return "\n".join(text.splitlines()[first.lineno - 1 :]) + "\n"
