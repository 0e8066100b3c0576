//! The configurations of `examples/deploy`, each in the server that it is for, with a browser's
//! WebSocket through it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::client::{Client, Event, Response, upgrade};
use crate::support::{Folder, PATIENCE, Process, Wsloop, eventually, free_port};

/// Where the browser comes from, which no proxy here does.
const BROWSER: &str = "127.0.0.9:0";
const SECONDS_OF_PROXY: u64 = 3;

/// A site: wsloop, and a proxy in front of it.
struct Site {
    server: Wsloop,
    _proxy: Process,
    address: SocketAddr,
    folder: Folder,
    /// Its figures can be asked for without the proxy.
    counts: bool,
}

/// The text of a configuration, for these ports, with a patience that a test can wait for.
pub fn configuration(file: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy").join(file);
    let mut text = fs::read_to_string(path).expect("a configuration");
    for (from, to) in changes {
        assert!(text.contains(from), "{file} has no {from}");
        text = text.replace(from, to);
    }
    text
}

impl Site {
    /// Starts both; `proxy` writes a configuration for the two addresses and says how it is begun.
    fn start(args: &[&str], unix: bool, proxy: impl FnOnce(&Folder, &str, u16) -> Command) -> Site {
        let folder = Folder::new();
        let place = format!("unix:{}", folder.join("wsloop.sock").display());
        let listen = ["--listen", &place];
        let always = ["--log", "debug", "--max-message-size", "2MiB", "--allow", "all"];
        let listen = if unix { &listen[..] } else { &[] };
        let server = Wsloop::start(&[&always[..], args, listen].concat());
        let upstream = if unix { place } else { server.address().to_string() };
        let port = free_port();
        let mut command = proxy(&folder, &upstream, port);
        let log = fs::File::create(folder.join("log")).expect("a file");
        let errors = log.try_clone().expect("a file");
        // Debian keeps servers where only root's PATH looks.
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").expect("a PATH"));
        command.env("PATH", path).current_dir(folder.path());
        let proxy = Process::spawn(command.stdout(Stdio::from(log)).stderr(Stdio::from(errors)));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listens = || TcpStream::connect(address).is_ok().then_some(());
        let counts = !args.contains(&"--proxy-protocol") && !args.contains(&"/");
        let site = Site { server, _proxy: proxy, address, folder, counts };
        eventually(&format!("a proxy, {}", site.folder.path()), listens);
        site
    }

