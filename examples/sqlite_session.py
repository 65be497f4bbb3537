"""SQLite through a session: handles stay with one worker, and a crash ends that session alone."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aionif

sqlite = aionif.load(
    "libsqlite3.so.0",
    """
    typedef struct sqlite3 sqlite3;
    typedef struct sqlite3_stmt sqlite3_stmt;
    int sqlite3_open(const char *name, sqlite3 **db);
    int sqlite3_close(sqlite3 *db);
    const char *sqlite3_errmsg(sqlite3 *db);
    int sqlite3_exec(sqlite3 *db, const char *sql, void *callback, void *context, char **error);
    int sqlite3_prepare_v2(sqlite3 *db, const char *sql, int length,
                           sqlite3_stmt **statement, const char **tail);
    int sqlite3_step(sqlite3_stmt *statement);
    long long sqlite3_column_int64(sqlite3_stmt *statement, int column);
    const unsigned char *sqlite3_column_text(sqlite3_stmt *statement, int column);
    int sqlite3_finalize(sqlite3_stmt *statement);
    """,
)
ffi = sqlite.ffi
OK, ROW = 0, 100

SCHEMA = b"""
CREATE TABLE ships (name TEXT, built INTEGER);
INSERT INTO ships VALUES ('Fram', 1892), ('Gjoa', 1872), ('Maud', 1916);
"""


class Database:
    """One connection, all of whose calls run in one session."""

    def __init__(self, session: aionif.NifSession) -> None:
        self.call = session.execute_nif
        self.handle: Any = None

    async def open(self) -> None:
        """Open a database in memory and fill it."""
        place = ffi.new("sqlite3 **")
        await self.call(sqlite.sqlite3_open, b":memory:", place)
        self.handle = place[0]
        status = await self.call(
            sqlite.sqlite3_exec, self.handle, SCHEMA, ffi.NULL, ffi.NULL, ffi.NULL
        )
        if status != OK:
            message = await self.call(sqlite.sqlite3_errmsg, self.handle)
            raise RuntimeError(ffi.string(message).decode())

    async def query(self, sql: bytes) -> list[tuple[str, int]]:
        """Return rows of a text and a number."""
        place, rows = ffi.new("sqlite3_stmt **"), []
        await self.call(sqlite.sqlite3_prepare_v2, self.handle, sql, -1, place, ffi.NULL)
        while await self.call(sqlite.sqlite3_step, place[0]) == ROW:
            text = await self.call(sqlite.sqlite3_column_text, place[0], 0)
            number = await self.call(sqlite.sqlite3_column_int64, place[0], 1)
            rows.append((ffi.string(text).decode(), number))
        await self.call(sqlite.sqlite3_finalize, place[0])
        return rows


async def main() -> None:
    """Query, crash inside SQLite, and query again in a new session."""
    async with aionif.NifExecutor(max_workers=2) as executor:
        async with executor.session() as session:
            database = Database(session)
            await database.open()
            print(await database.query(b"SELECT name, built FROM ships ORDER BY built"))
            try:
                await session.execute_nif(sqlite.sqlite3_step, ffi.cast("sqlite3_stmt *", 0x10))
            except aionif.NifSignal as error:
                print(f"crashed in {error.function}: {error.signal.name}")
            try:
                await database.query(b"SELECT name, built FROM ships")
            except aionif.NifClosed as error:
                print(f"broken: {session.broken}; {error}")

        async with executor.session() as session:
            database = Database(session)
            await database.open()
            print(await database.query(b"SELECT 'ships afloat', count(*) FROM ships"))
            await session.execute_nif(sqlite.sqlite3_close, database.handle)


if __name__ == "__main__":
    logging.getLogger("aionif").setLevel(logging.ERROR)  # the log has these failures too
    asyncio.run(main())
