"""Many photos in a row: which ones, which are finished, and what became of each.

Planning only looks; running only writes. In between there is a list of jobs that can be printed,
tested, and thrown away. The command, and any other front end, only strings these parts together.
"""

from pipeline.batch.finished import State, settings_digest, state
from pipeline.batch.jobs import STREAM, Job, Outcome
from pipeline.batch.planning import find, names_file, plan
from pipeline.batch.report import Report, counts
from pipeline.batch.running import process, run

__all__ = [
    "STREAM",
    "Job",
    "Outcome",
    "Report",
    "State",
    "counts",
    "find",
    "names_file",
    "plan",
    "process",
    "run",
    "settings_digest",
    "state",
]
