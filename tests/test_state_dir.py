"""The state directory is ours alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from hotseat.config import loads
from hotseat.telemetry.history import History
from hotseat.wiring import CannotServe, make_state_dir


def make(folder: Path) -> Path:
    return make_state_dir(loads(f"state_dir: {folder}\nmodels: {{m: {{command: 'run {{port}}'}}}}", "f", {}))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_state_dir_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(CannotServe, match="belongs to user 12345"):
        make(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_volume_of_the_launchers_image_serves_any_user(request: pytest.FixtureRequest) -> None:
    """The image's folder is root's, with the mode 1777: a new volume takes it over."""
    folder = Path(tempfile.mkdtemp())  # which another user reaches, unlike the tests' own folders
    request.addfinalizer(lambda: shutil.rmtree(folder))
    folder.chmod(0o1777)
    os.seteuid(1000)
    try:
        assert make(folder) == folder
        (folder / "runs").mkdir()
        assert make(folder) == folder
    finally:
        os.seteuid(0)
    os.chown(folder / "runs", 1001, -1)
    os.seteuid(1000)
    try:
        with pytest.raises(CannotServe, match="runs belongs to user 1001"):
            make(folder)
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_write_permission_of_others_is_taken_away(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    assert make(folder) == folder
    assert folder.stat().st_mode & 0o022 == 0


def test_a_new_one_and_the_history_in_it_are_private(tmp_path: Path) -> None:
    folder = make(tmp_path / "state")
    assert folder.stat().st_mode & 0o077 == 0
    (folder / "history.sqlite").touch(0o644)
    (folder / "history.sqlite").chmod(0o644)
    History(folder / "history.sqlite", print).close()
    assert {one.stat().st_mode & 0o777 for one in folder.iterdir()} == {0o600}
