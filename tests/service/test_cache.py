"""The cache may only ever help."""

import asyncio
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from service import cache as caches
from service.cache import Cache, Disk, open_cache
from tests.conftest import in_time
from tests.service.test_wisp_api import post


def hit(client, photo):
    """Ask until the answer comes from the cache, which is written behind the answer's back."""
    answers = []

    def cached():
        answers.append(post(client, photo))
        return answers[-1].headers["x-wisp-cached"] == "true"

    in_time(cached)
    return answers[-1]


def test_hits_are_the_same_and_survive_a_restart(serve, photo, monkeypatch):
    monkeypatch.setattr(caches, "_PATIENCE", 30)  # a busy machine is not what is tested
    first = serve(cache="disk")
    a = post(first, photo)
    assert a.headers["x-wisp-cached"] == "false"
    assert hit(first, photo).content == a.content
    assert post(first, photo, crop="true").headers["x-wisp-cached"] == "false"
    again = post(serve(cache="disk"), photo)
    assert again.headers["x-wisp-cached"] == "true"
    assert again.content == a.content


def test_a_torn_entry_is_a_miss(serve, photo, settings):
    first = serve(cache="disk")
    a = post(first, photo)
    diskcache = pytest.importorskip("diskcache")
    with diskcache.Cache(str(settings.data / "cache")) as files:
        in_time(lambda: list(files))
        keys = list(files)
        for key in keys:
            files.set(key, files.get(key)[:-10])
    b = post(first, photo)
    assert b.headers["x-wisp-cached"] == "false"
    assert a.content == b.content


class Broken:
    """A store that fails, or hangs."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds, self.calls = seconds, 0

    async def get(self, key):
        self.calls += 1
        await asyncio.sleep(self.seconds)
        raise ConnectionError("down")

    async def set(self, key, value):
        await self.get(key)

    async def close(self):
        raise ConnectionError("down")


def test_a_store_that_is_down_is_a_miss_and_is_left_alone():
    async def story():
        store = Broken()
        cache = Cache(store)
        for _ in range(5):
            assert await cache.get("key") is None
            cache.put("key", lambda: b"value")
        assert store.calls == 1
        assert cache.state == "resting"
        await cache.close()

    asyncio.run(story())


def test_a_store_that_hangs_costs_half_a_second_once():
    async def story():
        store = Broken(600)
        cache = Cache(store)
        for _ in range(20):
            assert await cache.get("key") is None
        assert store.calls == 1

    asyncio.run(story())


def test_a_store_slow_to_write_piles_nothing_up():
    class Slow(Broken):
        async def set(self, key, value):
            self.calls += 1
            await asyncio.sleep(0.2)

    async def story():
        store = Slow()
        cache = Cache(store)
        packed: list[int] = []

        def pack():
            packed.append(1)
            return b"value"

        for number in range(50):
            cache.put(str(number), lambda: pack())
        await asyncio.sleep(0.1)
        assert store.calls <= 4 and len(packed) <= 4
        await cache.close()

    asyncio.run(story())


def test_the_disk_cache_keeps_to_its_size(tmp_path):
    async def story():
        disk = Disk(tmp_path, 4_000_000)
        for number in range(60):
            await disk.set(str(number), bytes(100_000))
        volume = await disk._do(disk._files.volume)
        assert volume < 4_500_000
        assert await disk.get("59") is not None
        assert await disk.get("0") is None
        await disk.close()

    asyncio.run(story())


def test_a_folder_that_cannot_be_written_to_is_no_cache(settings, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    cache = open_cache(settings.model_copy(update={"cache": "disk", "data": tmp_path / "file"}))
    assert cache.state == "off"


def test_redis_that_is_not_there_costs_nothing(serve, photo):
    service = serve(cache="redis://127.0.0.1:1/0")
    for _ in range(3):
        answer = post(service, photo)
        assert (answer.status_code, answer.headers["x-wisp-cached"]) == (200, "false")


def test_a_cache_out_of_reach_is_told_at_the_start_and_when_asked(serve, caplog):
    service = serve(cache="redis://127.0.0.1:1/0")
    assert "cache failed, resting" in caplog.text
    answer = service.get("/readyz")
    assert (answer.status_code, answer.json()["cache"]) == (200, "resting")


def test_readyz_finds_a_cache_that_is_gone_since(serve, monkeypatch):
    service = serve(cache="disk")
    assert service.get("/readyz").json()["cache"] == "ok"
    monkeypatch.setattr(service.app.state.wisp.queue.cache, "_store", Broken())
    assert service.get("/readyz").json()["cache"] == "resting"


class RealRedis:
    """A server of its own on a free port, to be killed and started again."""

    def __init__(self, folder):
        binary = shutil.which("redis-server")
        if not binary:
            pytest.skip("redis-server is not installed")
        pytest.importorskip("redis", reason="needs pip install redis")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.command += ["--dir", str(folder)]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        in_time(self.listens)

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis_server(tmp_path):
    server = RealRedis(tmp_path)
    yield server
    server.kill()


def test_a_real_redis_shared_by_two_services_and_killed(serve, photo, redis_server, tmp_path):
    url = redis_server.url
    one = serve(cache=url)
    a = post(one, photo)
    two = serve(cache=url, data=tmp_path / "other")
    assert hit(two, photo).content == a.content
    redis_server.kill()
    c = post(two, photo)
    assert (c.status_code, c.headers["x-wisp-cached"]) == (200, "false")
    assert c.content == a.content


def test_a_full_redis_is_no_error(serve, photo, redis_server):
    redis = pytest.importorskip("redis")
    url = redis_server.url
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory", "1mb")
        client.config_set("maxmemory-policy", "noeviction")
    service = serve(cache=url)
    for _ in range(2):
        answer = post(service, photo)
        assert (answer.status_code, answer.headers["x-wisp-cached"]) == (200, "false")
        time.sleep(0.2)


def test_redis_dies_hangs_and_returns_under_load(serve, photo, redis_server, monkeypatch):
    """No request is lost, and the cache is used again as soon as it is back."""
    monkeypatch.setattr(caches, "_REST", 0.3)
    service = serve(cache=redis_server.url)
    whole = post(service, photo).content
    answers, stop = [], threading.Event()

    def visit():
        while not stop.is_set():
            answer = post(service, photo)
            right = answer.status_code == 200 and answer.content == whole
            answers.append((right, answer.headers.get("x-wisp-cached")))

    def cached_again():
        """Wait until the cache answers, and at least a few requests have been answered."""
        before = len(answers)
        in_time(lambda: ("true" in {hit for _, hit in answers[before:]}) and answers[before + 4 :])

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        cached_again()
        for _ in range(2):
            redis_server.kill()
            time.sleep(0.5)
            redis_server.start()  # empty
            cached_again()
        redis_server.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        redis_server.process.send_signal(signal.SIGCONT)
        cached_again()
    finally:
        stop.set()
        for visitor in visitors:
            visitor.join()
    assert all(right for right, _ in answers)
    assert "false" in {hit for _, hit in answers}  # while it was away
    assert service.app.state.wisp.queue.cache.failures
