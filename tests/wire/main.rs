//! Bytes and values: what peers may send, cut in every way, and the corpora of the fuzz targets.

#[path = "../fuzzed/mod.rs"]
mod fuzzed;

mod answer;
mod corpus;
mod deflate;
mod message;
mod message_deflate;
mod resp;
