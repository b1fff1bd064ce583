"""The journal entry: what may be written, and what each decision leads to.

Owns the rules of an entry (lengths, moods, tags, word count) and its life: written, revised,
deleted, restored, written again. It does not own the rule of one entry for each day, which spans
entries: ``commands/journal.py`` keeps it with claims and raises ``DuplicateEntryDate``.

``Draft`` and ``Changes`` are what a person sends. Whoever makes one from outside input decodes it
against the type, which checks all that a type can say; ``clean_tags`` checks the rest.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from domain.errors import DomainError
from domain.event import Recorded
from domain.faults import Fault, Invalid
from domain.journal.attachment import MAX_ATTACHMENTS, Attachment, TooManyAttachments
from domain.journal.events import (
    AttachmentAdded,
    AttachmentRemoved,
    EntryDeleted,
    EntryRestored,
    EntryRevised,
    EntryWritten,
    Mood,
    ThumbnailMade,
)

MAX_TAGS = 50
MAX_TAG = 50
"""Characters (code points, like all lengths here) of one tag, once trimmed and lower-cased."""
WORDS_A_MINUTE = 200

Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Content = Annotated[str, msgspec.Meta(min_length=1, max_length=10_000)]
Location = Annotated[str, msgspec.Meta(max_length=200)]
Weather = Annotated[str, msgspec.Meta(max_length=100)]
State = Literal["active", "deleted"]
Infer = Callable[[str], Mood | None]
"""Reads a mood from a text, by the text alone; None where it tells none."""


class DuplicateEntryDate(DomainError):
    """The person has an entry on this day; ``entry_id`` is that one."""

    def __init__(self, date: datetime.date, entry_id: UUID) -> None:
        super().__init__("there is an entry for this day already")
        self.date = date
        self.entry_id = entry_id


class Draft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new entry as it is sent; ``tags`` not yet cleaned."""

    date: datetime.date
    title: Title
    content: Content
    mood: Mood | None = None
    location: Location | None = None
    weather: Weather | None = None
    tags: list[str] | None = None
    is_private: bool = False


class Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """New values for some fields: unset leaves a field as it was, None clears it."""

    date: datetime.date | UnsetType = UNSET
    title: Title | UnsetType = UNSET
    content: Content | UnsetType = UNSET
    mood: Mood | UnsetType | None = UNSET
    location: Location | UnsetType | None = UNSET
    weather: Weather | UnsetType | None = UNSET
    tags: list[str] | UnsetType | None = UNSET
    is_private: bool | UnsetType = UNSET


def tags_and_faults(tags: Iterable[str] | None) -> tuple[tuple[str, ...], tuple[Fault, ...]]:
    """Tags trimmed, lower-cased and each once, in the order of their first use; and their faults.

    A fault's field is the tag's index in the input (``tags.3``), or ``tags`` if they are too many.
    """
    if not tags:
        return (), ()
    kept: dict[str, None] = {}
    faults: list[Fault] = []
    for index, given in enumerate(tags):
        tag = given.strip().lower()
        if not tag:
            faults.append(Fault(f"tags.{index}", "too_short", "A tag needs a character."))
        elif len(tag) > MAX_TAG:
            message = f"A tag has at most {MAX_TAG} characters."
            faults.append(Fault(f"tags.{index}", "too_long", message))
        else:
            kept[tag] = None
    if len(kept) > MAX_TAGS:
        faults.append(Fault("tags", "too_long", f"An entry has at most {MAX_TAGS} tags."))
    return tuple(kept), tuple(faults)


def clean_tags(tags: Iterable[str] | None) -> tuple[str, ...]:
    """The tags as an entry keeps them.

    Raises:
        Invalid: some are empty or too long, or there are too many.
    """
    kept, faults = tags_and_faults(tags)
    if faults:
        raise Invalid(*faults)
    return kept


def count_words(content: str) -> int:
    """Runs of characters between white space, which is Unicode's."""
    return len(content.split())


