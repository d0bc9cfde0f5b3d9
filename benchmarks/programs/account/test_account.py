import pytest
from account import Account, Refused


def test_deposit_and_withdraw():
    account = Account("mia")
    account.deposit(100)
    account.withdraw(30)
    assert account.balance == 70
    assert account.history == [("deposit", 100), ("withdraw", 30)]


def test_no_more_than_there_is():
    account = Account("mia", balance=50)
    with pytest.raises(Refused, match="has 50, not 51"):
        account.withdraw(51)
    assert account.balance == 50


def test_overdraft():
    account = Account("mia", balance=50, overdraft=100)
    account.withdraw(150)
    assert account.balance == -100
    with pytest.raises(Refused):
        account.withdraw(1)


def test_transfer():
    mia, tom = Account("mia", balance=10, overdraft=10), Account("tom")
    mia.transfer(tom, 15)
    assert (mia.balance, tom.balance) == (-5, 15)
    with pytest.raises(Refused):
        mia.transfer(tom, 6)
    assert tom.balance == 15


@pytest.mark.parametrize("amount", [0, -5])
def test_only_positive_amounts(amount):
    account = Account("mia", balance=10)
    with pytest.raises(ValueError, match="positive"):
        account.deposit(amount)
    with pytest.raises(ValueError, match="positive"):
        account.withdraw(amount)


def test_turnover():
    account = Account("mia")
    account.deposit(20)
    account.withdraw(5)
    assert account.turnover() == 25
