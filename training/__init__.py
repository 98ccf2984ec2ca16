"""What the trainers of both stages share: folders, splits, recipes, schedule, EMA, checkpoints.

Nothing is imported here, so that the parts without torch (``folders``, ``split``, ``recipe``) load
without it.
"""
