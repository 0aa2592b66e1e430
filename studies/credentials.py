"""Passwords in URIs stay out of what is shown or stored. Standard library only."""

import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"
SHORTEST = 3
"""The characters of the shortest secret that is looked for in other texts: a shorter one would be found in any word."""
_SCHEME = re.compile(r"[A-Za-z][\w+.-]{0,40}://")
"""Of a longer one the end will do: without a limit, a long word would take the square of its length."""
_NEXT = re.compile(r"(?<=[\s'\"(,=\[{<>`;|])[A-Za-z][\w+.-]{0,40}://|\n")
"""Where another URI begins, or another line."""
_WORD = re.compile(r"[^\s'\"<>`]*")
_PORT = re.compile(r":\d*(?=[/?#]|$)")
_DATABASES = ("postgres", "mysql", "mariadb", "mssql", "oracle", "redshift", "cockroach", "snowflake")
"""How the schemes begin whose user names are no secrets, and whose passwords SQLAlchemy reads up to the last @."""
_SECRET = re.compile(
    r"pass|pwd|^pw$|^pin$|secret|token|credential|auth|api_?key|(access|account|shared)_?key|^key$|signature|^sig$|^sas|jwt"
    r"|bearer|odbc_connect",
    re.IGNORECASE,
)
"""The names of options that hold secrets."""
_OPTION = re.compile(r"(?<=[?&#])([^\s=&?#'\"]+)=([^&\s'\"]*(?:[^\S\n][^&\n()'\"]*(?=&[\w%]+=))?)")
"""An option of a URI; it holds spaces if another option follows."""
_KEYWORD = re.compile(r"\b(\w*(?:password|passwd|pwd))(\s*=\s*)('[^']*'|[^\s&,;]+)", re.IGNORECASE)
"""How drivers of databases write options outside of URIs."""


def mask_credentials(text: str) -> str:
    """The text with ``***`` in place of the passwords, tokens and keys of every URI in it, fit for logs, messages and records."""
    if "=" not in text and "://" not in text:
        return text  # most texts: thousands of messages are made of a file whose mistakes are repeated
    parts, position = [], 0
    while found := _SCHEME.search(text, position):
        next_one = _NEXT.search(text, found.end())
        end = next_one.start() if next_one else len(text)
        parts += [text[position : found.end()], _mask_words(found[0], text[found.end() : end])]
        position = end
    parts.append(text[position:])
    return _KEYWORD.sub(rf"\1\2{MASK}", _OPTION.sub(_masked_option, "".join(parts)))


def mask_uri(uri: str) -> str:
    """A URI, a path or a database's URL with ``***`` in place of its secrets, which may hold spaces and quotes too."""
    scheme = _SCHEME.match(uri)
    if not scheme:
        return mask_credentials(uri)
    shown, hidden, rest = _split(scheme[0], uri[scheme.end() :])
    place, mark, query = rest.partition("?")
    options = "&".join(_masked(*option.partition("=")) for option in query.split("&"))
    masked = f"{scheme[0]}{shown}{MASK if hidden else ''}{place}{mark}{options}"
    return _KEYWORD.sub(rf"\1\2{MASK}", _OPTION.sub(_masked_option, masked))


def has_credentials(uri: str) -> bool:
    """Whether a URI has a secret, so that it may not be shown as it is."""
    return mask_uri(uri) != uri


def hide_secrets(text: str, uri: str) -> str:
    """A text on a URI, such as an error's, with ``***`` in place of all credentials and of the URI's own secrets in any form."""
    forms = {form for secret in _secrets(uri) for form in (secret, *_other_forms(secret)) if len(form) >= SHORTEST}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return mask_credentials(text)


def _other_forms(secret: str) -> Iterator[str]:
    for plain in (unquote(secret), unquote_plus(secret)):
        yield from (plain, quote(plain), quote(plain, safe=""), quote_plus(plain), repr(plain)[1:-1])


def _secrets(uri: str) -> Iterator[str]:
    scheme = _SCHEME.match(uri)
    if not scheme:
        return
    _, hidden, rest = _split(scheme[0], uri[scheme.end() :])
    yield from (part for part in (hidden, *hidden.split(":", 1)) if part)
    for option in rest.partition("?")[2].split("&"):
        name, _, value = option.partition("=")
        if _is_secret(name) and value:
            yield value


def _mask_words(scheme: str, text: str) -> str:
    """What follows a scheme in a text; a password with spaces is taken for one where a user name stands before it."""
    word = _WORD.match(text)
    assert word
    if "@" not in word[0] and ":" in word[0] and "@" in text:
        word = re.compile(r"[^\n]*@").match(text) or word
    shown, hidden, rest = _split(scheme, word[0])
    return f"{shown}{MASK if hidden else ''}{rest}{text[word.end() :]}"


def _split(scheme: str, text: str) -> tuple[str, str, str]:
    """What follows a URI's scheme in three parts: what is shown, what is hidden, and what comes after it."""
    is_database = scheme.lower().startswith(_DATABASES)
    user = re.match(r"[^:/?#]*", text)
    assert user
    rest = text[user.end() :]
    is_port = not is_database and _PORT.match(rest)
    if rest.startswith(":") and "@" in rest and not is_port:
        password, _, after = rest[1:].rpartition("@")
        return (f"{user[0]}:", password, f"@{after}") if is_database else ("", f"{user[0]}:{password}", f"@{after}")
    name, at, host = user[0].rpartition("@")
    if at and not is_database:
        return "", name, f"@{host}{rest}"
    return "", "", text


def _masked_option(found: re.Match[str]) -> str:
    return _masked(found[1], "=", found[2])


def _masked(name: str, mark: str, value: str) -> str:
    return f"{name}{mark}{MASK if value and _is_secret(name) else value}"


def _is_secret(name: str) -> bool:
    return bool(_SECRET.search(unquote_plus(name)))
