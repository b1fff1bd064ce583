"""The journal as plain CRUD: FastAPI, SQLAlchemy and asyncpg, one uvicorn worker, no events.

What a good developer writes in an afternoon: the same fields and rules, checked by pydantic, one
row for each entry, one entry for each day by a unique constraint, a bearer token verified for each
request. No idempotency, no history, no conditional requests, no limits, no fresh reads.
"""

# No "from __future__ import annotations": FastAPI could not resolve the names of local functions.

import argparse
import datetime
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import ARRAY, Text, UniqueConstraint, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ISSUER, AUDIENCE = "peer", "peer-api"
POOL = 16
"""Connections: more or fewer of them are slower on two cores."""

Mood = Literal["ecstatic", "happy", "neutral", "sad", "anxious", "angry"]


class Base(DeclarativeBase):
    """The schema."""


class EntryRow(Base):
    """One entry."""

    __tablename__ = "entries"
    __table_args__ = (UniqueConstraint("user_id", "date"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID]
    date: Mapped[datetime.date]
    title: Mapped[str]
    content: Mapped[str]
    mood: Mapped[str | None]
    location: Mapped[str | None]
    weather: Mapped[str | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    is_private: Mapped[bool]
    word_count: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime.datetime] = mapped_column(server_default=func.now())


class NewEntry(BaseModel):
    """The body of a POST."""

    model_config = ConfigDict(extra="forbid")

    date: datetime.date
    title: Annotated[str, Field(min_length=1, max_length=200)]
    content: Annotated[str, Field(min_length=1, max_length=10_000)]
    mood: Mood | None = None
    location: Annotated[str, Field(max_length=200)] | None = None
    weather: Annotated[str, Field(max_length=100)] | None = None
    tags: Annotated[list[str], Field(max_length=50)] = []
    is_private: bool = False

    @field_validator("tags")
    @classmethod
    def clean(cls, tags: list[str]) -> list[str]:
        """Trim and lower-case tags, and keep each once."""
        kept = list(dict.fromkeys(tag.strip().lower() for tag in tags))
        if any(not 1 <= len(tag) <= 50 for tag in kept):
            raise ValueError("a tag has 1 to 50 characters")
        return kept


class Entry(BaseModel):
    """An entry as it is answered."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    user_id: uuid.UUID
    date: datetime.date
    title: str
    content: str
    mood: str | None
    location: str | None
    weather: str | None
    tags: list[str]
    is_private: bool
    word_count: int
    version: int
    created_at: datetime.datetime
    updated_at: datetime.datetime


class Page(BaseModel):
    """A page of entries, newest first."""

    items: list[Entry]
    next_before: datetime.date | None


def token(key: RSAKey, user_id: uuid.UUID) -> str:
    """A bearer token for a person, good for an hour."""
    now = int(datetime.datetime.now(datetime.UTC).timestamp())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": str(user_id), "iat": now, "exp": now + 3600}
    return jwt.encode({"alg": "RS256"}, claims, key)


def create_app(dsn: str, key: RSAKey) -> FastAPI:
    """The application; ``key`` need only be the public one."""
    engine = create_async_engine(dsn, pool_size=POOL, max_overflow=0)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    bearer = HTTPBearer()
    registry = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": AUDIENCE},
        sub={"essential": True},
        exp={"essential": True},
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield
        await engine.dispose()

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as opened:
            yield opened

    async def user(
        credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)],
    ) -> uuid.UUID:
        try:
            claims = jwt.decode(credentials.credentials, key, algorithms=["RS256"]).claims
            registry.validate(claims)
            return uuid.UUID(claims["sub"])
        except (JoseError, ValueError):
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"}) from None

    app = FastAPI(lifespan=lifespan)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/journal/entries", status_code=201)
    async def create(
        body: NewEntry,
        response: Response,
        user_id: Annotated[uuid.UUID, Depends(user)],
        db: Annotated[AsyncSession, Depends(session)],
    ) -> Entry:
        row = EntryRow(user_id=user_id, word_count=len(body.content.split()), **body.model_dump())
        db.add(row)
        try:
            await db.commit()
        except IntegrityError:
            raise HTTPException(409, "there is an entry for this day already") from None
        response.headers["Location"] = f"/v1/journal/entries/{row.id}"
        return Entry.model_validate(row)

    @app.get("/v1/journal/entries/{entry_id}")
    async def get(
        entry_id: uuid.UUID,
        user_id: Annotated[uuid.UUID, Depends(user)],
        db: Annotated[AsyncSession, Depends(session)],
    ) -> Entry:
        found = await db.execute(
            select(EntryRow).where(EntryRow.id == entry_id, EntryRow.user_id == user_id)
        )
        row = found.scalar_one_or_none()
        if row is None:
            raise HTTPException(404)
        return Entry.model_validate(row)

    @app.get("/v1/journal/entries")
    async def page(
        request: Request,
        user_id: Annotated[uuid.UUID, Depends(user)],
        db: Annotated[AsyncSession, Depends(session)],
        date_to: datetime.date | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> Page:
        query = select(EntryRow).where(EntryRow.user_id == user_id)
        if date_to is not None:
            query = query.where(EntryRow.date <= date_to)
        found = await db.execute(query.order_by(EntryRow.date.desc()).limit(limit + 1))
        rows = list(found.scalars())
        more = len(rows) > limit
        items = [Entry.model_validate(row) for row in rows[:limit]]
        return Page(items=items, next_before=items[-1].date if more else None)

    return app


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--key", type=Path, required=True, help="PEM of the public key")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    key = RSAKey.import_key(arguments.key.read_bytes())
    uvicorn.run(
        create_app(arguments.dsn, key),
        host="127.0.0.1",
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
