"""An edited Compose file is told by the launcher: in its log, by reload and by status."""

from __future__ import annotations

import json
from pathlib import Path

from fakes import containers
from fakes.dockerd import IMAGE, Dockerd
from fakes.hotseat import Hotseat


def test_an_edited_compose_file_is_told_by_log_reload_and_status(dockerd: Dockerd, tmp_path: Path) -> None:
    file = tmp_path / "compose.yml"
    service = {"image": IMAGE, "container_name": "chat", "command": containers.command("chat")}
    file.write_text(json.dumps({"services": {"chat": service}}))
    dockerd.docker("compose", "-f", str(file), "create", cwd=tmp_path)
    model = {"container": "chat", "compose": str(file), "footprint": 0.01}
    hotseat = Hotseat(tmp_path, {}, env=dockerd.env)
    hotseat.file.write_text(json.dumps({"state_dir": str(tmp_path / "s"), "models": {"chat": model}}))
    hotseat.start()
    try:
        assert hotseat.model("chat")["outdated"] is None
        edited = {**service, "labels": {"edited": "yes"}}
        file.write_text(json.dumps({"services": {"chat": edited}}))
        told = hotseat.told(lambda line: "outdated" in line["event"])
        assert (told["model"], told["level"]) == ("chat", "warning")
        reloaded = hotseat.command("reload")
        assert reloaded.returncode == 0, reloaded.stderr
        assert "chat: its container was made from other settings" in reloaded.stdout
        status = hotseat.command("status")
        assert "chat: its container was made from other settings than compose.yml and .env" in status.stdout
        assert "hotseat stop chat" in status.stdout
        file.write_text(json.dumps({"services": {"chat": service}}))
        hotseat.until("chat", lambda now: now["outdated"] is None)
        assert "other settings" not in hotseat.command("status").stdout
    finally:
        hotseat.stop()
