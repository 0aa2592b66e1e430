"""A limit on how slowly a server may answer: libraries limit only the time between two pieces of an answer, not the whole.

A server that sends a byte a second, because it is overloaded or its disk is failing, would otherwise hold a command for ever.
Standard library only.
"""

import http.client
import io
import time
from typing import Any

SECONDS = 30.0
"""How long an answer may take, whatever its size."""
LEAST_BYTES_PER_S = 1024
"""What an answer that takes longer must bring on average, so that large files may take as long as they need."""


class LimitedResponse(http.client.HTTPResponse):
    """The answer of a server, which must not come too slowly: reading it, headers and body alike, raises a TimeoutError.

    The class that ``http.client.HTTPConnection.response_class`` names, and that of urllib3 with it.
    """

    seconds = SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fp = io.BufferedReader(_LimitedReader(self.fp.detach(), self.seconds))


class _LimitedReader(io.RawIOBase):
    def __init__(self, stream: io.RawIOBase, seconds: float) -> None:
        self._stream, self._seconds = stream, seconds
        self._since, self._num_bytes = time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def readinto(self, buffer: Any) -> int | None:
        num_bytes: int | None = self._stream.readinto(buffer)
        self._num_bytes += num_bytes or 0
        passed = time.monotonic() - self._since
        if num_bytes and passed > self._seconds and self._num_bytes < passed * LEAST_BYTES_PER_S:
            raise TimeoutError(f"{self._num_bytes} bytes came in {passed:.0f} s, and the answer is not whole")
        return num_bytes

    def close(self) -> None:
        self._stream.close()
        super().close()
