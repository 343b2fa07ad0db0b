"""The exception tree.

    AutotagError
    ├── SettingsError     a key or value in config.json, the topology's configuration or ``-o``
    ├── EventError        a photo event that cannot be accepted
    ├── PhotoError        a photo that gives no pixels (a result, not a fault: see photos.py)
    ├── ResultError       a photo's tags that no reader could make sense of
    ├── TagError          a person's decision about a tag that does not exist
    ├── RunError          a bulk run that is not in the state for what was asked
    ├── InputError        a file, folder or URL that cannot be read or written
    ├── JobError          a training or backfill that cannot be begun, or was ended from outside
    ├── RegistryError     the registry of models is away
    ├── PublishingError   a model that is not known, or may not become the current one
    ├── FetchError        a published bundle that cannot be had just now
    ├── QueueError        the queue of photo events is away or refuses
    ├── StoreError        the store of tags is away or refuses
    └── ClusterError      a server of the local cluster is not up

`models.errors.ModelError` stands beside it: that layer knows nothing of this one.
"""


class AutotagError(Exception):
    """Anything that autotag reports; the message says what was wrong, where, and what to do."""


class SettingsError(AutotagError):
    """A setting is unknown, missing or out of its bounds."""


class EventError(AutotagError):
    """A photo event is malformed; nothing was accepted."""


class ResultError(AutotagError):
    """A result has values out of their bounds; it is not written."""


class TagError(AutotagError):
    """No such tag, or no such photo to decide about."""


class RunError(AutotagError):
    """A bulk run is unknown, its name is taken, or its state forbids what was asked; nothing was changed."""


class InputError(AutotagError):
    """Files cannot be read or written; what was done of them before stays, and the work can go on."""


class JobError(AutotagError):
    """A job does not fit what is there, or a part of it was ended; what is done stays, and it can be started again."""


class RegistryError(AutotagError):
    """The registry of models is away or holds what is not ours; asking again does no harm."""


class PublishingError(AutotagError):
    """No such model, or it may not become the current one; nothing was changed."""


class FetchError(AutotagError):
    """The bundle cannot be had from there now; it may be later."""


class QueueError(AutotagError):
    """The queue did not do what was asked; nothing was changed."""


class StoreError(AutotagError):
    """The store did not do what was asked, or not all of it; asking again does no harm."""


class ClusterError(AutotagError):
    """A server of the local cluster did not start, stop or answer."""
