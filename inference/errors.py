"""The root of nextbest's error tree, and the errors that serving can raise. Runs in a Lambda.

    NextbestError
    ├── BadRequestError        a request that breaks its contract; names the field's path
    ├── ArtifactError          a model on disk that is corrupt, incomplete or of an unknown format
    ├── ArchiveError           (inference.archive) rows that do not fit the table they are for
    ├── CarrierError           (inference.decision_log) a stream or queue that did not answer
    │   └── RefusedError           it answered, and refused
    ├── SyncChangedError       (inference.sync_commit) somebody imported or erased during a sync
    ├── SuppressionError       (inference.suppression) a list of who was erased that cannot be read
    ├── ProfileStoreError      (inference.profiles) a profile store that did not answer
    │   ├── ProfileChangedError    another decision wrote first: read again
    │   └── ProfileFullError       more than an item may hold
    ├── ProductStoreError      (inference.live_products) changes of products could not be read
    ├── StreamError            (inference.intake) the stream of events did not take one
    ├── GoldenMismatchError    a released version answers its golden requests differently
    ├── training.errors        DataQualityError, NotEnoughDataError, ConfigurationError
    └── pipelines.errors       StageError, DeployError, RunError, ...

A class name is a public name: state machines match it (`ErrorEquals`, or within a job's failure
reason), so renaming one is a breaking change.
"""


class NextbestError(Exception):
    """Base of all errors that nextbest raises on purpose."""


class BadRequestError(NextbestError):
    """A request that breaks its contract.

    `path` is where, as a JSON path (`$.limit`); the message says what was expected.
    """

    def __init__(self, message: str, *, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class ArtifactError(NextbestError):
    """A model artefact that cannot be trusted: missing file, wrong checksum, unknown format."""


class GoldenMismatchError(NextbestError):
    """A published version answered a golden request differently from the evaluation."""