def reading_seconds(words: int) -> int:
    """Seconds that reading takes at 200 words a minute, rounded up."""
    return -(-words * 60 // WORDS_A_MINUTE)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One day's entry, as its stream says it is now.

    ``created_at`` is when it was last begun (a deleted entry's day may be written again), and
    ``updated_at`` when somebody last changed it. ``decided_on`` is the version that this gave it:
    what a job adds afterwards makes no decision of a person stale.
    """

    CATEGORY: ClassVar[str] = "journal.entry"
    SNAPSHOT: ClassVar[str] = "2"

    entry_id: UUID
    user_id: UUID
    date: datetime.date
    title: str
    content: str
    mood: Mood | None
    location: str | None
    weather: str | None
    tags: tuple[str, ...]
    is_private: bool
    word_count: int
    state: State
    version: int
    decided_on: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    mood_inferred: Mood | None = None
    attachments: tuple[Attachment, ...] = ()

    @classmethod
    def evolve(cls, state: Self | None, recorded: Recorded) -> Self:
        """The entry after one more event of its stream."""
        return cls.after(state, recorded.event, recorded.stream_version, recorded.recorded_at)

    @classmethod
    def after(cls, state: Self | None, event: object, version: int, at: datetime.datetime) -> Self:
        """The entry after ``event``, which has ``version`` and is recorded at ``at``."""
        match event:
            case EntryWritten():
                return cls(
                    entry_id=event.entry_id,
                    user_id=event.user_id,
                    date=event.date,
                    title=event.title,
                    content=event.content,
                    mood=event.mood,
                    location=event.location,
                    weather=event.weather,
                    tags=event.tags,
                    is_private=event.is_private,
                    word_count=event.word_count,
                    state="active",
                    version=version,
                    decided_on=version,
                    created_at=at,
                    updated_at=at,
                    mood_inferred=event.mood_inferred or None,
                )
            case ThumbnailMade() if state is not None:
                files = tuple(with_thumbnail(each, event) for each in state.attachments)
                return replace(state, version=version, attachments=files)
        if state is None:
            raise _cannot_follow(event)
        changes: dict[str, Any]
        match event:
            case EntryRevised():
                changes = revised_fields(event)
            case EntryDeleted():
                changes = {"state": "deleted"}
            case EntryRestored():
                changes = {"state": "active"}
            case AttachmentAdded():
                changes = {"attachments": (*state.attachments, attachment_of(event))}
            case AttachmentRemoved():
                changes = {"attachments": without(state.attachments, event)}
            case _:
                raise _cannot_follow(event)
        return replace(state, version=version, decided_on=version, updated_at=at, **changes)

    @classmethod
    def write(
        cls, entry_id: UUID, user_id: UUID, draft: Draft, infer: Infer | None = None
    ) -> EntryWritten:
        """Begin an entry, on a new stream or on that of a deleted one.

        ``infer`` is None where the person has not asked for inferred moods.

        Raises:
            Invalid: the tags break a rule.
        """
        return EntryWritten(
            entry_id=entry_id,
            user_id=user_id,
            date=draft.date,
            title=draft.title,
            content=draft.content,
            mood=draft.mood,
            location=draft.location,
            weather=draft.weather,
            tags=clean_tags(draft.tags),
            is_private=draft.is_private,
            word_count=count_words(draft.content),
            mood_inferred=_inferred(draft.mood, draft.title, draft.content, infer) or UNSET,
        )

    def revise(self, changes: Changes, infer: Infer | None = None) -> EntryRevised | None:
        """Change some fields; None if each has that value already.

        A mood is inferred anew of what the entry is then; it is gone once the person gave one, or
        asks for none any more (``infer`` is None).

        Raises:
            Invalid: the tags break a rule.
        """
        fields: dict[str, Any] = {}
        for name in Changes.__struct_fields__:
            value = getattr(changes, name)
            if value is UNSET:
                continue
            if name == "tags":
                value = clean_tags(value)
            if value != getattr(self, name):
                fields[name] = value
        if not fields:
            return None
        if "content" in fields:
            fields["word_count"] = count_words(fields["content"])
        mood, title, content = (
            fields.get(name, getattr(self, name)) for name in ("mood", "title", "content")
        )
        inferred = _inferred(mood, title, content, infer)
        if inferred != self.mood_inferred:
            fields["mood_inferred"] = inferred
        return EntryRevised(entry_id=self.entry_id, user_id=self.user_id, **fields)

    def delete(self) -> EntryDeleted | None:
        """Hide the entry; None if it is hidden."""
        if self.state == "deleted":
            return None
        return EntryDeleted(entry_id=self.entry_id, user_id=self.user_id, date=self.date)

    def restore(self) -> EntryRestored | None:
        """Bring the entry back; None if it is there."""
        if self.state == "active":
            return None
        return EntryRestored(entry_id=self.entry_id, user_id=self.user_id, date=self.date)

    def attachment(self, attachment_id: UUID) -> Attachment | None:
        """The attachment of that id, if the entry has it."""
        return next((it for it in self.attachments if it.attachment_id == attachment_id), None)

    def attach(self, attachment: Attachment) -> AttachmentAdded | None:
        """Add a file; None if it is there.

        Raises:
            TooManyAttachments: there is no room for another.
        """
        if self.attachment(attachment.attachment_id) is not None:
            return None
        self.check_room()
        return AttachmentAdded(
            entry_id=self.entry_id,
            user_id=self.user_id,
            attachment_id=attachment.attachment_id,
            object_id=attachment.object_id,
            filename=attachment.filename,
            content_type=attachment.content_type,
            size_bytes=attachment.size_bytes,
            sha256=attachment.sha256,
        )

    def check_room(self) -> None:
        """Return if another file may be added.

        Raises:
            TooManyAttachments: it may not.
        """
        if len(self.attachments) >= MAX_ATTACHMENTS:
            raise TooManyAttachments(f"an entry has at most {MAX_ATTACHMENTS} attachments")

    def detach(self, attachment_id: UUID) -> AttachmentRemoved | None:
        """Remove a file; None if it is not there."""
        if self.attachment(attachment_id) is None:
            return None
        return AttachmentRemoved(
            entry_id=self.entry_id, user_id=self.user_id, attachment_id=attachment_id
        )

    def picture(self, attachment_id: UUID, object_id: UUID) -> ThumbnailMade | None:
        """Add the small picture of a file; None if the file is gone or has one."""
        attachment = self.attachment(attachment_id)
        if attachment is None or attachment.thumbnail_id is not None:
            return None
        return ThumbnailMade(
            entry_id=self.entry_id,
            user_id=self.user_id,
            attachment_id=attachment_id,
            object_id=object_id,
        )


def revised_fields(event: EntryRevised) -> dict[str, Any]:
    """The fields of an entry that the event sets, with their new values."""
    return {name: value for name in _REVISABLE if (value := getattr(event, name)) is not UNSET}


def _inferred(mood: Mood | None, title: str, content: str, infer: Infer | None) -> Mood | None:
    return infer(f"{title}\n{content}") if infer is not None and mood is None else None


def attachment_of(event: AttachmentAdded) -> Attachment:
    """The attachment as the event adds it."""
    return Attachment(
        attachment_id=event.attachment_id,
        object_id=event.object_id,
        filename=event.filename,
        content_type=event.content_type,
        size_bytes=event.size_bytes,
        sha256=event.sha256,
    )


def without(
    attachments: tuple[Attachment, ...], event: AttachmentRemoved
) -> tuple[Attachment, ...]:
    """The attachments less the one that was removed."""
    return tuple(each for each in attachments if each.attachment_id != event.attachment_id)


def with_thumbnail(attachment: Attachment, event: ThumbnailMade) -> Attachment:
    """The attachment, with its picture if the event is about it."""
    if attachment.attachment_id != event.attachment_id:
        return attachment
    return replace(attachment, thumbnail_id=event.object_id, version=attachment.version + 1)


def _cannot_follow(event: object) -> TypeError:
    return TypeError(f"{type(event).__name__} cannot follow here in the stream of an entry")


def stream_of(entry_id: UUID) -> str:
    """The stream of an entry."""
    return f"{Entry.CATEGORY}-{entry_id}"


_REVISABLE = tuple(
    name for name in EntryRevised.__struct_fields__ if name not in ("entry_id", "user_id")
)
