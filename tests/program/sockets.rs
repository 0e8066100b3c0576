//! The program over real sockets, with the embedded broker: handshakes, pages, limits, signals and
//! the many ways in which a connection ends.

mod calls;
mod closing;
mod descriptors;
mod listening;
mod logging;
mod memory;
mod shutdown;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Event, Response, frame_bytes, tcp, upgrade};
use crate::support::{Folder, PATIENCE, Process, Wsloop, eventually, free_port, scenarios};
use wsloop::proto::ws::frame::Opcode;

/// What lets a browser hear and say everything.
const OPEN: &str = "subscribe-broadcast&publish-broadcast&echo";

#[test]
fn the_embedded_broker_does_what_a_broker_is_to_do() {
    scenarios::play_all(&Wsloop::start(&scenarios::ARGS));
}

#[test]
fn a_handshake_is_answered_as_the_rfc_says() {
    let server = Wsloop::start(&[]);
    let host = server.address();
    let protocols = "Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://";
    let request = upgrade("room", host, &format!("{protocols}{host}\r\n"));
    let client = Client::open(host, &request).expect("a 101");
    let header = |name| client.response.header(name);
    assert_eq!(header("upgrade").map(str::to_lowercase).as_deref(), Some("websocket"));
    assert_eq!(header("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(header("sec-websocket-protocol"), Some("chat"), "one, not the offered list");
    assert_eq!(header("content-length"), None);
    let plain = server.connect("room");
    assert_eq!(plain.response.header("sec-websocket-protocol"), None);
}

#[test]
fn a_sub_protocol_is_one_that_is_spoken_here() {
    let server = Wsloop::start(&["--subprotocols", "json, chat"]);
    let host = server.address();
    for (offered, chosen) in [("xml, chat, json", Some("chat")), ("xml", None)] {
        let request = upgrade("room", host, &format!("Sec-WebSocket-Protocol: {offered}\r\n"));
        let client = Client::open(host, &request).expect("a 101");
        assert_eq!(client.response.header("sec-websocket-protocol"), chosen, "{offered}");
    }
}

#[test]
fn what_is_no_handshake_is_refused_with_a_sentence() {
    let server = Wsloop::start(&[]);
    let host = server.address();
    let good = upgrade("room", host, "");
    let cases = [
        (good.replace("GET ", "POST "), 400, "GET"),
        (good.replace("HTTP/1.1", "HTTP/1.0"), 400, "HTTP/1.1"),
        (good.replace("Upgrade: websocket\r\n", ""), 426, "upgrade to a websocket"),
        (good.replace("Connection: Upgrade\r\n", ""), 400, "Connection"),
        (good.replace("Version: 13", "Version: 8"), 426, "13"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "eA=="), 400, "Sec-WebSocket-Key"),
        (good.replace("/ws/room", "/elsewhere"), 404, "--url-prefix"),
        ("nonsense\r\n\r\n".to_owned(), 400, ""),
        (good.replace("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(9000))), 431, ""),
    ];
    for (request, status, words) in cases {
        let response = Response::to(host, &request);
        let text = response.body.to_lowercase();
        assert!(text.contains(&words.to_lowercase()) && text.len() > 10, "{request}{response:?}");
        assert_eq!(response.status, status, "{request}{response:?}");
        if status == 426 {
            assert_eq!(response.header("sec-websocket-version"), Some("13"));
        }
    }
}

#[test]
fn a_page_of_another_origin_is_refused_with_the_way_to_mend_it() {
    let server = Wsloop::start(&["--allowed-origins", "https://friend.example"]);
    let host = server.address();
    let from = |origin: &str| {
        let request = upgrade("room", host, &format!("Origin: {origin}\r\n"));
        Client::open(host, &request)
    };
    for origin in [format!("http://{host}"), "https://friend.example".to_owned()] {
        from(&origin).unwrap_or_else(|response| panic!("{origin}: {response:?}"));
    }
    let response = from("https://evil.example").expect_err("a 403");
    assert_eq!(response.status, 403);
    for words in ["https://evil.example", "Host", "--allowed-origins"] {
        assert!(response.body.contains(words), "{response:?}");
    }
    server.expect_log(&["WARN", "https://evil.example", "--allowed-origins"]);
    from("https://evil.example").expect_err("a 403");
    // Each is said, up to a few a minute.
    for _ in 0..20 {
        from("https://evil.example").expect_err("a 403");
    }
    server.expect_metric("origins_refused_total", |n| n == 22);
    assert_eq!(server.log().matches("evil.example").count(), 4, "{}", server.log());
}

#[test]
fn a_refusal_that_a_page_can_see_is_a_close() {
    let server = Wsloop::start(&["--refuse", "close"]);
    let host = server.address();
    let request = upgrade("room", host, "Origin: https://evil.example\r\n");
    Client::open(host, &request).expect("a 101").expect_close(4403, "");
}

#[test]
fn pages_scripts_and_metrics_are_answered() {
    let server = Wsloop::start(&[]);
    let home = server.get("/");
    assert_eq!((home.status, home.header("location")), (302, Some("/chat/")));
    let cases = [
        ("/chat/", 200, "text/html", "<!doctype html>"),
        ("/wsloop.js", 200, "text/javascript", "WS4Redis"),
        ("/wsloop.mjs", 200, "text/javascript", "export"),
        ("/metrics", 200, "text/plain; version=0.0.4", "\nwsloop_conns "),
        ("/nothing", 404, "text/plain", "/ws/"),
    ];
    for (path, status, kind, words) in cases {
        let page = server.get(path);
        assert_eq!(page.status, status, "{path}");
        assert!(page.header("content-type").is_some_and(|k| k.starts_with(kind)), "{page:?}");
        assert!(page.body.contains(words), "{path}: {}", page.body);
    }
    let host = server.address();
    let mut head = tcp(host);
    write!(head, "HEAD /chat/ HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("the request is taken");
    let (bare, mut body) = Response::read_head(&mut head);
    head.read_to_end(&mut body).expect("an end");
    let length = server.get("/chat/").body.len().to_string();
    assert_eq!((bare.status, bare.header("content-length")), (200, Some(length.as_str())));
    assert!(body.is_empty());
    let put = Response::to(host, &format!("PUT /chat/ HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn every_address_is_listened_on() {
    let server = Wsloop::start(&["--listen", "127.0.0.1:0", "--listen", "localhost:0"]);
    // The name may stand for addresses of two families.
    assert!(server.addresses().len() >= 3);
    let mut reader = server.connect("room?subscribe-broadcast");
    for (at, address) in server.addresses().iter().enumerate() {
        let request = upgrade("room?publish-broadcast", address, "");
        let mut client = Client::open(*address, &request).expect("a 101");
        client.send(&format!("from {at}"));
        reader.expect(&[&format!("from {at}")]);
    }
}

#[test]
fn a_port_in_use_is_one_line_and_status_2() {
    let server = Wsloop::start(&[]);
    let address = server.address().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_wsloop"))
        .env_clear()
        .args(["--listen", &address])
        .output()
        .expect("it runs");
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains(&address) && line.contains("--listen"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    server.connect("room").close();
}

#[test]
fn past_the_limit_conns_are_told_when_to_come_again() {
    let server = Wsloop::start(&["--max-connections", "2"]);
    let mut first = server.connect("room");
    let second = server.connect("room");
    let response = server.try_connect("room").expect_err("a 503");
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some(), "{response:?}");
    assert!(response.body.contains("--max-connections"), "{response:?}");
    second.close();
    let mut third = eventually("a place is free", || server.try_connect("room").ok());
    assert_eq!(first.arrived(), []);
    assert_eq!(third.arrived(), []);
}

#[test]
fn under_nohup_sighup_stays_ignored() {
    let program = env!("CARGO_BIN_EXE_wsloop");
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", program, "--listen", "127.0.0.1:0"]);
    command.args(["--resp", "off"]).stderr(Stdio::null());
    let mut process = Process::spawn(command.stdout(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(process.stdout()).read_line(&mut line).expect("a pipe");
    let address = line.trim_end().strip_prefix("listening on http://").expect("it listens");
    let host = address.parse().expect("an address");
    let mut client = Client::open(host, &upgrade("room", host, "")).expect("a 101");
    process.signal("HUP");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(client.arrived(), []);
    assert_eq!(process.status(), None);
}

#[test]
fn without_descriptors_it_neither_spins_nor_dies_and_recovers() {
    let server = Wsloop::start(&["--handshake-timeout", "3600"]);
    let mut clients: Vec<Client> = (0..10).map(|_| server.connect("room")).collect();
    let pid = server.process().id();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("proc").count() as u64;
    let few = Some((open + 5, open + 5));
    rlimit::prlimit(pid as i32, rlimit::Resource::NOFILE, few, None).expect("a limit");

    // Five of these are accepted; the rest wait in the kernel, and each would wake the loop.
    let host = server.address();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = tcp(host);
            stream.write_all(upgrade("room", host, "").as_bytes()).expect("the kernel takes it");
            stream
        })
        .collect();
    server.expect_log(&["WARN", "accepting pauses", "ulimit -n"]);
    let before = server.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let used = server.cpu_time() - before;
    assert!(used < Duration::from_millis(250), "{used:?} of one second");
    for client in &mut clients {
        assert_eq!(client.arrived(), [], "who is connected is served");
    }
    clients.drain(..).for_each(Client::close);
    let mut accepted = Vec::new();
    for (at, stream) in waiting.into_iter().enumerate() {
        if at >= 15 {
            // The ten that left made room for ten; who comes now needs the place of another.
            accepted.remove(0);
        }
        accepted.push(Client::accepted(stream).expect("a 101"));
    }
    assert_eq!(server.log().matches("accepting pauses").count(), 1, "{}", server.log());
}

#[test]
fn a_refusal_can_be_read_whatever_the_client_still_sends() {
    let server = Wsloop::start(&[]);
    let host = server.address();
    for (path, status) in [("/ws/room", 400), ("/chat/", 405), ("/nothing", 405)] {
        const LENGTH: usize = 8 << 20;
        let mut stream = tcp(host);
        write!(stream, "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {LENGTH}\r\n\r\n")
            .expect("the head is taken");
        stream.write_all(&vec![b'x'; LENGTH]).expect("the body is taken");
        assert_eq!(Response::read(&mut stream).status, status, "{path}");
    }
}

#[test]
fn a_client_that_sends_no_more_is_answered() {
    let server = Wsloop::start(&[]);
    let host = server.address();
    let chat = server.get("/chat/").body;
    let requests = [
        (format!("GET /chat/ HTTP/1.1\r\nHost: {host}\r\n\r\n"), 200, chat.as_str()),
        (format!("GET /ws/room HTTP/1.1\r\nHost: {host}\r\n\r\n"), 426, ""),
        (upgrade("room", host, "Origin: https://evil.example\r\n"), 403, ""),
    ];
    for (request, status, body) in requests {
        let mut stream = tcp(host);
        stream.write_all(request.as_bytes()).expect("the request is taken");
        stream.shutdown(Shutdown::Write).expect("a socket");
        let response = Response::read(&mut stream);
        assert_eq!(response.status, status, "{request}");
        assert!(response.body.contains(body));
    }
    // Whether the end comes with the request or after it.
    for _ in 0..50 {
        let mut stream = tcp(host);
        let mut bytes = upgrade(&format!("room?{OPEN}"), host, "").into_bytes();
        bytes.extend(frame_bytes(true, Opcode::Text, b"one way"));
        stream.write_all(&bytes).expect("bytes are taken");
        stream.shutdown(Shutdown::Write).expect("a socket");
        let mut client = Client::accepted(stream).expect("a 101");
        // All but the first are told the stored message as well.
        client.expect(&["one way"]);
        let mut last = client.next();
        while last == Event::Text("one way".to_owned()) {
            last = client.next();
        }
        assert_eq!(last, Event::End);
    }
}

#[test]
fn a_websocket_that_sends_no_more_is_let_go() {
    let server = Wsloop::start(&[]);
    let mut client = server.connect(&format!("room?{OPEN}"));
    client.send("last words");
    client.expect(&["last words"]);
    client.shut_writing();
    assert_eq!(client.next(), Event::End);
    server.expect_metric("conns", |n| n == 1);
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let server = Wsloop::start(&[]);
    let mut stream = tcp(server.address());
    for byte in upgrade(&format!("room?{OPEN}"), server.address(), "").bytes() {
        stream.write_all(&[byte]).expect("a byte is taken");
        thread::sleep(Duration::from_micros(200));
    }
    let mut client = Client::accepted(stream).expect("a 101");
    for byte in frame_bytes(true, Opcode::Text, b"dripped") {
        client.raw(&[byte]);
        thread::sleep(Duration::from_micros(200));
    }
    client.expect(&["dripped"]);
}

#[test]
fn a_handshake_may_not_take_for_ever() {
    let server = Wsloop::start(&["--handshake-timeout", "0.3"]);
    let mut silent = tcp(server.address());
    let mut slow = tcp(server.address());
    slow.write_all(b"GET /ws/room HTTP/1.1\r\nHost:").expect("bytes are taken");
    assert_eq!(Response::read(&mut slow).status, 408);
    assert_eq!(silent.read(&mut [0; 16]).expect("an end without a reset"), 0);
    server.expect_metric("handshake_timeouts_total", |n| n == 2);
}

#[test]
fn a_reset_in_the_middle_harms_nobody_else() {
    let server = Wsloop::start(&[]);
    let mut witness = server.connect(&format!("room?{OPEN}"));
    for round in 0..5 {
        let mut victim = server.connect(&format!("room?{OPEN}"));
        victim.raw(&frame_bytes(true, Opcode::Text, b"half a message")[..9]);
        let text = format!("round {round}");
        witness.send(&text);
        witness.expect(&[&text]);
        // What was sent to it and not read makes the kernel reset the connection.
        assert_eq!(victim.stream().peek(&mut [0; 1]).expect("something arrives"), 1);
        drop(victim);
        let mut asking = tcp(server.address());
        asking.write_all(b"GET / HTTP/1.1\r\nHo").expect("bytes are taken");
        drop(asking);
    }
    server.expect_metric("conns", |n| n == 2);
    assert_eq!(witness.arrived(), []);
}

#[test]
fn who_does_not_answer_a_ping_is_closed() {
    let server = Wsloop::start(&["--ping-interval", "0.3", "--pong-timeout", "0.5"]);
    let mut dead = server.connect("room");
    let mut alive = server.connect("room");
    let death = thread::spawn(move || {
        assert_eq!(dead.next(), Event::Ping(Vec::new()));
        let pinged = Instant::now();
        dead.expect_close(1011, "ping");
        assert!(pinged.elapsed() > Duration::from_millis(300), "it had its time");
    });
    while !death.is_finished() {
        match alive.next_within(Duration::from_millis(50)) {
            Some(Event::Ping(payload)) => alive.frame(true, Opcode::Pong, &payload),
            None => {}
            Some(other) => panic!("{other:?}"),
        }
    }
    death.join().expect("the dead one is closed");
    server.expect_metric("pong_timeouts_total", |n| n == 1);
}

#[test]
fn heartbeats_come_in_time_and_are_not_published() {
    let server = Wsloop::start(&["--heartbeat", "--heartbeat--"]);
    let path = "room?subscribe-broadcast&publish-broadcast";
    let (mut john, mut mary) = (server.connect(path), server.connect(path));
    let since = Instant::now();
    john.send("--heartbeat--");
    john.expect(&["--heartbeat--"]);
    assert!(since.elapsed() < Duration::from_secs(2), "it is answered at once");
    john.send("hello");
    mary.expect(&["hello"]);
    let since = Instant::now();
    mary.expect(&["--heartbeat--"]);
    john.expect(&["--heartbeat--"]);
    // ws4redis.js counts a miss after 5 s.
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let late = server.connect("room?subscribe-broadcast").text();
    assert_eq!(late, "hello", "a heartbeat is not stored");
}

/// nginx in front of the server, on a port of its own; `headers` are lines of its configuration.
fn nginx(server: &Wsloop, headers: &str) -> (Process, Folder, u16) {
    for _ in 0..5 {
        let (folder, port) = (Folder::new(), free_port());
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {kind};"))
            .concat();
        let address = server.address();
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log error.log;
            events {{ }}
            http {{
                access_log off; {temp}
                server {{
                    listen 127.0.0.1:{port};
                    location /ws/ {{
                        proxy_pass http://{address};
                        proxy_http_version 1.1;
                        proxy_set_header Upgrade $http_upgrade;
                        proxy_set_header Connection \"Upgrade\";
                        {headers}
                    }}
                }}
            }}"
        );
        fs::write(folder.join("nginx.conf"), config).expect("a file");
        // Debian keeps it where only root looks.
        let debian = Path::new("/usr/sbin/nginx");
        let mut command = Command::new(if debian.exists() { debian } else { Path::new("nginx") });
        command.args(["-p", folder.path(), "-c", "nginx.conf", "-e", "error.log"]);
        let mut process = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let listens = eventually("nginx listens or ends", || {
            let made = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            (made || process.status().is_some()).then_some(made)
        });
        if listens {
            return (process, folder, port);
        }
        eprintln!("{}", fs::read_to_string(folder.join("error.log")).unwrap_or_default());
    }
    panic!("nginx cannot be started");
}

#[test]
#[ignore = "needs nginx"]
fn a_chat_through_nginx() {
    let server = Wsloop::start(&[]);
    let (_nginx, _folder, port) = nginx(&server, "proxy_set_header Host $http_host;");
    let front = format!("127.0.0.1:{port}");
    let join = || {
        let origin = format!("Origin: http://{front}\r\n");
        let request = upgrade(&format!("room?{OPEN}"), &front, &origin);
        Client::open(front.parse().expect("an address"), &request).expect("a 101")
    };
    let (mut john, mut mary) = (join(), join());
    john.send("through nginx");
    john.expect(&["through nginx"]);
    mary.expect(&["through nginx"]);
    mary.send("and back");
    john.expect(&["and back"]);
    let large = "x".repeat(1 << 20);
    john.send(&large);
    assert!(john.text() == large);
    john.close();
    assert!(mary.next_within(PATIENCE).is_some());
}

#[test]
#[ignore = "needs nginx"]
fn an_nginx_that_hides_the_host_is_told_what_to_do() {
    let server = Wsloop::start(&[]);
    let (_nginx, _folder, port) = nginx(&server, "");
    let front = format!("127.0.0.1:{port}");
    let request = upgrade("room", &front, &format!("Origin: http://{front}\r\n"));
    let address = front.parse().expect("an address");
    let response = Client::open(address, &request).expect_err("a 403");
    assert_eq!(response.status, 403);
    for words in ["proxy_set_header Host", "--allowed-origins", &format!("http://{front}")] {
        assert!(response.body.contains(words), "{response:?}");
    }
    server.expect_log(&["WARN", "proxy_set_header Host"]);
}
