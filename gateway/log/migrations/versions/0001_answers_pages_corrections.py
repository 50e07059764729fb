"""Answers, their pages, and corrections."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("page_count", sa.Integer, nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("version", sa.String(255), nullable=False),
        sa.Column("operating_point", sa.String(255), nullable=False),
        sa.Column("thresholds", JSON, nullable=False),
        sa.Column("accept", JSON, nullable=False),
        sa.Column("caller", sa.String(255), nullable=False),
        sa.Column("milliseconds", sa.Double, nullable=False),
        sa.Column("form", sa.String(255)),
        sa.Column("verdict", sa.String(255)),
        sa.Column("outcome", JSON),
        sa.PrimaryKeyConstraint("id", name="pk_predictions"),
    )
    op.create_index("ix_predictions_sha256_at", "predictions", ["sha256", "at"])
    op.create_index("ix_predictions_at", "predictions", ["at"])
    op.create_table(
        "pages",
        sa.Column("prediction_id", sa.Uuid, nullable=False),
        sa.Column("page", sa.Integer, nullable=False),
        sa.Column("answer", JSON, nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", "page", name="pk_pages"),
        sa.ForeignKeyConstraint(
            ["prediction_id"],
            ["predictions.id"],
            name="fk_pages_prediction_id",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "to_look_at",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("page", sa.Integer, nullable=False),
        sa.Column("prediction_id", sa.Uuid, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("near", sa.Boolean, nullable=False),
        sa.Column("disagreeing", sa.Boolean, nullable=False),
        sa.Column("random", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("sha256", "page", name="pk_to_look_at"),
        sa.ForeignKeyConstraint(
            ["prediction_id"],
            ["predictions.id"],
            name="fk_to_look_at_prediction_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_to_look_at_at_sha256_page", "to_look_at", ["at", "sha256", "page"])
    op.create_index("ix_to_look_at_prediction_id", "to_look_at", ["prediction_id"])
    op.create_table(
        "corrections",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("page", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("caller", sa.String(255), nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("classes", JSON, nullable=False),
        sa.Column("boxes", JSON, nullable=False),
        sa.PrimaryKeyConstraint("sha256", "page", "version", name="pk_corrections"),
    )


def downgrade() -> None:
    op.drop_table("corrections")
    op.drop_table("to_look_at")
    op.drop_table("pages")
    op.drop_table("predictions")
