"""Many photos in a row: which ones, which are finished, and what became of each.

Planning only looks; running only writes. In between there is a list of jobs that can be printed,
tested, and thrown away. The command, and any other front end, only strings these parts together.
"""

from pipeline.batch.finished import State, mark, others, photo_digest, settings_digest, state
from pipeline.batch.jobs import STREAM, Job, Outcome
from pipeline.batch.planning import find, named, names_file, plan
from pipeline.batch.report import Report, counts, entry
from pipeline.batch.running import attempt, notes_of, process, run

__all__ = [
    "STREAM",
    "Job",
    "Outcome",
    "Report",
    "State",
    "attempt",
    "counts",
    "entry",
    "find",
    "mark",
    "named",
    "names_file",
    "notes_of",
    "others",
    "photo_digest",
    "plan",
    "process",
    "run",
    "settings_digest",
    "state",
]
