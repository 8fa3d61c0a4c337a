"""Whether another process is certainly gone: said only of one of this boot and this namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailsyncd.observe import process

BOOT = "0f3c9a1e-5d2b-4c8e-9f00-112233445566"


def someone_gone() -> str:
    """A name as this process has, but with a PID beyond Linux's highest."""
    host, boot, namespace, _, start = process.owner().split("/")
    return "/".join((host, boot, namespace, "4194305", start))


def without_boot_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As below ProcSubset=pid: processes, and nothing of the kernel."""
    for name in Path("/proc").iterdir():
        if name.name.isdigit() or name.name == "self":
            (tmp_path / name.name).symlink_to(name)
    monkeypatch.setattr(process, "PROC", tmp_path)


def test_a_process_that_runs_is_not_gone() -> None:
    assert not process.is_gone(process.owner())


def test_a_process_that_has_ended_is_gone() -> None:
    assert process.is_gone(someone_gone())


def test_of_another_boot_nothing_is_known() -> None:
    host, _, *rest = someone_gone().split("/")
    assert not process.is_gone("/".join((host, "0123456789ab", *rest)))


def test_where_the_kernels_boot_id_is_hidden_the_service_managers_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host, _, *rest = someone_gone().split("/")
    without_boot_id(monkeypatch, tmp_path)
    assert not process.is_gone("/".join((host, "?", *rest)))
    monkeypatch.setenv("BOOT_ID", BOOT.replace("-", ""))  # as systemd writes it
    assert process.owner().split("/")[1] == BOOT.replace("-", "")[:12]
    assert process.is_gone("/".join((host, process.owner().split("/")[1], *rest)))


def test_both_words_for_a_boot_are_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process, "PROC", tmp_path)
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text(BOOT + "\n")
    kernels = process.owner().split("/")[1]
    (tmp_path / "sys/kernel/random/boot_id").unlink()
    monkeypatch.setenv("BOOT_ID", BOOT.replace("-", ""))
    assert process.owner().split("/")[1] == kernels
