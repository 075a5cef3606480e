#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
# usage: http_fanout_test.py PROGRAM [NAME...]
"""Drives the example http_fanout over real sockets: with clients that are many, slow, hung, half-closing and hostile,
and with backends that fail in every way, which are here. Time decides nothing: everything is waited for."""
import asyncio
import collections
import contextlib
import itertools
import os
import resource
import signal
import socket
import ssl
import struct
import sys

PATIENCE = 60  # seconds after which something that is waited for counts as lost
HANDLES = None  # how many descriptors there are
ids = itertools.count(1)


def check(good, what):
    if not good:
        raise AssertionError(what)


def same(got, wanted, what):
    check(got == wanted, f"{what}: {got!r}, not {wanted!r}")


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


async def until(condition, what):
    """Waits for a condition that nobody tells of."""
    for _ in range(PATIENCE * 100):
        if await condition() if asyncio.iscoroutinefunction(condition) else condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never: " + what)


# ---- Backends ----


class Backends:
    """Three of them. Of the target /do/A/B/C each does what its word says; `hold` waits until it is let go."""

    async def __aenter__(self):
        self.arrived = collections.Counter()  # questions, by the id of the request
        self.held = collections.Counter()
        self.left = collections.Counter()  # of those that were held: the other end has gone
        self.free = asyncio.Event()
        self.servers = []
        for place in range(3):
            serve = lambda r, w, place=place: self.serve(place, r, w)
            self.servers.append(await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096))
        self.addresses = [f"127.0.0.1:{s.sockets[0].getsockname()[1]}" for s in self.servers]
        return self

    async def __aexit__(self, *_):
        for server in self.servers:
            server.close()

    async def serve(self, place, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            words = head.split()[1].split("/")
            word = words[2 + place] if words[1] == "do" else "ok"
            ident = next(l.split(": ")[1] for l in head.split("\r\n") if l.lower().startswith("x-request-id"))
            self.arrived[ident] += 1
            await self.act(word, place, ident, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def act(self, word, place, ident, reader, writer):
        body = f"{'abc'[place]} {ident}".encode()
        good = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        if word == "hold":
            self.held[ident] += 1
            gone, free = asyncio.ensure_future(reader.read(1)), asyncio.ensure_future(self.free.wait())
            await asyncio.wait({gone, free}, return_when=asyncio.FIRST_COMPLETED)
            free.cancel()
            if gone.done():
                self.left[ident] += 1
                return
            gone.cancel()
            word = "ok"
        if word == "drip":
            for byte in good:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
        if word == "reset":
            writer.write(good[:-1])
            await writer.drain()
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.write({"ok": good, "head": good[:20], "body": good[:-1], "junk": b"\0\1\2 what?\r\n\r\n",
                      "500": b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
                      "huge": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
                      "long": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 30000}.get(word, b""))
        await writer.drain()


# ---- The program ----


class Program:
    def __init__(self, *arguments):
        self.arguments = [str(a) for a in arguments]
        self.tls = "--tls" in self.arguments

    async def __aenter__(self):
        environment = dict(os.environ)  # a build with the address sanitizer keeps what is freed
        environment["ASAN_OPTIONS"] = "quarantine_size_mb=1:" + environment.get("ASAN_OPTIONS", "")
        self.process = await asyncio.create_subprocess_exec(
            PROGRAM, "--listen", "0", *self.arguments, env=environment, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE)
        line = await soon(self.process.stdout.readline())
        check(line.startswith(b"serving port "), f"it does not serve: {line!r}")
        self.port = int(line.split()[-1])
        return self

    async def __aexit__(self, kind, *_):
        if self.process.returncode is None:
            self.process.kill()
        errors = (await soon(self.process.communicate()))[1].decode()
        if kind:
            print(errors[-10_000:], end="", file=sys.stderr)
        if not kind:
            strange = [l for l in errors.splitlines() if l and "backend 127.0.0.1:" not in l]
            same(strange, [], "its standard error")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)

    async def ended(self):
        same(await soon(self.process.wait()), 128 + signal.SIGTERM, "its exit status")

    def memory(self):
        """In KiB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(l.split()[1]) for l in status if l.startswith("VmRSS"))

    async def is_quiet(self):
        """Nobody is there but the app and who asks, with a watch over the client."""
        async with Client(self) as client:
            dump = (await client.ask("/debug/goroutines")).body
        return dump.count("goroutine, ") <= 3


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def closes(self):
        return self.headers.get("connection") == "close"


class Client:
    def __init__(self, program):
        self.program = program

    async def __aenter__(self):
        context = None
        if self.program.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.reader, self.writer = await soon(asyncio.open_connection("127.0.0.1", self.program.port, ssl=context))
        return self

    async def __aexit__(self, *_):
        self.writer.transport.abort() if self.program.tls else self.writer.close()

    def send(self, data):
        self.writer.write(data.encode() if isinstance(data, str) else data)

    def get(self, target="/", ident=None, extra=""):
        ident = ident or str(next(ids))
        self.send(f"GET {target} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {ident}\r\n{extra}\r\n")
        return ident

    async def answer(self):
        """None if the connection was closed instead, between two answers."""
        try:
            head = (await soon(self.reader.readuntil(b"\r\n\r\n"))).decode()
        except asyncio.IncompleteReadError as end:
            same(end.partial, b"", "half an answer")
            return None
        except ConnectionError:
            return None
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await soon(self.reader.readexactly(int(headers["content-length"])))
        return Answer(int(first.split()[1]), headers, body.decode())

    async def ask(self, target="/", ident=None):
        self.get(target, ident)
        return await self.answer()

    async def closed(self):
        try:
            same(await soon(self.reader.read()), b"", "something came where the end should")
        except ConnectionError:
            pass


def body_of(ident):
    return f"a {ident}\nb {ident}\nc {ident}\n"


def right(answer, ident, what="an answer"):
    check(answer is not None, f"{what}: no answer to {ident}")
    same(answer.status, 200, what)
    same(answer.body, body_of(ident), what)


def behind(backends, *arguments):
    """Where nothing else is said no deadline is met: a machine may be slow."""
    never = 1000 * 1000
    return Program("--backends", ",".join(backends.addresses), "--deadline", never, "--patience", never, "--idle", never,
                   "--grace", never, *arguments)


# ---- What a request comes to ----


async def answers():
    async with Backends() as backends, behind(backends) as program:
        async with Client(program) as client:
            for target, status in {"/": 200, "/healthz": 200, "/debug/goroutines": 200, "/do/drip/drip/ok": 200,
                                   "/do/die/ok/ok": 502, "/do/ok/head/ok": 502, "/do/ok/ok/body": 502,
                                   "/do/junk/ok/ok": 502, "/do/ok/500/ok": 502, "/do/ok/huge/ok": 502,
                                   "/do/ok/long/ok": 502, "/do/reset/ok/ok": 502}.items():
                same((await client.ask(target)).status, status, target)
            right(await client.ask("/", "after-all-that"), "after-all-that")
            client.send("HEAD / HTTP/1.1\r\n\r\n")
            same((await client.answer()).status, 405, "HEAD")
            client.send("POST / HTTP/1.1\r\nX-Request-Id: p\r\nContent-Length: 60000\r\n\r\n" + 60000 * "x")
            right(await client.answer(), "p", "a body within the limit")
            client.send("GET / HTTP/1.0\r\nX-Request-Id: old\r\n\r\n")
            right(await client.answer(), "old", "HTTP/1.0")
            await client.closed()
        async with Client(program) as client:
            client.get("/", "last", "Connection: close\r\n")
            answer = await client.answer()
            right(answer, "last")
            check(answer.closes, "it says that it closes")
            await client.closed()


async def failures():
    """One failure ends the request, and those that were asked with it; so does the deadline; so does the client."""
    async with Backends() as backends:
        async with behind(backends) as program, Client(program) as client:
            same((await client.ask("/do/hold/die/hold", "loser")).status, 502, "one fails")
            await until(lambda: backends.left["loser"] == backends.held["loser"], "the losers are left")
            for how in ("close", "half", "reset"):
                async with Client(program) as other:
                    other.get("/do/hold/hold/hold", how)
                    other.get("/", how + "-next")  # sent ahead, and never to be looked at
                    await until(lambda: backends.arrived[how] == 3, "all are asked")
                    if how == "close":
                        other.writer.close()
                    elif how == "half":
                        other.writer.write_eof()
                        await other.closed()
                    else:
                        other.writer.transport.abort()
                    await until(lambda: backends.left[how] == 3, "all are left")
                same(backends.arrived[how + "-next"], 0, "what was sent ahead")
            right(await client.ask("/", "still"), "still")
        async with behind(backends, "--deadline", 50) as program, Client(program) as client:
            same((await client.ask("/do/ok/hold/hold", "late")).status, 504, "the deadline")
            await until(lambda: backends.left["late"] == backends.held["late"], "those that are late are left")
    unused = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    addresses = ",".join(f"127.0.0.1:{s.getsockname()[1]}" for s in unused)
    for s in unused:
        s.close()
    async with Program("--backends", addresses) as program, Client(program) as client:
        same((await client.ask()).status, 502, "nobody listens")


async def shedding():
    async with Backends() as backends, behind(backends, "--limit", 2) as program:
        async with Client(program) as one, Client(program) as two, Client(program) as third:
            for client, name in ((one, "one"), (two, "two")):
                client.get("/do/hold/hold/hold", name)
                await until(lambda: backends.arrived[name] == 3, "all are asked")
            refused = await third.ask("/", "third")
            same((refused.status, backends.arrived["third"]), (503, 0), "one too many")
            same((await third.ask("/healthz")).status, 200, "its health")
            one.writer.close()
            await until(lambda: backends.left["one"] == 3, "all are left")
            async def is_taken():
                ident = str(next(ids))
                answer = await third.ask("/", ident)
                if answer.status == 503:
                    return False
                right(answer, ident)
                return True
            await until(is_taken, "there is room again")
            backends.free.set()
            right(await two.answer(), "two")


# ---- What a client may do ----


async def is_refused(program, what, data, status):
    async with Client(program) as client:
        client.send(data)
        answer = await client.answer()
        check(answer, what + ": no answer")
        same((answer.status, answer.closes), (status, True), what)
        await client.closed()


async def clients():
    async with Backends() as backends, behind(backends) as program:
        async with Client(program) as client:  # sent ahead, in parts that have nothing to do with requests
            data = b"".join(f"GET /do/drip/ok/ok HTTP/1.1\r\nX-Request-Id: p{i}\r\n\r\n".encode() for i in range(50))
            for at in range(0, len(data), 37):
                client.send(data[at:at + 37])
                await client.writer.drain()
            for i in range(50):
                right(await client.answer(), f"p{i}", "requests that were sent ahead")
        async with Client(program) as client:  # sent ahead while another is being answered
            client.get("/do/hold/ok/ok", "held")
            await until(lambda: backends.arrived["held"] == 3, "all are asked")
            client.get("/", "ahead")
            same(backends.arrived["ahead"], 0, "one after the other")
            backends.free.set()
            right(await client.answer(), "held")
            right(await client.answer(), "ahead")
        hostile = {
            "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
            "no version": (b"GET /\r\n\r\n", 400),
            "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            "a bad length": (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
            "a header without an end": (b"GET / HTTP/1.1\r\nX: " + 300_000 * b"x", 431),
            "many headers": (b"GET / HTTP/1.1\r\n" + 3000 * b"X: 1\r\n" + b"\r\n", 431),
            "a body that is said to be large": (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
            "a body that is large": (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + 20 * (b"4000\r\n" + 0x4000 * b"x" + b"\r\n"),
                413),
        }
        for what, (data, status) in hostile.items():
            await is_refused(program, what, data, status)
        async with Client(program) as client:  # gone in the middle of a request
            client.send("GET / HT")
            client.writer.write_eof()
            await client.closed()
        async with Client(program) as client:  # the answer is ready before anybody looks whether the client is there
            client.get("/healthz")
            client.writer.write_eof()
            same((await client.answer()).status, 200, "half-closing")
            await client.closed()
        await until(program.is_quiet, "all goroutines of requests have ended")
        same(len(backends.arrived), 52, "questions")


async def slow_clients():
    async with Backends() as backends, behind(backends, "--patience", 100) as program:
        await is_refused(program, "half a header", b"GET / HTTP/1.1\r\nHost", 408)
        await is_refused(program, "half a body", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nx", 408)
        async with Client(program) as client:  # slow-loris: ever one byte more, never the end
            async def drip():
                with contextlib.suppress(ConnectionError):
                    client.send("GET / HTTP/1.1\r\nX: ")
                    while True:
                        client.send("x")
                        await asyncio.sleep(0.02)
            dripping = asyncio.ensure_future(drip())
            same((await client.answer()).status, 408, "slow-loris")
            dripping.cancel()
        await until(program.is_quiet, "all goroutines of requests have ended")
        same(len(backends.arrived), 0, "questions")
    async with Backends() as backends, behind(backends, "--idle", 50) as program, Client(program) as client:
        await client.closed()  # it has never said anything


# ---- Many ----


async def hostile_crowd(program, stop):
    shapes = itertools.cycle([b"", b"G", b"GET / HTTP/1.1\r\nX: " + 20_000 * b"y", b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n"])
    while not stop.is_set():
        with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
            async with Client(program) as client:
                client.send(next(shapes))
                await client.writer.drain()
        await asyncio.sleep(0.001)


async def many():
    """Kept alive; each asks a few times, among clients that come and break off; no answer is lost or somebody else's."""
    count = min(1000, (HANDLES - 200) // 4)
    async with Backends() as backends, behind(backends, "--limit", 5000) as program:
        clients = [Client(program) for _ in range(count)]
        stop = asyncio.Event()
        crowd = [asyncio.ensure_future(hostile_crowd(program, stop)) for _ in range(4)]
        limit = asyncio.Semaphore(200)  # of requests at the same time

        async def one(client):
            async with limit:
                ident = f"many-{next(ids)}"
                right(await client.ask("/", ident), ident)

        await asyncio.gather(*(c.__aenter__() for c in clients))
        memory = []
        for _ in range(3):
            await asyncio.gather(*(one(c) for c in clients))
            memory.append(program.memory())
        stop.set()
        await asyncio.gather(*crowd)
        for c in clients:
            c.get("/", f"burst-{id(c)}")  # all at once
        for c in clients:
            right(await c.answer(), f"burst-{id(c)}", "all at once")
        memory.append(program.memory())
        check(memory[-2] < memory[0] * 1.5 + 20_000, f"memory grows: {memory} KiB")
        for c in clients:
            await c.__aexit__()
        await until(program.is_quiet, "all goroutines of requests have ended")
        program.stop()
        await program.ended()


# ---- The end ----


async def draining():
    async with Backends() as backends, behind(backends) as program:
        async with Client(program) as idle, Client(program) as busy:
            right(await idle.ask("/", "idle"), "idle")
            busy.get("/do/hold/ok/ok", "busy")
            await until(lambda: backends.arrived["busy"] == 3, "all are asked")
            program.stop()
            await idle.closed()
            busy.get("/", "ahead")  # comes while it drains: to be answered, or not, but not in part
            backends.free.set()
            answer = await busy.answer()
            right(answer, "busy")
            check(answer.closes, "the last answer says that it is")
            await busy.closed()
        await program.ended()
    async with Backends() as backends, behind(backends, "--grace", 100) as program:
        async with Client(program) as busy:
            busy.get("/do/hold/ok/ok", "busy")
            await until(lambda: backends.arrived["busy"] == 3, "all are asked")
            program.stop()
            await busy.closed()
        await program.ended()
        await until(lambda: backends.left["busy"] == 1, "the one that is held is left")


async def stopping_under_load():
    """SIGTERM amid requests: each is answered rightly, or its connection is closed, and never in the middle."""
    for tls in ((), ("--tls",)):
        async with Backends() as backends, behind(backends, *tls) as program:
            answered = [0] * 100

            async def one(i):
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    async with Client(program) as client:
                        while True:
                            ident = f"load-{next(ids)}"
                            answer = await client.ask("/", ident)
                            if answer is None:
                                return
                            right(answer, ident)
                            answered[i] += 1
                            if answer.closes:
                                return await client.closed()

            load = [asyncio.ensure_future(one(i)) for i in range(len(answered))]
            await until(lambda: min(answered) >= 2 or any(l.done() for l in load), "all have been answered twice")
            check(not any(l.done() for l in load), "a client ended too early")
            program.stop()
            await asyncio.gather(*load)
            await program.ended()


async def tls():
    async with Backends() as backends, behind(backends, "--tls") as program:
        clients = [Client(program) for _ in range(50)]
        await asyncio.gather(*(c.__aenter__() for c in clients))
        for _ in range(3):
            sent = [(c, c.get("/"), c.get("/")) for c in clients]
            for c, first, second in sent:
                right(await c.answer(), first)
                right(await c.answer(), second)
        clients[0].get("/do/hold/hold/hold", "gone")
        await until(lambda: backends.arrived["gone"] == 3, "all are asked")
        clients[0].writer.transport.abort()
        await until(lambda: backends.left["gone"] == 3, "all are left")
        clients[1].send(b"GET / HTTP/1.1\r\nX: " + 300_000 * b"x")
        same((await clients[1].answer()).status, 431, "a header without an end")
        await clients[1].closed()
        for c in clients[2:]:
            c.writer.close()
        await until(program.is_quiet, "all goroutines of requests have ended")
        program.stop()
        await program.ended()


async def no_handshakes():
    async with Backends() as backends, behind(backends, "--patience", 50, "--tls") as program:
        for data in (b"", b"GET / HTTP/1.1\r\n\r\n"):  # no handshake, and none that is one
            plain = await asyncio.open_connection("127.0.0.1", program.port)
            plain[1].write(data)
            with contextlib.suppress(ConnectionError):
                await soon(plain[0].read())
            plain[1].close()
        program.stop()
        await program.ended()


async def command_line():
    for wrong in (["--listen"], ["--listen", "x"], ["--listen", "65536"], ["--listen", "-1"], ["--what", "1"], ["--tls"],
                  ["--listen", "0", "--limit", "0"], ["--listen", "0", "--backends", "nowhere"],
                  ["--listen", "0", "--deadline", "1s"]):
        process = await asyncio.create_subprocess_exec(PROGRAM, *wrong, stderr=asyncio.subprocess.PIPE)
        errors = (await soon(process.communicate()))[1]
        same(process.returncode, 2, " ".join(wrong))
        check(errors.startswith(b"usage:"), " ".join(wrong))
    async with Program() as program:  # with backends of its own
        async with Client(program) as client:
            same((await client.ask("/x", "7")).body, "a /x 7\nb /x 7\nc /x 7\n", "its own backends")
        program.stop()
        await program.ended()


TESTS = [command_line, answers, failures, shedding, clients, slow_clients, many, draining, stopping_under_load, tls,
         no_handshakes]


async def main(names):
    loop = asyncio.get_running_loop()
    for test in TESTS:
        if names and test.__name__ not in names:
            continue
        begun = loop.time()
        try:
            await test()
        except Exception as error:
            print(f"FAIL  {test.__name__}: {error!r}")
            raise
        print(f"ok    {test.__name__} ({loop.time() - begun:.1f} s)", flush=True)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv[1])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    HANDLES = 20_000 if most == resource.RLIM_INFINITY else min(most, 20_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (HANDLES, most))
    asyncio.run(main(sys.argv[2:]))
