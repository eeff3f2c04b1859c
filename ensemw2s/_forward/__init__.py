"""The fast passes of one model: answer positions, options behind a prompt, prompts kept."""

from __future__ import annotations
