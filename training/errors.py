"""Errors that end a job, raised in SageMaker jobs and by `nextbest data import`.

The class name stands at the start of the job's failure reason, which is how a state machine
tells them from faults of the infrastructure: these are never retried.
"""

from inference.errors import NextbestError


class DataQualityError(NextbestError):
    """The data breaks a rule of its table; says table, column, rule, how many rows, examples."""


class NotEnoughDataError(NextbestError):
    """The data is sound but too little to learn from; says what is needed."""


class ConfigurationError(NextbestError):
    """An unknown key or a value out of range; names the nearest known key."""
