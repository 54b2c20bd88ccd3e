"""Records to event files (`writer`) and back (`reader`), on a disk or in an object store."""

from tbmetrics.events.reader import read_logdir, read_run

__all__ = ["read_logdir", "read_run"]
