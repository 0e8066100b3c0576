//! The program over real sockets, with the peers that it really has.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod browser;
mod cli;
mod clients;
mod cluster;
mod commit;
mod defences;
mod deploy;
mod drops;
mod fairness;
mod front;
mod grants;
mod handlers;
mod history;
mod hosts;
mod identity;
mod keys;
mod logs;
mod manual;
mod pages;
mod places;
mod publish;
mod publisher;
mod redis;
mod redis_conditions;
mod redis_replica;
mod redis_several;
mod redis_tls;
mod regressions;
mod reload;
mod resp_port;
mod restarts;
mod sentinel;
mod sockets;
mod streams;
mod stress;
mod stress_tool;
mod terminal;
mod tls;
mod topics;
mod workers;
