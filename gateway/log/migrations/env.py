"""Alembic runs this; the connection is gateway/log/database.py's."""

from alembic import context

from gateway.log.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
