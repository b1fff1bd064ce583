"""What is personal in events lies sealed, opens in its place, and is gone when its key is."""

from __future__ import annotations

import asyncio
import datetime
import pickle
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar, Self
from uuid import UUID

import msgspec
import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

import bootstrap.views  # noqa: F401  registers every event type
from adapters.event_store import mapper, personal
from adapters.event_store.library import StoreApplication
from adapters.event_store.mapper import Unreadable, encode, recorded, seal, shown
from adapters.event_store.personal import NoSubject, Split, personal_names, splits
from adapters.event_store.source import PostgresSource
from adapters.event_store.store import SNAPSHOT_AFTER, PostgresEventStore
from adapters.event_store.subject_keys import SubjectKeys
from adapters.postgres.pipeline import Pipeline
from adapters.sealing import Sealer
from commands.ports import Append, Context, SubjectErased
from domain.accounts.events import PersonRegistered, ProfileRevised, SettingsRevised
from domain.event import Event, Personal, Recorded, type_of, upcasters, upcasts
from domain.journal.entry import Draft, Entry, stream_of
from domain.journal.events import EntryRevised, EntryWritten
from tests.support.servers import Database
from tests.support.waiting import eventually

USER = UUID(int=7)
AT = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
CANARY = "Zeisig am Fenster"
FIXTURES = Path(__file__).parents[3] / "schema" / "events"
OURS = sorted(
    (kind for kind in type_of.values() if kind.__module__.startswith("domain.")),
    key=lambda kind: kind.TOPIC,
)
MASTER = bytes(range(32))


def written(**changes: Any) -> EntryWritten:
    draft = {"date": datetime.date(2026, 3, 1), "title": "t", "content": CANARY, "tags": ["x"]}
    return Entry.write(UUID(int=1), USER, Draft(**{**draft, **changes}))


def opened(event: Event, ciphers: mapper.Ciphers, **place: Any) -> Recorded:
    stored = seal(event, "s-1", 3, ciphers)
    values = {"stream_id": "s-1", "version": 3, "topic": event.TOPIC, "data": stored, **place}
    return recorded(ciphers, 9, tenant_id=USER, recorded_at=AT, **values)


def some_key() -> mapper.Ciphers:
    return {USER.bytes: AESGCM(bytes(32))}


class TestForm:
    def test_personal_fields_are_not_in_what_is_stored(self) -> None:
        stored = seal(written(), "s-1", 3, some_key())
        public, _, sealed = stored.partition(b"\x00")
        fields = msgspec.json.decode(public)
        assert set(fields) == {"entry_id", "user_id", "date", "mood", "is_private", "word_count"}
        assert CANARY.encode() not in stored
        assert sealed.startswith(USER.bytes)

    def test_the_same_text_is_sealed_differently_each_time(self) -> None:
        ciphers = some_key()
        sealed = {seal(written(), "s-1", 3, ciphers) for _ in range(3000)}
        assert len(sealed) == 3000

    def test_an_event_without_anything_personal_stays_clear(self) -> None:
        event = EntryRevised(entry_id=UUID(int=1), user_id=USER, mood="sad", location=None)
        assert seal(event, "s-1", 3, {}) == encode(event)
        assert opened(event, {}).event == event

    @pytest.mark.parametrize("place", [{"stream_id": "s-2"}, {"version": 4}])
    def test_it_opens_in_its_own_place_only(self, place: dict[str, Any]) -> None:
        assert opened(written(), some_key()).event == written()
        with pytest.raises(Unreadable):
            opened(written(), some_key(), **place)

    def test_a_changed_byte_or_another_key_opens_nothing(self) -> None:
        stored = seal(written(), "s-1", 3, some_key())
        for broken in (stored[:-1] + bytes([stored[-1] ^ 1]), stored[:-40], stored[:200]):
            if b"\x00" not in broken:
                continue
            with pytest.raises((Unreadable, mapper.KeysMissing)):
                opened(written(), some_key(), data=broken)
        other: mapper.Ciphers = {USER.bytes: AESGCM(bytes(31) + b"1")}
        with pytest.raises(Unreadable):
            recorded(other, 9, "s-1", 3, USER, AT, EntryWritten.TOPIC, stored)

    @given(st.text(), st.lists(st.text(min_size=1)), st.none() | st.text())
    def test_whatever_is_written_is_read_again(
        self, title: str, tags: list[str], weather: str | None
    ) -> None:
        event = msgspec.structs.replace(
            written(), title=_sound(title), tags=tuple(map(_sound, tags)), weather=weather
        )
        if weather is not None:
            event = msgspec.structs.replace(event, weather=_sound(weather))
        found = opened(event, some_key())
        assert found.event == event
        assert not found.erased

    def test_unset_stays_unset_and_cleared_stays_cleared(self) -> None:
        event = ProfileRevised(user_id=USER, bio="b", website=None)
        assert opened(event, some_key()).event == event


