//! The system calls of conns that come and go: none is in vain.

use std::collections::BTreeMap;

use super::*;

/// Conns that come and go, one after the other.
const CONNS: usize = 20;

/// What is done for them, by name, and what of that failed.
type Calls = BTreeMap<String, usize>;

/// Watches the calls about sockets while somebody does something.
fn watched(server: &Wsloop, mut act: impl FnMut()) -> (Calls, Vec<String>) {
    let folder = Folder::new();
    let file = folder.join("calls");
    let calls = "accept4,recvfrom,recvmsg,read,readv,sendto,sendmsg,write,writev,shutdown,close";
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", &format!("trace={calls}"), "-p", &server.process().id().to_string()]);
    strace.arg("-o").arg(&file);
    let mut strace = Process::spawn(strace.stderr(Stdio::piped()));
    let mut said = String::new();
    BufReader::new(strace.stderr()).read_line(&mut said).expect("a pipe");
    assert!(said.contains("attached"), "{said}");
    let descriptors =
        || fs::read_dir(format!("/proc/{}/fd", server.process().id())).unwrap().count();
    let before = descriptors();
    act();
    eventually("all are closed", || (descriptors() == before).then_some(()));
    strace.signal("INT");
    eventually("the end of strace", || strace.status());
    let text = fs::read_to_string(file).expect("what strace saw");
    let (mut calls, mut failed) = (Calls::new(), Vec::new());
    for line in text.lines().filter(|line| line.contains(" = ")) {
        let call = line.split_once(' ').map_or(line, |(_, call)| call.trim_start());
        let call = call.strip_prefix("<... ").unwrap_or(call);
        let name = call.split(['(', ' ']).next().expect("a name");
        *calls.entry(name.to_owned()).or_default() += 1;
        failed.extend(line.contains(" = -1 ").then(|| line.to_owned()));
    }
    (calls, failed)
}

/// What a client does from beginning to end.
type Act<'a> = &'a dyn Fn(&Wsloop);

#[test]
#[ignore = "needs strace"]
fn who_comes_and_goes_costs_no_call_in_vain() {
    let close = frame_bytes(true, Opcode::Close, &1000u16.to_be_bytes());
    let open = |server: &Wsloop| server.connect("room?subscribe-broadcast");
    let polite = |server: &Wsloop| {
        let mut client = open(server);
        client.raw(&close);
        client.hear_close(1000, "");
        assert_eq!(client.next(), Event::End);
    };
    let hasty = |server: &Wsloop| open(server).raw(&close);
    let rude = |server: &Wsloop| drop(open(server));
    let reader = |server: &Wsloop| drop(server.get("/healthz"));
    let cases: [(&str, Act<'_>, [usize; 3]); 4] = [
        ("waits for the answer to its close", &polite, [2, 2, 0]),
        ("hangs up behind its close", &hasty, [2, 2, 0]),
        ("hangs up without one", &rude, [2, 1, 0]),
        ("asks for a page", &reader, [2, 1, 1]),
    ];
    for (who, act, [reads, writes, shutdowns]) in cases {
        let server = Wsloop::start(&[]);
        // On a busy machine strace was seen to lose sight of the process.
        let mut tries = (0..3).map(|_| watched(&server, || (0..CONNS).for_each(|_| act(&server))));
        let whole = |(calls, _): &(Calls, Vec<String>)| calls.get("accept4") >= Some(&CONNS);
        let (calls, failed) = tries.find(whole).expect("strace sees every conn");
        let count = |names: &[&str]| -> usize {
            names.iter().filter_map(|name| calls.get(*name)).sum::<usize>()
        };
        let made = [
            count(&["accept4"]),
            count(&["recvfrom", "recvmsg", "read", "readv"]),
            count(&["sendto", "sendmsg", "write", "writev"]),
            count(&["shutdown"]),
            count(&["close"]),
        ];
        let expected = [1, reads, writes, shutdowns, 1].map(|each| each * CONNS);
        assert_eq!(failed, Vec::<String>::new(), "{who}");
        assert_eq!(made, expected, "{who}: {calls:?}");
    }
}
