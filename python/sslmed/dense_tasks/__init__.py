"""What tasks with an answer for each place of a sample share: folds, training, intervals over people.

Segmentation and detection use it. It says nothing of what is learned: a task comes in, and a trained one goes out.
"""

from sslmed.dense_tasks.fitting import Schedule, fitted
from sslmed.dense_tasks.folds import Part, parts_of
from sslmed.dense_tasks.tables import LEAST_PEOPLE, interval, name_of, over_people
from sslmed.dense_tasks.targets import renamed_target

__all__ = ["LEAST_PEOPLE", "Part", "Schedule", "fitted", "interval", "name_of", "over_people", "parts_of", "renamed_target"]
