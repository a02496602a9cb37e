"""The account."""

from __future__ import annotations

from ._core import Core
from .objects import Balance

__all__ = ["Account"]


class Account:
    """Reads the account that the credentials belong to."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def balance(self) -> Balance:
        """What is left on the account.

        Example:
            balance = await client.account.balance()
            print(balance.current_balance, balance.currency)

        Raises:
            ConfigurationError: There are no credentials.
            AuthenticationError: The credentials were not accepted.
        """
        return await self._core.lookup.balance()
