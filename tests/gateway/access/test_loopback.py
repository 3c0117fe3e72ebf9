"""Without a key: what a browser may be made to ask by a page of another site."""

from __future__ import annotations

import pytest

from hotseat.gateway.access.loopback import refuse_other_origins
from hotseat.gateway.http.errors import RequestRefused


def test_an_image_of_a_foreign_page_has_no_origin_and_is_refused_all_the_same() -> None:
    with pytest.raises(RequestRefused) as refused:
        refuse_other_origins(None, b"cross-site")
    assert refused.value.problem.status == 403


@pytest.mark.parametrize("site", [None, b"none", b"same-origin", b"same-site"])
def test_programs_and_pages_of_this_machine_are_not(site: bytes | None) -> None:
    refuse_other_origins(None, site)
    refuse_other_origins(b"http://localhost:3000", b"cross-site")
