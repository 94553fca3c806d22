"""Where the configuration wants to be listened: for whom, and on which address."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from proxy import runfile
from proxy.config import DEFAULT_LISTEN, Settings
from proxy.listeners import Listener, ListenError, kind

PROXY, ADMIN = "proxy", "admin"
Place = tuple[str, str]  # role and address: two ports 0 are not the same
SPARE: Place = (ADMIN, "127.0.0.1:0")
"""Where the admin listener is if its address was not configured, and the default one is taken."""

_HINTS = {
    "server.listen": "--listen ADDRESS, or server.listen, sets it",
    "server.admin": '--admin ADDRESS, or server.admin, sets it; "" for no admin listener',
}


def wanted(settings: Settings, bound: Collection[Place] = ()) -> list[Place]:
    """Return the places in the order in which they are told; `bound` are those that are listened on already."""
    places = list(dict.fromkeys((PROXY, address) for address in (*settings.server.listen, *own(settings))))
    if settings.server.admin:
        is_spare = not settings.has_admin and SPARE in bound
        places.append(SPARE if is_spare else (ADMIN, settings.server.admin))
    return places


def own(settings: Settings) -> list[str]:
    """Addresses that belong to single routes."""
    return [route.listen for route in settings.routes.values() if route.listen]


def bind(
    settings: Settings, warn: Callable[[str], None], bound: Collection[Place] = (), shares: int = 1
) -> dict[Place, Listener]:
    """Listen where `settings` want it and `bound` does not do so yet, for `shares` processes.

    An admin address that was not configured is no reason to fail: a free port takes its place. Nor is the default's
    second address where there is no IPv6.

    Args:
        settings: the configuration.
        warn: called with a text if that happens.
        bound: the places that are listened on already.
        shares: how many processes accept clients.

    Raises:
        ListenError: one of them can't be had; then none is. It names the key.

    """
    opened: dict[Place, Listener] = {}
    try:
        for place in wanted(settings, bound):
            if place not in bound:
                opened |= _bound(place, settings, warn, shares)
    except BaseException:
        for listener in opened.values():
            listener.close()
        raise
    return opened


def _bound(place: Place, settings: Settings, warn: Callable[[str], None], shares: int) -> dict[Place, Listener]:
    role, address = place
    try:
        # The admin listener has few clients, and any of the processes may respond to them.
        return {place: kind(address).bind(address, shares if role == PROXY else 1)}
    except ListenError as failure:
        if failure.missing and not settings.has_listen and place in [(PROXY, each) for each in DEFAULT_LISTEN[1:]]:
            return {}
        if role == PROXY or settings.has_admin:
            raise _named(place, settings, failure) from None
        return _spare(settings, failure.problem, warn)


def _spare(settings: Settings, problem: str, warn: Callable[[str], None]) -> dict[Place, Listener]:
    """Listen on a free port for the admin listener; without any, do without it."""
    try:
        spare = kind(SPARE[1]).bind(SPARE[1])
    except ListenError:
        warn(f"{problem}; there is no admin listener ({_HINTS['server.admin']})")
        return {}
    address = spare.shown.removeprefix("http://")
    runfile.write(settings.file, address)
    warn(f"{problem}; the admin listener is on {address} instead ({_HINTS['server.admin']})")
    return {SPARE: spare}


def _named(place: Place, settings: Settings, failure: ListenError) -> ListenError:
    role, address = place
    key = "server.admin" if role == ADMIN else "server.listen"
    if role == PROXY and address not in settings.server.listen:
        key = next(f"routes.{name}.listen" for name, route in settings.routes.items() if route.listen == address)
    hint = f" ({_HINTS[key]})" if key in _HINTS else ""
    return ListenError(f"{key}: {failure}{hint}")


def close(listeners: Mapping[Place, Listener], defect: Callable[[Exception], object]) -> None:
    """Close all of them; `defect` gets what keeps one from being closed."""
    for listener in listeners.values():
        try:
            listener.close()
        except Exception as failure:  # noqa: BLE001  # whatever it is, the others are closed
            defect(failure)


def shown(listeners: dict[Place, Listener]) -> list[str]:
    """Where clients can come in, as users can use it."""
    return [listener.shown for (role, _), listener in listeners.items() if role == PROXY]


def status_url(listeners: dict[Place, Listener], settings: Settings, generated_token: str) -> str | None:
    """Return the status page's address; with a token only if that was made here."""
    listener = next((listener for (role, _), listener in listeners.items() if role == ADMIN), None)
    if listener is None:
        return None
    return listener.shown + (f"/?token={generated_token}" if settings.server.admin_token is None else "/")
