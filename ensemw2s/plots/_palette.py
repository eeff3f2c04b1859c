"""Colours, markers and names that all Displays share."""

from __future__ import annotations

# Okabe and Ito's colours, which the common forms of colour blindness keep apart, in an order in which neighbours differ
# in brightness too.
LINE_COLORS = ("#0072B2", "#E69F00", "#4D4D4D", "#56B4E9", "#D55E00", "#009E73", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

GREY, LIGHT_GREY = "#666666", "#CCCCCC"

# The paper draws its baseline blue and its method grey.
MODEL_COLORS = {
    "weak": "#F0C36D",
    "ensemble": "#D55E00",
    "uniform": "#CC79A7",
    "baseline": "#0072B2",
    "student": "#4D4D4D",
    "oracle": "#009E73",
    "easy": "#56B4E9",
}

MODEL_LABELS = {
    "weak": "weak model",
    "ensemble": "weak ensemble",
    "uniform": "weak ensemble, uniform votes",
    "baseline": "student of the weak model (baseline)",
    "student": "student of the ensemble (W2S)",
    "oracle": "student on true labels (oracle)",
    "easy": "student on true labels of the easy part",
}
