//! L1: what a RESP client says about itself (CLIENT, HELLO), and what it is told about the broker
//! (INFO).

use std::fmt::Write;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::Session;
use super::commands::{self, Command, Wrong};
use crate::broker::store::Store;
use crate::proto::resp::reply::{self, Version};

/// The Redis whose commands are meant where a client asks which it speaks to.
const REDIS_VERSION: &str = "7.0.0";
/// Databases that can be selected; all are the same one.
const DATABASES: u32 = 16;
/// The only user there is.
const USER: &[u8] = b"default";
/// Most bytes of a client's name.
const MAX_CLIENT_NAME: usize = 1024;

/// Answers what takes nobody's state.
pub(super) fn answer(
    command: Command,
    args: &[&[u8]],
    out: &mut Vec<u8>,
    version: Version,
) -> Result<(), Wrong> {
    match command {
        Command::Echo => reply::bulk(out, args[1]),
        Command::Select => {
            let number = std::str::from_utf8(args[1]).ok().and_then(|text| text.parse().ok());
            let number: u32 = number.ok_or(Wrong::NotInteger)?;
            if number >= DATABASES {
                return Err(Wrong::Database);
            }
            reply::status(out, "OK");
        }
        _ => match args.get(1).map(|part| part.to_ascii_lowercase()).as_deref() {
            None | Some(b"info" | b"list") => reply::array(out, 0),
            Some(b"count") => reply::integer(out, commands::COUNT as i64),
            Some(b"docs") => reply::map(out, 0, version),
            Some(part) => return Err(Wrong::UnknownPart("COMMAND", commands::printable(part))),
        },
    }
    Ok(())
}

/// INFO: as much as libraries and people look for.
pub(super) fn info(store: &Store) -> String {
    let expiring = store.names().filter(|name| {
        store.expires_ms(name).is_some_and(|at_ms| at_ms != crate::broker::store::NEVER_MS)
    });
    let (keys, expires) = (store.len(), expiring.count());
    let mut text = format!(
        "# Server\r\nredis_version:{REDIS_VERSION}\r\nserver_name:wsloop\r\nwsloop_version:{}\r\n\
         redis_mode:standalone\r\n\r\n\
         # Memory\r\nused_memory:{}\r\n\r\n\
         # Persistence\r\nloading:0\r\n\r\n\
         # Stats\r\nevicted_keys:{}\r\n\r\n\
         # Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n\
         # Keyspace\r\n",
        env!("CARGO_PKG_VERSION"),
        store.bytes(),
        store.evicted(),
    );
    if keys > 0 {
        write!(text, "db0:keys={keys},expires={expires},avg_ttl=0\r\n")
            .expect("a String takes all");
    }
    text
}

impl Session {
    /// AUTH. Where no password is set, whoever reaches it may do everything, whatever password is
    /// for the Redis to come.
    pub(super) fn auth(&mut self, args: &[&[u8]]) -> Result<(), Wrong> {
        let user: &[u8] = if args.len() == 3 { args[1] } else { USER };
        self.unlock(user, args[args.len() - 1])?;
        reply::status(&mut self.out, "OK");
        Ok(())
    }

    /// Lets in who says the password. Who was in and says another one stays in, as in Redis.
    fn unlock(&mut self, user: &[u8], said: &[u8]) -> Result<(), Wrong> {
        let Some(password) = &self.password else { return Ok(()) };
        let right = verify_slices_are_equal(password, said).is_ok();
        if user != USER || !right {
            return Err(Wrong::Password);
        }
        self.locked_with = None;
        Ok(())
    }

    /// HELLO: another version, perhaps with a password and a name.
    pub(super) fn hello(&mut self, args: &[&[u8]]) -> Result<(), Wrong> {
        let version = match args.get(1).copied() {
            None => self.version,
            Some(b"2") => Version::Two,
            Some(b"3") => Version::Three,
            Some(_) => return Err(Wrong::Version),
        };
        let (mut name, mut said) = (None, None);
        let mut options = args.get(2..).unwrap_or_default();
        while let Some((option, rest)) = options.split_first() {
            options = match (option.to_ascii_lowercase().as_slice(), rest) {
                (b"auth", [user, password, rest @ ..]) => {
                    said = Some((*user, *password));
                    rest
                }
                (b"setname", [given, rest @ ..]) => {
                    name = Some(checked_name(given)?);
                    rest
                }
                _ => return Err(Wrong::Syntax),
            };
        }
        // Nobody changes what is said to a subscriber while it hears.
        if version == Version::Two && self.version == Version::Three && !self.hearing.is_empty() {
            return Err(Wrong::Subscribed("hello".to_owned()));
        }
        match said {
            Some((user, password)) => self.unlock(user, password)?,
            None if self.locked_with.is_some() => return Err(Wrong::LockedHello),
            None => {}
        }
        self.version = version;
        self.name = name.unwrap_or(std::mem::take(&mut self.name));
        let out = &mut self.out;
        reply::map(out, 7, version);
        for (key, value) in [("server", "wsloop"), ("version", REDIS_VERSION)] {
            reply::bulk(out, key.as_bytes());
            reply::bulk(out, value.as_bytes());
        }
        reply::bulk(out, b"proto");
        reply::integer(out, if version == Version::Two { 2 } else { 3 });
        reply::bulk(out, b"id");
        reply::integer(out, self.id as i64);
        for (key, value) in [("mode", "standalone"), ("role", "master")] {
            reply::bulk(out, key.as_bytes());
            reply::bulk(out, value.as_bytes());
        }
        reply::bulk(out, b"modules");
        reply::array(out, 0);
        Ok(())
    }

    /// CLIENT: its name and number. What a library says about itself is taken and not kept.
    pub(super) fn client(&mut self, args: &[&[u8]]) -> Result<(), Wrong> {
        let (part, rest) = (args[1].to_ascii_lowercase(), &args[2..]);
        let out = &mut self.out;
        match (part.as_slice(), rest) {
            (b"id", []) => reply::integer(out, self.id as i64),
            (b"getname", []) if self.name.is_empty() => reply::null(out, self.version),
            (b"getname", []) => reply::bulk(out, &self.name),
            (b"setname", [name]) => {
                self.name = checked_name(name)?;
                reply::status(out, "OK");
            }
            (b"setinfo", [_, _]) => reply::status(out, "OK"),
            (b"id" | b"getname" | b"setname" | b"setinfo", _) => {
                return Err(Wrong::Arguments("client"));
            }
            _ => return Err(Wrong::UnknownPart("CLIENT", commands::printable(args[1]))),
        }
        Ok(())
    }
}

fn checked_name(name: &[u8]) -> Result<Vec<u8>, Wrong> {
    match name.len() {
        ..=MAX_CLIENT_NAME if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) => {
            Ok(name.to_vec())
        }
        ..=MAX_CLIENT_NAME => Err(Wrong::Name),
        _ => Err(Wrong::Long),
    }
}
