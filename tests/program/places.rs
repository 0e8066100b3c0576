//! Sockets that have paths, and what is said through them by a proxy that is believed.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::client::upgrade;
use crate::support::{Folder, PATIENCE, Process, Wsloop, eventually};

/// The program at these places alone, when it says that it listens at so many.
fn start(args: &[&str], places: usize) -> (Process, Vec<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    command.env_clear().args(args).args(["--resp", "off"]);
    let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let lines = BufReader::new(process.stdout()).lines();
    (process, lines.take(places).map(|line| line.expect("text")).collect())
}

fn complaint(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    let output = command.env_clear().args(args).args(["--resp", "off"]).output().expect("it runs");
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{line}");
    line
}

/// The status line of the answer to a request.
fn ask(mut stream: UnixStream, request: &str) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut bytes = [0; 12];
    stream.read_exact(&mut bytes).expect("an answer");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn expect_101(path: &Path) {
    let stream = UnixStream::connect(path).expect("somebody listens");
    assert_eq!(ask(stream, &upgrade("room", "localhost", "")), "HTTP/1.1 101");
}

#[test]
fn a_path_is_listened_on_with_its_mode_and_removed_at_the_end() {
    for (mode, expected) in [(&[][..], 0o660), (&["--socket-mode", "600"], 0o600)] {
        let folder = Folder::new();
        let path = folder.join("wsloop.sock");
        let place = format!("unix:{}", path.display());
        // A path that is given twice is listened on once.
        let args = [&["--listen", &place, "--listen", &place][..], mode].concat();
        let (mut process, places) = start(&args, 1);
        assert_eq!(places, [format!("listening on {place}")]);
        let found = fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
        assert_eq!(found, expected, "{found:o}");
        expect_101(&path);
        process.signal("TERM");
        assert!(eventually("the end", || process.status()).success());
        assert!(!path.exists(), "the file is left behind");
    }
}

#[test]
fn a_file_that_a_process_has_left_is_replaced_and_one_that_is_used_is_not() {
    let folder = Folder::new();
    let path = folder.join("wsloop.sock");
    let place = format!("unix:{}", path.display());
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "what a process that was killed leaves behind");
    let (process, _) = start(&["--listen", &place], 1);
    expect_101(&path);
    let line = complaint(&["--listen", &place]);
    assert!(line.contains("another program listens there: stop it"), "{line}");
    expect_101(&path);
    // Whoever has taken the place keeps it.
    fs::remove_file(&path).expect("a file");
    let _other = UnixListener::bind(&path).expect("a socket");
    process.signal("TERM");
    let mut process = process;
    assert!(eventually("the end", || process.status()).success());
    assert!(path.exists(), "the file of another process is removed");

    let file = folder.join("notes.txt");
    fs::write(&file, "mine").expect("a file");
    let line = complaint(&["--listen", &format!("unix:{}", file.display())]);
    assert!(line.contains("a file that is no socket; remove it"), "{line}");
    assert_eq!(fs::read_to_string(&file).expect("a file"), "mine");
    let line = complaint(&["--listen", "unix:/nowhere/wsloop.sock"]);
    assert!(line.contains("a path in a folder that this user may write to"), "{line}");
}

#[test]
fn a_name_that_is_no_file_is_listened_on_beside_an_address() {
    let name = format!("wsloop-test-{}", std::process::id());
    let place = format!("unix:@{name}");
    let args = ["--listen", "127.0.0.1:0", "--listen", &place];
    let (_process, places) = start(&args, 2);
    assert_eq!(places[1], format!("listening on {place}"), "{places:?}");
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let connect = || UnixStream::connect_addr(&address).expect("somebody listens");
    assert_eq!(ask(connect(), &upgrade("room", "localhost", "")), "HTTP/1.1 101");
    assert!(complaint(&args).contains("another program listens there"));
}

#[test]
fn who_comes_by_a_trusted_socket_says_whom_it_passes_on() {
    let folder = Folder::new();
    let path = folder.join("wsloop.sock");
    let place = format!("unix:{}", path.display());
    let limit = ["--listen", &place, "--max-per-address", "1"];
    let trusted = [&limit[..], &["--trusted-proxies", "unix"]].concat();
    let (_process, _) = start(&trusted, 1);
    let mut open = Vec::new();
    let mut come = |client: &str| {
        let mut stream = UnixStream::connect(&path).expect("somebody listens");
        let line = format!("X-Forwarded-For: 6.6.6.6, {client}\r\n");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(upgrade("room", "localhost", &line).as_bytes()).expect("it is taken");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        open.push(stream);
        String::from_utf8_lossy(&status[9..]).into_owned()
    };
    let statuses = ["192.0.2.1", "192.0.2.2", "192.0.2.1"].map(&mut come);
    assert_eq!(statuses, ["101", "101", "429"]);
}

#[test]
fn connections_of_a_trusted_address_begin_with_the_proxy_protocol() {
    let server = Wsloop::start(&[
        "--trusted-proxies",
        "127.0.0.0/8",
        "--proxy-protocol",
        "--max-per-address",
        "1",
        "--log",
        "debug",
    ]);
    let address = server.address();
    let mut open = Vec::new();
    let mut come = |first: &[u8]| {
        let mut stream = crate::support::client::tcp(address);
        stream.write_all(first).expect("it is taken");
        stream.write_all(upgrade("room", address, "").as_bytes()).expect("it is taken");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        open.push(stream);
        String::from_utf8_lossy(&status[9..]).into_owned()
    };
    let one = b"PROXY TCP4 192.0.2.1 127.0.0.1 4321 80\r\n";
    let two = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x7f\0\0\x01\x10\xe1\0\x50";
    let other = b"PROXY TCP6 2001:db8::1 ::1 4321 80\r\n";
    assert_eq!([&one[..], two, other, b""].map(&mut come), ["101", "429", "101", "400"]);
    server.expect_log(&["comes from 192.0.2.1, as its proxy says"]);
    server.expect_log(&["a proxy was refused, 127.0.0.1", "--proxy-protocol"]);
}
