"""Sphinx settings. The build is offline: `make docs`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parent / "_scripts"))
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))  # for what the examples share

import grouped_members
import rooms_picture
import standalone_downloads

from ensemw2s import __version__

project = "ensemw2s"
author = "The ensemw2s developers"
project_copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "drawn_math",
]
exclude_patterns = ["_build", "_templates", "_scripts"]
templates_path = ["_templates"]
default_role = "autolink"

autosummary_generate = True
autosummary_context = {"grouped_members": grouped_members.of_all_classes("ensemw2s", "ensemw2s.paper")}
toc_object_entries_show_parents = "hide"  # "fit" and not "TokenAdaBoostGenerator.fit" in the margin
autodoc_typehints = "none"  # numpydoc sections carry the types, with shapes and ranges
numpydoc_show_class_members = False  # the class template lists them

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_math_renderer = "drawn"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "",  # all that are not ignored are run
    "ignore_pattern": r"^(?!plot_|quick_tour|research_workflow)",  # the other scripts are for a command line
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("ensemw2s",),
    "backreferences_dir": "generated/examples_of",
    "reset_modules": ("matplotlib", "gallery_warnings.as_errors"),
    "reset_modules_order": "both",
    "image_srcset": ["2x"],
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1e9,  # never: a page says what came out, not how busy the machine was
}

html_theme = "pydata_sphinx_theme"
html_title = f"ensemw2s {version}"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
}
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
_ALONE = (
    "index",
    "results",
    "performance",
    "scaling",
    "equations",
    "architecture",
    "reliability",
    "changelog",
    "paper",
)
html_sidebars = {
    **{f"{page}": [] for page in _ALONE},  # room for wide tables; the way back is above the title
    **{page: [] for page in ("findings", "inside", "howto", "guide/index")},  # they list their pages themselves
    "auto_examples/**": [],  # room for the code
    **{page: ["api_groups"] for page in ("api", "generated/*")},
}


def skip_foreign_members(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """List inherited members of our own classes only, and not what scikit-learn makes of their signatures.

    The docstrings of other packages link into guides of their own, and `PreTrainedModel` has hundreds of members.
    """
    if re.fullmatch(r"set_\w+_request", name):
        return True
    source = getattr(obj, "fget", None) or getattr(obj, "__func__", None) or obj
    module = getattr(source, "__module__", None)
    return True if isinstance(module, str) and not module.startswith("ensemw2s") else None


def api_groups(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """The groups of docs/api.md with their names, for the sidebar of the API pages."""
    text = (Path(app.srcdir) / "api.md").read_text(encoding="utf-8")
    groups = []
    for part in text.split("\n## ")[1:]:
        names = re.findall(r"^   (?!:)(\S+)$", part, flags=re.MULTILINE)
        pages = [(name, f"generated/ensemw2s.{name}") for name in names]
        groups.append((part.splitlines()[0], [(name, page) for name, page in pages if page in app.env.found_docs]))
    context["api_groups"] = groups


def draw_rooms(app: Any) -> None:
    """Make the picture of docs/architecture.md from the table there."""
    rooms_picture.draw(Path(app.srcdir) / "generated")


def complete_downloads(app: Any, exception: Exception | None) -> None:
    """Let each script and notebook that the gallery offers run by itself."""
    if exception is None:
        standalone_downloads.rewrite(Path(app.outdir) / "_downloads", Path(app.srcdir).parent)


def setup(app: Any) -> None:
    """Connect the hooks."""
    app.connect("autodoc-skip-member", skip_foreign_members)
    app.connect("builder-inited", draw_rooms)
    app.connect("html-page-context", api_groups)
    app.connect("build-finished", complete_downloads)
