"""Passwords in URIs stay out of what is shown or stored. Standard library only."""

import re


def mask_credentials(text: str) -> str:
    """The text with ``***`` in place of every URI's password, fit for logs, messages and records."""
    return re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1:***@", text)
