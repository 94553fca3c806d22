import pytest

from proxy.demo import accounts, vault
from proxy.demo.vault import Grant, ScopeError, TokenError, Vault

from .doubles import Clock


def some_grant(book: Vault, scope: str = "") -> Grant:
    return book.grant("someone", scope, refreshable=True)


def refresh_token(grant: Grant) -> str:
    assert grant.refresh_token
    return grant.refresh_token


def test_an_access_token_serves_five_times(clock: Clock) -> None:
    book = Vault(clock)
    token = some_grant(book).access_token

    texts = [book.use(token) for _ in range(5)]

    assert texts[0] == "access token of someone, use 1 of 5, expires in 10.0 s"
    with pytest.raises(TokenError, match="revoked after 5 uses"):
        book.use(token)


def test_an_access_token_expires_after_ten_seconds(clock: Clock) -> None:
    book = Vault(clock)
    token = some_grant(book).access_token

    clock.now += 9.9
    book.use(token)
    clock.now += 0.1

    with pytest.raises(TokenError, match="expired"):
        book.use(token)


def test_a_revoked_access_token_leaves_its_family_alone(clock: Clock) -> None:
    book = Vault(clock)
    first = some_grant(book)
    second = book.refresh(refresh_token(first), "")

    book.revoke(first.access_token)

    with pytest.raises(TokenError, match="was revoked"):
        book.use(first.access_token)
    book.use(second.access_token)


def test_a_revoked_refresh_token_takes_its_family_along(clock: Clock) -> None:
    book = Vault(clock)
    grant = some_grant(book)

    book.revoke(refresh_token(grant))

    with pytest.raises(TokenError, match="was revoked"):
        book.use(grant.access_token)
    with pytest.raises(TokenError, match="was revoked"):
        book.refresh(refresh_token(grant), "")


def test_revoking_an_unknown_token_is_nothing(clock: Clock) -> None:
    Vault(clock).revoke("unknown")


def test_a_refresh_token_used_twice_costs_the_whole_family(clock: Clock) -> None:
    book = Vault(clock)
    stranger = some_grant(book)
    first = some_grant(book)
    second = book.refresh(refresh_token(first), "")
    book.use(second.access_token)

    with pytest.raises(TokenError, match="used before"):
        book.refresh(refresh_token(first), "")

    for grant in (first, second):
        with pytest.raises(TokenError, match="revoked"):
            book.use(grant.access_token)
        with pytest.raises(TokenError, match="revoked"):
            book.refresh(refresh_token(second), "")
    book.use(stranger.access_token)


def test_the_first_refresh_token_is_there_from_the_start(clock: Clock) -> None:
    grant = Vault(clock).refresh(accounts.REFRESH_TOKEN, "")

    assert grant.scope == "demo"
    assert refresh_token(grant) != accounts.REFRESH_TOKEN


def test_scope_may_shrink_but_not_grow(clock: Clock) -> None:
    book = Vault(clock)
    grant = some_grant(book, "read write")

    with pytest.raises(ScopeError):
        book.refresh(refresh_token(grant), "read admin")
    smaller = book.refresh(refresh_token(grant), "read")
    same = book.refresh(refresh_token(smaller), "")

    assert (grant.scope, smaller.scope, same.scope) == ("read write", "read", "read write")


def test_an_unknown_refresh_token_is_refused(clock: Clock) -> None:
    with pytest.raises(TokenError, match="unknown"):
        Vault(clock).refresh("unknown", "")


def test_the_oldest_tokens_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "MEMORY", 2)
    book = Vault(clock)
    oldest, *others = [some_grant(book).access_token for _ in range(3)]

    with pytest.raises(TokenError, match="unknown"):
        book.use(oldest)
    for token in others:
        book.use(token)
