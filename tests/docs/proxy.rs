//! The block for nginx, in front of wsloop.

use std::fs;

use crate::follow::Reader;
use crate::markdown::{self, Step};
use crate::place;
use crate::support::client::{Client, upgrade};

const PAGE: &str = include_str!("../../docs/src/operations.md");
/// Where nginx listens with the block.
const PROXY: &str = "127.0.0.1:8081";

#[test]
#[ignore = "needs ip and nginx"]
fn nginx_passes_websockets_on() {
    // The rest of the page is followed elsewhere.
    if !place::is_inside("proxy::nginx_passes_websockets_on", "") {
        return;
    }
    let mut reader = Reader::of("");
    reader.launch("wsloop --metrics /metrics");
    let block = block();
    start(&mut reader, "whole", &block);
    let [mut first, mut second] = [(); 2].map(|()| connect().expect("a 101"));
    first.send("Good morning! Anybody here?");
    second.expect(&["Good morning! Anybody here?"]);
    second.send("Yes, in the second window.");
    first.expect(&["Yes, in the second window."]);
    let hidden = reader.run(&format!("curl --silent --head http://{PROXY}/wsloop-auth"));
    assert!(hidden.starts_with("HTTP/1.1 404 "), "{hidden}");

    let host = |line: &&str| line.trim_start().starts_with("proxy_set_header Host ");
    let (host, rest): (Vec<&str>, Vec<&str>) = block.lines().partition(host);
    assert_eq!(host.len(), 1, "{block}");
    reader.stop("nginx");
    start(&mut reader, "without-host", &rest.join("\n"));
    let refused = connect().expect_err("a refusal");
    assert_eq!(refused.status, 403, "without {}: {refused:?}", host[0]);
}

fn block() -> String {
    let steps = markdown::steps(PAGE).expect("a page that can be followed");
    let block = steps.into_iter().find_map(|step| match step {
        Step::Block(block) if block.language == "nginx" => Some(block.text),
        _ => None,
    });
    block.expect("a block for nginx")
}

/// nginx with the block in a server of its own and nothing else. It stays root and one process, for
/// the namespace of somebody who is not root has no other user to become.
fn start(reader: &mut Reader, name: &str, block: &str) {
    let folder = reader.home.join(name);
    fs::create_dir(&folder).expect("a folder");
    let bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let bodies: String = bodies.map(|name| format!("{name}_temp_path {name};\n")).concat();
    let config = format!(
        "user root;\ndaemon off;\nmaster_process off;\npid pid;\nevents {{}}\n\
         http {{\naccess_log off;\n{bodies}server {{\nlisten {PROXY};\n{block}\n}}\n}}\n"
    );
    fs::write(folder.join("nginx.conf"), config).expect("a file");
    reader.launch(&format!("nginx -p {} -c nginx.conf -e stderr", folder.display()));
}

/// A page that came through the proxy.
fn connect() -> Result<Client, crate::support::client::Response> {
    let more = format!("Origin: http://{PROXY}\r\n");
    let path = "news?subscribe-broadcast&publish-broadcast";
    Client::open(PROXY.parse().expect("an address"), &upgrade(path, PROXY, &more))
}
