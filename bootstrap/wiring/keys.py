"""The master key as roles use it: what seals, and the data keys that it wraps."""

from __future__ import annotations

import functools

from adapters.event_store.subject_keys import SubjectKeys
from adapters.sealing import Sealer
from bootstrap.master_key import master_keys, root_of_secrets
from bootstrap.settings import Settings


def sealer_of(settings: Settings) -> Sealer:
    """Seals and opens with the master keys that the settings lead to, and takes up new ones."""
    again = functools.partial(master_keys, settings)
    return Sealer(*again(), reread=again, root=root_of_secrets(settings))


def subject_keys_of(settings: Settings) -> SubjectKeys:
    """The data keys of people, for a role that opens events and seals nothing else."""
    return SubjectKeys(sealer_of(settings))
