"""Errors of the command line and of `Workspace`: what a user can do something about."""

from inference.errors import NextbestError


class StageError(NextbestError):
    """A stage that cannot be reached, is not deployed, or is named wrongly."""


class DeployError(NextbestError):
    """A stack or a package that could not be built or applied."""


class TenantError(NextbestError):
    """A tenant that does not exist, or a name that cannot be one."""


class RunError(NextbestError):
    """A run that does not exist, or ended other than the caller asked for."""


class ReleaseError(NextbestError):
    """A model or version that does not exist or cannot be made live."""


class EventError(NextbestError):
    """Events that cannot be read from a file, or a dead letter that cannot be replayed."""


class CustomerError(NextbestError):
    """An id that is nobody's, or what is held on a customer cannot be read in full."""


class ApiError(NextbestError):
    """A tenant's HTTP API that is not there, or that gives no token."""


class ErasureError(NextbestError):
    """Customers who cannot be erased, or not now; says what to do."""


class ScheduleError(NextbestError):
    """A schedule that does not exist or cannot be expressed."""


class DecisionError(NextbestError):
    """A decision function that is missing, has no live version, or failed."""
