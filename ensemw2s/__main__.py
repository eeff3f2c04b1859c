"""``python -m ensemw2s``."""

from __future__ import annotations

from ensemw2s._cli import main

if __name__ == "__main__":
    raise SystemExit(main())
