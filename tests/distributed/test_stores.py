"""Stores: what each kind answers, how long it waits, whom it lets in."""

import os
import socket
import sys
import threading
from datetime import timedelta

import pytest

from facula import config
from facula import distributed as dist
from facula.distributed.store import wire

SOON = timedelta(milliseconds=60)


def _tcp(tmp_path):
    return dist.TCPStore("127.0.0.1", 0, 1, True)


@pytest.fixture(params=["hash", "file", "tcp", "prefix"])
def store(request, tmp_path):
    if request.param == "hash":
        return dist.HashStore()
    if request.param == "file":
        return dist.FileStore(str(tmp_path / "store"), 1)
    tcp = _tcp(tmp_path)
    return tcp if request.param == "tcp" else dist.PrefixStore("a/b", tcp)


def test_what_a_store_holds(store):
    before = store.num_keys()
    store.set("key", "one")
    store.set("raw", b"\0\xff")
    assert store.get("key") == b"one" and store.get("raw") == b"\0\xff"
    assert store.add("n", 3) == 3 and store.add("n", -1) == 2 and store.get("n") == b"2"
    store.append("key", "two")
    assert store.get("key") == b"onetwo"
    assert store.num_keys() == before + 3 and {"key", "raw", "n"} <= set(store.list_keys())
    assert store.check(["key", "n"]) and not store.check(["key", "none"])
    assert store.delete_key("raw") and not store.delete_key("raw") and not store.check(["raw"])
    store.multi_set(["x", "y"], ["1", "2"])
    assert store.multi_get(["y", "x"]) == [b"2", b"1"]


def test_compare_and_set(store):
    assert store.compare_set("owner", "someone", "me") == b"someone" and not store.check(["owner"])
    assert store.compare_set("owner", "", "me") == b"me"
    assert store.compare_set("owner", "", "you") == b"me" and store.compare_set("owner", "me", "you") == b"you"


def test_queues(store):
    with pytest.raises(dist.QueueEmptyError):
        store.queue_pop("q", block=False)
    for value in ("1", "2"):
        store.queue_push("q", value)
    assert store.queue_len("q") == 2 and store.queue_pop("q") == b"1" and store.queue_pop("q") == b"2"
    store.set_timeout(SOON)
    with pytest.raises(dist.DistStoreError, match="wait timeout"):
        store.queue_pop("q")


def test_waiting_ends(store):
    with pytest.raises(dist.DistStoreError, match=r"wait timeout after 60ms, keys: /none"):
        store.wait(["none"], SOON)
    store.set_timeout(SOON)
    assert store.timeout == SOON
    with pytest.raises(dist.DistStoreError):
        store.get("none")


def test_a_value_that_comes_later(store):
    store.set_timeout(timedelta(seconds=60))
    other = store.clone()
    thread = threading.Thread(target=lambda: (store.get("go"), other.set("later", "here")))
    thread.start()
    other.set("go", "1")
    thread.join()
    assert store.get("later") == b"here"


def test_a_barrier_of_threads(store):
    thread = threading.Thread(target=lambda: store.clone().barrier("b", 2, timedelta(seconds=60)))
    thread.start()
    store.barrier("b", 2, timedelta(seconds=60))
    thread.join()


def test_values_are_text_or_bytes(store):
    with pytest.raises(TypeError):
        store.set("key", 3)


def test_a_file_is_removed_by_the_last(tmp_path):
    name = str(tmp_path / "f")
    one, two = dist.FileStore(name, 2), dist.FileStore(name, 2)
    one.set("k", "v")
    assert two.get("k") == b"v" and one.path == name and one.num_keys() == 1
    del one
    assert os.path.exists(name)
    del two
    assert not os.path.exists(name)


# ---- TCP ------------------------------------------------------------------------------------------------------------


def test_threads_of_one_process_share_a_file(tmp_path):
    name, before = str(tmp_path / "store"), sys.getswitchinterval()
    stores = [dist.FileStore(name, 3), dist.FileStore(name, 3)]

    def count(store):
        for _ in range(60):
            store.add("n", 1)
    threads = [threading.Thread(target=count, args=(store,)) for store in stores * 2]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert dist.FileStore(name, 3).get("n") == b"240"


def test_a_port_in_use_and_nobody_there():
    store = dist.TCPStore("127.0.0.1", 0, 1, True)
    with pytest.raises(dist.DistNetworkError, match="failed to listen"):
        dist.TCPStore("127.0.0.1", store.port, 1, True)
    port = store.port
    store.close()
    with pytest.raises(dist.DistNetworkError, match="timed out after 50ms"):
        dist.TCPStore("127.0.0.1", port, 1, False, timedelta(milliseconds=50))


def test_two_masters_of_one_process():
    one = dist.TCPStore("127.0.0.1", 0, 1, True, multi_tenant=True)
    two = dist.TCPStore("127.0.0.1", one.port, 1, True, multi_tenant=True)
    one.set("k", "v")
    assert two.get("k") == b"v"


def test_a_master_that_waits_for_workers():
    with pytest.raises(dist.DistStoreError, match="1/2 clients joined"):
        dist.TCPStore("127.0.0.1", 0, 2, True, timedelta(milliseconds=50))


def test_a_master_that_goes():
    master = dist.TCPStore("127.0.0.1", 0, 1, True)
    client = dist.TCPStore("127.0.0.1", master.port, 1, False, wait_for_workers=False)
    master.close()
    with pytest.raises(dist.DistNetworkError):
        for _ in range(3):
            client.get("k")


def test_a_large_value():
    master = dist.TCPStore("127.0.0.1", 0, 1, True)
    data = os.urandom(3 << 20)
    master.set("k", data)
    assert master.get("k") == data


def test_without_a_secret_it_is_for_this_machine():
    with pytest.raises(dist.DistNetworkError, match="FACULA_DISTRIBUTED_SECRET"):
        dist.TCPStore("10.1.2.3", 0, 1, True)


def test_who_does_not_know_the_secret(monkeypatch):
    monkeypatch.setattr(config.DISTRIBUTED_SECRET, "value", "right")
    master = dist.TCPStore("127.0.0.1", 0, 1, True)
    master.set("k", "v")
    for other in ("wrong", ""):
        monkeypatch.setattr(config.DISTRIBUTED_SECRET, "value", other)
        with pytest.raises(dist.DistNetworkError, match="SECRET"):
            dist.TCPStore("127.0.0.1", master.port, 1, False, timedelta(seconds=5), wait_for_workers=False)
    monkeypatch.setattr(config.DISTRIBUTED_SECRET, "value", "right")
    assert dist.TCPStore("127.0.0.1", master.port, 1, False, wait_for_workers=False).get("k") == b"v"


def test_strangers_and_malformed_messages_close_their_connection():
    import random
    draw = random.Random(0)
    master = dist.TCPStore("127.0.0.1", 0, 1, True)

    def said(data, introduced):
        with socket.create_connection(("127.0.0.1", master.port), timeout=20) as sock:
            if introduced:
                wire.introduce(sock, b"")
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1 << 16):
                    pass
            except ConnectionError:
                pass
    for _ in range(40):
        data = draw.randbytes(draw.randrange(1, 80))
        said(data, False)
        said(wire.MAGIC + data, False)
        said(data, True)
        said(wire.packed([draw.randbytes(3) for _ in range(draw.randrange(3))]), True)
        said(wire.packed([draw.choice([b"set", b"add", b"get", b"wait", b"take"]), data]), True)
    said(b"\xff\xff\xff\xff", True)
    said(wire.packed([b"values", b"x"]), True)
    master.set("k", "v")
    assert master.get("k") == b"v"
