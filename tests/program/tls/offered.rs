//! What is offered, and what is not, as testssl looks at it.

use std::io::Write;
use std::process::{Command, Stdio};

use super::Site;
use crate::support::tls::openssl;

/// What openssl says of a handshake with these arguments, on request of `input`.
fn shake(site: &Site, args: &[&str], input: &str) -> String {
    let at = site.address().to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &at, "-CAfile", &site.authority.root()]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl");
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("openssl ends");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The cipher of a handshake, if there was one.
fn cipher(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("Cipher is ")?;
    rest.lines().next().filter(|cipher| *cipher != "(NONE)")
}

#[test]
#[ignore = "needs openssl"]
fn old_versions_are_refused() {
    let site = Site::start(&[]);
    for version in ["-tls1", "-tls1_1"] {
        let said = shake(&site, &[version, "-cipher", "ALL:@SECLEVEL=0"], "");
        assert_eq!(cipher(&said), None, "{version}: {said}");
        assert!(said.contains("SSL alert number"), "{version}: {said}");
    }
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = shake(&site, &[version], "");
        assert!(cipher(&said).is_some() && said.contains(name), "{version}: {said}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(said.contains("Compression: NONE"), "{said}");
    }
}

#[test]
#[ignore = "needs openssl"]
fn weak_ciphers_are_refused() {
    let site = Site::start(&[]);
    let all = openssl(&["ciphers", "-s", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]);
    let (mut taken, mut refused) = (Vec::new(), 0);
    for name in all.trim().split(':') {
        let said = shake(&site, &["-tls1_2", "-cipher", &format!("{name}:@SECLEVEL=0")], "");
        match cipher(&said) {
            Some(cipher) => taken.push(cipher.to_owned()),
            None => refused += 1,
        }
    }
    taken.sort();
    let strong = [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ];
    assert_eq!(taken, strong);
    assert!(refused > 20, "{refused} of {all}");
}

#[test]
#[ignore = "needs openssl"]
fn nothing_is_renegotiated_and_no_other_protocol_spoken() {
    let site = Site::start(&[]);
    // A line with R asks for another handshake.
    let said = shake(&site, &["-tls1_2"], "R\n");
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation") || said.contains("error"), "{said}");
    let said = shake(&site, &["-alpn", "h2"], "");
    assert!(said.contains("no application protocol"), "{said}");
    let said = shake(&site, &["-alpn", "h2,http/1.1"], "");
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
}
