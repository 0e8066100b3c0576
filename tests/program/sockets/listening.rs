//! Where the server listens.

use super::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

fn start(args: &[&str]) -> (Process, Vec<SocketAddr>) {
    start_with(args, &[])
}

/// The program with these arguments alone, and where it says that it listens.
fn start_with(args: &[&str], environment: &[(&str, &str)]) -> (Process, Vec<SocketAddr>) {
    try_start(args, environment).expect("it listens")
}

/// The same with arguments for a port that is free: somebody else may take it first, and then it is
/// another.
fn start_at_free_port(
    args: impl Fn(u16) -> Vec<String>,
    environment: &[(&str, &str)],
) -> (u16, Process, Vec<SocketAddr>) {
    let start = |_| {
        let port = free_port();
        let args = args(port);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        try_start(&args, environment).map(|(process, addresses)| (port, process, addresses))
    };
    (0..5).find_map(start).expect("it listens")
}

fn try_start(args: &[&str], environment: &[(&str, &str)]) -> Option<(Process, Vec<SocketAddr>)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    command.env_clear().envs(environment.iter().copied()).args(args).args(["--resp", "off"]);
    let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut lines = BufReader::new(process.stdout()).lines();
    let first = lines.next()?.expect("text");
    // One write follows another without a pause; whatever there is comes by the first metric.
    let mut all = vec![address(&first)];
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    while let Ok(line) = receiver.recv_timeout(Duration::from_millis(500)) {
        all.push(address(&line));
    }
    Some((process, all))
}

fn address(line: &str) -> SocketAddr {
    let address = line.strip_prefix("listening on http://").expect("an address");
    address.parse().expect("an address")
}

fn expect_101(address: SocketAddr) {
    Client::open(address, &upgrade("room", address, "")).expect("a 101").close();
}

fn complaint(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_wsloop"))
        .env_clear()
        .args(args)
        .output()
        .expect("it runs");
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{line}");
    line
}

#[test]
fn any_free_port_of_a_name_is_one_port_on_all_its_addresses() {
    let folder = Folder::new();
    let preload = other_system(&folder);
    for _ in 0..5 {
        let environment = [("LD_PRELOAD", &*preload)];
        let (_process, addresses) = start_with(&["--listen", "localhost:0"], &environment);
        assert_eq!(addresses.len(), 2, "IPv4 and IPv6: {addresses:?}");
        assert_eq!(addresses[0].port(), addresses[1].port(), "{addresses:?}");
        assert_ne!(addresses[0].ip(), addresses[1].ip());
        addresses.into_iter().for_each(expect_101);
    }
}

#[test]
fn every_interface_of_both_families_may_have_one_port() {
    for order in [["0.0.0.0", "[::]"], ["[::]", "0.0.0.0"], ["127.0.0.1", "[::]"]] {
        let args = |port| order.map(|host| format!("--listen={host}:{port}")).to_vec();
        let (port, _process, addresses) = start_at_free_port(args, &[]);
        assert_eq!(addresses.len(), 2, "{order:?}");
        expect_101(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        expect_101(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port));
    }
    // Alone, the IPv6 one takes IPv4 as well.
    let (_process, addresses) = start(&["--listen", "[::]:0"]);
    expect_101(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), addresses[0].port()));
}

#[test]
fn an_address_that_is_given_twice_is_listened_on_once() {
    let folder = Folder::new();
    let preload = other_system(&folder);
    let args = |port| ["localhost", "127.0.0.1"].map(|host| format!("--listen={host}:{port}"));
    let preload = [("LD_PRELOAD", &*preload)];
    let (_, _process, addresses) = start_at_free_port(|port| args(port).to_vec(), &preload);
    assert_eq!(addresses.len(), 2, "{addresses:?}");
}

#[test]
fn another_program_is_not_blamed_for_what_we_take_ourselves() {
    let port = free_port();
    let [own, any] = ["127.0.0.1", "0.0.0.0"].map(|host| format!("{host}:{port}"));
    for args in [
        &["--resp", "off", "--listen", &own, "--listen", &any][..],
        &["--resp", &own, "--listen", &own],
    ] {
        let line = complaint(args);
        assert!(line.contains("wsloop itself") && !line.contains("another program"), "{line}");
    }
    let other = Wsloop::start(&[]);
    let line = complaint(&["--resp", "off", "--listen", &other.address().to_string()]);
    assert!(line.contains("another program") && !line.contains("wsloop itself"), "{line}");
}

/// A kernel without IPv6 has no sockets of that family.
#[test]
fn localhost_works_where_the_kernel_has_no_ipv6() {
    let folder = Folder::new();
    let preload = other_system(&folder);
    let environment = [("LD_PRELOAD", &*preload), ("NO_IPV6", "1")];
    let (_process, addresses) = start_with(&["--listen", "localhost:0"], &environment);
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    expect_101(addresses[0]);
}

/// A library that stands in for a system where `localhost` has addresses of both families, and,
/// with `NO_IPV6`, sockets of one.
fn other_system(folder: &Folder) -> String {
    const SOURCE: &str = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <netdb.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/socket.h>

        int socket(int family, int type, int protocol) {
            int (*next)(int, int, int) = dlsym(RTLD_NEXT, "socket");
            if (family == AF_INET6 && getenv("NO_IPV6")) { errno = EAFNOSUPPORT; return -1; }
            return next(family, type, protocol);
        }

        int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                        struct addrinfo **result) {
            int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
                dlsym(RTLD_NEXT, "getaddrinfo");
            struct addrinfo numeric = *hints, *second = NULL;
            if (strcmp(node, "localhost") != 0) return next(node, service, hints, result);
            numeric.ai_flags = AI_NUMERICHOST;
            if (next("::1", service, &numeric, result) != 0) return EAI_NONAME;
            if (next("127.0.0.1", service, &numeric, &second) != 0) return EAI_NONAME;
            (*result)->ai_next = second;
            return 0;
        }
    "#;
    let (source, library) = (folder.join("other.c"), folder.join("other.so"));
    fs::write(&source, SOURCE).expect("a file");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl");
    assert!(compiler.status().expect("the C compiler that Rust links with").success());
    library.to_str().expect("text").to_owned()
}

/// The timer of the kernel for a connection that is accepted at that port: 0 is none.
fn kernel_timer(port: u16) -> u8 {
    let table = fs::read_to_string("/proc/net/tcp").expect("proc");
    let local = format!("0100007F:{port:04X}");
    let of_us = |line: &&str| line.split_whitespace().nth(1) == Some(&local);
    let is_open = |line: &&str| line.split_whitespace().nth(3) == Some("01");
    let line = table.lines().filter(of_us).find(is_open).expect("a connection");
    let timer = line.split_whitespace().nth(5).expect("a timer");
    timer[..2].parse().expect("a number")
}

#[test]
fn who_is_not_pinged_and_vanishes_is_noticed_by_the_kernel() {
    for (interval, timer) in [("30", 0), ("0", 2)] {
        let server = Wsloop::start(&["--ping-interval", interval]);
        let _client = server.connect("room");
        // An answer that is not acknowledged yet has a timer too.
        let port = server.address().port();
        eventually("a timer", || (kernel_timer(port) == timer).then_some(()));
    }
}