def _sound(text: str) -> str:
    return text.encode("utf-8", "ignore").decode()


class TestEveryType:
    @pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.TOPIC)
    def test_says_whose_its_personal_fields_are(self, kind: type[Event]) -> None:
        if personal_names(kind):
            assert splits[kind] is not None
        else:
            assert splits[kind] is None

    def test_a_type_that_does_not_is_refused(self) -> None:
        class Whispered(Event, frozen=True):
            TOPIC: ClassVar[str] = "sealing.Whispered.v1"
            text: Personal

        class Shouted(Event, frozen=True):
            TOPIC: ClassVar[str] = "sealing.Shouted.v1"
            SUBJECT: ClassVar[str] = "by"
            by: Personal
            text: Personal

        for kind in (Whispered, Shouted):
            with pytest.raises(NoSubject):
                Split(kind)

    @pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
    def test_every_version_ever_written_is_read_sealed_and_erased(self, path: Path) -> None:
        fields = msgspec.json.decode(path.read_bytes())
        clear = mapper.decode(path.stem, path.read_bytes())
        names = personal_names(type(clear)) & set(fields)
        public = {name: value for name, value in fields.items() if name not in names}
        private = msgspec.json.encode({name: fields[name] for name in names})
        nonce = bytes(12)
        frame = b"\x00" + USER.bytes + nonce + AESGCM(bytes(32)).encrypt(nonce, private, b"s-1|3")
        stored = msgspec.json.encode(public) + frame
        place: Any = ("s-1", 3, USER, AT, path.stem, stored)
        assert recorded(some_key(), 9, *place).event == clear
        gone = recorded({USER.bytes: None}, 9, *place)
        assert gone.erased
        assert type(gone.event) is type(clear)
        for name in set(public):
            assert getattr(gone.event, name) == getattr(clear, name)

    def test_a_superseded_form_is_read_erased(self) -> None:
        class Noted(Event, frozen=True):
            TOPIC: ClassVar[str] = "sealing.Noted.v2"
            user_id: UUID
            words: tuple[Personal, ...]
            extra: Personal | None

        @upcasts("sealing.Noted.v1", "sealing.Noted.v2", erased={"text": ""})
        def split(fields: dict[str, Any]) -> dict[str, Any]:
            words = fields.pop("text").split()
            return {**fields, "words": words, "extra": None}

        stored = encode_public({"user_id": str(USER)}) + b"\x00" + USER.bytes + bytes(40)
        gone = recorded({USER.bytes: None}, 1, "s", 1, USER, AT, "sealing.Noted.v1", stored)
        assert gone.event == Noted(USER, (), None)
        del upcasters["sealing.Noted.v1"]


