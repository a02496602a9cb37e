# Generated from inferlease/account.py by `python -m inferlease._tools.gen_sync`: do not edit.
"""The account."""

from __future__ import annotations

from inferlease import account as _async
from inferlease.objects import Balance

from . import _bridge, _facade

__all__ = ["Account"]


class Account(_facade.Facade[_async.Account]):
    """Reads the account that the credentials belong to."""

    def balance(self) -> Balance:
        """What is left on the account.

        Example:
            balance = client.account.balance()
            print(balance.current_balance, balance.currency)

        Raises:
            ConfigurationError: There are no credentials.
            AuthenticationError: The credentials were not accepted.
        """
        return _bridge.run(self._inner.balance)
