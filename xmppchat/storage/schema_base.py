"""What tables are made of: their names for constraints, and types that SQLAlchemy has not."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Integer, LargeBinary, MetaData

metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s", "pk": "pk_%(table_name)s",
})



class Blob(LargeBinary):
    """Bytes as they are: the drivers take and give them, and what SQLAlchemy would do with each value costs."""

    def bind_processor(self, dialect: Any) -> None:
        """Nothing to do."""

    def result_processor(self, dialect: Any, coltype: Any) -> None:
        """Nothing to do."""


#: Type of a primary key that is one number: in SQLite it then is the rowid, which costs no index.
ID = BigInteger().with_variant(Integer(), "sqlite")
