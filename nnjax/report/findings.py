"""What a page shows of a task's predictions."""

from nnjax.report import codes, heard, numbers, rates, scenes
from nnjax.report.cards import Section
from nnjax.report.folder import Run

KINDS = (numbers, codes, rates, scenes, heard)


def sections(run: Run) -> list[Section]:
    """Whatever the run's predictions contain; each kind looks for its own."""
    return [section for kind in KINDS for section in kind.sections(run)]
