"""A request whose client is shown the progress of a start as text of the answer itself."""

from __future__ import annotations

from hotseat.gateway.http import errors
from hotseat.gateway.http.upstream import ConnectionPool
from hotseat.gateway.proxy.forward import MeteredForward, Phase
from hotseat.gateway.proxy.lease import Lease
from hotseat.gateway.proxy.progress import ProgressText, words


class ProgressForward(MeteredForward, eq=False):
    """Tells progress in the client's own events while it waits, and continues them with the server's."""

    _progress: ProgressText | None = None
    _shown: str = ""
    """The line that was told last; equal ones are not repeated."""

    def begin_progress(self, text: ProgressText) -> None:
        """Tell progress in this text; called before the request is sent."""
        self._progress = text

    def _sign(self, comment: bytes) -> bytes:
        progress = self._progress
        if self._ticket is not None and progress is not None and not progress.closed and self._lease is None:
            line = words(self._request.route.name, self._ticket.loading())
            if line != self._shown:
                self._shown = line
                return progress.tell(line)
        return super()._sign(comment)

    def _take_lease(self, lease: Lease) -> ConnectionPool:
        self._end_text()
        return super()._take_lease(lease)

    def _end_text(self) -> None:
        if self._progress is not None and (closing := self._progress.close()):
            self._cycle.write(closing)
            self._cycle.flush()

    @property
    def _sequence_number(self) -> int:
        return max(super()._sequence_number, -1 if self._progress is None else self._progress.last_number)

    def on_data(self, data: bytes) -> None:
        """Pass a piece of the body on, as it continues what was told."""
        if self._progress is not None and self._phase is Phase.STREAMING:
            data = self._progress.rewrite(data)
        if data:
            super().on_data(data)

    def on_end(self) -> None:
        """Complete the client's response."""
        if self._progress is not None and (rest := self._progress.rest()):
            super().on_data(rest)
        super().on_end()

    def _tell(self, problem: errors.ErrorResponse) -> None:
        if self._lease is None:
            self._end_text()
        super()._tell(problem)
