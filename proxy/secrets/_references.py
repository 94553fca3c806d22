"""Texts that name a secret as a shell or a command line does: by mistake, where a secret itself is expected."""

from __future__ import annotations

import re

_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
# Nobody's secret looks like these, wherever it stands.
_NAMED = re.compile(
    rf"env:\s*(?P<env>{_VARIABLE})|(?P<kind>env|file|cmd|command|keyring):\S.*"
    r"|\{\s*\"?(?P<table>env|file|command|keyring)\"?\s*[=:].*\}|(?P<url>op)://\S.*",
    re.DOTALL | re.IGNORECASE,
)
# A secret that was made by chance may look like these. Other programs replace them in files that they read.
_SUBSTITUTED = re.compile(
    rf"\$(?P<plain>{_VARIABLE})|\$\{{(?:env[.:])?(?P<braced>{_VARIABLE})[^}}]*\}}|\$env:(?P<shell>{_VARIABLE})"
    rf"|%(?P<percent>{_VARIABLE})%|\$\((?P<command>.+)\)"
    rf"|\{{(?:\$|env[.:])(?P<placeholder>{_VARIABLE})\}}"
    rf"|\$?\{{\{{\s*(?:env\.|secrets\.)?(?P<template>{_VARIABLE})\s*\}}\}}",
    re.DOTALL,
)
_TABLES = {
    "env": '{ env = "NAME" }',
    "file": '{ file = "PATH" }',
    "cmd": '{ command = ["PROGRAM", "ARGUMENT"] }',
    "command": '{ command = ["PROGRAM", "ARGUMENT"] }',
    "op": '{ command = ["op", "read", "op://…"] }',
    "keyring": '{ keyring = "SERVICE", username = "USER" }',
}


def meant(text: str, *, substituted: bool) -> str:
    """Return the table that was probably meant by `text`, or nothing if it is a secret.

    Args:
        text: what stands where a secret is expected.
        substituted: whether it stands where users may expect ``$NAME`` and the like to be replaced.

    """
    found = _NAMED.fullmatch(text.strip()) or (_SUBSTITUTED.fullmatch(text.strip()) if substituted else None)
    if found is None:
        return ""
    groups = {name: group for name, group in found.groupdict().items() if group}
    kind = next((groups[name].lower() for name in ("kind", "table", "url") if name in groups), "env")
    kind = "command" if "command" in groups else kind
    # Others than these may be a part of a secret, after all.
    named = groups.get("env") or next((name for name in groups.values() if name.isupper()), "")
    return f'{{ env = "{named}" }}' if kind == "env" and named else _TABLES[kind]
