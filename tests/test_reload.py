"""What another configuration changes, and files that are watched."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fakes.clock import run_virtual
from hotseat.config import loads
from hotseat.core.spec import Settings
from hotseat.reload import compare, watch
from hotseat.tasks import Tasks


def read(text: str) -> Settings:
    return loads(text, "/etc/hotseat.yaml", {"HOME": "/h"})


ONE = 'command: "run {port}"'


def test_what_changes() -> None:
    old = read(f"models: {{a: {{{ONE}}}, b: {{{ONE}}}, c: {{{ONE}, idle: 5m}}}}")
    new = read(
        "listen: 9000\nstate_dir: /elsewhere\n"
        f'models: {{b: {{command: "walk {{port}}"}}, c: {{{ONE}, idle: 6m}}, d: {{{ONE}}}}}'
    )
    assert compare(old, new).as_dict() == {
        "added": ["d"],
        "removed": ["a"],
        "changed": ["b"],
        "needs_restart": ["listen", "state_dir"],
    }
    assert not any(compare(old, old).as_dict().values())


def test_a_watched_file_is_told_once_when_its_writer_has_finished(tmp_path: Path) -> None:
    file, env = tmp_path / "hotseat.yaml", tmp_path / ".env"
    file.write_text("a")
    told: list[float] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        tasks = Tasks(lambda name, error: None)
        tasks.start("watch", watch([str(file), str(env)], lambda: told.append(loop.time()), interval_s=2))
        await asyncio.sleep(5)
        assert told == []
        file.write_text("half")
        await asyncio.sleep(2)
        file.write_text("half and the rest")
        await asyncio.sleep(20)
        assert len(told) == 1
        env.write_text("KEY=1")  # one that was not there before
        await asyncio.sleep(20)
        assert len(told) == 2
        other = tmp_path / "new"
        other.write_text("half and the rest")
        os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
        other.replace(file)  # the same size and time: another file
        await asyncio.sleep(20)
        assert len(told) == 3
        file.unlink()
        await asyncio.sleep(20)
        assert len(told) == 4
        await tasks.close()

    run_virtual(story())