    fn stream(&self) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let browser: SocketAddr = BROWSER.parse().expect("an address");
        socket.bind(&browser.into()).expect("an address of this machine");
        socket.connect(&self.address.into()).expect("a proxy that listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// A page's WebSocket, which says that it is somebody else.
    fn open(&self, prefix: &str) -> Client {
        let mut stream = self.stream();
        let host = self.address;
        let more = format!("Origin: http://{host}\r\nX-Forwarded-For: 6.6.6.6\r\n");
        let path = "room?subscribe-broadcast&publish-broadcast&echo";
        let request = upgrade(path, host, &more).replacen("/ws/", prefix, 1);
        stream.write_all(request.as_bytes()).expect("it is taken");
        Client::accepted(stream).unwrap_or_else(|response| {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            panic!("{response:?}\n{log}")
        })
    }

    /// A page's stream, and what the page publishes by plain HTTP: each event comes at once, and
    /// the stream outlives the proxy's patience.
    fn try_stream(&self, prefix: &str) {
        let host = self.address;
        let asked = format!("Host: {host}\r\nOrigin: http://{host}\r\n");
        let mut stream = self.stream();
        let accepts = "Accept: text/event-stream";
        let request =
            format!("GET {prefix}events?subscribe-broadcast HTTP/1.1\r\n{asked}{accepts}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is taken");
        let (head, mut come) = Response::read_head(&mut stream);
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
        let mut comments = 0;
        for text in ["one", "two"] {
            let request = format!(
                "POST {prefix}events?publish-broadcast HTTP/1.1\r\n{asked}Content-Length: 3\r\n\
                 Connection: close\r\n\r\n{text}"
            );
            let mut speaker = self.stream();
            speaker.write_all(request.as_bytes()).expect("it is taken");
            assert_eq!(Response::read_head(&mut speaker).0.status, 202);
            let event = format!("data: {text}\n\n");
            eventually("an event", || {
                let mut piece = [0; 4096];
                let length = stream.read(&mut piece).expect("an event that comes at once");
                assert!(length > 0, "the stream has ended");
                come.extend_from_slice(&piece[..length]);
                String::from_utf8_lossy(&come).contains(&event).then_some(())
            });
            comments += String::from_utf8_lossy(&come).matches(":\n\n").count();
            come.clear();
            std::thread::sleep(Duration::from_secs(SECONDS_OF_PROXY + 2));
        }
        assert!(comments > 1, "{comments}");
        if !self.counts {
            return;
        }
        // Who goes away is noticed through the proxy.
        self.server.expect_metric("streams", |streams| streams == 1);
        drop(stream);
        self.server.expect_metric("streams", |streams| streams == 0);
    }

    /// What is to work through every proxy.
    fn try_out(&self, prefix: &str) {
        self.try_stream(prefix);
        let mut client = self.open(prefix);
        client.send("up and down");
        client.expect(&["up and down"]);
        let large = "x".repeat(1 << 20);
        client.send(&large);
        client.expect(&[&large]);
        // Pings keep it in use for longer than the proxy waits.
        let quiet = Duration::from_secs(SECONDS_OF_PROXY + 2);
        let deadline = std::time::Instant::now() + quiet;
        let mut pings = 0;
        while let Some(event) =
            client.next_within(deadline.saturating_duration_since(std::time::Instant::now()))
        {
            let Event::Ping(payload) = event else { panic!("{event:?} while it is quiet") };
            client.frame(true, wsloop::proto::ws::frame::Opcode::Pong, &payload);
            pings += 1;
        }
        assert!(pings > 1, "{pings}");
        client.send("still here");
        client.expect(&["still here"]);
        self.server.expect_log(&["asks: GET", "room", ", 127.0.0.9"]);
        assert!(!self.server.log().contains("6.6.6.6"), "{}", self.server.log());
        // The code of a close reaches the page.
        self.server.process().signal("TERM");
        let close = loop {
            match client.next() {
                Event::Ping(_) => {}
                event => break event,
            }
        };
        assert!(matches!(close, Event::Close(Some(1001), _)), "{close:?}");
    }

    /// What `--auth-url` names is not for the public.
    fn hides_auth(&self) {
        let host = self.address;
        let mut stream = self.stream();
        let request = format!("GET /wsloop-auth HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is taken");
        let (response, _) = Response::read_head(&mut stream);
        assert_eq!(response.status, 404);
    }
}

const TRUSTED: [&str; 4] = ["--trusted-proxies", "127.0.0.1", "--ping-interval", "1"];

fn nginx(file: &str, upstream: &str, own: &str, port: u16, folder: &Folder) -> Command {
    let listen = format!("listen 127.0.0.1:{port};");
    let seconds = if file.contains("own-path") { "600s" } else { "3s" };
    let timeout = if file.contains("own-path") { "600s" } else { "75s" };
    let server = configuration(
        &format!("nginx/{file}"),
        &[("listen 80;", &listen), (own, upstream), (timeout, seconds)],
    );
    let bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let bodies: String = bodies.map(|name| format!("{name}_temp_path {name};\n")).concat();
    let text = format!(
        "user root;\ndaemon off;\nmaster_process off;\npid pid;\nevents {{}}\n\
         http {{\naccess_log off;\n{bodies}{server}\n}}\n"
    );
    fs::write(folder.join("nginx.conf"), text).expect("a file");
    let mut command = Command::new("nginx");
    command.args(["-p", folder.path(), "-c", "nginx.conf", "-e", "stderr"]);
    command
}

#[test]
#[ignore = "needs nginx"]
fn nginx_passes_on_by_tcp() {
    let site = Site::start(&TRUSTED, false, |folder, upstream, port| {
        nginx("tcp.conf", upstream, "127.0.0.1:8080", port, folder)
    });
    site.hides_auth();
    site.try_out("/ws/");
}

#[test]
#[ignore = "needs nginx"]
fn nginx_passes_on_by_a_unix_socket() {
    let args = ["--trusted-proxies", "unix", "--ping-interval", "1"];
    let site = Site::start(&args, true, |folder, upstream, port| {
        nginx("unix.conf", upstream, "unix:/run/wsloop/wsloop.sock", port, folder)
    });
    site.hides_auth();
    site.try_out("/ws/");
}

#[test]
#[ignore = "needs nginx"]
fn nginx_passes_on_a_path_of_the_sites_own() {
    let args = [&TRUSTED[..], &["--url-prefix", "/live/events/"]].concat();
    let site = Site::start(&args, false, |folder, upstream, port| {
        nginx("own-path.conf", upstream, "127.0.0.1:8080", port, folder)
    });
    site.hides_auth();
    site.try_out("/live/events/");
}

/// With HTTP/2 in front, all streams of a browser share its one connection.
#[test]
#[ignore = "needs nginx and node"]
fn nginx_has_a_hundred_streams_on_one_connection() {
    let site = Site::start(&TRUSTED, false, |folder, upstream, port| {
        let command = nginx("tcp.conf", upstream, "127.0.0.1:8080", port, folder);
        let path = folder.join("nginx.conf");
        let text = fs::read_to_string(&path).expect("a file");
        let listen = format!("listen 127.0.0.1:{port}");
        fs::write(&path, text.replace(&listen, &format!("{listen} http2"))).expect("a file");
        command
    });
    // A session is one connection.
    let script = format!(
        "let left = 100;
         const session = require('http2').connect('http://{}');
         for (let n = 1; n <= 100; n += 1) {{
             const path = `/ws/${{n}}?subscribe-broadcast`;
             const stream = session.request({{ ':path': path, accept: 'text/event-stream' }});
             stream.on('response', (headers) => console.log(headers[':status'], n));
             stream.setEncoding('utf8').on('data', (text) => console.log(text));
             stream.on('close', () => {{ left -= 1; if (left === 0) session.close(); }});
         }}
         session.on('error', (error) => console.log(error));",
        site.address
    );
    let mut command = Command::new("node");
    let mut node = Process::spawn(command.args(["-e", &script]).stdout(Stdio::piped()));
    site.server.expect_metric("streams", |streams| streams == 100);
    for n in 1..=100 {
        let mut speaker = site.server.connect(&format!("{n}?publish-broadcast"));
        speaker.send(&format!("for {n}"));
        site.server.expect_metric("messages_out_total", |out| out >= n);
    }
    site.server.process().signal("TERM");
    let mut said = String::new();
    node.stdout().read_to_string(&mut said).expect("text");
    for n in 1..=100 {
        assert_eq!(said.matches(&format!("200 {n}\n")).count(), 1, "{said}");
        assert_eq!(said.matches(&format!("data: for {n}\n")).count(), 1, "{said}");
    }
    assert_eq!(said.matches("data: 1001 ").count(), 100, "{said}");
}

fn haproxy(file: &str, upstream: &str, port: u16, folder: &Folder) -> Command {
    let bind = format!("bind 127.0.0.1:{port}");
    let changes = [("bind :80", &*bind), ("127.0.0.1:8080", upstream), ("75s", "3s")];
    let text = configuration(&format!("haproxy/{file}"), &changes);
    fs::write(folder.join("haproxy.cfg"), text).expect("a file");
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f", "haproxy.cfg"]);
    command
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_tells_paths_apart() {
    let site = Site::start(&TRUSTED, false, |folder, upstream, port| {
        haproxy("http.cfg", upstream, port, folder)
    });
    site.hides_auth();
    site.try_out("/ws/");
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_passes_tcp_on_and_says_whose_it_is() {
    let args = [&TRUSTED[..], &["--proxy-protocol"]].concat();
    let site = Site::start(&args, false, |folder, upstream, port| {
        haproxy("tcp.cfg", upstream, port, folder)
    });
    site.try_out("/ws/");
}

fn apache(file: &str, upstream: &str, port: u16, folder: &Folder) -> Command {
    let host = format!("*:{port}>");
    let changes = [("*:80>", &*host), ("127.0.0.1:8080", upstream), ("Timeout 75", "Timeout 3")];
    let site = configuration(&format!("apache/{file}"), &changes);
    let modules =
        ["mpm_event", "authz_core", "alias", "headers", "proxy", "proxy_http", "proxy_wstunnel"];
    let modules = modules
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
    let text = format!(
        "ServerRoot {folder}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile pid\n\
         DefaultRuntimeDir {folder}\nErrorLog errors\nUser www-data\nGroup www-data\n\
         {modules}{site}",
        folder = folder.path(),
        modules = modules.concat()
    );
    fs::write(folder.join("apache.conf"), text).expect("a file");
    let mut command = Command::new("apache2");
    command.args(["-X", "-f"]).arg(folder.join("apache.conf"));
    command
}

#[test]
#[ignore = "needs apache2"]
fn apache_passes_on() {
    let site = Site::start(&TRUSTED, false, |folder, upstream, port| {
        apache("wsloop.conf", upstream, port, folder)
    });
    site.hides_auth();
    site.try_out("/ws/");
}

#[test]
#[ignore = "needs apache2"]
fn apache_strips_the_prefix() {
    let args = [&TRUSTED[..], &["--url-prefix", "/"]].concat();
    let site = Site::start(&args, false, |folder, upstream, port| {
        apache("stripped.conf", upstream, port, folder)
    });
    site.hides_auth();
    site.try_out("/ws/");
}

#[test]
#[ignore = "needs caddy"]
fn caddy_passes_on() {
    let site = Site::start(&TRUSTED, false, |folder, upstream, port| {
        let address = format!("http://127.0.0.1:{port} {{");
        let changes = [(":80 {", &*address), ("127.0.0.1:8080", upstream)];
        let text = configuration("caddy/Caddyfile", &changes);
        fs::write(folder.join("Caddyfile"), format!("{{\n\tadmin off\n}}\n{text}"))
            .expect("a file");
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"]);
        command
            .env("HOME", folder.path())
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME");
        command
    });
    site.hides_auth();
    site.try_out("/ws/");
}

#[test]
#[ignore = "needs systemd-analyze"]
fn systemd_finds_nothing_wrong_with_the_units() {
    let program = ("/usr/local/bin/wsloop", env!("CARGO_BIN_EXE_wsloop"));
    for (place, socket) in [("systemd", None), ("systemd/activated", Some("wsloop.socket"))] {
        let folder = Folder::new();
        let unit = folder.join("wsloop.service");
        if let Some(socket) = socket {
            let text = configuration(&format!("{place}/{socket}"), &[]);
            fs::write(folder.join(socket), text).expect("a file");
        }
        let text = configuration(&format!("{place}/wsloop.service"), &[program]);
        let faulty = ["Restart=on", "Type=notify", "WatchdogSec=30"]
            .map(|right| text.replace(right, &format!("{}wrong", &right[..right.len() - 2])));
        for (text, good) in faulty.iter().map(|text| (text, false)).chain([(&text, true)]) {
            fs::write(&unit, text).expect("a file");
            let files = [Some(unit.clone()), socket.map(|socket| folder.join(socket))];
            let mut command = Command::new("systemd-analyze");
            command.arg("verify").args(files.into_iter().flatten());
            let output = command.output().expect("systemd-analyze is there");
            let said = String::from_utf8_lossy(&output.stderr);
            let about_us = said.lines().any(|line| line.contains("wsloop."));
            assert_eq!(!about_us, good, "{text}\n{said}");
        }
    }
}
