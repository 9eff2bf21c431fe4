"""The documentation site: the guides in docs/*.md, and a reference made from the docstrings of the three packages.

Built by ``tox -e docs``, which also runs the notebooks of docs/notebooks. Nothing that a page shows or runs is fetched
from elsewhere, so the built folder works offline, and it can be opened without a server.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "hear-delores"
author = "The hear-delores developers"
project_copyright = author
version = release = installed_version(project)

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "api_reference",
]
# Followed to where it is defined, a constant of a built-in type would be of the module builtins, which has no page.
viewcode_follow_imported_members = False
exclude_patterns = ["examples", "_extensions"]

# --- guides
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

# --- notebooks: run when the site is built, so that what they show is what this version answers
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

# --- reference: api_reference writes a page for every module that has public names
api_packages = ["hear_delores", "pretrain", "benchmarks"]
autosummary_generate = False
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_param = False  # an entry may have several names, as ``n_fft, hop_length: samples``
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False  # "Returns" begins with shapes and not with a type

# --- the look
html_theme = "furo"
html_title = "hear-delores"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "friendly", "native"
