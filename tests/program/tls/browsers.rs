//! Real browsers, at wsloop's own TLS and at that of nginx in front of it.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};

use super::{NAMES, Site};
use crate::deploy::configuration;
use crate::support::browser::browse_at;
use crate::support::client::{Response, tcp};
use crate::support::tls::{Authority, Files, connect, open};
use crate::support::{Folder, Process, Wsloop, eventually, free_port};

/// Browses a site that shows this certificate.
fn browse(url: &str, files: &Files) {
    let sh = "openssl x509 -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform der |
              openssl dgst -sha256 -binary | base64";
    let output = Command::new("sh").args(["-c", sh, &files.cert]).output().expect("openssl");
    let spki = String::from_utf8(output.stdout).expect("base64");
    browse_at("tls.test.mjs", url, &[("WSLOOP_SPKI", spki.trim())]);
}

#[test]
#[ignore = "needs chromium, firefox-esr, node and openssl"]
fn browsers_speak_tls_with_wsloop() {
    let site = Site::start(&["--demo", "--max-message-size", "2MiB"]);
    browse(&format!("https://{}", site.address()), &site.files);
    assert_eq!(site.server.metric("tls_failed_total"), 0);
}

#[test]
#[ignore = "needs nginx, chromium, firefox-esr, node and openssl"]
fn nginx_ends_the_tls_of_a_site() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let files = authority.issue("own", NAMES);
    let args = ["--trusted-proxies", "127.0.0.1", "--demo", "--allow", "all", "--expire", "0"];
    let server = Wsloop::start(&[&args[..], &["--max-message-size", "2MiB"]].concat());
    let (plain, secured) = (free_port(), free_port());
    let site = configuration(
        "nginx/tls.conf",
        &[
            ("listen 80;", &format!("listen 127.0.0.1:{plain};")),
            ("listen 443 ssl;", &format!("listen 127.0.0.1:{secured} ssl;")),
            ("/etc/ssl/site/fullchain.pem", &files.cert),
            ("/etc/ssl/site/privkey.pem", &files.key),
            ("127.0.0.1:8080", &server.address().to_string()),
        ],
    );
    let bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let bodies: String = bodies.map(|name| format!("{name}_temp_path {name};\n")).concat();
    let text = format!(
        "user root;\ndaemon off;\nmaster_process off;\npid pid;\nevents {{}}\n\
         http {{\naccess_log off;\n{bodies}{site}\n}}\n"
    );
    fs::write(folder.join("nginx.conf"), text).expect("a file");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").expect("a PATH"));
    let mut command = Command::new("nginx");
    command.args(["-p", folder.path(), "-c", "nginx.conf", "-e", "errors"]).env("PATH", path);
    let _nginx = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));

    let address = ([127, 0, 0, 1], secured).into();
    let client = Arc::new(authority.client(&[&TLS12, &TLS13]));
    eventually("nginx listens", || std::net::TcpStream::connect(address).ok());
    connect(address, &client, "localhost").expect("a handshake");
    let mut socket = open(address, &client, "room?subscribe-broadcast&publish-broadcast&echo");
    socket.send("through nginx");
    socket.expect(&["through nginx"]);
    socket.close();
    let mut stream = tcp(([127, 0, 0, 1], plain).into());
    let request =
        format!("GET /a HTTP/1.1\r\nHost: 127.0.0.1:{plain}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let answer = Response::read(&mut stream);
    assert_eq!((answer.status, answer.header("location")), (301, Some("https://127.0.0.1/a")));
    browse(&format!("https://{address}"), &files);
}
