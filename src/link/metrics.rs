//! L1: counters, and their text for Prometheus.
//!
//! It knows names and numbers, not what moves them. A counter only grows; a gauge is what is so
//! now.

use std::fmt::Write;

macro_rules! metrics {
    ($($kind:ident $name:ident $help:literal)*) => {
        /// Everything that is counted. Field and metric have the same name, after `wsloop_`.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Metrics {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl Metrics {
            /// The text that Prometheus reads (exposition format 0.0.4).
            pub fn prometheus(&self) -> String {
                let mut text = String::new();
                $(metric(&mut text, stringify!($kind), stringify!($name), $help, self.$name);)*
                text
            }
        }
    };
}

metrics! {
    gauge conns "Conns, handshakes and closing ones included."
    gauge conns_open "Conns that have had their 101 and are not closing."
    gauge streams "Streams of server-sent events among them."
    gauge handshakes_pending "Conns that have not yet had their 101."
    gauge channels "Channels that somebody hears."
    gauge subscriptions "Facilities that conns of wsloop.1 hear, each audience by itself."
    gauge broker_up "1 when the broker answers; of several Redis, all."
    gauge sentinels_up "Sentinels that say where Redis is."
    gauge control_heard "1 when the application's disconnects are heard, see wsloop:control."
    gauge memory_bytes "Bytes that wait for peers or have come in part, see --memory-limit."
    gauge resp_clients "Redis clients of the embedded broker."
    gauge upstream_pending "Requests that are with an upstream, see --upstream."
    gauge upstream_links "Connections to upstreams."
    gauge upstream_links_idle "Connections to upstreams that are kept for the next request."
    gauge handlers_up "Links to applications of --endpoint that are up."
    counter conns_accepted_total "Conns accepted."
    counter conns_full_total "Conns answered 503 because of --max-connections."
    counter conns_crowded_total "Conns answered 429 or closed because of --max-per-address."
    counter conns_hasty_total "Conns answered 429 because of --handshake-rate."
    counter handshakes_total "Handshakes answered 101."
    counter streams_total "Streams of server-sent events begun."
    counter posts_total "Messages that came by POST and were taken by the broker."
    counter handshakes_refused_total "Handshakes refused, whatever the status."
    counter hosts_refused_total "Requests refused for their Host."
    counter origins_refused_total "Handshakes refused for their Origin."
    counter options_denied_total "Query options asked for and not granted."
    counter conns_silent_total "Conns that went without having asked for anything."
    counter bytes_in_total "Bytes from browsers, requests included."
    counter bytes_out_total "Bytes to browsers, answers included."
    counter requests_total "Plain HTTP requests answered."
    counter messages_in_total "Messages from browsers, heartbeats not counted."
    counter messages_out_total "Messages queued for browsers, heartbeats not counted."
    counter compressions_total "Times a message for browsers was compressed."
    counter publishes_total "Publishes handed to the broker, one for each channel."
    counter publishes_dropped_total "Publishes lost because the broker was away or full."
    counter publishes_unrouted_total "Messages from conns that may publish to no channel."
    counter commands_total "Commands of conns of wsloop.1."
    counter commands_refused_total "Commands that were not done."
    counter deliveries_total "Messages that arrived from the broker."
    counter deliveries_skipped_total "Messages from the broker larger than --max-message-size."
    counter repeats_dropped_total "Messages that came from a second node as well, given up."
    counter stored_unreadable_total "Stored messages that could not be read or were too large."
    counter stored_late_total "Times live messages waited no longer for a stored one."
    counter stored_evicted_total "Stored messages given up because of --store-limit."
    counter missed_total "Messages missed while Redis was away and read from histories."
    counter resumed_total "Channels on which a conn of wsloop.1 went on from its position."
    counter recovered_total "Messages that conns of wsloop.1 had missed, read from histories."
    counter gaps_total "Gaps that conns of wsloop.1 were told of, each channel by itself."
    counter history_evicted_total "Messages of histories given up because of --history-limit."
    counter broker_errors_total "Commands that the broker answered with an error."
    counter broker_dials_total "Times the broker was dialed."
    counter broker_lost_total "Times the broker's link was lost."
    counter broker_found_total "Times sentinels or a cluster said Redis, or slots, are elsewhere."
    counter pings_total "Pings sent to browsers."
    counter heartbeats_total "Heartbeats sent to browsers."
    counter pong_timeouts_total "Conns closed because nothing came after a ping."
    counter slow_total "Conns closed because their outbox passed --outbox-limit."
    counter hasty_total "Conns closed because of --message-rate."
    counter memory_closed_total "Conns and Redis clients closed because of --memory-limit."
    counter frames_dropped_total "Frames given up when a slow conn was closed."
    counter superseded_total "Messages given up for a newer one, see --overflow."
    counter tokens_refused_total "Handshakes refused because their token was not valid."
    counter cookies_refused_total "Session cookies that were not believed."
    counter sessions_refused_total "Sessions of the application that were not believed."
    counter names_refused_total "Names of users, groups and sessions that cannot be used."
    counter questions_total "Questions put to the application."
    counter questions_failed_total "Questions to the application without an answer of use."
    counter controls_refused_total "Control messages that were not understood."
    counter sessions_unreadable_total "Sessions of the application that could not be read."
    counter expired_total "Conns closed because their token had expired."
    counter disconnected_total "Conns that a control message closed."
    counter protocol_errors_total "Conns closed for breaking the WebSocket protocol."
    counter resp_clients_total "Redis clients that came to the embedded broker."
    counter resp_clients_closed_total "Redis clients closed for not reading, or refused."
    counter handshake_timeouts_total "Conns closed because their handshake took too long."
    counter tls_handshakes_total "TLS handshakes done."
    counter tls_failed_total "Conns whose TLS failed, their handshakes included."
    counter tls_missing_total "Conns without TLS on a port that takes nothing else."
    counter log_lines_dropped_total "Lines of the log dropped because nobody read them."
    counter proxies_refused_total "Conns of proxies that did not say where they come from."
    counter upstream_requests_total "Requests that went to an upstream."
    counter upstream_1xx_total "WebSockets that an upstream has accepted."
    counter upstream_2xx_total "Responses of upstreams with a status of 200 to 299."
    counter upstream_3xx_total "Responses of upstreams with a status of 300 to 399."
    counter upstream_4xx_total "Responses of upstreams with a status of 400 to 499."
    counter upstream_5xx_total "Responses of upstreams with a status of 500 to 599."
    counter upstream_errors_total "Requests to which an upstream had no answer of use."
    counter upstream_timeouts_total "Requests of which nothing moved for --upstream-timeout."
    counter upstream_dials_total "Times an upstream was dialed."
    counter upstream_retries_total "Requests sent once more, as an idle connection had gone."
    counter handler_dials_total "Times an application of --endpoint was dialed."
    counter handler_lost_total "Times the link to an application of --endpoint was lost."
    counter handler_events_total "Frames for applications of --endpoint."
    counter handler_orders_total "Orders of applications of --endpoint."
    counter handler_orders_refused_total "Orders of those that were wrong."
    counter strangers_evicted_total "Conns without a request closed to make room for others."
}

fn metric(text: &mut String, kind: &str, name: &str, help: &str, value: u64) {
    writeln!(text, "# HELP wsloop_{name} {help}").expect("a String takes all");
    writeln!(text, "# TYPE wsloop_{name} {kind}\nwsloop_{name} {value}").expect("likewise");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let text = Metrics { conns: 3, pings_total: 7, ..Metrics::default() }.prometheus();
        assert!(text.contains("# TYPE wsloop_conns gauge\nwsloop_conns 3\n"));
        assert!(text.contains("# TYPE wsloop_pings_total counter\nwsloop_pings_total 7\n"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.split_once(' ').expect("a name and a value");
            assert!(name.starts_with("wsloop_") && value.parse::<u64>().is_ok(), "{line}");
        }
    }
}
