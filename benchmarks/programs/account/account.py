"""An account with an overdraft limit and a history."""

from dataclasses import dataclass, field


class Refused(Exception):
    """The account does not cover it."""


@dataclass
class Account:
    owner: str
    balance: int = 0
    overdraft: int = 0
    history: list[tuple[str, int]] = field(default_factory=list)

    @property
    def available(self) -> int:
        """What can be taken out at most."""
        return self.balance + self.overdraft

    def deposit(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError("only positive amounts")
        self.balance += amount
        self.history.append(("deposit", amount))

    def withdraw(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError("only positive amounts")
        if amount > self.balance:
            raise Refused(f"{self.owner} has {self.available}, not {amount}")
        self.balance -= amount
        self.history.append(("withdraw", amount))

    def transfer(self, other: "Account", amount: int) -> None:
        """Both accounts change, or neither does."""
        self.withdraw(amount)
        other.deposit(amount)

    def turnover(self) -> int:
        return sum(amount for _, amount in self.history)
