"""Accounts: who may log in, with what; and the operator's commands on them.

`component.py` is :class:`~xmppchat.core.services.AccountService`, `users.py` the commands, `passwords.py` the slow part
of checking, `fakes.py` what names without keys show, `records.py` what a file to import looks like, `importing.py` what
becomes of it, `portable.py` the export, `store.py` all SQL.
"""

from xmppchat.components.accounts.component import Accounts
from xmppchat.components.accounts.store import ACCOUNT_COUNTS, ACCOUNT_QUERY, CREDENTIALS
from xmppchat.components.accounts.users import Users

__all__ = ["ACCOUNT_COUNTS", "ACCOUNT_QUERY", "CREDENTIALS", "Accounts", "Users"]