def encode_public(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode(fields)


class TestShown:
    def shown(self, event: Event, ciphers: mapper.Ciphers, *, personal: bool) -> dict[str, Any]:
        stored = seal(event, "s-1", 3, some_key())
        return shown(event.TOPIC, "s-1", 3, stored, ciphers, personal=personal)

    def test_names_show_and_texts_only_to_those_who_may(self) -> None:
        event = ProfileRevised(user_id=USER, bio=CANARY)
        hidden = self.shown(event, some_key(), personal=False)
        assert hidden == {"user_id": str(USER), "bio": {"sealed": True}}
        assert self.shown(event, some_key(), personal=True) == {"user_id": str(USER), "bio": CANARY}

    def test_without_a_key_the_fields_of_the_type_are_named(self) -> None:
        hidden = self.shown(written(), {}, personal=False)
        assert hidden["title"] == hidden["tags"] == {"sealed": True}
        assert self.shown(written(), {}, personal=True)["title"] == {"sealed": True}

    def test_of_the_erased_it_is_said_that_they_were(self) -> None:
        gone = {USER.bytes: None}
        assert self.shown(written(), gone, personal=True)["content"] == personal.ERASED
        assert self.shown(written(), gone, personal=False)["content"] == personal.HIDDEN


class Diary(msgspec.Struct, frozen=True):
    """All titles of a stream."""

    CATEGORY: ClassVar[str] = "sealing.diary"
    SNAPSHOT: ClassVar[str] = "1"
    titles: tuple[str, ...]
    version: int

    @classmethod
    def evolve(cls, state: Self | None, recorded: Recorded) -> Self:
        assert isinstance(recorded.event, EntryWritten)
        before = () if state is None else state.titles
        return cls((*before, recorded.event.title), recorded.stream_version)


def context(user: UUID) -> Context:
    return Context(user_id=user, tenant_id=user, actor="system:t", now=AT, correlation_id="r")


def events_of(user: UUID, *titles: str) -> tuple[EntryWritten, ...]:
    return tuple(
        Entry.write(UUID(int=1), user, Draft(date=AT.date(), title=title, content=CANARY))
        for title in titles
    )


class Stores:
    """Stores of processes that share one database; each has keys of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._pipelines: list[Pipeline] = []

    async def one(self, master: bytes = MASTER) -> tuple[PostgresEventStore, SubjectKeys, Pipeline]:
        pipeline = Pipeline(self.database.write_dsn, role="mindstream_write")
        await pipeline.open()
        self._pipelines.append(pipeline)
        sealer = Sealer(master)
        keys = SubjectKeys(sealer)
        store = PostgresEventStore(pipeline, pipeline, sealer, lambda position: None, keys)
        return store, keys, pipeline

    async def close(self) -> None:
        for pipeline in self._pipelines:
            await pipeline.close()

    def erase(self, user: UUID) -> None:
        with psycopg.connect(self.database.write_dsn, autocommit=True) as connection:
            connection.execute(
                "UPDATE subject_keys SET wrapped = NULL, master_generation = NULL,"
                " erased_at = now() WHERE subject_id = %s",
                (user,),
            )

    def column(self, query: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.database.owner_dsn) as connection:
            return [row[0] for row in connection.execute(query.encode(), values)]


@pytest.fixture
async def stores(empty_database: Database) -> AsyncIterator[Stores]:
    made = Stores(empty_database)
    yield made
    await made.close()


@pytest.mark.anyio
class TestInTheStore:
    async def test_nothing_personal_lies_in_any_table(self, stores: Stores) -> None:
        store, _, _ = await stores.one()
        user, stream = uuid7(), stream_of(uuid7())
        await store.append(context(user), Append(stream, 0, events_of(user, "a", "b")))
        found = await store.load(Diary, stream)
        assert found == Diary(("a", "b"), 2)
        for data in stores.column("SELECT data FROM events"):
            assert CANARY.encode() not in data
        [wrapped] = stores.column("SELECT wrapped FROM subject_keys")
        assert len(wrapped) == 33 + 32 + 16

    async def test_what_one_process_sealed_another_opens(self, stores: Stores) -> None:
        one, _, _ = await stores.one()
        two, keys, _ = await stores.one()
        users = [uuid7() for _ in range(20)]
        streams = {user: stream_of(uuid7()) for user in users}
        for user, stream in streams.items():
            await one.append(context(user), Append(stream, 0, events_of(user, str(user))))
        found = await two.load_many(Diary, streams.values())
        assert {each.titles for each in found.values()} == {(str(user),) for user in users}
        assert len(keys.ciphers) == 20

    async def test_of_two_who_make_a_key_at_once_one_wins(self, stores: Stores) -> None:
        sides = [await stores.one() for _ in range(6)]
        user = uuid7()
        streams = [stream_of(uuid7()) for _ in sides]
        await asyncio.gather(
            *(
                store.append(context(user), Append(stream, 0, events_of(user, "x")))
                for (store, _, _), stream in zip(sides, streams, strict=True)
            )
        )
        assert stores.column("SELECT count(*) FROM subject_keys") == [1]
        reader, _, _ = await stores.one()
        found = await reader.load_many(Diary, streams)
        assert [each.titles for each in found.values()] == [("x",)] * 6

    async def test_who_was_erased_is_read_as_placeholders_and_gets_no_other_key(
        self, stores: Stores
    ) -> None:
        store, keys, pipeline = await stores.one()
        other, _, _ = await stores.one()
        user, stream = uuid7(), stream_of(uuid7())
        await store.append(context(user), Append(stream, 0, events_of(user, "a")))
        stores.erase(user)
        await keys.heed(pipeline)
        for side in (store, other):
            [found] = await side.read(stream)
            assert found.erased
            assert found.metadata is not None
            assert isinstance(found.event, EntryWritten)
            assert (found.event.title, found.event.tags, found.event.user_id) == ("", (), user)
            with pytest.raises(SubjectErased):
                await side.append(context(user), Append(stream, 1, events_of(user, "b")))
        assert stores.column("SELECT count(*) FROM events") == [1]

    async def test_a_process_heeds_an_erasure_by_itself(self, stores: Stores) -> None:
        store, keys, pipeline = await stores.one()
        user = uuid7()
        await store.append(context(user), Append(stream_of(uuid7()), 0, events_of(user, "a")))
        async with keys.heeding(pipeline):
            stores.erase(user)
            await asyncio.to_thread(eventually, lambda: keys.ciphers[user.bytes] is None, within=3)

    async def test_snapshots_are_sealed_and_go_with_the_key(self, stores: Stores) -> None:
        store, keys, pipeline = await stores.one()
        user, stream = uuid7(), stream_of(uuid7())
        titles = [CANARY] * (SNAPSHOT_AFTER + 1)
        await store.append(context(user), Append(stream, 0, events_of(user, *titles)))
        await store.load(Diary, stream)
        await store.drain()
        [data] = stores.column("SELECT data FROM snapshots")
        assert CANARY.encode() not in data
        assert await store.load(Diary, stream) == Diary(tuple(titles), len(titles))
        fresh, _, _ = await stores.one()
        assert await fresh.load(Diary, stream) == Diary(tuple(titles), len(titles))
        stores.erase(user)
        await keys.heed(pipeline)
        assert await store.load(Diary, stream) == Diary(("",) * len(titles), len(titles))
        await store.drain()
        assert stores.column("SELECT count(*) FROM snapshots") == [0]

    async def test_a_projector_opens_and_forgets(self, stores: Stores) -> None:
        store, _, _ = await stores.one()
        users = [uuid7() for _ in range(9)]
        for user in users:
            await store.append(context(user), Append(stream_of(uuid7()), 0, events_of(user, "a")))
        # Fewer ciphers than the page has subjects: they come and go, and nothing is missed.
        keys = pickle.loads(pickle.dumps(SubjectKeys(Sealer(MASTER))))
        source = PostgresSource(stores.database.project_dsn, keys=keys)
        topics = [EntryWritten.TOPIC]
        page = source.page(0, source.head(), 100, topics)
        assert [each.event.title for each in page] == ["a"] * 9  # type: ignore[attr-defined]
        stores.erase(users[3])
        keys._heeded -= 1.5  # as if so much time had passed
        source.head()
        page = source.page(0, source.head(), 100, topics)
        assert [each.erased for each in page] == [user == users[3] for user in users]
        source.close()

    async def test_memory_for_ciphers_is_bounded(self, stores: Stores) -> None:
        _, _, pipeline = await stores.one()
        keys = SubjectKeys(Sealer(MASTER), size=5)
        users = [uuid7().bytes for _ in range(8)]
        await keys.ensure(pipeline, users[:4])
        await keys.ensure(pipeline, [users[0], *users[4:]])
        assert list(keys.ciphers) == [users[0], *users[4:]]
        await keys.load(pipeline, users[1:3])
        assert all(keys.ciphers[user] is not None for user in users[1:3])

    async def test_another_master_key_opens_nothing_and_erases_nothing(
        self, stores: Stores
    ) -> None:
        store, _, _ = await stores.one()
        user = uuid7()
        await store.append(context(user), Append(stream_of(uuid7()), 0, events_of(user, "a")))
        strange = SubjectKeys(Sealer(bytes(32)))
        source = PostgresSource(stores.database.project_dsn, keys=strange)
        with pytest.raises(psycopg.OperationalError):  # it is tried again, and no event is blamed
            source.page(0, source.head(), 100, [EntryWritten.TOPIC])
        assert strange.ciphers == {}
        source.close()

    async def test_the_reader_sees_no_key_but_that_of_whom_it_reads_for(
        self, stores: Stores
    ) -> None:
        store, _, _ = await stores.one()
        users = [uuid7(), uuid7()]
        for user in users:
            await store.append(context(user), Append(stream_of(uuid7()), 0, events_of(user, "a")))
        with psycopg.connect(stores.database.read_dsn, autocommit=True) as connection:
            query = "SELECT subject_id FROM subject_keys"
            assert connection.execute(query).fetchall() == []
            connection.execute(
                "SELECT set_config('mindstream.user_id', %s, false)", (str(users[0]),)
            )
            assert connection.execute(query).fetchall() == [(users[0],)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("DELETE FROM subject_keys")
        pipeline = Pipeline(stores.database.read_dsn, role="mindstream_read")
        await pipeline.open()
        keys = SubjectKeys(Sealer(MASTER))
        await keys.load(pipeline, [user.bytes for user in users])
        assert all(keys.ciphers[user.bytes] is not None for user in users)
        await pipeline.close()

    async def test_the_library_seals_as_well(self, stores: Stores) -> None:
        environment = {
            "MINDSTREAM_WRITE_DSN": stores.database.write_dsn,
            "MINDSTREAM_MASTER_KEY": b64encode(MASTER).decode(),
        }
        application = StoreApplication(env=environment)
        user = uuid7()
        record = Recorded(
            position=0,
            stream_id=f"accounts.person-{user}",
            stream_version=1,
            tenant_id=user,
            recorded_at=AT,
            event=PersonRegistered(
                user_id=user, tenant_id=user, email="a@example.org", display_name=CANARY
            ),
        )
        application.recorder.insert_events([application.mapper.to_stored_event(record)])
        [data] = stores.column("SELECT data FROM events")
        assert CANARY.encode() not in data
        # Another application, which has not met the person yet.
        fresh = StoreApplication(env=environment)
        [stored] = fresh.recorder.select_events(record.stream_id)
        found = fresh.mapper.to_domain_event(stored)
        assert isinstance(found, Recorded)
        assert found.event == record.event
        fresh.close()
        application.close()


def test_a_setting_that_a_person_filled_is_sealed_whole() -> None:
    event = SettingsRevised(user_id=USER, theme="dark", preferences={"motto": CANARY})
    stored = seal(event, "s-1", 3, some_key())
    assert CANARY.encode() not in stored
    assert opened(event, some_key()).event == event
    gone = recorded({USER.bytes: None}, 9, "s-1", 3, USER, AT, event.TOPIC, stored).event
    assert gone == SettingsRevised(user_id=USER, theme="dark")
