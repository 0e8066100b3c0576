//! Pages in a real Chromium, the chat with both brokers among them: runs the tests in
//! `tests/browser`.

use std::fs;
use std::process::Command;

use crate::support::browser::{browse_at, run_in_turn};
use crate::support::redis::RedisServer;
use crate::support::{Folder, Wsloop, free_port};

const HEARTBEAT: &str = "--heartbeat--";

#[test]
#[ignore = "needs chromium and node"]
fn the_chat_with_the_embedded_broker() {
    chat(&[]);
}

#[test]
#[ignore = "needs chromium, node and redis-server"]
fn the_chat_with_redis() {
    let redis = RedisServer::start();
    chat(&["--redis", &redis.url(), "--demo"]);
}

#[test]
#[ignore = "needs chromium and node"]
fn the_page_of_the_chat() {
    let named = ["--allowed-hosts", "elsewhere.test"];
    let server = Wsloop::start(&[&["--resp", "127.0.0.1:0"][..], &named].concat());
    browse("page.test.mjs", &server, &[]);
}

#[test]
#[ignore = "needs chromium, node and redis-cli"]
fn the_command_for_the_embedded_broker() {
    let server = Wsloop::start(&["--resp", "127.0.0.1:0", "--prefix", "new:shop"]);
    let redis_cli = format!("redis-cli -p {}", server.resp_address().port());
    browse("command.test.mjs", &server, &[("WSLOOP_REDIS_CLI", &redis_cli)]);
}

#[test]
#[ignore = "needs chromium and node"]
fn no_command_where_nothing_answers_redis_clients() {
    browse("command.test.mjs", &Wsloop::start(&["--resp", "off"]), &[("WSLOOP_REDIS_CLI", "")]);
}

#[test]
#[ignore = "needs chromium, node and redis-server"]
fn the_command_for_a_redis_that_wants_a_password() {
    let (redis, port) = RedisServer::start_on_tcp();
    let rights = ["allcommands", "allkeys", "allchannels"];
    redis.connect().command(&[&["ACL", "SETUSER", "web", "on", ">p w"], &rights[..]].concat());
    redis.connect().command(&["ACL", "SETUSER", "default", "off"]);
    let url = format!("redis://web:p%20w@127.0.0.1:{port}/3");
    let redis_cli = format!("redis-cli -p {port} --user web --askpass");
    let more = [("WSLOOP_REDIS_CLI", &*redis_cli), ("WSLOOP_REDIS_PASSWORD", "p w")];
    browse("command.test.mjs", &Wsloop::start(&["--redis", &url, "--demo"]), &more);
}

#[test]
#[ignore = "needs chromium, node and redis-server"]
fn the_command_for_a_redis_on_a_socket() {
    let redis = RedisServer::start();
    let redis_cli = format!("redis-cli -s {}", redis.socket().display());
    let server = Wsloop::start(&["--redis", &redis.url(), "--demo"]);
    browse("command.test.mjs", &server, &[("WSLOOP_REDIS_CLI", &redis_cli)]);
}

#[test]
#[ignore = "needs chromium, firefox-esr and node"]
fn the_client_in_browsers() {
    let server = Wsloop::start(&["--heartbeat", HEARTBEAT]);
    browse("client.test.mjs", &server, &[("WSLOOP_HEARTBEAT", HEARTBEAT)]);
}

#[test]
#[ignore = "needs chromium, firefox-esr and node"]
fn many_topics_on_one_websocket() {
    let history = ["--history", "chat/*=60/300", "--allow", "all", "--resp", "127.0.0.1:0"];
    let server = Wsloop::start(&history);
    let port = server.resp_address().port().to_string();
    let more = [("WSLOOP_RESP_PORT", &*port), ("WSLOOP_KEPT", "60")];
    browse("topics.test.mjs", &server, &more);
}

#[test]
#[ignore = "needs chromium, firefox-esr and node"]
fn pages_whose_websockets_do_not_get_through() {
    let folder = Folder::new();
    let secret = folder.join("secret");
    fs::write(&secret, "a secret of more than thirty-two bytes\n").expect("a file");
    let secret = secret.to_str().expect("text");
    let port = free_port().to_string();
    let friend = format!("http://127.0.0.1:{port}");
    let history = ["--history", "chat/*=1000/300", "--allow", "all", "--resp", "127.0.0.1:0"];
    let access = ["--token-key-file", secret, "--allowed-origins", &friend];
    let server = Wsloop::start(&[&history[..], &access].concat());
    let resp = server.resp_address().port().to_string();
    let more = [("WSLOOP_RESP_PORT", &*resp), ("WSLOOP_FRIEND_PORT", &port)];
    browse("fallback.test.mjs", &server, &[&more[..], &[("WSLOOP_TOKEN_KEY", secret)]].concat());
}

