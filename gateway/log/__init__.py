"""The prediction log: what was answered about which file, kept where it can be found again.

An answer waits for none of this: `PredictionLog.put` hands it to a thread (writer.py), which writes
it into SQLite or PostgreSQL (database.py, tables.py, migrations/) and the file into a folder, if
there is one (store.py). review.py says which pages a person should look at; export.py makes
training data of what they said.
"""

from gateway.log.database import sqlite_url
from gateway.log.entry import Entry
from gateway.log.predictions import PredictionLog
from gateway.log.retention import period
from gateway.log.store import Store

__all__ = ["Entry", "PredictionLog", "Store", "period", "sqlite_url"]
