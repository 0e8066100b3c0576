//! (to be written)

/// Which origins may connect besides the host's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Every origin (`*`).
    Any,
    /// These, normalised.
    Listed(Vec<String>),
}
