"""The exception tree.

    AutotagError
    ├── SettingsError     a key or value in config.json, the topology's configuration or ``-o``
    ├── EventError        a photo event that is not accepted
    ├── PhotoError        a photo that gives no pixels (a result, not a fault: see photos/errors.py)
    ├── ResultError       a result with values out of their bounds
    ├── TagError          a person's decision about a tag that does not exist
    ├── RunError          a bulk run whose state forbids the action
    ├── InputError        a file, folder or URL that cannot be read or written
    ├── JobError          a training or backfill that cannot start, or was ended from outside
    ├── RegistryError     the model registry does not answer
    ├── PublishingError   a model that does not exist, or may not become the current one
    ├── FetchError        a published bundle that cannot be fetched now
    ├── QueueError        the queue of photo events does not answer, or refuses
    ├── StoreError        the store of tags does not answer, or refuses
    └── ClusterError      a server of the local cluster is not up

`models.errors.ModelError` stands beside them: the layer models imports nothing of autotag.
"""


class AutotagError(Exception):
    """The base of all errors that autotag reports; the message says what was wrong, where, and what to do."""


class SettingsError(AutotagError):
    """A setting is unknown, missing or out of its bounds."""


class EventError(AutotagError):
    """A photo event is malformed; nothing was accepted."""


class ResultError(AutotagError):
    """A result has values out of their bounds; it is not written."""


class TagError(AutotagError):
    """The tag or the photo of a decision does not exist."""


class RunError(AutotagError):
    """A bulk run is unknown, its name is taken, or its state forbids the action; nothing was changed."""


class InputError(AutotagError):
    """Files cannot be read or written; the work done before is kept, and the same call goes on."""


class JobError(AutotagError):
    """A job does not fit its folder, or a worker was ended; finished work is kept, and the job can be started again."""


class RegistryError(AutotagError):
    """The model registry does not answer, or holds foreign data; the call can be repeated."""


class PublishingError(AutotagError):
    """The model does not exist, or may not become the current one; nothing was changed."""


class FetchError(AutotagError):
    """The bundle cannot be fetched now; a later attempt may succeed."""


class QueueError(AutotagError):
    """The queue failed; nothing was changed."""


class StoreError(AutotagError):
    """The store failed, or did only a part; the call can be repeated."""


class ClusterError(AutotagError):
    """A server of the local cluster did not start, stop or answer."""
