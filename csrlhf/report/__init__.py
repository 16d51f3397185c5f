"""Self-contained HTML reports: cards, tables, figures, matrices, dialogues, certificates, provenance."""

from csrlhf.report.blocks import Block, Card, Cards, Certificate, KeyValues, Section, Text
from csrlhf.report.dialogues import Dialogue, Dialogues
from csrlhf.report.figures import DARK, LIGHT, Figure, Palette
from csrlhf.report.report import Report
from csrlhf.report.tables import Matrix, Table

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
]
