"""Where the configuration wants to be listened: for whom, and on which address."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.config import Settings
from proxy.errors import CountersignError
from proxy.listeners import Listener, kind

PROXY, ADMIN = "proxy", "admin"
Place = tuple[str, str]  # role and address: two ports 0 are not the same


def wanted(settings: Settings) -> list[Place]:
    """Return the places in the order in which they are told."""
    listened = [*settings.server.listen, *own(settings)]
    places = [(PROXY, address) for address in listened]
    return list(dict.fromkeys(places)) + [(ADMIN, settings.server.admin)] * bool(settings.server.admin)


def own(settings: Settings) -> list[str]:
    """Addresses that belong to single routes."""
    return [route.listen for route in settings.routes.values() if route.listen]


def bind(places: Iterable[Place], shares: int = 1) -> dict[Place, Listener]:
    """Listen on all of them, for `shares` processes.

    Raises:
        ListenError: one of them can't be had; then none is.

    """
    bound: dict[Place, Listener] = {}
    try:
        for place in places:
            role, address = place
            # Few come to the admin listener, and whoever does may be answered by any of the processes.
            bound[place] = kind(address).bind(address, shares if role == PROXY else 1)
    except CountersignError:
        for listener in bound.values():
            listener.close()
        raise
    return bound


def shown(listeners: dict[Place, Listener]) -> list[str]:
    """Where clients can come in, as users can use it."""
    return [listener.shown for (role, _), listener in listeners.items() if role == PROXY]


def status_url(listeners: dict[Place, Listener], settings: Settings, generated_token: str) -> str | None:
    """Return the status page's address; with a token only if that was made here."""
    listener = listeners.get((ADMIN, settings.server.admin))
    if listener is None:
        return None
    return listener.shown + (f"/?token={generated_token}" if settings.server.admin_token is None else "/")
