//! Descriptors: whatever is open besides conns has its place.

use super::*;
use std::net::{SocketAddr, TcpListener};

#[test]
fn no_limit_ends_in_accepting_that_pauses() {
    const DESCRIPTORS: usize = 256;
    // An application that never answers: every question keeps its socket.
    let application = TcpListener::bind("127.0.0.1:0").expect("a port");
    let auth_url = format!("http://{}/", application.local_addr().expect("an address"));
    let folder = Folder::new();
    let log = fs::File::create(folder.join("log")).expect("a file");
    let limit = format!("ulimit -n {DESCRIPTORS}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limit, "sh", env!("CARGO_BIN_EXE_wsloop")]);
    command.args(["--listen", "127.0.0.1:0", "--resp", "127.0.0.1:0", "--auth-url", &auth_url]);
    command.args([
        "--auth-timeout",
        "60",
        "--handshake-timeout",
        "100",
        "--max-handshakes",
        "1000",
    ]);
    let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(log));
    let mut line = String::new();
    BufReader::new(process.stdout()).read_line(&mut line).expect("a pipe");
    let address = line.trim_end().strip_prefix("listening on http://").expect("it listens");
    let host: SocketAddr = address.parse().expect("an address");
    let said = || fs::read_to_string(folder.join("log")).expect("a log");
    let resp: SocketAddr = eventually("the port for Redis clients", || {
        let log = said();
        let (_, rest) = log.split_once("redis clients: ")?;
        rest.lines().next()?.parse().ok()
    });

    let mut clients: Vec<_> = (0..60).map(|_| tcp(resp)).collect();
    let mut waiting = Vec::new();
    for _ in 0..DESCRIPTORS {
        let mut stream = tcp(host);
        stream.write_all(upgrade("room", host, "").as_bytes()).expect("the kernel takes it");
        waiting.push(stream);
    }
    // All that fits is open now, and stays so for a while.
    thread::sleep(Duration::from_millis(500));
    clients[0].write_all(b"PING\r\n").expect("it is taken");
    let mut answer = [0; 7];
    clients[0].read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"+PONG\r\n");
    let open = fs::read_dir(format!("/proc/{}/fd", process.id())).expect("proc").count();
    assert!((200..DESCRIPTORS).contains(&open), "{open}");
    assert!(!said().contains("accepting pauses"), "{}", said());
}
