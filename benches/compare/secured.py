"""TLS: what it costs wsloop that speaks it, and nginx that speaks it for wsloop.

    scripts/compare --work tls

It measures processor time, which both have on core 0: of a connection with a full handshake, one
request and its refusal, of one that is resumed, and of a delivery to each of a hundred. The
certificate is one of P-256. nginx has one process, and answers those requests itself; of a delivery
behind it wsloop's part is counted as well, and so is its memory for idle connections. What it finds
is kept in target/compare/secured.json, for BENCHMARKS.md.
"""

import json
import os
import selectors
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

CLIENTS = 100
SIZES = (64, 16 << 10)
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "target/compare/secured.json"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@dataclass
class Work:
    """How much is done."""

    rounds: int = 3
    handshakes: int = 1500
    messages: int = 400
    # As many as nginx has descriptors for, two each, where 20,000 may be open.
    idle: int = 9_500


def main(quick=False):
    """Measures and keeps what is found; a quick run shows that it works, and keeps nothing."""
    work = Work(1, 20, 4, 100) if quick else Work()
    program = str(ROOT / "target/release/wsloop")
    with tempfile.TemporaryDirectory() as folder:
        certificate = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                       "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                       "-addext", "subjectAltName=DNS:localhost", "-keyout", f"{folder}/key",
                       "-out", f"{folder}/cert"]
        subprocess.run(certificate, check=True, stderr=subprocess.DEVNULL)
        rounds = [measure(work, program, folder, number == 0)
                  for number in range(work.rounds)]
    found = {name: [median(one[name][at] for one in rounds if name in one) for at in (0, 1)]
             for name in rounds[0]}
    keep(RESULTS, found, quick)


def keep(file, found, quick):
    print("\n".join(table(found)))
    if not quick:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))


def section():
    """What was found, for the page; nothing where it was not measured."""
    if not RESULTS.exists():
        return ""
    return "\n".join([
        "## TLS", "",
        "wsloop that speaks TLS, and nginx that speaks it in front of wsloop; the certificate is one of",
        "P-256. A handshake is that of a new connection, with a request and its refusal, which nginx",
        "gives itself. Of deliveries and idle connections behind nginx both programs are counted.",
        "`scripts/compare --work tls` measures it.", "", *table(json.loads(RESULTS.read_text()))])


def table(found):
    """Rows of wsloop beside nginx."""
    rows = ["| | wsloop | nginx | wsloop to nginx |", "|---|---|---|---|"]
    for name, (wsloop, nginx) in found.items():
        digits = 0 if wsloop >= 100 else 1
        shown = f"{wsloop:,.{digits}f} | {nginx:,.{digits}f} | {wsloop / nginx:.2f} ×"
        rows.append(f"| {name} | {shown} |")
    return rows


def measure(work, program, folder, is_first):
    plain, secured, proxied = (free_port() for _ in range(3))
    os.sched_setaffinity(0, {0})
    wsloop = subprocess.Popen(
        [program, "--listen", f"https://127.0.0.1:{secured},127.0.0.1:{plain}", "--tls-cert",
         f"{folder}/cert", "--tls-key", f"{folder}/key", "--resp", "off", "--demo=off", "--log",
         "error", "--ping-interval", "0", "--allow", "all", "--expire", "0"], stdout=subprocess.DEVNULL)
    nginx = start_nginx(folder, proxied, plain)
    os.sched_setaffinity(0, {1})
    try:
        for port in (plain, secured, proxied):
            wait_for(port)
        context = ssl.create_default_context(cafile=f"{folder}/cert")
        found = {}
        for name, resumed in (("full handshake, µs", False), ("resumed handshake, µs", True)):
            found[name] = [shake(context, port, process.pid, resumed, work.handshakes)
                           for port, process in ((secured, wsloop), (proxied, nginx))]
        for size in SIZES:
            found[f"delivery of {size:,} bytes to each of {CLIENTS}, µs"] = [
                deliver(context, secured, plain, [wsloop.pid], size, work.messages),
                deliver(context, proxied, plain, [wsloop.pid, nginx.pid], size, work.messages)]
        if is_first:
            found[f"idle connection of {work.idle:,}, bytes"] = [
                idle(context, secured, [wsloop.pid], work.idle),
                idle(context, proxied, [wsloop.pid, nginx.pid], work.idle)]
        return found
    finally:
        wsloop.terminate()
        nginx.terminate()
        wsloop.wait()
        nginx.wait()


