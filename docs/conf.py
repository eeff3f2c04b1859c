"""Sphinx settings. The build is offline: `make docs`."""

from __future__ import annotations

import os
import re
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

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
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
default_role = "autolink"

autosummary_generate = True
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


def skip_generated_methods(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out scikit-learn's `set_<method>_request`: it documents them with links into its own guide."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def setup(app: Any) -> None:
    """Connect the hooks."""
    app.connect("autodoc-skip-member", skip_generated_methods)
