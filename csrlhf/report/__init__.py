"""Reports as blocks: cards, tables, figures, dialogues, certificates; as one HTML page, and on the terminal."""

from csrlhf.report.blocks import Block, Card, Cards, Certificate, Dialogue, Dialogues, KeyValues, Section, Text
from csrlhf.report.figures import DARK, LIGHT, Figure, Palette, figure_name, interval_figure
from csrlhf.report.numbers import Words
from csrlhf.report.report import Report
from csrlhf.report.tables import Matrix, Table
from csrlhf.report.terminal import print_blocks

__all__ = [
    "DARK",
    "LIGHT",
    "Block",
    "Card",
    "Cards",
    "Certificate",
    "Dialogue",
    "Dialogues",
    "Figure",
    "KeyValues",
    "Matrix",
    "Palette",
    "Report",
    "Section",
    "Table",
    "Text",
    "Words",
    "figure_name",
    "interval_figure",
    "print_blocks",
]