def start_nginx(folder, port, upstream):
    bodies = "".join(f"{name}_temp_path {folder}/{name};\n"
                     for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(f"{folder}/nginx.conf", "w") as file:
        file.write(f"""user root; daemon off; master_process off; pid {folder}/pid;
events {{ worker_connections 65536; }}
http {{ access_log off; {bodies}
server {{ listen 127.0.0.1:{port} ssl backlog=4096;
ssl_certificate {folder}/cert; ssl_certificate_key {folder}/key;
ssl_protocols TLSv1.2 TLSv1.3; keepalive_timeout 0;
location = /nowhere {{ return 404; }}
location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1;
proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
proxy_set_header Host $http_host; }} }} }}
""")
    path = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    return subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf", "-e", "/dev/null"], env=path)


def shake(context, port, pid, resumed, handshakes):
    """Of each connection: a handshake, a request and its answer."""
    session = None
    count = handshakes // 10
    for part in (count, handshakes):
        before = processor_s([pid])
        for _ in range(part):
            with connect(context, port, session) as stream:
                stream.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
                while stream.recv(4096):
                    pass
                if resumed:
                    session = stream.session
                    stream.session_reused or part is count or sys.exit("nothing is resumed")
    return (processor_s([pid]) - before) * 1e6 / handshakes


def deliver(context, port, plain, pids, size, count):
    selector = selectors.DefaultSelector()
    hearers = [upgrade(connect(context, port), "subscribe-broadcast") for _ in range(CLIENTS)]
    for hearer in hearers:
        selector.register(hearer, selectors.EVENT_READ, [0])
    speaker = upgrade(socket.create_connection(("127.0.0.1", plain)), "publish-broadcast")
    payload = b"x" * size
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    frame = b"\x81" + length + b"\0\0\0\0" + payload
    whole = size + (2 if size < 126 else 4)
    for messages in (count // 10, count):
        before = processor_s(pids)
        for _ in range(messages):
            speaker.sendall(frame)
            waiting = CLIENTS
            while waiting:
                for key, _ in selector.select(10):
                    # What is decrypted already no selector sees.
                    while True:
                        key.data[0] += len(key.fileobj.recv(65536))
                        if not key.fileobj.pending():
                            break
                    if key.data[0] >= whole:
                        key.data[0] -= whole
                        waiting -= 1
    used = processor_s(pids) - before
    for stream in [*hearers, speaker]:
        stream.close()
    return used * 1e6 / (count * CLIENTS)


def idle(context, port, pids, count):
    """Bytes of user space for each."""
    few = [upgrade(connect(context, port), "subscribe-broadcast") for _ in range(50)]
    before = memory(pids)
    many = [upgrade(connect(context, port), "subscribe-broadcast") for _ in range(count)]
    time.sleep(3)
    grown = memory(pids) - before
    for stream in [*few, *many]:
        stream.close()
    time.sleep(2)
    return grown / count


def memory(pids):
    def of(pid):
        with open(f"/proc/{pid}/smaps_rollup") as file:
            line = next(line for line in file if line.startswith("Pss_Anon:"))
        return int(line.split()[1]) << 10

    return sum(of(pid) for pid in pids)


def connect(context, port, session=None):
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(stream, server_hostname="localhost", session=session)


def upgrade(stream, options):
    stream.sendall(f"GET /ws/room?{options} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                   f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}"
                   "\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += stream.recv(1) or sys.exit("no answer")
    assert head.startswith(b"HTTP/1.1 101"), head
    return stream


def processor_s(pids):
    """Of all threads, by the nanosecond."""
    stats = (task.joinpath("schedstat").read_text()
             for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int(stat.split()[0]) for stat in stats) / 1e9


def wait_for(port):
    end = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


if __name__ == "__main__":
    main()
