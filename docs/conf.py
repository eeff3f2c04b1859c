"""Sphinx settings. The build is offline: `make docs`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parent / "_scripts"))

import rooms_picture

from ensemw2s import __version__

project = "ensemw2s"
author = "The ensemw2s developers"
project_copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
]
exclude_patterns = ["_build", "_templates", "_scripts"]
templates_path = ["_templates"]
default_role = "autolink"

autosummary_generate = True
toc_object_entries_show_parents = "hide"  # "fit" and not "TokenAdaBoostGenerator.fit" in the margin
autodoc_typehints = "none"  # numpydoc sections carry the types, with shapes and ranges
numpydoc_show_class_members = False  # the class template lists them

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = f"ensemw2s {version}"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
}
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["pictures.css"]


def skip_foreign_members(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """List inherited members of our own classes only, and not what scikit-learn makes of their signatures.

    The docstrings of other packages link into guides of their own, and `PreTrainedModel` has hundreds of members.
    """
    if re.fullmatch(r"set_\w+_request", name):
        return True
    source = getattr(obj, "fget", None) or getattr(obj, "__func__", None) or obj
    module = getattr(source, "__module__", None)
    return True if isinstance(module, str) and not module.startswith("ensemw2s") else None


def draw_rooms(app: Any) -> None:
    """Make the picture of docs/architecture.md from the table there."""
    rooms_picture.draw(Path(app.srcdir) / "generated")


def setup(app: Any) -> None:
    """Connect the hooks."""
    app.connect("autodoc-skip-member", skip_foreign_members)
    app.connect("builder-inited", draw_rooms)
