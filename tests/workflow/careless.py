"""What must not be: a workflow's file that imports a database library without passing it through."""

import sqlalchemy
from temporalio import workflow


@workflow.defn
class Careless:
    """Loads all of SQLAlchemy, once for every instance."""

    @workflow.run
    async def run(self) -> str:
        """Answer something."""
        return sqlalchemy.__version__
