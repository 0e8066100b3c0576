//! L2: a line of the log for each conn at its end: who it was, what it asked for, what came of it.
//!
//! What is to be said is kept beside the conns, and only where it is wanted: an idle conn stays as
//! small as it is. A query is kept nowhere, for there are tokens in it.

use std::net::IpAddr;

use crate::link::{LinkId, Now};

/// Longest path that is kept.
const LONGEST_PATH: usize = 256;

/// The conns that there are, by their places; nothing where nobody wants it.
#[derive(Debug, Default)]
pub(crate) struct AccessLog(Option<Vec<Option<Box<Record>>>>);

#[derive(Debug, Default)]
struct Record {
    began_ms: u64,
    address: Option<IpAddr>,
    path: String,
    user: Option<String>,
    /// Of the answer to its request; 0 is none.
    status: u16,
    /// Of the first close frame; 0 is none.
    close: u16,
    by_server: bool,
}

impl AccessLog {
    /// One that is wanted, or not.
    pub(crate) fn new(wanted: bool) -> AccessLog {
        AccessLog(wanted.then(Vec::new))
    }

    /// A conn has come from there.
    pub(crate) fn began(&mut self, link: LinkId, address: Option<IpAddr>, now: Now) {
        if let Some(records) = &mut self.0 {
            let index = link.index as usize;
            if records.len() <= index {
                records.resize_with(index + 1, || None);
            }
            let record = Record { began_ms: now.mono_ms, address, ..Record::default() };
            records[index] = Some(Box::new(record));
        }
    }

    /// It has asked for that; it comes from there, as far as proxies are believed.
    pub(crate) fn asked(&mut self, link: LinkId, path: &str, address: Option<IpAddr>) {
        if let Some(record) = self.record(link) {
            // It is of one-byte characters, as targets are.
            let kept = path.get(..LONGEST_PATH).unwrap_or(path);
            (record.path, record.address) = (kept.to_owned(), address);
        }
    }

    /// It is this user's.
    pub(crate) fn known(&mut self, link: LinkId, user: Option<&str>) {
        if let Some(record) = self.record(link) {
            record.user = user.map(str::to_owned);
        }
    }

    /// It was answered with that status.
    pub(crate) fn answered(&mut self, link: LinkId, status: u16) {
        if let Some(record) = self.record(link) {
            record.status = status;
        }
    }

    /// Somebody has said a close frame with that code.
    pub(crate) fn closed(&mut self, link: LinkId, code: u16, by_server: bool) {
        if let Some(record) = self.record(link).filter(|record| record.close == 0) {
            (record.close, record.by_server) = (code, by_server);
        }
    }

    /// It is gone, and said.
    pub(crate) fn ended(&mut self, link: LinkId, now: Now) {
        let records = self.0.as_mut();
        let place = records.and_then(|records| records.get_mut(link.index as usize));
        let Some(record) = place.and_then(Option::take) else { return };
        let seconds = now.mono_ms.saturating_sub(record.began_ms) as f64 / 1000.0;
        let address = record.address.map_or("unix".to_owned(), |ip| ip.to_canonical().to_string());
        let by = match (record.close, record.by_server) {
            (0, _) => "",
            (_, true) => "server",
            (_, false) => "browser",
        };
        tracing::info!(
            conn = %link,
            address = address.as_str(),
            path = record.path.as_str(),
            user = record.user.as_deref().unwrap_or_default(),
            status = u64::from(record.status),
            close = u64::from(record.close),
            by = by,
            seconds = seconds,
            "conn ended"
        );
    }

    fn record(&mut self, link: LinkId) -> Option<&mut Record> {
        self.0.as_mut()?.get_mut(link.index as usize)?.as_deref_mut()
    }
}