#[test]
#[ignore = "needs chromium, firefox-esr and node"]
fn closes_that_the_server_begins_are_clean() {
    let folder = Folder::new();
    let secret = folder.join("secret");
    fs::write(&secret, "a secret of more than thirty-two bytes\n").expect("a file");
    let secret = secret.to_str().expect("text");
    let args = ["--token-key-file", secret, "--allow", "all", "--resp", "127.0.0.1:0"];
    let server = Wsloop::start(&args);
    let (port, pid) = (server.resp_address().port(), server.process().id());
    let more = [("WSLOOP_RESP_PORT", port.to_string()), ("WSLOOP_PID", pid.to_string())];
    let more = more.each_ref().map(|(name, value)| (*name, &**value));
    let more = [&more[..], &[("WSLOOP_TOKEN_KEY", secret)]].concat();
    browse("closes.test.mjs", &server, &more);
}

#[test]
#[ignore = "needs chromium, firefox-esr and node"]
fn streams_and_posts_of_pages() {
    streams(&["--resp", "127.0.0.1:0"], |server| server.resp_address().port());
}

#[test]
#[ignore = "needs chromium, firefox-esr, node and redis-server"]
fn streams_and_posts_of_pages_with_redis() {
    let (redis, port) = RedisServer::start_on_tcp();
    streams(&["--redis", &redis.url()], |_| port);
}

/// What pages do without a WebSocket; the second says where Redis commands are taken.
fn streams(broker: &[&str], commands: impl Fn(&Wsloop) -> u16) {
    let port = free_port().to_string();
    let friend = format!("http://127.0.0.1:{port}");
    let sessions = ["--session-key", "session:{}", "--session-format", "json"];
    let args = ["--allow", "all", "--allowed-origins", &friend, "--demo"];
    let history = ["--history", "kept/*=100/300"];
    let server = Wsloop::start(&[&args[..], &sessions, &history, broker].concat());
    server.expect_metric("broker_up", |up| up == 1);
    let resp = commands(&server).to_string();
    let more = [("WSLOOP_FRIEND_PORT", &*port), ("WSLOOP_RESP_PORT", &*resp)];
    browse("streams.test.mjs", &server, &more);
}

#[test]
#[ignore = "needs chromium, firefox-esr, node and ip"]
fn the_client_when_the_network_changes() {
    let mut command = Command::new("unshare");
    command.arg("--net");
    let user = Command::new("id").arg("-u").output().expect("id");
    if user.stdout != b"0\n" {
        command.arg("--map-root-user");
    }
    command.args(["./two-networks", env!("CARGO_BIN_EXE_wsloop"), "node", "--test"]);
    run_in_turn(command.arg("network.test.mjs").env("WSLOOP_HEARTBEAT", HEARTBEAT));
}

#[test]
#[ignore = "needs chromium and node"]
fn the_package_in_bundles_and_its_types() {
    browse("bundles.test.mjs", &Wsloop::start(&[]), &[]);
}

#[test]
#[ignore = "needs chromium and node"]
fn tokens_that_expire() {
    tokens("status");
}

#[test]
#[ignore = "needs chromium and node"]
fn tokens_that_expire_where_refusals_are_closes() {
    tokens("close");
}

fn chat(args: &[&str]) {
    browse("chat.test.mjs", &Wsloop::start(args), &[]);
}

fn tokens(refuse: &str) {
    let folder = Folder::new();
    let secret = folder.join("secret");
    fs::write(&secret, "a secret of more than thirty-two bytes\n").expect("a file");
    let secret = secret.to_str().expect("text");
    let args = ["--token-key-file", secret, "--allow", "all", "--refuse", refuse];
    let more = [("WSLOOP_TOKEN_KEY", secret), ("WSLOOP_REFUSE", refuse)];
    browse("token.test.mjs", &Wsloop::start(&args), &more);
}

/// Has browser tests run against a server.
fn browse(test: &str, server: &Wsloop, environment: &[(&str, &str)]) {
    browse_at(test, &format!("http://{}", server.address()), environment);
}
