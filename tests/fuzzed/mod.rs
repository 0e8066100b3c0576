//! What the fuzz targets check, as functions of bytes: the fuzzer calls them with what it invents,
//! and an ordinary test with what it once found.

pub mod answer;
pub mod body;
pub mod cluster;
pub mod command;
pub mod cookie;
pub mod deflate;
pub mod frame;
pub mod handler;
pub mod history;
pub mod http_head;
pub mod proxied;
pub mod replication;
pub mod resp;
pub mod resp_client;
pub mod sentinel;
pub mod server;
pub mod session;
pub mod token;
pub mod vector;
