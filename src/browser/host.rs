//! L2: requests for another host than this server's: those that a page makes whose name was pointed
//! here after it was loaded (DNS rebinding), above all.

use super::context::Context;
use super::settings::Settings;
use crate::access::hosts::{self, AllowedHosts};
use crate::link::LeftOut;
use crate::proto::http::Head;
use crate::proto::ws::upgrade;

/// What is wrong with the host that a request names, if it is one that is not answered to;
/// `for_socket` when it asks for a WebSocket, or about one.
pub(super) fn misdirected(head: &Head<'_>, for_socket: bool, cx: &mut Context) -> Option<String> {
    let settings = &cx.settings;
    let is_local = if for_socket { settings.local_sockets } else { settings.local_pages };
    if settings.allowed_hosts == AllowedHosts::Any && !is_local {
        return None;
    }
    // Without a valid Host it is refused for that, unless it is of HTTP/1.0, as no browser is.
    let host = upgrade::host_name(head)?;
    if is_answered(host, is_local, settings) {
        return None;
    }
    cx.metrics.hosts_refused_total += 1;
    let text = match is_local {
        true => format!(
            "The demo answers only to localhost and to IP addresses, so that no page of another \
             name can use it. Name {host} with --allowed-hosts if it is yours."
        ),
        false => format!("This server does not answer to the host {host}: see --allowed-hosts."),
    };
    if let Some(left_out) = cx.said.host.may(cx.now.mono_ms) {
        tracing::warn!("a request was refused: {text}{}", LeftOut(left_out));
    }
    Some(text)
}

fn is_answered(host: &str, is_local: bool, settings: &Settings) -> bool {
    match &settings.allowed_hosts {
        // Any host, but for the demo.
        AllowedHosts::Any => hosts::is_local(host),
        listed => listed.permits(host) || is_local && hosts::is_local(host),
    }
}
