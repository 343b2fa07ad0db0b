"""The exception tree.

    AutotagError
    ├── SettingsError     a key or value in config.json, the topology's configuration or ``-o``
    ├── EventError        a photo event that cannot be accepted
    ├── PhotoError        a photo that gives no pixels (a result, not a fault: see photos.py)
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


class QueueError(AutotagError):
    """The queue did not do what was asked; nothing was changed."""


class StoreError(AutotagError):
    """The store did not do what was asked; of a batch, nothing was written."""


class ClusterError(AutotagError):
    """A server of the local cluster did not start, stop or answer."""
