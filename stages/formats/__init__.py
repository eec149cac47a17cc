"""Raw rows in the formats people have -> canonical records. Needs neither torch nor transformers."""

from stages.formats.check import check
from stages.formats.files import expand, read_rows
from stages.formats.load import Loaded, Log, best, iter_records, load
from stages.formats.records import Comparison, Document, Instruction, Message, Prompt, Ranking, Record, Text, Unpaired
from stages.formats.registry import FORMATS, find
from stages.formats.split import in_part, is_heldout

__all__ = [
    "FORMATS",
    "Comparison",
    "Document",
    "Instruction",
    "Loaded",
    "Log",
    "Message",
    "Prompt",
    "Ranking",
    "Record",
    "Text",
    "Unpaired",
    "best",
    "check",
    "expand",
    "find",
    "in_part",
    "is_heldout",
    "iter_records",
    "load",
    "read_rows",
]
