//! L1: what an error of Redis means: a denial, a condition of the server, or neither.

/// What a server cannot do for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ill {
    /// Anything but greet: it loads, is busy, or has lost its master.
    All,
    /// What is about keys.
    Keys,
    /// Subscribe.
    Subscriptions,
    /// Publish.
    Publishing,
    /// Store what is published.
    Storing,
    /// Record it in histories.
    Recording,
}

/// Whether Redis refuses something to this user, now and later.
pub(super) fn is_denial(reason: &str) -> bool {
    reason.starts_with("NOPERM")
}

/// Whether it refuses the command itself to this user, whatever it is about.
pub(crate) fn denies_command(reason: &str) -> bool {
    is_denial(reason) && reason.contains(" to run the ")
}

/// How to mend what TLS finds wrong, as far as a flag can; nothing is said of anything else.
pub(crate) fn tls_mend(reason: &str) -> &'static str {
    let says = |words: &str| reason.contains(words);
    match says("invalid peer certificate") {
        true if says("not valid for name") => {
            "; say by --redis-server-name for which name its certificate is"
        }
        // The latter is said where another authority has the same name.
        true if says("UnknownIssuer") || says("BadSignature") => {
            "; give the authority that has signed its certificate by --redis-ca"
        }
        false if says("CertificateRequired") => {
            "; it wants to be shown a certificate: --redis-cert and --redis-key"
        }
        _ => "",
    }
}

/// Whether it is the server that is in no state to answer, and will be.
pub(super) fn condition(reason: &str) -> Option<Ill> {
    match reason.split(' ').next().unwrap_or_default() {
        "LOADING" | "BUSY" | "MASTERDOWN" => Some(Ill::All),
        // Another node has the key, or none has: another dial asks who is who.
        "CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK" => Some(Ill::Keys),
        _ => None,
    }
}

/// Whether the command is unknown, or is known by another name.
pub(super) fn is_unknown(reason: &str) -> bool {
    reason.starts_with("ERR") && !reason.contains("syntax")
}

/// An unknown command is quoted with its arguments: a password, or what somebody wrote.
pub(in crate::broker) fn unquoted(reason: &str) -> String {
    reason.split(", with args beginning").next().unwrap_or(reason).to_string()
}

/// What is said of a greeting that is answered with an error, and how to mend it.
pub(in crate::broker) fn greeting_refused(reason: &str) -> String {
    let mend = match reason.split(' ').next() {
        Some("NOAUTH") => "; give the password in the URL, as :PASSWORD@ before the host",
        Some("WRONGPASS") => "; mend the user or the password in the URL",
        Some("NOPROTO") => "; wsloop needs RESP3, which Redis has from version 6.0 on",
        Some("NOPERM") => "; let the user use it: ACL SETUSER … +hello +select",
        Some("ERR") if reason.contains("unknown command") => {
            "; wsloop needs RESP3, which Redis has from version 6.0 on"
        }
        Some("ERR") if reason.contains("max number of clients") => "; see Redis's maxclients",
        Some("ERR") if reason.contains("SELECT is not allowed") => {
            "; leave the database out of the URL, as a cluster has only one"
        }
        _ => "",
    };
    // Some errors are a page of advice.
    let first = reason.split(". ").next().unwrap_or(reason);
    format!("it refused the greeting: {first}{mend}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_so_is_a_denial_or_a_condition() {
        for (reason, denial, ill) in [
            ("NOPERM No permissions to access a key", true, None),
            ("BUSY Redis is busy running a script.", false, Some(Ill::All)),
            ("BUSYKEY Target key name already exists.", false, None),
            ("LOADING Redis is loading the dataset in memory", false, Some(Ill::All)),
            ("MOVED 3999 127.0.0.1:6381", false, Some(Ill::Keys)),
            ("OOM command not allowed when used memory > 'maxmemory'.", false, None),
            ("", false, None),
        ] {
            assert_eq!((is_denial(reason), condition(reason)), (denial, ill), "{reason}");
        }
    }

    #[test]
    fn a_command_is_denied_or_only_a_channel() {
        for (reason, is_command) in [
            ("NOPERM User w has no permissions to run the 'ssubscribe' command", true),
            ("NOPERM this user has no permissions to run the 'subscribe' command or its s", true),
            ("NOPERM No permissions to access a channel", false),
            ("NOPERM this user has no permissions to access one of the channels used", false),
            ("ERR unknown command to run the x", false),
        ] {
            assert_eq!(denies_command(reason), is_command, "{reason}");
        }
    }

    #[test]
    fn what_tls_finds_wrong_is_said_with_its_flag() {
        for (reason, flag) in [
            ("invalid peer certificate: UnknownIssuer", "--redis-ca"),
            ("invalid peer certificate: BadSignature", "--redis-ca"),
            (
                "invalid peer certificate: not valid for name \"a\"; it is for b",
                "--redis-server-name",
            ),
            ("received fatal alert: CertificateRequired", "--redis-cert"),
        ] {
            assert!(tls_mend(reason).contains(flag), "{reason}");
        }
        assert_eq!(tls_mend("invalid peer certificate: Expired"), "");
        assert_eq!(tls_mend("connection refused"), "");
    }

    #[test]
    fn a_page_of_advice_is_cut_to_its_first_sentence() {
        let said = greeting_refused("DENIED Redis is running in protected mode because x. In y.");
        assert!(said.ends_with("protected mode because x"), "{said}");
    }
}
