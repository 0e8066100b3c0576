//! L1: an address to dial.

use std::path::PathBuf;

/// An address to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host name or IP address, and a port.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// The same, spoken with by TLS.
    Tls {
        /// Name or address, without brackets; its certificate is to be for it.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl Target {
    /// What to say of a dial that nothing came of in time. Who does not speak TLS may wait for more
    /// of what is no command, and so say nothing.
    pub(crate) fn late_dial(&self) -> &'static str {
        match self {
            Target::Tls { .. } => {
                "it did not answer in time; it may not speak TLS there, which rediss:// wants"
            }
            Target::Tcp { .. } | Target::Unix(_) => "it did not answer in time",
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Tcp { host, port } | Target::Tls { host, port } if host.contains(':') => {
                write!(f, "[{host}]:{port}")
            }
            Target::Tcp { host, port } | Target::Tls { host, port } => write!(f, "{host}:{port}"),
            Target::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}
